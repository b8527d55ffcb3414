package transcript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// Parse reads a transcript. name is for the reports. The error names the line
// that cannot be read.
func Parse(name, content string) (Transcript, error) {
	t := Transcript{Name: name}
	var block []string
	start := 0
	flush := func() error {
		if len(block) == 0 {
			return nil
		}
		e, err := parseEntry(strings.Join(block, "\n"))
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, start, err)
		}
		e.Line = start
		t.Entries = append(t.Entries, e)
		block = nil
		return nil
	}
	line := 0
	for raw := range strings.Lines(content) {
		line++
		raw = strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r")
		if raw != "" && strings.ContainsAny(raw[:1], " \t") && len(block) > 0 {
			block = append(block, raw)
			continue
		}
		if err := flush(); err != nil {
			return Transcript{}, err
		}
		switch {
		case strings.HasPrefix(raw, "#"):
			if len(t.Entries) == 0 { // notes between entries are for readers only
				t.Comment = append(t.Comment, strings.TrimSpace(raw[1:]))
			}
		case strings.TrimSpace(raw) != "":
			block, start = []string{raw}, line
		}
	}
	if err := flush(); err != nil {
		return Transcript{}, err
	}
	if err := t.check(); err != nil {
		return Transcript{}, err
	}
	return t, nil
}

// entryPattern is arrow, id, method; the body follows.
var entryPattern = regexp.MustCompile(`^(-->|<--) (?:(h?[0-9]+) )?(?:([$A-Za-z][-A-Za-z0-9/._]*) )?`)

func parseEntry(s string) (Entry, error) {
	switch strings.TrimSpace(s) {
	case "--- eof":
		return Entry{Kind: EOF}, nil
	case "--- exit":
		return Entry{Kind: Exit, Sidecar: true}, nil
	case "--- kill":
		return Entry{Kind: Kill}, nil
	}
	if body, ok := strings.CutPrefix(s, "--- file "); ok {
		return parseFile(body)
	}
	m := entryPattern.FindStringSubmatch(s)
	if m == nil {
		return Entry{}, fmt.Errorf("an entry begins with -->, <-- or ---, not with %.20q", s)
	}
	e := Entry{Sidecar: m[1] == "<--", ID: m[2], Method: m[3]}
	theirs := strings.HasPrefix(e.ID, "h")
	switch {
	case e.ID == "" && e.Method == "":
		return Entry{}, fmt.Errorf("there is neither an id nor a method")
	case e.ID == "":
		e.Kind = Notice
	case e.Method == "error" && e.Sidecar != theirs:
		e.Kind, e.Method = Error, ""
	case e.Method == "" && e.Sidecar != theirs:
		e.Kind = Result
	case e.Method != "" && e.Sidecar == theirs:
		e.Kind = Call
	default:
		return Entry{}, fmt.Errorf("the id %s does not fit: calls of the sidecar have an h, those of the shim do not", e.ID)
	}
	body, err := decode([]byte(s[len(m[0]):]))
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", e.head(), err)
	}
	e.Body = body
	return e, nil
}

func parseFile(s string) (Entry, error) {
	e := Entry{Kind: File}
	body, err := decode([]byte(s))
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", e.head(), err)
	}
	e.Body = body
	if _, ok := field(body, "text").(string); !ok || !filepath.IsLocal(text(field(body, "path"))) {
		return Entry{}, fmt.Errorf("%s: it takes the path of a file within the project and a text", e.head())
	}
	return e, nil
}

// check verifies that answers have calls, once each, of the same sidecar, and that
// nothing follows the end.
func (t Transcript) check() error {
	open := map[string]bool{}
	for i, e := range t.Entries {
		at := func(problem string) error { return fmt.Errorf("%s:%d: %s: %s", t.Name, e.Line, e.head(), problem) }
		switch known, called := open[e.ID]; {
		case e.Kind == Call && called:
			return at("the id was used before")
		case e.Kind == Call:
			open[e.ID] = true
		case e.answers() && !known:
			return at("there is no call of that id that waits for an answer")
		case e.answers():
			open[e.ID] = false
		case e.Kind == Kill && i == len(t.Entries)-1:
			return at("nothing follows, so it is an end: --- exit")
		case e.Kind == Kill:
			for id := range open {
				open[id] = false // nobody answers any more
			}
		case (e.Kind == EOF || e.Kind == Exit) && i != len(t.Entries)-1:
			return at("something follows the end")
		}
	}
	return nil
}

// decode reads one JSON value that keeps its numbers to the letter.
func decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the body is no JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the body")
	}
	return v, nil
}

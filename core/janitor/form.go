package janitor

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// maxUnpacked bounds what is read of a packed file.
const maxUnpacked = 1 << 30

// How the lines begin that this plugin and opencode-orchestrator write, with their
// fields in the order in which they write them. A process that is killed leaves a part
// of a line, so its end proves nothing.
var (
	taskID      = `\{"id":"task_` + strings.Repeat(`[0-9a-f]`, 8)
	taskLine    = newForm(taskID+`","agent":"`, taskID+`","state":"`)
	historyLine = newForm(`\{"version":\d{1,15},"timestamp":\d{1,15},"author":"`, `\{"time":"\d\d\d\d-\d\d-\d\dT[^"]{1,30}","actor":"`)
)

// form tells lines by how they begin.
type form struct {
	whole *regexp.Regexp
	cut   *regexp.Regexp // a line of which no more is there than a part of that
}

// atom is a part of a pattern that stands for one character, or for some of a kind.
var atom = regexp.MustCompile(`(?:\\.|\[[^\]]+\]|.)(?:\{1,\d+\})?`)

func newForm(begins ...string) form {
	cuts := make([]string, len(begins))
	for i, begin := range begins {
		for _, a := range slices.Backward(atom.FindAllString(begin, -1)) {
			cuts[i] = "(?:" + a + cuts[i] + ")?"
		}
	}
	return form{
		whole: regexp.MustCompile("^(?:" + strings.Join(begins, "|") + ")"),
		cut:   regexp.MustCompile("^(?:" + strings.Join(cuts, "|") + ")$"),
	}
}

// prove is nil if a file is provably ours, and otherwise says what speaks against
// it.
func (f *folder) prove(c file, made ledger) error {
	if made.isOurs(f, c) {
		return nil
	}
	switch c.kind {
	case leftover: // nobody else makes such names
		return nil
	case document:
		content, err := f.read(c.name, maxDocument)
		if err != nil {
			return err
		}
		return c.doc.isDocument(content, c.info.ModTime())
	case packedHistory:
		return f.unpack(c.name, func(r io.Reader) error { return proveLines(r, historyLine) })
	}
	file, _, err := f.open(c.name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if c.kind == taskArchive {
		return proveLines(file, taskLine)
	}
	return proveLines(file, historyLine)
}

// unpack calls read with what a packed file holds.
func (f *folder) unpack(name string, read func(io.Reader) error) error {
	file, _, err := f.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	packed, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("it is not packed: %w", err)
	}
	if err := read(&io.LimitedReader{R: packed, N: maxUnpacked}); err != nil {
		return err
	}
	switch n, err := packed.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("it is larger than anything of ours")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// proveLines is nil if every line has the form, or was cut, and nothing stands behind
// it: but for the next one, as a process may be killed just before it ends a line.
func proveLines(r io.Reader, f form) error {
	lines := bufio.NewReaderSize(r, 4<<10)
	for n := 1; ; n++ {
		o := object{ended: true}
		for begun, more := false, true; more; {
			var text []byte
			var err error
			if text, more, err = lines.ReadLine(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			for len(text) > 0 {
				if o.ended {
					if begun && len(bytes.TrimSpace(text)) == 0 {
						break
					}
					if !f.whole.Match(text) && (more || !f.cut.Match(text)) {
						return fmt.Errorf("line %d is not one of ours", n)
					}
					o, begun = object{}, true
				}
				text = o.feed(text)
			}
		}
	}
}

// object finds the end of a JSON object.
type object struct {
	depth           int
	quoted, escaped bool
	ended           bool
}

// feed goes on with text and returns what stands behind the object's end.
func (o *object) feed(text []byte) []byte {
	for i, c := range text {
		switch {
		case o.escaped:
			o.escaped = false
		case o.quoted:
			o.escaped, o.quoted = c == '\\', c != '"'
		case c == '"':
			o.quoted = true
		case c == '{' || c == '[':
			o.depth++
		case c == '}' || c == ']':
			if o.depth--; o.depth == 0 {
				o.ended = true
				return text[i+1:]
			}
		}
	}
	return nil
}

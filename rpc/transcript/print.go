package transcript

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// width is where lines are broken.
const width = 120

// printer writes JSON. What fits stays on its line. What does not gets a line
// for its plain fields and one for each object and list in it.
type printer struct{ strings.Builder }

func (p *printer) print(v any, indent string) {
	flat := compact(v)
	if p.column()+len(flat) <= width {
		p.WriteString(flat)
		return
	}
	indent += "  "
	switch v := v.(type) {
	case map[string]any:
		p.WriteString("{")
		for i, key := range ordered(v) {
			if i > 0 {
				p.WriteString(",")
			}
			name := compact(key) + ":"
			if nested(v[key]) || p.column()+len(name)+len(compact(v[key])) > width {
				p.WriteString("\n" + indent)
			}
			p.WriteString(name)
			p.print(v[key], indent)
		}
		p.WriteString("}")
	case []any:
		p.WriteString("[")
		for i, item := range v {
			if i > 0 {
				p.WriteString(",")
			}
			p.WriteString("\n" + indent)
			p.print(item, indent)
		}
		p.WriteString("]")
	default:
		p.WriteString(flat)
	}
}

func (p *printer) column() int {
	s := p.String()
	return len(s) - 1 - strings.LastIndexByte(s, '\n')
}

func nested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// ordered sorts the keys of an object: what names it, then what is short, then
// objects and lists.
func ordered(object map[string]any) []string {
	rank := func(key string) int {
		if first := slices.Index([]string{"type", "id", "role", "code"}, key); first >= 0 {
			return first
		}
		if nested(object[key]) {
			return 6
		}
		return 5
	}
	return slices.SortedFunc(maps.Keys(object), func(a, b string) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
}

// compact is v on one line.
func compact(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		b.WriteString("{")
		for i, key := range ordered(v) {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString(compact(key) + ":" + compact(v[key]))
		}
		b.WriteString("}")
		return b.String()
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = compact(item)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // tokens stay readable
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("transcript: %v", err)) // only decoded JSON comes here
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// head is an entry without its body.
func (e Entry) head() string {
	switch e.Kind {
	case EOF:
		return "--- eof"
	case Exit:
		return "--- exit"
	case Kill:
		return "--- kill"
	case File:
		return "--- file"
	}
	words := []string{"-->"}
	if e.Sidecar {
		words[0] = "<--"
	}
	if e.ID != "" {
		words = append(words, e.ID)
	}
	if e.Method != "" {
		words = append(words, e.Method)
	}
	if e.Kind == Error {
		words = append(words, "error")
	}
	return strings.Join(words, " ")
}

// String is the entry as it stands in a file, without the last line break.
func (e Entry) String() string {
	if e.Kind == EOF || e.Kind == Exit || e.Kind == Kill {
		return e.head()
	}
	var p printer
	p.WriteString(e.head() + " ")
	p.print(e.Body, "")
	return p.String()
}

// Format returns the text of a transcript, which Parse reads back.
func Format(t Transcript) string {
	var b strings.Builder
	for _, line := range t.Comment {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	if len(t.Comment) > 0 {
		b.WriteString("\n")
	}
	for _, e := range t.Entries {
		b.WriteString(e.String() + "\n")
	}
	return b.String()
}

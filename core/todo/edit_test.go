package todo

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// named returns the only item with that text.
func named(t testing.TB, d *Document, text string) *Item {
	t.Helper()
	var found *Item
	for i := range d.All() {
		if i.Text == text {
			if found != nil {
				t.Fatalf("%q is there twice", text)
			}
			found = i
		}
	}
	if found == nil {
		t.Fatalf("there is no %q", text)
	}
	return found
}

func TestSetState(t *testing.T) {
	const in = "\ufeff# H\r\n\r\n-\t[ ] a  \r\n  * [.] b\r\n> 1) [X] c\n```\n- [ ] a\n"
	for _, tt := range []struct {
		item  string
		state State
		want  string
	}{
		{"a", Completed, strings.Replace(in, "-\t[ ]", "-\t[x]", 1)},
		{"a", Pending, in},
		{"b", InProgress, in},
		{"b", Cancelled, strings.Replace(in, "[.]", "[-]", 1)},
		{"c", Completed, in},
		{"c", InProgress, strings.Replace(in, "[X]", "[/]", 1)},
	} {
		doc := mustParse(t, in)
		got, err := SetState(doc, named(t, doc, tt.item), tt.state)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s %s: %q, %v", tt.item, tt.state, got, err)
		}
		if string(doc.Bytes()) != in {
			t.Error("the document changed")
		}
	}
	doc := mustParse(t, in)
	if _, err := SetState(mustParse(t, in), doc.Items[0], Completed); !errors.Is(err, ErrForeignItem) {
		t.Errorf("an item of another document: %v", err)
	}
	if _, err := SetState(doc, nil, Completed); !errors.Is(err, ErrForeignItem) {
		t.Errorf("no item: %v", err)
	}
	if _, err := SetState(doc, doc.Items[0], 9); err == nil {
		t.Error("a state that does not exist was set")
	}
}

func TestAdd(t *testing.T) {
	for _, tt := range []struct {
		name, in, under, heading string
		want                     string
	}{
		{"to nothing", "", "", "", "- [ ] new\n"},
		{"to a mark", "\ufeff", "", "", "\ufeff- [ ] new\n"},
		{"to an end without newline", "- [ ] a", "", "", "- [ ] a\n- [ ] new"},
		{"behind the last", "# H\n\n* [ ] a\n  - [ ] b\n\ntext\n", "", "", "# H\n\n* [ ] a\n  - [ ] b\n* [ ] new\n\ntext\n"},
		{"behind text", "text", "", "", "text\n\n- [ ] new"},
		{"behind CRLF", "text\r\n", "", "", "text\r\n\r\n- [ ] new\r\n"},
		{"behind CR", "text\r", "", "", "text\r\r- [ ] new\r"},
		{"behind numbers", "9. [ ] a\n", "", "", "9. [ ] a\n10. [ ] new\n"},
		{"behind numbers with a bracket", "1)  [ ] a\n", "", "", "1)  [ ] a\n2)  [ ] new\n"},
		{"behind code that does not end", "- [ ] a\n\n```\ncode\n", "", "", "- [ ] a\n- [ ] new\n\n```\ncode\n"},
		{"only code that does not end", "```\ncode\n", "", "", "- [ ] new\n\n```\ncode\n"},

		{"under one without children", "- [ ] a\n- [ ] b\n", "a", "", "- [ ] a\n  - [ ] new\n- [ ] b\n"},
		{"under a star", "* [ ] a\n", "a", "", "* [ ] a\n  * [ ] new\n"},
		{"under a wide bullet", "-   [ ] a\n", "a", "", "-   [ ] a\n    - [ ] new\n"},
		{"under a tab", "-\t[ ] a\n", "a", "", "-\t[ ] a\n \t- [ ] new\n"},
		{"under tabs", "- [ ] a\n\t- [ ] b\n", "b", "", "- [ ] a\n\t- [ ] b\n\t  - [ ] new\n"},
		{"under a number", "10. [ ] a\n", "a", "", "10. [ ] a\n    - [ ] new\n"},
		{"under one with children", "- [ ] a\n    + [ ] b\n        - [ ] c\n- [ ] d\n", "a", "", "- [ ] a\n    + [ ] b\n        - [ ] c\n    + [ ] new\n- [ ] d\n"},
		{"under a wrapped one", "- [ ] a\nlazy\n\n  more\n\n- [ ] b\n", "a lazy", "", "- [ ] a\nlazy\n\n  more\n  - [ ] new\n\n- [ ] b\n"},
		{"under one with code in it", "- [ ] a\n\n      code\n", "a", "", "- [ ] a\n\n      code\n  - [ ] new\n"},
		{"under one with code that does not end", "- [ ] a\n  ```\n  code\n", "a", "", "- [ ] a\n  - [ ] new\n  ```\n  code\n"},
		{"under one in a quote", "> - [ ] a\n>   - [ ] b\n>\n> text\n", "a", "", "> - [ ] a\n>   - [ ] b\n>   - [ ] new\n>\n> text\n"},
		{"under the last in a quote", "> - [ ] a\n", "a", "", "> - [ ] a\n>   - [ ] new\n"},
		{"under one of several in a line", "- - [ ] a\n", "a", "", "- - [ ] a\n    - [ ] new\n"},
		{"under one at the end", "- [ ] a", "a", "", "- [ ] a\n  - [ ] new"},
		{"under one with a byte order mark", "\ufeff- [ ] a\r\n", "a", "", "\ufeff- [ ] a\r\n  - [ ] new\r\n"},

		{"to a section with items", "## M1: x | a:b\n\n- [ ] a\n\n## M2\n- [ ] b\n", "", "M1", "## M1: x | a:b\n\n- [ ] a\n- [ ] new\n\n## M2\n- [ ] b\n"},
		{"to a section without items", "# Agent\n\ntext\n\n## M2\n", "", "agent", "# Agent\n\ntext\n\n- [ ] new\n\n## M2\n"},
		{"to an empty section", "# Agent\n# M2\n", "", "Agent", "# Agent\n\n- [ ] new\n\n# M2\n"},
		{"to an empty section before an underlined one", "# Agent\nM2\n===\n", "", "Agent", "# Agent\n\n- [ ] new\n\nM2\n===\n"},
		{"to a section at the end", "# Agent", "", "Agent", "# Agent\n\n- [ ] new"},
		{"to a section with code that does not end", "# Agent\n```\n", "", "Agent", "# Agent\n\n- [ ] new\n\n```\n"},
		{"to a section that is not there", "- [ ] a\n", "", "Agent", "- [ ] a\n\n## Agent\n\n- [ ] new\n"},
		{"to a section of an empty file", "", "", " # Agent #", "## Agent\n\n- [ ] new\n"},
		{"to a section behind a blank line", "- [ ] a\r\n\r\n", "", "Agent", "- [ ] a\r\n\r\n## Agent\r\n\r\n- [ ] new\r\n"},
		{"to a section behind an item and code", "- [ ] a\n\n```\ncode\n", "", "Agent", "- [ ] a\n\n## Agent\n\n- [ ] new\n\n```\ncode\n"},
		{"to a section behind a comment that does not end", "<!-- x\n", "", "Agent", "## Agent\n\n- [ ] new\n\n<!-- x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := mustParse(t, tt.in)
			place := Place{Heading: tt.heading}
			if tt.under != "" {
				place.Under = named(t, doc, tt.under)
			}
			got, err := Add(doc, place, Entry{Text: "new"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddSeveral(t *testing.T) {
	doc := mustParse(t, "1. [ ] a\n")
	got, err := Add(doc, Place{}, Entry{"b", Completed}, Entry{"c | size:S", InProgress})
	if want := "1. [ ] a\n2. [x] b\n3. [/] c | size:S\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	got, err = Add(doc, Place{})
	if err != nil || string(got) != "1. [ ] a\n" {
		t.Errorf("nothing added: %q, %v", got, err)
	}
	got, err = Add(missing(), Place{Heading: "Agent"}, Entry{Text: "a"})
	if err != nil || string(got) != "## Agent\n\n- [ ] a\n" {
		t.Errorf("to a missing file: %q, %v", got, err)
	}
}

func TestAddRefuses(t *testing.T) {
	doc := mustParse(t, "- [ ] a\n")
	for _, text := range []string{"", " \n\t", "- [ ]", "[x]", "- "} {
		if got, err := Add(doc, Place{}, Entry{Text: text}); !errors.Is(err, ErrEmptyText) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := Add(mustParse(t, "- [ ] a\n"), Place{Under: doc.Items[0]}, Entry{Text: "b"}); !errors.Is(err, ErrForeignItem) {
		t.Errorf("under an item of another document: %v", err)
	}
	if _, err := Add(doc, Place{}, Entry{"b", 7}); err == nil {
		t.Error("a state that does not exist was written")
	}
	if _, err := Add(doc, Place{}, Entry{Text: strings.Repeat("long ", MaxSize/5)}); err == nil {
		t.Error("a file above the limit was written")
	}
	deepest := mustParse(t, strings.Repeat("- ", maxDepth/2)+"[ ] a\n")
	if _, err := Add(deepest, Place{Under: deepest.Items[0]}, Entry{Text: "b"}); !errors.Is(err, ErrNoPlace) {
		t.Errorf("deeper than what is read: %v", err)
	}
}

func TestLineText(t *testing.T) {
	for in, want := range map[string]string{
		"a":                   "a",
		"  a\n b\r\n\tc ":     "a b c",
		"- [ ] a":             "a",
		"* [x] - [ ]  a":      "a",
		"[X] a":               "a",
		"[y] a":               "[y] a",
		"-a":                  "-a",
		"1. a":                "1. a",
		"a\x00b\x1b\xff":      "a\ufffdb\ufffd\ufffd",
		"# a":                 "# a",
		"\u2028a\u00a0\u3000": "a",
	} {
		if got := LineText(in); got != want {
			t.Errorf("LineText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseState(t *testing.T) {
	for word, want := range map[string]State{
		"pending": Pending, "In Progress": InProgress, "in-progress": InProgress, "progress": InProgress,
		"DONE": Completed, "completed": Completed, "failed": Cancelled, "cancelled": Cancelled,
		"[ ]": Pending, "[.]": InProgress, "[X]": Completed, "x": Completed, "-": Cancelled, "/": InProgress,
	} {
		if got, ok := ParseState(word); !ok || got != want {
			t.Errorf("%q: %v, %v", word, got, ok)
		}
		var s State
		if err := s.UnmarshalText([]byte(word)); err != nil || s != want {
			t.Errorf("%q: %v, %v", word, s, err)
		}
	}
	for _, word := range []string{"", " ", "maybe", "[y]", "[]"} {
		if got, ok := ParseState(word); ok {
			t.Errorf("%q is %v", word, got)
		}
	}
	var s State
	if err := s.UnmarshalText([]byte("maybe")); err == nil {
		t.Error("a word that is no state was accepted")
	}
}

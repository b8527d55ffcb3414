package todo

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// outline writes a document's items as a test reads them best: the line, the
// depth, the state, and the text.
func outline(d *Document) []string {
	var lines []string
	for item := range d.All() {
		depth := 0
		for p := item.Parent; p != nil; p = p.Parent {
			depth++
		}
		lines = append(lines, fmt.Sprintf("%d %s[%c] %s", item.Line, strings.Repeat("> ", depth), item.Mark, item.Text))
	}
	return lines
}

func mustParse(t testing.TB, s string) *Document {
	t.Helper()
	doc, err := Parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestItems(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"all marks", "- [ ] a\n- [x] b\n- [X] c\n- [/] d\n- [.] e\n- [-] f\n",
			[]string{"1 [ ] a", "2 [x] b", "3 [X] c", "4 [/] d", "5 [.] e", "6 [-] f"}},
		{"all bullets", "- [ ] a\n\n* [ ] b\n\n+ [ ] c\n\n1. [ ] d\n2. [ ] e\n\n1) [ ] f\n",
			[]string{"1 [ ] a", "3 [ ] b", "5 [ ] c", "7 [ ] d", "8 [ ] e", "10 [ ] f"}},
		{"no box", "- a\n- [] b\n- [y] c\n- [ ]d\n- [  ] e\n- \\[ ] f\n[ ] g\n-[ ] h\n- text [ ] i\n- [x]: /url\n- [x](link)\n", nil},
		{"a box and nothing else", "- [ ]\n- [x] \n- [ ]", []string{"1 [ ] ", "2 [x] ", "3 [ ] "}},
		{"tree", "- [ ] a\n  - [ ] b\n    - [x] c\n  - [ ] d\n- [ ] e\n",
			[]string{"1 [ ] a", "2 > [ ] b", "3 > > [x] c", "4 > [ ] d", "5 [ ] e"}},
		{"tree with tabs", "- [ ] a\n\t- [ ] b\n\t\t- [ ] c\n", []string{"1 [ ] a", "2 > [ ] b", "3 > > [ ] c"}},
		{"tree with four spaces", "- [ ] a\n    - [ ] b\n        - [ ] c\n", []string{"1 [ ] a", "2 > [ ] b", "3 > > [ ] c"}},
		{"tree below numbers", "1. [ ] a\n   - [ ] b\n2. [ ] c\n  - [ ] d\n", []string{"1 [ ] a", "2 > [ ] b", "3 [ ] c", "4 [ ] d"}},
		{"a list item without a box between", "- [ ] a\n  - group\n    - [ ] b\n- group\n  - [ ] c\n", []string{"1 [ ] a", "3 > [ ] b", "5 [ ] c"}},
		{"several bullets in a line", "- - [ ] a\n  - 1. [ ] b\n", []string{"1 [ ] a", "2 [ ] b"}},
		{"indented by less than code", "   - [ ] a\n", []string{"1 [ ] a"}},
		{"indented code", "text\n\n    - [ ] a\n", nil},
		{"indented code in an item", "- [ ] a\n\n      - [ ] b\n-      [ ] c\n", []string{"1 [ ] a"}},
		{"fences", "```\n- [ ] a\n```\n~~~md\n- [ ] b\n```\n- [ ] c\n~~~\n- [ ] d\n  ```\n  - [ ] e\n  ```\n- [ ] f\n```\n- [ ] g\n",
			[]string{"9 [ ] d", "13 [ ] f"}},
		{"comments and HTML", "<!--\n- [ ] a\n\n- [ ] b\n-->\n- [ ] c\n\n<div>\n- [ ] d\n\n- [ ] e\n</div>\n<!-- - [ ] f -->\n", []string{"6 [ ] c", "11 [ ] e"}},
		{"quotes", "> - [ ] a\n>   - [x] b\n> > 1. [ ] c\n", []string{"1 [ ] a", "2 > [x] b", "3 [ ] c"}},
		{"a box in a quote in an item is none of its own", "- > [ ] a\n- # [ ] b\n", nil},
		{"lazy continuation", "- [ ] a\nb\n  c\n- [ ]\n  d\n", []string{"1 [ ] a b c", "4 [ ] d"}},
		{"white space", "- [ ]   a \t b\u00a0 c  \n", []string{"1 [ ] a b c"}},
		{"a ruler ends the list", "- [ ] a\n---\n- [ ] b\n* * *\n", []string{"1 [ ] a", "3 [ ] b"}},
		{"an underlined item", "- [ ] a\n  ---\n  b\n", []string{"1 [ ] a"}},
		{"CRLF", "# H\r\n- [ ] a\r\n  - [x] b\r\n\r\n```\r\n- [ ] c\r\n```\r\n- [ ]\r\n", []string{"2 [ ] a", "3 > [x] b", "8 [ ] "}},
		{"CR", "- [ ] a\r  - [x] b\r\r- [ ] c", []string{"1 [ ] a", "2 > [x] b", "4 [ ] c"}},
		{"byte order mark", "\ufeff- [ ] a\n  - [x] b\n", []string{"1 [ ] a", "2 > [x] b"}},
		{"not UTF-8", "- [ ] a\xff\xfeb\x1b[31m\n", []string{"1 [ ] a\ufffd\ufffdb\ufffd[31m"}},
		{"a number that does not start a list", "text\n2. [ ] a\n\n2. [ ] b\n", []string{"4 [ ] b"}},
		{"link definitions", "- [a]: /url\n  [x] b\n- [ ] c\n\n[d]: /url\n- [x] e\n", []string{"3 [ ] c", "6 [x] e"}},
		{"a box on the line below the bullet", "-\n  [ ] a\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, outline(mustParse(t, tt.in))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanFormat(t *testing.T) {
	doc := mustParse(t, `# Mission: the shop
## M1: Ground | parallel:false |
### T1.1: Schema | agent:Worker | depends:T1.0, T0.9
- [ ] S1.1.1: Create the schema | size:S | Parallel_Group:1
  - [x] **CHK-1**: it migrates | see | status:done
- [/] **CHK 2**: no id
- [ ] **CHK3:** bold with its colon
- [ ] Note: no id either | http://example.org
- [ ] A table | of | bars ||
- [ ] wrapped
  over lines | size:L
  and on
Title
=====
- [ ] S9: x
> ## Not a section
`)
	type row struct {
		ID, Text, Label, Title string
		Attributes             Attributes
		Section                string
	}
	var got []row
	for i := range doc.All() {
		got = append(got, row{i.ID, i.Text, i.Label(), i.Title(), i.Attributes, i.Section.Title})
	}
	const schema = "T1.1: Schema"
	want := []row{
		{"S1.1.1", "S1.1.1: Create the schema | size:S | Parallel_Group:1", "S1.1.1: Create the schema", "Create the schema", Attributes{{"size", "S"}, {"parallel_group", "1"}}, schema},
		{"CHK-1", "**CHK-1**: it migrates | see | status:done", "**CHK-1**: it migrates | see", "it migrates | see", Attributes{{"status", "done"}}, schema},
		{"", "**CHK 2**: no id", "**CHK 2**: no id", "**CHK 2**: no id", nil, schema},
		{"CHK3", "**CHK3:** bold with its colon", "**CHK3:** bold with its colon", "bold with its colon", nil, schema},
		{"", "Note: no id either | http://example.org", "Note: no id either | http://example.org", "Note: no id either | http://example.org", nil, schema},
		{"", "A table | of | bars ||", "A table | of | bars ||", "A table | of | bars ||", nil, schema},
		{"", "wrapped over lines | size:L and on Title", "wrapped over lines and on Title", "wrapped over lines and on Title", Attributes{{"size", "L"}}, schema},
		{"S9", "S9: x", "S9: x", "x", nil, schema},
	}
	// "Title" above continues the item lazily, and so does its underline.
	want[6].Text += " ====="
	want[6].Label += " ====="
	want[6].Title += " ====="
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var heads []string
	for _, s := range doc.Sections {
		depends, _ := s.Attributes.Get("depends")
		heads = append(heads, fmt.Sprintf("%d %d %q %s %q %d", s.Line, s.Level, s.ID, s.Title, depends, len(s.Items)))
	}
	wantHeads := []string{
		`1 1 "" Mission: the shop "" 0`,
		`2 2 "M1" M1: Ground "" 0`,
		`3 3 "T1.1" T1.1: Schema "T1.0, T0.9" 7`,
	}
	if diff := cmp.Diff(wantHeads, heads); diff != "" {
		t.Error(diff)
	}
}

func TestUnderlinedSections(t *testing.T) {
	doc := mustParse(t, "Two\nlines\n===\n\n- [ ] a\n\n#\n\n#hash | key:v\n---\n- [ ] b")
	var got []string
	for _, s := range doc.Sections {
		got = append(got, fmt.Sprintf("%d %d %q %q %q", s.Line, s.Level, s.Title, doc.text[s.start:s.body], doc.text[s.body:s.end]))
	}
	want := []string{
		`1 1 "Two lines" "Two\nlines\n===\n" "\n- [ ] a\n\n"`,
		`7 1 "" "#\n" "\n"`,
		`9 2 "#hash" "#hash | key:v\n---\n" "- [ ] b"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostileInput(t *testing.T) {
	if _, err := Parse([]byte("- [ ] a\x00")); !errors.Is(err, ErrBinary) {
		t.Errorf("a NUL byte: %v", err)
	}
	_, err := Parse(make([]byte, 50<<20))
	if large, ok := errors.AsType[*TooLargeError](err); !ok || large.Size != 50<<20 {
		t.Errorf("50 MiB: %v", err)
	}
	const want = "it is 50.0 MiB long, and todo files are read up to 4.0 MiB"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	for name, in := range map[string]string{
		"one long line":          "- [ ] " + strings.Repeat("a b ", 1<<18) + "\n",
		"one long line of boxes": strings.Repeat("- [ ] ", 1<<17),
		"deep lists in a line":   strings.Repeat("- ", 1<<19) + "x\n" + strings.Repeat("\n", 1<<19),
		"deep quotes":            strings.Repeat(strings.Repeat(">", 1<<10)+"\n", 1<<9),
		"deep lists":             deep(400),
		"numbers":                strings.Repeat("1) ", 1<<18),
		"stars":                  strings.Repeat("* ", 1<<18) + "x",
		"fences":                 strings.Repeat("```\n", 1<<18),
		"comments":               strings.Repeat("<!-- ", 1<<18),
		"underlines":             strings.Repeat("a\n=\n", 1<<17),
		"tabs":                   strings.Repeat("\t", 1<<20),
		"spaces between":         "- [ ] a" + strings.Repeat(" ", 1<<20) + "|" + strings.Repeat(" ", 1<<20) + "b",
		"bars":                   "- [ ] a" + strings.Repeat("|", 1<<20),
		"brackets":               strings.Repeat("[", 1<<20),
		"attributes":             "- [ ] a" + strings.Repeat("|a:b", 1<<18),
	} {
		t.Run(name, func(t *testing.T) {
			if doc := mustParse(t, in); !bytes.Equal(doc.Bytes(), []byte(in)) {
				t.Error("the document is not what was parsed")
			}
		})
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("  ", i) + "- [ ] a\n")
	}
	return b.String()
}

func TestProgress(t *testing.T) {
	for in, want := range map[string]bool{
		"":                             false,
		"text":                         false,
		"- [x] a\n- [-] b":             true,
		"- [x] a\n  - [/] b":           false,
		"- [ ] a\n  - [x] b":           false,
		"```\n- [ ] a\n```":            false,
		"- [X] a\n\n<!-- - [ ] b\n-->": true,
	} {
		if got := mustParse(t, in).Complete(); got != want {
			t.Errorf("Complete(%q) = %v", in, got)
		}
	}
	p := mustParse(t, "- [ ] a\n- [/] b\n- [.] c\n- [x] d\n- [-] e\n").Progress()
	if p.Open() != 3 || p.Done() != 2 || p.Total() != 5 || p.InProgress != 2 {
		t.Errorf("%+v", p)
	}
}

// big is a plan of so many lines, 58 bytes each.
func big(lines int) string {
	var b strings.Builder
	for i := range lines {
		switch i % 50 {
		case 0:
			fmt.Fprintf(&b, "## M%d: A milestone of the plan with a name of some words\n", i/50)
		default:
			fmt.Fprintf(&b, "%s- [%c] S%d.%d: the work that item %d asks for | size:S\n", strings.Repeat("  ", (i-1)%3), " x/-"[i%4], i/50, i%50, i)
		}
	}
	return b.String()
}

package todo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// seeds are what fuzzing starts from, besides testdata/fuzz.
func seeds() []string {
	return []string{
		"", "- [ ] a\n  - [x] b\n", "1. [ ] a\n   * [/] b\r\n\r\n> - [-] c | k:v\n", "\ufeff# H\n- [ ] S1.1: a\n```\n- [ ] x\n```\n",
		"a\n===\n\n+\t[.] b\n\n      code\n<!-- \n- [ ] c\n-->\n", "- - [ ] a\n\n\n\n  b\n- c\n  ```\n  - [ ] d", "> > 1) [X] a\nlazy\n---\n## Agent |a:b\n",
		"- [ ] a\r- [ ] b\n\t- [ ] c", "# a\n- [ ] b\n# c\n    - [ ] d\n#\n",
	}
}

// deadline makes a failure of what does not end, which fuzzing takes no notice of.
func deadline() *time.Timer {
	return time.AfterFunc(20*time.Second, func() { panic("it does not end") })
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		defer deadline().Stop()
		doc, err := Parse(in)
		if err != nil {
			if !errors.Is(err, ErrBinary) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(doc.Bytes(), in) {
			t.Fatal("other bytes than what was read")
		}
		checkShape(t, doc)
		if diff := cmp.Diff(boxes(in), marks(doc)); diff != "" {
			t.Errorf("other boxes than CommonMark's: %s", diff)
		}
		_ = Summary(doc, nil, Limits{})
	})
}

// Where a source is cut into parts makes no difference.
func FuzzParts(f *testing.F) {
	for _, s := range append(seeds(), "<!--\n# a\n- [ ] b\n-->\n# c\n- [ ] d\n", "- ```\n# a\n- [ ] b\n\n\n\t\n## c |k:v\n===\n1. [x] d\n", "~~~\n# a\n~~~\n# b\n> - [ ] c\n# d\r\n") {
		f.Add([]byte(s), uint16(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint16) {
		defer deadline().Stop()
		want, err := parse(in, len(in)+1)
		if err != nil {
			return
		}
		got := must(parse(in, int(size)))
		checkShape(t, got)
		if diff := cmp.Diff(extents(want), extents(got)); diff != "" {
			t.Error(diff)
		}
	})
}

// extents is the shape with where everything begins and ends.
func extents(d *Document) []string {
	lines := shape(d)
	for _, i := range d.all {
		lines = append(lines, fmt.Sprint("item ", i.mark, i.plain, i.limit))
	}
	for _, s := range d.Sections {
		lines = append(lines, fmt.Sprint("section ", s.start, s.body, s.end))
	}
	return lines
}

// checkShape holds a document to what it promises of itself.
func checkShape(t *testing.T, doc *Document) {
	t.Helper()
	line, at := 0, -1
	for i := range doc.All() {
		if i.mark <= at || i.Line < line || doc.text[i.mark] != i.Mark || doc.text[i.mark-1] != '[' || doc.text[i.mark+1] != ']' {
			t.Fatalf("item at %d, line %d, behind %d, line %d", i.mark, i.Line, at, line)
		}
		line, at = i.Line, i.mark
		if i.plain <= i.mark || i.limit < i.plain || i.limit > len(doc.text) {
			t.Fatalf("item at %d: its text ends at %d, it at %d", i.mark, i.plain, i.limit)
		}
		if Normalize(i.Text) != i.Text || Normalize(i.label) != i.label || i.named > len(i.label) {
			t.Fatalf("%q, %q, %d", i.Text, i.label, i.named)
		}
		siblings := doc.Items
		if i.Parent != nil {
			siblings = i.Parent.Children
			if i.Parent.index >= i.index {
				t.Fatalf("item at %d comes before the one that it is nested in", i.mark)
			}
		}
		if !slices.Contains(siblings, i) {
			t.Fatalf("item at %d is not below its parent", i.mark)
		}
	}
	at = 0
	for i, s := range doc.Sections {
		if s.start < at || s.body <= s.start || s.end < s.body || s.index != i {
			t.Fatalf("section %d: %d, %d, %d behind %d", i, s.start, s.body, s.end, at)
		}
		at = s.end
	}
}

// shape is all that is to be seen of a document.
func shape(d *Document) []string {
	var lines []string
	for _, i := range d.all {
		parent, section := -1, -1
		if i.Parent != nil {
			parent = i.Parent.index
		}
		if i.Section != nil {
			section = i.Section.index
		}
		lines = append(lines, fmt.Sprintf("%d %c %q %q %q %v below %d in %d", i.Line, i.Mark, i.ID, i.Text, i.Title(), i.Attributes, parent, section))
	}
	for _, s := range d.Sections {
		lines = append(lines, fmt.Sprintf("%d %d %q %q %v %d", s.Line, s.Level, s.ID, s.Title, s.Attributes, len(s.Items)))
	}
	return lines
}

func marks(d *Document) []int {
	var at []int
	for i := range d.All() {
		at = append(at, i.mark)
	}
	return at
}

// boxes finds the boxes by the CommonMark parser as it is made, without what
// the package does to make it fast.
func boxes(in []byte) []int {
	source := unixLines(in)
	base := markSize(string(in))
	source = source[base:]
	if bytes.Count(source, []byte("\n"))*40 > 1<<20 || bytes.Count(source, []byte(">"))+bytes.Count(source, []byte("-"))+bytes.Count(source, []byte("*"))+bytes.Count(source, []byte("+"))+bytes.Count(source, []byte("."))+bytes.Count(source, []byte(")")) > maxDepth/2 {
		return marks(must(Parse(in))) // it may nest deeper than what we read
	}
	root := parser.NewParser(parser.WithBlockParsers(parser.DefaultBlockParsers()...)).Parse(text.NewReader(source))
	var found []int
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering || n.Kind() != ast.KindListItem || n.FirstChild() == nil {
			return ast.WalkContinue, nil
		}
		switch first := n.FirstChild(); first.Kind() {
		case ast.KindParagraph, ast.KindTextBlock, ast.KindHeading:
			if first.Lines().Len() == 0 {
				break
			}
			line := first.Lines().At(0)
			at := line.Start
			box := source[at:min(len(source), max(at, line.Stop)+1)]
			before := bytes.TrimRight(source[:at], " \t")
			if len(box) < 3 || box[0] != '[' || box[2] != ']' || len(box) > 3 && !bytes.ContainsAny(box[3:4], " \t\n") ||
				!bytes.ContainsAny(box[1:2], " xX/.-") || len(before) == 0 || len(before) == at || !bytes.ContainsAny(before[len(before)-1:], "-*+.)") {
				break
			}
			if last := before[len(before)-1]; (last == '.' || last == ')') && (len(before) < 2 || before[len(before)-2] < '0' || before[len(before)-2] > '9') {
				break
			}
			found = append(found, base+at+1)
		}
		return ast.WalkContinue, nil
	})
	return found
}

func must(d *Document, err error) *Document {
	if err != nil {
		panic(err)
	}
	return d
}

func FuzzEdit(f *testing.F) {
	for n, s := range seeds() {
		f.Add([]byte(s), uint(n), uint8(n), "new", "Agent")
	}
	f.Fuzz(func(t *testing.T, in []byte, pick uint, to uint8, text, heading string) {
		defer deadline().Stop()
		doc, err := Parse(in)
		if err != nil {
			return
		}
		state := State(to % 4)
		if doc.Len() > 0 {
			item := doc.all[pick%uint(doc.Len())]
			got, err := SetState(doc, item, state)
			if err != nil {
				t.Fatal(err)
			}
			want := shape(doc)
			if item.State != state {
				want[item.index] = fmt.Sprintf("%d %c%s", item.Line, state.Mark(), want[item.index][len(fmt.Sprint(item.Line))+2:])
			}
			if diff := cmp.Diff(want, shape(must(Parse(got)))); diff != "" {
				t.Fatalf("SetState: %s", diff)
			}
			same := len(got) == len(in)
			for i := range in {
				same = same && (got[i] == in[i] || i == item.mark)
			}
			if !same {
				t.Fatalf("SetState changed other bytes: %q", got)
			}
			checkAdd(t, doc, Place{Under: item}, Entry{text, state})
		}
		checkAdd(t, doc, Place{Heading: heading}, Entry{text, state})
		checkAdd(t, doc, Place{}, Entry{text, state}, Entry{heading, 0})
	})
}

// checkAdd adds and holds the result to what Add promises, by other means than
// Add itself.
func checkAdd(t *testing.T, doc *Document, place Place, entries ...Entry) {
	t.Helper()
	got, err := Add(doc, place, entries...)
	if err != nil {
		if !errors.Is(err, ErrNoPlace) && !errors.Is(err, ErrEmptyText) {
			t.Fatal(err)
		}
		return
	}
	// The old text is there, around what is new.
	start := 0
	for start < len(doc.text) && start < len(got) && got[start] == doc.text[start] {
		start++
	}
	if rest := doc.text[start:]; len(got) <= len(doc.text) || string(got[len(got)-len(rest):]) != rest {
		t.Fatalf("Add changed other bytes: %q", got)
	}
	grown := must(Parse(got))
	checkShape(t, grown)
	before, after, n := plainly(doc), plainly(grown), len(entries)
	for k := range len(before) + 1 {
		if len(after) != len(before)+n || !slices.Equal(before[:k], after[:k]) || !slices.Equal(before[k:], after[k+n:]) {
			continue
		}
		for i, e := range entries {
			item := grown.all[k+i]
			if item.Text != LineText(e.Text) || item.State != e.State {
				t.Fatalf("%q: %+v became %c %q", got, e, item.Mark, item.Text)
			}
			if up := item.Parent; (up == nil) != (place.Under == nil) || up != nil && (up.Text != place.Under.Text || up.Line != place.Under.Line) {
				t.Fatalf("%q: the new item is below %v", got, up)
			}
			if name := headingText(place.Heading); place.Under == nil && name != "" && fold(item.Section.Title) != fold(name) && item.Section.ID != name {
				t.Fatalf("%q: the new item is in %q", got, item.Section.Title)
			}
		}
		return
	}
	t.Fatalf("%q: before\n%q\nafter\n%q", got, before, after)
}

// plainly lists the items without what an addition moves.
func plainly(d *Document) []string {
	var lines []string
	for i := range d.All() {
		depth := 0
		for p := i.Parent; p != nil; p = p.Parent {
			depth++
		}
		title := ""
		if i.Section != nil {
			title = i.Section.Title
		}
		lines = append(lines, fmt.Sprintf("%d %c %q %v %q", depth, i.Mark, i.Text, i.Attributes, title))
	}
	return lines
}

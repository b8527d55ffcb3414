package todo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// todos reads a list written as a todo file would be.
func todos(t testing.TB, s string) []Todo {
	t.Helper()
	var list []Todo
	for item := range mustParse(t, s).All() {
		list = append(list, Todo{Content: item.Text, State: item.State})
	}
	return list
}

func apply(t testing.TB, doc *Document, m Merged) *Document {
	t.Helper()
	content, _, err := m.Apply(doc)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(content))
}

// Each case merges a first list into a first document, lets a person put another
// document in its place, and merges a second list into that.
func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name          string
		doc, first    string
		merged        string // after the first merge, if it is not doc
		person        string // what a person makes of that
		second        string // if it is not first
		want          string
		addNew, quiet bool
	}{
		{name: "a mark follows its todo", doc: "- [ ] a\n- [ ] b\n", first: "- [/] a\n- [ ] b\n", merged: "- [/] a\n- [ ] b\n",
			second: "- [x] a\n- [/] b\n", want: "- [x] a\n- [/] b\n"},
		{name: "every state", doc: "- [ ] a\n- [ ] b\n- [ ] c\n", first: "- [ ] a\n- [ ] b\n- [ ] c\n",
			second: "- [/] a\n- [x] b\n- [-] c\n", want: "- [/] a\n- [x] b\n- [-] c\n"},
		{name: "white space, bullets and boxes do not count", doc: "* [ ]  a   b\n", first: "- [/] a\n  b\n", want: "* [/]  a   b\n", merged: "* [/]  a   b\n"},
		{name: "case counts", doc: "- [ ] a\n", first: "- [x] A\n", want: "- [ ] a\n"},
		{name: "a part of the text is not the text", doc: "- [ ] S1: a\n- [ ] a b\n", first: "- [x] a\n", want: "- [ ] S1: a\n- [ ] a b\n"},
		{name: "attributes do not count", doc: "- [ ] a | size:S\n", first: "- [x] a\n", merged: "- [x] a | size:S\n", want: "- [x] a | size:S\n"},
		{name: "attributes count where they tell items apart", doc: "- [ ] a | size:S\n- [ ] a\n", first: "- [x] a\n", merged: "- [ ] a | size:S\n- [x] a\n", want: "- [ ] a | size:S\n- [x] a\n"},
		{name: "attributes count where they tell todos apart", doc: "- [ ] a | size:S\n", first: "- [x] a | size:S\n- [/] a\n", merged: "- [x] a | size:S\n", want: "- [x] a | size:S\n"},
		{name: "nested items, in their place", doc: "1. [ ] a\n   - [ ] b\n", first: "- [/] b\n", merged: "1. [ ] a\n   - [/] b\n", want: "1. [ ] a\n   - [/] b\n"},
		{name: "marks of the same meaning stay", doc: "- [X] a\n- [.] b\n", first: "- [x] a\n- [/] b\n", want: "- [X] a\n- [.] b\n"},
		{name: "code is not an item", doc: "```\n- [ ] a\n```\n", first: "- [x] a\n", want: "```\n- [ ] a\n```\n"},

		{name: "what vanished changes nothing", doc: "- [/] a\n- [ ] b\n", first: "- [/] a\n- [/] b\n", merged: "- [/] a\n- [/] b\n", second: "- [x] b\n", want: "- [/] a\n- [x] b\n"},
		{name: "an empty list changes nothing", doc: "- [/] a\n", first: "- [/] a\n", second: "text\n", want: "- [/] a\n"},

		{name: "a first list takes items only further", doc: "- [x] a\n- [-] b\n- [/] c\n- [ ] d\n- [/] e\n", first: "- [ ] a\n- [/] b\n- [ ] c\n- [-] d\n- [x] e\n",
			merged: "- [x] a\n- [-] b\n- [/] c\n- [-] d\n- [x] e\n", want: "- [x] a\n- [-] b\n- [/] c\n- [-] d\n- [x] e\n"},
		{name: "later lists take items back, too", doc: "- [x] a\n", first: "- [x] a\n", second: "- [ ] a\n", want: "- [ ] a\n"},

		{name: "a person's edit stays while the todo does", doc: "- [/] a\n", first: "- [/] a\n", person: "- [x] a\n", want: "- [x] a\n"},
		{name: "a person's edit wins over a todo that changed as well", doc: "- [/] a\n", first: "- [/] a\n", person: "- [-] a\n", second: "- [x] a\n", want: "- [-] a\n"},
		{name: "a person's other edits do not hold a todo up", doc: "- [/] a\n", first: "- [/] a\n", person: "# New\n\n- [/] a\n- [ ] b\n", second: "- [x] a\n", want: "# New\n\n- [x] a\n- [ ] b\n"},
		{name: "a person adds the item of a todo", doc: "", first: "- [x] a\n", person: "- [ ] a\n", want: "- [x] a\n"},

		{name: "new ones are left out", doc: "- [ ] a\n", first: "- [ ] b\n", want: "- [ ] a\n"},
		{name: "new ones are added", addNew: true, doc: "- [ ] a\n", first: "- [/] b\n- [ ] a\n- [x] c\n", merged: "- [ ] a\n\n## Agent\n\n- [/] b\n- [x] c\n",
			second: "- [x] b\n- [ ] d\n", want: "- [ ] a\n\n## Agent\n\n- [x] b\n- [x] c\n- [ ] d\n"},
		{name: "new ones and marks at once", addNew: true, doc: "- [ ] a\n## Agent\n## B\n", first: "- [x] a\n- [ ] b\n", merged: "- [x] a\n## Agent\n\n- [ ] b\n\n## B\n", want: "- [x] a\n## Agent\n\n- [ ] b\n\n## B\n"},
		{name: "new ones of equal text are one", addNew: true, doc: "", first: "- [ ] a\n- [/] a\n", merged: "## Agent\n\n- [/] a\n", want: "## Agent\n\n- [/] a\n"},
		{name: "cancelled ones are not added", addNew: true, doc: "", first: "- [-] a\n", want: ""},
		{name: "what a person removed is not added again", addNew: true, doc: "", first: "- [ ] a\n", merged: "## Agent\n\n- [ ] a\n", person: "# Mine\n", second: "- [/] a\n", want: "# Mine\n"},
		{name: "what a person reworded is not added again", addNew: true, doc: "- [ ] a\n", first: "- [ ] a\n", person: "- [ ] a, but better\n", second: "- [x] a\n", want: "- [ ] a, but better\n"},

		{name: "equal texts go together in order", doc: "- [ ] a\n- [ ] a\n", first: "- [x] a\n- [/] a\n", merged: "- [x] a\n- [/] a\n", second: "- [x] a\n- [x] a\n", want: "- [x] a\n- [x] a\n"},
		{name: "equal texts of another number are left alone", doc: "- [ ] a\n- [ ] a\n", first: "- [x] a\n", want: "- [ ] a\n- [ ] a\n"},
		{name: "more todos than items of a text are left alone", doc: "- [ ] a\n", first: "- [x] a\n- [/] a\n", want: "- [ ] a\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := MergeOptions{AddNew: tt.addNew}
			doc := mustParse(t, tt.doc)
			first := Merge(doc, nil, todos(t, tt.first), options)
			doc = apply(t, doc, first)
			merged := tt.merged
			if merged == "" {
				merged = tt.doc
			}
			if diff := cmp.Diff(merged, doc.text); diff != "" {
				t.Fatalf("first merge: %s", diff)
			}
			if tt.person != "" {
				doc = mustParse(t, tt.person)
			}
			second := tt.second
			if second == "" {
				second = tt.first
			}
			again := Merge(doc, first.Base, todos(t, second), options)
			doc = apply(t, doc, again)
			if diff := cmp.Diff(tt.want, doc.text); diff != "" {
				t.Fatalf("second merge: %s", diff)
			}
			for _, base := range []Base{again.Base, first.Base} {
				if m := Merge(doc, base, todos(t, second), options); len(m.Changes)+len(m.New) > 0 {
					t.Errorf("the same list again changes %v and adds %v", m.Changes, m.New)
				}
			}
		})
	}
}

func TestMergeTellsWhatItKept(t *testing.T) {
	doc := mustParse(t, "- [/] a\n")
	first := Merge(doc, nil, todos(t, "- [/] a\n"), MergeOptions{})
	doc = mustParse(t, "- [-] a\n")
	m := Merge(doc, first.Base, todos(t, "- [x] a\n"), MergeOptions{})
	if len(m.Kept) != 1 || m.Kept[0] != doc.Items[0] {
		t.Errorf("kept %v", m.Kept)
	}
	content, changed, err := m.Apply(doc)
	if changed || err != nil || string(content) != "- [-] a\n" {
		t.Errorf("%q, %v, %v", content, changed, err)
	}
	// What comes after the agent knows of the person's edit is done.
	m = Merge(doc, m.Base, todos(t, "- [/] a\n"), MergeOptions{})
	if len(m.Changes) != 1 || m.Changes[0].State != InProgress {
		t.Errorf("changes %v", m.Changes)
	}
}

func TestBaseSurvivesJSON(t *testing.T) {
	want := Base{{Text: "a", Nth: 1, Todo: InProgress, Item: Cancelled, Known: true}, {Text: "b"}}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Base
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Random histories of a person and an agent at work on the same list.
func TestMergeProperties(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		texts := []string{"a", "b", "c | size:S", "c", "- d", "e e"}[:2+r.IntN(5)]
		mark := func() string { return string(" /x-"[r.IntN(4)]) }
		doc := mustParse(t, "# Plan\n")
		for range r.IntN(6) {
			var err error
			content, err := Add(doc, Place{}, Entry{texts[r.IntN(len(texts))], State(r.IntN(4))})
			if err != nil {
				t.Fatal(err)
			}
			doc = mustParse(t, string(content))
		}
		var list []string
		var base Base
		options := MergeOptions{AddNew: seed%2 == 0}
		for range 12 {
			// The person edits, sometimes.
			edited := -1
			if doc.Len() > 0 && r.IntN(2) == 0 {
				item := doc.all[r.IntN(doc.Len())]
				state := State(r.IntN(4))
				if item.State != state {
					edited = item.index
				}
				content, err := SetState(doc, item, state)
				if err != nil {
					t.Fatal(err)
				}
				doc = mustParse(t, string(content))
			}
			// The agent plans.
			switch r.IntN(4) {
			case 0:
				list = append(list, "- ["+mark()+"] "+texts[r.IntN(len(texts))])
			case 1:
				if len(list) > 0 {
					list = slices.Delete(list, 0, 1)
				}
			default:
				for i := range list {
					if r.IntN(2) == 0 {
						list[i] = list[i][:3] + mark() + list[i][4:]
					}
				}
			}
			now := todos(t, strings.Join(list, "\n"))
			m := Merge(doc, base, now, options)
			after := apply(t, doc, m)
			story := fmt.Sprintf("seed %d: %q with %q becomes %q", seed, doc.text, list, after.text)
			// Every item is there, in order, and has changed only to what a todo of its text says.
			for i, was := range doc.all {
				is := after.all[i]
				if is.Text != was.Text {
					t.Fatalf("%s: %q became %q", story, was.Text, is.Text)
				}
				if is.State == was.State {
					continue
				}
				if edited == i && knew(base, was, doc) {
					t.Fatalf("%s: a person's edit of %q was lost", story, was.Text)
				}
				if !slices.ContainsFunc(now, func(todo Todo) bool {
					return (LineText(todo.Content) == LineText(was.Text) || LineText(todo.Content) == LineText(was.Label())) && todo.State == is.State
				}) {
					t.Fatalf("%s: nobody asked for %q", story, is.Text)
				}
			}
			if !options.AddNew && after.Len() != doc.Len() {
				t.Fatalf("%s: items were added", story)
			}
			for _, b := range []Base{m.Base, base} {
				if again := Merge(after, b, now, options); len(again.Changes)+len(again.New) > 0 {
					t.Fatalf("%s: the same list again changes %v and adds %v", story, again.Changes, again.New)
				}
			}
			doc, base = after, m.Base
		}
	}
}

// knew reports whether the last merge surely saw the item, in another state.
func knew(base Base, item *Item, doc *Document) bool {
	for other := range doc.All() {
		if other != item && LineText(other.Label()) == LineText(item.Label()) {
			return false // which was which?
		}
	}
	return slices.ContainsFunc(base, func(s Seen) bool {
		return s.Known && s.Item != item.State && (s.Text == LineText(item.Text) || s.Text == LineText(item.Label()))
	})
}

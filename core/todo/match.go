package todo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxCandidates is how many items a MatchError lists.
const maxCandidates = 10

// candidateText is how much of an item's text a candidate shows, in characters.
const candidateText = 120

// MatchError is a query that names no item, or several.
type MatchError struct {
	Query string
	// Ambiguous says that all candidates match; otherwise none does, and they
	// are what comes nearest.
	Ambiguous bool
	// Candidates are the first 10, in the file's order.
	Candidates []Candidate
	// More is how many others match as well.
	More int
}

// Candidate is an item as an error shows it.
type Candidate struct {
	Line  int
	State State
	Text  string
}

// Error lists the candidates, each with its line.
func (e *MatchError) Error() string {
	var b strings.Builder
	query := clip(Normalize(e.Query), candidateText)
	switch {
	case e.Ambiguous:
		fmt.Fprintf(&b, "%d items of todo.md match %q; give the id or more of the text:", len(e.Candidates)+e.More, query)
	case len(e.Candidates) == 0:
		fmt.Fprintf(&b, "no item of todo.md matches %q: it has no items", query)
	default:
		fmt.Fprintf(&b, "no item of todo.md matches %q; the nearest are:", query)
	}
	for _, c := range e.Candidates {
		fmt.Fprintf(&b, "\nline %d: [%c] %s", c.Line, c.State.Mark(), c.Text)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n… and %d more", e.More)
	}
	return b.String()
}

// Find returns the item that a query names. White space does not count, nor a
// bullet or box in front. The first of these that holds for any item decides,
// and it has to hold for one only:
//
//   - its text is the query; its id is; its text without attributes, or without
//     the id too, is
//   - the same in another case
//   - its text, or what follows the id, starts with the query in any case
//   - its text holds the query in any case
//
// The error is a *MatchError.
func Find(doc *Document, query string) (*Item, error) {
	want := LineText(query)
	folded := fold(want)
	if want != "" {
		for _, matches := range []func(*Item) bool{
			func(i *Item) bool { return i.Text == want || LineText(i.Text) == want },
			func(i *Item) bool { return i.ID == want },
			func(i *Item) bool { return i.Label() == want },
			func(i *Item) bool { return i.Title() == want },
			func(i *Item) bool { return fold(i.Text) == folded },
			func(i *Item) bool { return fold(i.ID) == folded },
			func(i *Item) bool { return fold(i.Label()) == folded || fold(i.Title()) == folded },
			func(i *Item) bool {
				return strings.HasPrefix(fold(i.Text), folded) || strings.HasPrefix(fold(i.Title()), folded)
			},
			func(i *Item) bool { return strings.Contains(fold(i.Text), folded) },
		} {
			var found []*Item
			for item := range doc.All() {
				if matches(item) {
					found = append(found, item)
				}
			}
			switch len(found) {
			case 0:
			case 1:
				return found[0], nil
			default:
				e := &MatchError{Query: query, Ambiguous: true, Candidates: candidates(found)}
				e.More = len(found) - len(e.Candidates)
				return nil, e
			}
		}
	}
	return nil, &MatchError{Query: query, Candidates: candidates(nearest(doc, folded))}
}

// ItemAt returns the item whose box is in a line, counted from 1, and the first
// of several.
func ItemAt(doc *Document, line int) (*Item, bool) {
	at, found := slices.BinarySearchFunc(doc.all, line, func(i *Item, line int) int { return cmp.Compare(i.Line, line) })
	if !found {
		return nil, false
	}
	return doc.all[at], true
}

func candidates(items []*Item) []Candidate {
	var list []Candidate
	for _, i := range items[:min(len(items), maxCandidates)] {
		list = append(list, Candidate{Line: i.Line, State: i.State, Text: clip(i.Text, candidateText)})
	}
	return list
}

// nearest returns the items that share the most words with a query; where none
// shares any, the open ones, or else all.
func nearest(doc *Document, folded string) []*Item {
	words := wordsOf(folded)
	type scored struct {
		*Item
		shared int
	}
	var list []scored
	for item := range doc.All() {
		shared := 0
		for word := range wordsOf(fold(item.Text)) {
			if words[word] {
				shared++
			}
		}
		list = append(list, scored{item, shared})
	}
	rank := func(s scored) int {
		switch {
		case s.shared > 0:
			return -s.shared - 1
		case !s.State.Terminal():
			return -1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b scored) int { return cmp.Compare(rank(a), rank(b)) })
	list = list[:min(len(list), maxCandidates)]
	if len(list) > 0 && list[0].shared > 0 {
		list = slices.DeleteFunc(list, func(s scored) bool { return s.shared == 0 })
	}
	slices.SortFunc(list, func(a, b scored) int { return cmp.Compare(a.index, b.index) })
	var items []*Item
	for _, s := range list {
		items = append(items, s.Item)
	}
	return items
}

// wordsOf are the words of a text that say something: three letters or more.
func wordsOf(s string) map[string]bool {
	words := make(map[string]bool)
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune(" :,;()[]*|`\"'", r) }) {
		if len(word) >= 3 {
			words[word] = true
		}
	}
	return words
}

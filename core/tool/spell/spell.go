// Package spell finds the names that somebody may have meant by a name that
// does not exist, so that an error can say "did you mean ...".
package spell

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxLength bounds the work: what is longer than this is no mistyped name.
const maxLength = 64

// Near returns at most limit of the names that look like word, the likeliest
// first and equally likely ones in alphabetical order. Case, `_` and `-` do not
// count as differences. A name counts as near when about a third of its letters
// or fewer are wrong, or when one of the two is the beginning of the other.
func Near(word string, names []string, limit int) []string {
	type candidate struct {
		name string
		cost int
	}
	var found []candidate
	for _, name := range names {
		if cost, ok := closeness(word, name); ok {
			found = append(found, candidate{name, cost})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.name, b.name))
	})
	var near []string
	for _, c := range found[:min(limit, len(found))] {
		near = append(near, c.name)
	}
	return near
}

// Nearest returns the likeliest of the names, or false when none is near.
func Nearest(word string, names []string) (string, bool) {
	near := Near(word, names, 1)
	if len(near) == 0 {
		return "", false
	}
	return near[0], true
}

// closeness returns the cost of turning one name into the other, and whether
// the two are near at all.
func closeness(word, name string) (int, bool) {
	if utf8.RuneCountInString(word) > maxLength || utf8.RuneCountInString(name) > maxLength {
		return 0, false
	}
	a, b := normal(word), normal(name)
	short := min(len(a), len(b))
	if short == 0 {
		return 0, false
	}
	cost := distance(a, b)
	if cost <= short/3 {
		return cost, true
	}
	// A beginning alone is weaker evidence than any misspelling.
	if short >= 3 && slices.Equal(a[:short], b[:short]) {
		return maxLength + cost, true
	}
	return 0, false
}

func normal(s string) []rune {
	return []rune(strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)))
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour to turn a into b.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

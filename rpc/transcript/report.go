package transcript

import (
	"fmt"
	"slices"
	"strings"
)

// Mismatch is a difference between a transcript and a live sidecar.
type Mismatch struct {
	Where   string // file:line of the entry that was due
	Problem string // one line
	Diff    string // lines that begin with a space, - (recorded) or + (live); may be empty
}

func (m *Mismatch) Error() string {
	s := m.Where + ": " + m.Problem
	if m.Diff != "" {
		s += "\n" + m.Diff
	}
	return s
}

// diff compares two texts line by line.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	if len(a)*len(b) > 1<<22 { // nobody reads that, and it would take long
		return "-" + strings.Join(a, "\n-") + "\n+" + strings.Join(b, "\n+")
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, v := range slices.Backward(a) {
		for j := len(b) - 1; j >= 0; j-- {
			if v == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return strings.Join(out, "\n")
}

func (r *replay) where(index int) string {
	if index < len(r.t.Entries) {
		return fmt.Sprintf("%s:%d", r.t.Name, r.t.Entries[index].Line)
	}
	return r.t.Name + ": at the end"
}

// unexpected says that a live message fits nowhere, and shows it beside the
// entry that it is most likely meant to be.
func (r *replay) unexpected(e Entry) error {
	e.Body = r.names.clone().tokenize(r.lexer, e.Body)
	m := &Mismatch{Where: r.where(r.at), Problem: "the sidecar sent what the transcript does not have", Diff: diff("", e.String())}
	if i := r.nearest(e); i >= 0 {
		e.ID = r.t.Entries[i].ID
		m.Where = r.where(i)
		m.Problem = "the sidecar's message differs from the recorded one"
		m.Diff = diff(r.t.Entries[i].String(), e.String())
	}
	return m
}

// nearest returns the index of the open entry that a live one most likely
// corresponds to, or -1: the answer to the same call, or the next call of the
// same method, one for the same session first.
func (r *replay) nearest(e Entry) int {
	found := -1
	for i := r.from; i < r.to; i++ {
		w := r.t.Entries[i]
		if !w.Sidecar || r.done[i] || r.optional(i) || e.answers() != w.answers() {
			continue
		}
		if e.answers() {
			if w.ID == e.ID {
				return i
			}
			continue
		}
		if w.Method != e.Method {
			continue
		}
		if field(w.Body, "path", "id") == field(e.Body, "path", "id") {
			return i
		}
		if found < 0 {
			found = i
		}
	}
	return found
}

// missing says what did not come.
func (r *replay) missing(index int, reason string) error {
	m := &Mismatch{Where: r.where(index), Problem: "this did not come " + reason, Diff: diff(r.t.Entries[index].String(), "")}
	m.Diff = strings.TrimSuffix(m.Diff, "\n+ ")
	for _, h := range r.held {
		m.Diff += fmt.Sprintf("\n  (waiting for an answer: %s)", h.key)
	}
	if len(r.recent) > 0 {
		m.Diff += "\n  the last messages of the sidecar before that:"
		for _, line := range r.recent {
			m.Diff += "\n  " + line
		}
	}
	return m
}

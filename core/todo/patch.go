package todo

import (
	"fmt"
	"slices"
	"strings"
)

// patchContext is how many lines around a change a patch shows.
const patchContext = 3

// patch tells how a file changes in the form that a person gets to see before
// they allow it: a unified diff of one hunk. It is empty for equal texts.
func patch(path, before, after string) string {
	was, is := slices.Collect(strings.Lines(before)), slices.Collect(strings.Lines(after))
	same := 0
	for same < min(len(was), len(is)) && was[same] == is[same] {
		same++
	}
	tail := 0
	for tail < min(len(was), len(is))-same && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	if same == len(was) && same == len(is) {
		return ""
	}
	from, behind := max(0, same-patchContext), min(tail, patchContext)
	wasEnd, isEnd := len(was)-tail, len(is)-tail
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n@@ -%s +%s @@\n", path, path, span(from, wasEnd+behind), span(from, isEnd+behind))
	write := func(sign byte, lines []string) {
		for _, line := range lines {
			b.WriteByte(sign)
			b.WriteString(line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	write(' ', was[from:same])
	write('-', was[same:wasEnd])
	write('+', is[same:isEnd])
	write(' ', was[wasEnd:wasEnd+behind])
	return b.String()
}

// span is how a hunk names the lines from one up to another, counted from 0.
func span(from, to int) string {
	if from == to { // no lines, behind line from
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

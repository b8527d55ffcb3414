package todo

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits bound a summary. A zero field is the default.
type Limits struct {
	// Lines is how many there may be, 40 by default.
	Lines int
	// Characters is how long all of it may be, 2,000 by default.
	Characters int
}

// lineLimit is how much of an item's text a summary shows, in characters.
const lineLimit = 200

// Summary tells an agent in a few lines where the todo list stands: the counts,
// and the open items in the file's order, nested as in the file, with what runs
// for them below. running maps an item's id or text (as Text, Label or Title
// have it) to such lines. What does not fit is counted in the last line. A
// document without items has no summary.
func Summary(doc *Document, running map[string][]string, limits Limits) string {
	p := doc.Progress()
	if p.Total() == 0 {
		return ""
	}
	if limits.Lines <= 0 {
		limits.Lines = 40
	}
	if limits.Characters <= 0 {
		limits.Characters = 2000
	}
	w := summaryWriter{limits: limits}
	w.add(headline(p))
	left := p.Open()
	depths := make(map[*Item]int) // of the items shown
	for item := range doc.All() {
		if item.State.Terminal() {
			continue
		}
		depth := 0
		for up := item.Parent; up != nil; up = up.Parent {
			if d, shown := depths[up]; shown {
				depth = d + 1
				break
			}
		}
		indent := strings.Repeat("  ", min(depth, 10))
		if !w.fits(fmt.Sprintf("%s- [%c] %s", indent, item.State.Mark(), clip(item.Text, lineLimit)), left) {
			break
		}
		depths[item] = depth
		left--
		for _, status := range runningFor(item, running) {
			if !w.fits(indent+"    "+clip(Normalize(status), lineLimit), left) {
				break
			}
		}
	}
	if left > 0 {
		w.add(more(left))
	}
	return strings.TrimSuffix(w.text.String(), "\n")
}

func headline(p Progress) string {
	parts := []string{fmt.Sprintf("%d of %d done", p.Completed, p.Total())}
	for _, c := range []struct {
		n    int
		word string
	}{{p.Cancelled, "cancelled"}, {p.InProgress, "in progress"}, {p.Pending, "pending"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	return "todo.md: " + strings.Join(parts, ", ")
}

func more(n int) string { return fmt.Sprintf("… and %d more open", n) }

func runningFor(item *Item, running map[string][]string) []string {
	for _, name := range []string{item.ID, item.Text, item.Label(), item.Title()} {
		if lines := running[name]; name != "" && len(lines) > 0 {
			return lines
		}
	}
	return nil
}

type summaryWriter struct {
	limits      Limits
	text        strings.Builder
	lines, used int
}

// fits adds a line if there is room for it and, where that many items are left,
// for the last one that counts them.
func (w *summaryWriter) fits(line string, left int) bool {
	rest := utf8.RuneCountInString(more(left)) + 1
	if w.lines+2 > w.limits.Lines || w.used+utf8.RuneCountInString(line)+1+rest > w.limits.Characters {
		return false
	}
	w.add(line)
	return true
}

func (w *summaryWriter) add(line string) {
	w.text.WriteString(line)
	w.text.WriteByte('\n')
	w.lines++
	w.used += utf8.RuneCountInString(line) + 1
}

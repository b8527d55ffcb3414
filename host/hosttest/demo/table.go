package main

import (
	"strings"
	"time"
)

// entry is one line of the closing table.
type entry struct {
	name, agent string
	state       state
	queued      time.Duration // negative if it is not known
	ran         string
	result      string
}

const (
	// resultLines is how many lines of the table a result may take.
	resultLines = 3
	// minResult is the width below which the names make room for the results,
	// down to minName.
	minResult, minName = 16, 4
)

// table draws the entries: lines of at most columns.
func table(entries []entry, columns int, p palette) []string {
	names, agents, stateWidth := width("task"), width("agent"), width("state")
	for _, e := range entries {
		names, agents, stateWidth = max(names, width(e.name)), max(agents, width(e.agent)), max(stateWidth, width(string(e.state)))
	}
	names, agents = min(names, maxName), min(agents, maxAgent)
	const gap, times = "  ", 6
	left := margin + 2 + names + agents + stateWidth + 2*times + 5*len(gap)
	if short := minResult - (columns - left); short > 0 {
		cut := min(short, names-minName)
		names, left = names-cut, left-cut
	}
	room := max(1, columns-left)

	head := strings.Join([]string{
		fit("  task", names+2), fit("agent", agents), fit("state", stateWidth), right("queued", times), right("ran", times), "result",
	}, gap)
	lines := []string{pad(p.dim(head)), pad(p.dim(strings.Repeat("─", max(0, columns-2*margin))))}
	for _, e := range entries {
		wait := "–"
		if e.queued >= 0 {
			wait = span(e.queued)
		}
		text := wrap(oneLine(e.result), room, resultLines)
		if len(text) == 0 {
			text = []string{""}
		}
		lines = append(lines, strings.TrimRight(pad(strings.Join([]string{
			p.state(e.state, glyph(e.state)) + " " + fit(e.name, names), p.dim(fit(e.agent, agents)),
			p.state(e.state, fit(string(e.state), stateWidth)), right(wait, times), right(or(e.ran, "–"), times), text[0],
		}, gap)), " "))
		for _, more := range text[1:] {
			lines = append(lines, strings.Repeat(" ", left)+more)
		}
	}
	return lines
}

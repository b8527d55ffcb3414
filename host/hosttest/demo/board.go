package main

import (
	"fmt"
	"strings"
	"time"
)

// The columns of the board and the table. The names are cut to what leaves 80
// columns in all.
const (
	maxName  = 22
	maxAgent = 10
	margin   = 2
)

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// glyph is the sign of a state.
func glyph(s state) string {
	switch s {
	case completed:
		return "✓"
	case failed, timedOut, interrupted, refused:
		return "✗"
	case cancelled:
		return "⊘"
	case running:
		return "●"
	case queued, asked:
		return "○"
	}
	return "·"
}

func (p palette) state(s state, text string) string {
	switch s {
	case completed:
		return p.green(text)
	case failed, timedOut, interrupted, refused:
		return p.red(text)
	case cancelled:
		return p.yellow(text)
	case running:
		return p.cyan(text)
	}
	return p.dim(text)
}

// frame is what the board shows at one moment.
type frame struct {
	title   string
	note    string // shown if there is no view
	elapsed time.Duration
	now     time.Time
	tick    int // turns the spinner
	view    *view
}

// board draws a frame: lines of at most columns, without line breaks.
func board(f frame, columns int, p palette) []string {
	clock := span(f.elapsed)
	title := fit(f.title, max(0, columns-width(clock)-2-2*margin))
	lines := []string{"", pad(p.bold(title) + "  " + p.dim(clock)), ""}
	if f.view == nil {
		return append(lines, pad(p.cyan(spinner[f.tick%len(spinner)])+" "+clip(f.note, columns-2*margin-2)), "")
	}
	names, agents := 0, 0
	for _, r := range f.view.rows {
		names, agents = max(names, width(r.name)), max(agents, width(r.agent))
	}
	names, agents = min(names, maxName), min(agents, maxAgent)
	room := max(0, columns-names-agents-2*margin-14)
	for _, r := range f.view.rows {
		lines = append(lines, rowLine(f, r, names, agents, room, p))
	}
	if len(f.view.rows) > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, mainLine(f, columns, p))
	if said := f.view.main.said; said != "" {
		lines = append(lines, pad("  "+p.dim(clip("“"+said+"”", columns-2*margin-2))))
	}
	return append(lines, "")
}

func rowLine(f frame, r *row, names, agents, room int, p palette) string {
	sign := glyph(r.state)
	if r.state == running {
		sign = spinner[f.tick%len(spinner)]
	}
	note := ""
	if r.told {
		note = " · told"
	}
	phase := clip(r.phase, max(0, room-width(note)))
	if r.state.ended() {
		phase = p.state(r.state, phase)
	} else {
		phase = p.dim(phase)
	}
	phase += p.dim(note)
	return fmt.Sprintf("%s%s %s  %s  %s  %s", strings.Repeat(" ", margin), p.state(r.state, sign),
		fit(r.name, names), p.dim(fit(r.agent, agents)), right(rowTime(r, f.now), 6), phase)
}

// rowTime is how long a task has run, "" while it has not.
func rowTime(r *row, now time.Time) string {
	switch {
	case r.began.IsZero():
		return ""
	case r.ended.IsZero():
		return span(now.Sub(r.began))
	}
	return span(r.ended.Sub(r.began))
}

func mainLine(f frame, columns int, p palette) string {
	m := f.view.main
	_, told := f.view.numbers()
	sign, phase := p.cyan(spinner[f.tick%len(spinner)]), m.phase
	if !m.busy {
		sign = p.dim(glyph(""))
		switch open := len(f.view.rows) - told; {
		case open == 0 && told > 0:
			phase = "knows how every task has ended"
		case open == 1:
			phase = "rests until the last task has ended"
		case open > 1:
			phase = fmt.Sprintf("rests until one of %d tasks has ended", open)
		}
	}
	count := ""
	if len(f.view.rows) > 0 {
		count = fmt.Sprintf("told of %d/%d", told, len(f.view.rows))
	}
	room := columns - 2*margin - width(mainName) - width(count) - 6
	return pad(fmt.Sprintf("%s %s  %s  %s", sign, p.bold(mainName), fit(phase, max(0, room)), p.dim(count)))
}

func pad(s string) string { return strings.Repeat(" ", margin) + s }

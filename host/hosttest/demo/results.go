package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// results is what came of a mission.
type results struct {
	ledger  *ledger
	entries []entry
	// sessions is how the child sessions ended by OpenCode's account, by task id.
	sessions map[string]state
	summary  string // the main agent's last words
}

// collect reads the whole story once more from OpenCode's sessions, which are
// the truth where an event was lost. How long a task was queued is not told
// there: that is the time from the call of the main agent to the creation of
// the task's session, which the view has from OpenCode's events.
func collect(ctx context.Context, c *hosttest.Client, session string, v *view) (*results, error) {
	messages, err := c.Messages(ctx, session, 0)
	if err != nil {
		return nil, err
	}
	r := &results{ledger: readLedger(messages), sessions: map[string]state{}}
	if len(messages) > 0 {
		r.summary = messages[len(messages)-1].Text()
	}
	children, err := c.Children(ctx, session)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		var metadata map[string]any
		_ = json.Unmarshal(child.Metadata, &metadata) // none: a session of OpenCode's own task tool
		id, ok := metadata[taskKey].(string)
		if !ok {
			continue
		}
		messages, err := c.Messages(ctx, child.ID, 0)
		if err != nil {
			return nil, err
		}
		r.sessions[id] = outcomeOf(messages)
	}
	for _, task := range r.ledger.records {
		e := entry{name: task.description, agent: task.agent, state: task.state, queued: -1, ran: task.ran, result: task.result}
		for _, row := range v.rows {
			if row.id == task.id && !row.asked.IsZero() && !row.began.IsZero() {
				e.queued = max(0, row.began.Sub(row.asked))
			}
		}
		r.entries = append(r.entries, e)
	}
	return r, nil
}

func (r *results) check(want map[state]int) error { return r.ledger.check(r.sessions, want) }

// summaryLines is how much of the main agent's last words is shown.
const summaryLines = 8

// lines are the table and the main agent's last words.
func (r *results) lines(columns int, p palette) []string {
	var lines []string
	if len(r.entries) > 0 {
		lines = append(table(r.entries, columns, p), "")
	}
	head := width(mainName) + 2
	for i, line := range wrap(ownWords(r.summary), columns-2*margin-head, summaryLines) {
		if i == 0 {
			lines = append(lines, pad(p.bold(mainName)+"  "+line))
		} else {
			lines = append(lines, pad(strings.Repeat(" ", head)+line))
		}
	}
	return append(lines, "")
}

// closing says what was found to be so, and that nothing is left: lines of at
// most columns.
func closing(l *ledger, stopped end, good bool, took time.Duration, columns int, p palette) []string {
	var lines []string
	say := func(sign, text string) {
		for _, line := range wrap(text, columns-2*margin-2, 3) {
			lines = append(lines, pad(sign+" "+line))
			sign = " "
		}
	}
	if good {
		witness := "OpenCode's own sessions say"
		if !slices.ContainsFunc(l.records, func(r *record) bool { return r.listed != r.state }) {
			witness = "list_tasks and OpenCode's own sessions say"
		}
		say(p.green("✓"), countText(l.count())+"; the main agent was told of each once")
		say(p.green("✓"), witness+" the same")
	}
	switch {
	case stopped.scanned == 0:
		say(p.yellow("!"), "left processes were not looked for: this system has no /proc")
	default:
		sign := p.green("✓")
		if len(stopped.left) > 0 {
			sign = p.red("✗")
		}
		say(sign, fmt.Sprintf("%s left of %d (scanned %d), %s in all", plural(len(stopped.left), "process"), stopped.ran, stopped.scanned, span(took)))
	}
	return lines
}

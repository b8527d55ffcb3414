package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// The plugin's tools.
const (
	toolDelegate = "delegate_task"
	toolBatch    = "delegate_tasks"
	toolResult   = "get_task_result"
	toolList     = "list_tasks"
	toolCancel   = "cancel_task"
)

// record is what the main agent knows about a task.
type record struct {
	id, description, agent string
	state                  state
	ran, result            string
	// told is how often the end was reported: by a wake, or by the answer to the
	// cancel_task or delegate_task that brought it about. fetched is how often the
	// agent asked for it itself.
	told, fetched int
	// listed is the state in the last answer of list_tasks, "" without one.
	listed state
}

// ledger is everything that the plugin has told the main agent, in order of
// the launches.
type ledger struct{ records []*record }

// readLedger reads the messages of the main session.
func readLedger(messages []hosttest.Message) *ledger {
	l := &ledger{}
	for _, m := range messages {
		if m.Info.Role == "user" {
			for _, s := range parseStatements(m.Text()) {
				l.told(s)
			}
			continue
		}
		for _, call := range m.Calls() {
			if call.State != nil && call.State.Status == "completed" {
				l.answer(call.Tool, parseStatements(call.State.Output))
			}
		}
	}
	return l
}

func (l *ledger) answer(tool string, list []statement) {
	for _, s := range list {
		switch r := l.record(s); {
		case tool == toolList:
			r.listed = s.state
		case !s.state.ended():
		case tool == toolResult:
			r.fetched++
			r.end(s)
		case tool == toolCancel || tool == toolDelegate:
			l.told(s)
		}
	}
}

func (l *ledger) told(s statement) {
	r := l.record(s)
	r.told++
	r.end(s)
}

func (r *record) end(s statement) { r.state, r.ran, r.result = s.state, s.ran, s.body }

func (l *ledger) record(s statement) *record {
	for _, r := range l.records {
		if r.id == s.id {
			return r
		}
	}
	r := &record{id: s.id, description: s.description, agent: s.agent, state: s.state}
	l.records = append(l.records, r)
	return r
}

// count returns how many tasks ended in each state.
func (l *ledger) count() map[state]int {
	n := map[state]int{}
	for _, r := range l.records {
		n[r.state]++
	}
	return n
}

// outcomeOf is how a child session ended by OpenCode's own account, "" if that
// does not say.
func outcomeOf(messages []hosttest.Message) state {
	for _, m := range slices.Backward(messages) {
		if m.Info.Role != "assistant" {
			continue
		}
		return ending(m.Info.Error, m.Info.Finish, m.Info.Time.Completed > 0)
	}
	return ""
}

// ending is the state that an assistant message proves, "" if it proves none.
func ending(err *hosttest.MessageError, finish string, done bool) state {
	switch {
	case err != nil && err.Name == "MessageAbortedError":
		return cancelled
	case err != nil:
		return failed
	case !done || finish == "" || finish == "tool-calls" || finish == "unknown":
		return ""
	case finish == "stop":
		return completed
	}
	return failed
}

// check compares what the main agent was told with what OpenCode's sessions
// show (by task id) and with the states that the mission must end in, nil if
// any will do. The error joins one sentence for everything that is not so.
func (l *ledger) check(sessions map[string]state, want map[state]int) error {
	var wrong []error
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf(format, args...))
	}
	if len(l.records) == 0 {
		complain("the main agent delegated nothing")
	}
	got := l.count()
	if want != nil && !sameCounts(got, want) {
		complain("%s, but it should be %s", countText(got), countText(want))
	}
	for _, r := range l.records {
		name := fmt.Sprintf("%q (%s)", r.description, r.id)
		if r.told > 1 || r.told == 0 && r.fetched == 0 {
			complain("the main agent was told %d times of the end of %s, not once", r.told, name)
		}
		if r.listed.ended() && r.listed != r.state {
			complain("list_tasks says that %s is %s, the main agent was told %s", name, r.listed, r.state)
		}
		seen := sessions[r.id]
		proven := seen != "" && (r.state == failed || r.state == cancelled)
		if (seen == completed) != (r.state == completed) || proven && seen != r.state {
			complain("the main agent was told that %s is %s, its session is %s", name, r.state, or(string(seen), "without an end"))
		}
	}
	return errors.Join(wrong...)
}

func sameCounts(a, b map[state]int) bool {
	for _, s := range states {
		if a[s] != b[s] {
			return false
		}
	}
	return true
}

// states are all of them in the order in which they are counted up.
var states = []state{completed, failed, cancelled, timedOut, interrupted, refused, running, queued, asked}

func countText(n map[state]int) string {
	var parts []string
	for _, s := range states {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return or(strings.Join(parts, ", "), "no task")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

package delegate

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// What other rooms of the core may know of a session's tasks. All but Spent goes
// by memory alone.

// Open is an open task in short.
type Open struct {
	ID          task.ID
	Agent       string
	Description string
	Running     bool // it has its slot
	Since       time.Time
}

// Unsettled reports whether a session has open tasks, or awaits news, or has not
// been told of everything.
func (e *Engine) Unsettled(session string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.parents[session]
	return p != nil && (p.outstanding() > 0 || len(p.outbox) > 0)
}

// OpenOf lists the open tasks of a session, oldest first.
func (e *Engine) OpenOf(session string) []Open {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parents[session]; p == nil || p.open == 0 {
		return nil
	}
	var open []Open
	for _, r := range e.runs {
		if r.parent == session {
			open = append(open, Open{ID: r.id, Agent: r.agent, Description: r.description, Running: r.lease != nil || r.suspended, Since: r.made})
		}
	}
	slices.SortFunc(open, func(a, b Open) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return open
}

// CancelOf cancels the open tasks of a session, without waiting for their end, and
// returns how many there were. The session is not told of it: whoever calls does.
func (e *Engine) CancelOf(session, reason string) int {
	e.mu.Lock()
	n := 0
	for _, r := range e.runs {
		if r.parent == session {
			r.orphan = true
			n++
		}
	}
	e.mu.Unlock()
	e.endTasksOf(session, reason)
	return n
}

// commandLimit is how long after a command acts its own message is stored.
const commandLimit = 5 * time.Second

// Hold keeps news of a session's tasks back, as a person's abort does, until a
// person next speaks there: the message of a command, which follows at once, is
// not that. It is for a session that has such tasks, or had them when an earlier
// sidecar ran.
func (e *Engine) Hold(session, directory string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.parentLocked(session, directory)
	p.held = time.Now().Add(commandLimit)
	poke(p.bell)
}

// Spent returns what all tasks below a session that a person opened have used.
func (e *Engine) Spent(ctx context.Context, root string) (task.Usage, error) {
	page, err := e.store.List(ctx, task.Query{Root: root})
	return page.Usage, err
}

// Ours reports whether a message of a session was sent by the engine.
func (e *Engine) Ours(session, messageID string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.bySession[session]; r != nil && r.messageID == messageID {
		return true
	}
	p := e.parents[session]
	return p != nil && p.ours(messageID)
}

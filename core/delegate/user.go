package delegate

import (
	"context"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// hookLimit is below the shim's deadline for a hook: what is not told by then is
// told when the user's turn is over.
const hookLimit = 800 * time.Millisecond

// strangersLimit bounds how many outcomes of other processes a session is told of
// at once.
const strangersLimit = 100

// UserSpoke is called when a message is about to be stored in a session. What
// must not start a turn of its own goes into the session now, beside the user's
// message, and one turn reads both: what has ended since the user aborted it, and what became of tasks
// whose OpenCode process has ended.
func (e *Engine) UserSpoke(ctx context.Context, directory, session, messageID string) {
	e.mu.Lock()
	p := e.parents[session]
	if r := e.bySession[session]; p != nil && p.ours(messageID) || r != nil && r.messageID == messageID {
		e.mu.Unlock()
		return
	}
	worktree := e.places[directory].worktree
	var dues []due
	if p != nil && !p.held.IsZero() {
		p.held = time.Time{}
		dues = p.outbox
	}
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, hookLimit)
	defer cancel()
	strangers := e.strangers(ctx, directory, worktree, session)
	e.mu.Lock()
	if len(dues) == 0 && len(strangers) == 0 {
		e.mu.Unlock()
		return
	}
	p = e.parentLocked(session, directory)
	for _, d := range strangers {
		p.remove(d.id)
		p.outbox = append(p.outbox, d)
	}
	if p.serving {
		p.again = true // whoever serves it tells them when the user's turn is over
		e.mu.Unlock()
		return
	}
	p.serving = true // keeps a wake from telling the same
	dues, _ = p.tellable()
	e.mu.Unlock()
	defer e.unlessServed(p)()
	messages, err := e.host.Messages(ctx, p.directory, p.session, recent)
	e.tell(ctx, p, dues, messages, err, true)
	e.mu.Lock()
	p.serving = false
	e.nudgeLocked(p)
	e.mu.Unlock()
}

// strangers returns what a process that is gone has left to tell a session: tasks
// that have ended, and news.
func (e *Engine) strangers(ctx context.Context, directory, worktree, session string) []due {
	if e.owners == nil {
		return nil
	}
	page, err := e.store.List(ctx, task.Query{Parent: session, Untold: true, Limit: strangersLimit})
	if err != nil {
		e.log.Warn().Err(err).Str("session", session).Msg("what other processes left for it is not readable")
		return nil
	}
	dues := e.legacy(ctx, worktree, session)
	reaped := false
	for _, t := range page.Tasks {
		if t.Worktree != worktree || t.Wake == task.WakeNone || e.lives(t.Owner) {
			continue
		}
		if !t.State.Terminal() && !reaped {
			e.reap(ctx, directory)
			reaped = true
		}
		dues = append(dues, due{id: string(t.ID), since: time.Now()})
	}
	return dues
}

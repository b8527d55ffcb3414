package delegate

import (
	"context"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// parent is a session that has delegated. The engine's mu guards it.
type parent struct {
	session   string
	directory string
	open      int             // tasks that have not ended
	expected  map[string]bool // news that will come, by their ids
	outbox    []due
	arrived   time.Time      // when the outbox last grew
	gathering map[string]int // open tasks that are told of together, by group

	// held says when the user aborted the session, zero if that is over: nothing
	// starts a turn before the user's next message.
	held    time.Time
	deleted bool
	over    bool // it is that of a task which has ended: nothing starts a turn in it

	serving bool // a goroutine serves it
	again   bool // and has more to do

	sending chan struct{} // closed when the message of ours that is under way has arrived, or will not
	sent    []string      // ids of our newest messages in it
	missed  int           // tries in a row that OpenCode did not store

	// depth is 0 for a session that a person opened; agent and model are those of
	// the message that asked last.
	depth int
	agent string
	model host.Model

	// Headless only. turnEnding is the assistant message whose turn is about to
	// end, continued the last one that a continuation was sent for, and holding
	// the continuation whose turn waits for results.
	turnEnding, continued, holding string
	// bell rings when a task ends, for a turn that waits. One token.
	bell chan struct{}
	// late holds results that could not be stored in the session: they are added
	// to their message each time that it goes to the model.
	late []Append
}

func (p *parent) ours(messageID string) bool { return slices.Contains(p.sent, messageID) }

// remember keeps the id of a message of ours, the newest 16.
func (p *parent) remember(messageID string) {
	if len(p.sent) == 16 {
		p.sent = p.sent[1:]
	}
	p.sent = append(p.sent, messageID)
}

// due is what a parent does not know.
type due struct {
	id    string // of a task, or of news
	news  *news  // nil for a task, which is read when it is told
	group string
	all   bool // it goes with the others of its group
	since time.Time
}

// outstanding is how much there is that the session will be told of, and that is not
// over yet: tasks, and news that are expected.
func (p *parent) outstanding() int { return p.open + len(p.expected) }

func (p *parent) remove(id string) {
	p.outbox = slices.DeleteFunc(p.outbox, func(d due) bool { return d.id == id })
	if len(p.outbox) == 0 {
		p.outbox = nil // lets go of a burst's memory
	}
}

// gathers counts the open tasks of a group that are told of together.
func (p *parent) gathers(group string, n int) {
	if p.gathering == nil {
		p.gathering = map[string]int{}
	}
	if p.gathering[group] += n; p.gathering[group] == 0 {
		delete(p.gathering, group)
	}
}

// tellable is what waits for no others, and since when the oldest does.
func (p *parent) tellable() (dues []due, since time.Time) {
	for _, d := range p.outbox {
		if d.all && p.gathering[d.group] > 0 {
			continue
		}
		dues = append(dues, d)
		if since.IsZero() || d.since.Before(since) {
			since = d.since
		}
	}
	return dues, since
}

func (e *Engine) parentLocked(session, directory string) *parent {
	p := e.parents[session]
	if p == nil {
		p = &parent{session: session, directory: directory, bell: make(chan struct{}, 1)}
		e.parents[session] = p
	}
	return p
}

// dropParentLocked forgets a parent of which there is nothing to remember.
func (e *Engine) dropParentLocked(p *parent) {
	if p.outstanding() == 0 && len(p.outbox) == 0 && p.held.IsZero() && !p.serving && len(p.late) == 0 {
		delete(e.parents, p.session)
	}
}

// nudgeLocked has Run serve p soon, once at a time.
func (e *Engine) nudgeLocked(p *parent) {
	if p.serving {
		p.again = true
		return
	}
	if len(p.outbox) == 0 && p.turnEnding == p.continued && !p.deleted || e.places[p.directory].closed {
		return
	}
	p.serving = true
	e.nudged = append(e.nudged, p)
	poke(e.signal)
}

// serve does whatever a parent is due, until nothing is.
func (e *Engine) serve(ctx context.Context, p *parent) {
	defer e.unlessServed(p)()
	for {
		e.mu.Lock()
		p.again = false
		// A task's session is told by waking it also in `opencode run`.
		deleted, headless, ending := p.deleted, e.headless && e.bySession[p.session] == nil, p.turnEnding != p.continued
		stopped := e.stopped
		e.mu.Unlock()
		switch {
		case stopped: // a turn that starts now would be cut off, or paid for nothing
		case deleted:
			e.bury(ctx, p)
		case headless && ending:
			e.continueTurn(ctx, p)
		case !headless:
			e.wake(ctx, p)
		}
		e.mu.Lock()
		if !p.again || ctx.Err() != nil {
			p.serving = false
			waits := len(p.outbox) > 0
			if p.over {
				e.dropParentLocked(p)
			}
			e.mu.Unlock()
			if waits {
				poke(e.watch)
			}
			return
		}
		e.mu.Unlock()
	}
}

// unlessServed returns a func to defer: it lets a parent be served again after a
// panic, which goes on to the guard.
func (e *Engine) unlessServed(p *parent) func() {
	return func() {
		if v := recover(); v != nil {
			e.mu.Lock()
			p.serving = false
			e.mu.Unlock()
			panic(v)
		}
	}
}

// bury ends the tasks of a deleted session; there is nobody left to tell.
func (e *Engine) bury(ctx context.Context, p *parent) {
	e.endTasksOf(p.session, "the session that asked for it was deleted")
	e.mu.Lock()
	dues := slices.Clone(p.outbox)
	p.expected = nil
	if p.open == 0 {
		delete(e.parents, p.session)
	}
	delete(e.lineage, p.session)
	e.mu.Unlock()
	e.settle(ctx, e.untold(ctx, p, dues))
}

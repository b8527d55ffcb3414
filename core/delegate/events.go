package delegate

import (
	"context"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// The periodic look at OpenCode's session status, which catches lost events:
// every pollFast after something happened, slowing down to pollSlow, and not at
// all while no task runs and nobody waits to be told.
const (
	pollFast = 500 * time.Millisecond
	pollSlow = 5 * time.Second
)

// Event takes a hint from OpenCode. It never blocks and calls nobody.
func (e *Engine) Event(directory string, ev host.Event) {
	if ev.Session == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.bySession[ev.Session]; r != nil {
		r.touch()
		r.shown = r.shown || ev.Type == host.EventPart || ev.Type == host.EventSessionStatus && ev.Status != "idle" ||
			ev.Type == host.EventMessage && ev.Role == host.Assistant
		if ev.Type == host.EventPart {
			r.closed = false // it works again, or still
		}
		switch {
		case ev.Type == host.EventSessionIdle,
			ev.Type == host.EventSessionStatus && ev.Status == "idle",
			ev.Type == host.EventSessionDeleted:
			r.hint()
		case ev.Type == host.EventSessionError:
			r.failure = ev.Error
			r.hint()
		case ev.Type == host.EventPermission:
			r.asked(ev.Question)
		case ev.Type == host.EventReplied:
			r.answered(ev.Question)
		}
	}
	p := e.parents[ev.Session]
	if p == nil {
		return
	}
	switch {
	case ev.Type == host.EventSessionIdle,
		ev.Type == host.EventSessionStatus && ev.Status == "idle":
		e.nudgeLocked(p)
	case ev.Type == host.EventSessionError && ev.Error.Aborted():
		p.held = time.Now()
		poke(p.bell)
	case ev.Type == host.EventMessage && ev.Role == host.User && !p.ours(ev.MessageID) && ev.Created.After(p.held):
		// Normally UserSpoke has seen it. Older messages are reported whenever
		// OpenCode adds something to them.
		p.held = time.Time{}
	case ev.Type == host.EventPart && ev.Part == "step-finish" && ev.Reason != "tool-calls" && ev.Reason != "unknown" && e.headless:
		p.turnEnding = ev.MessageID
		e.nudgeLocked(p)
	case ev.Type == host.EventSessionDeleted:
		p.deleted = true
		poke(p.bell)
		e.nudgeLocked(p)
	}
}

// poll looks at the status of sessions while there is something to look after.
func (e *Engine) poll(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	interval := pollFast
	armed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.watch:
			// Something new runs: look soon, but do not push an armed look away.
			if interval = pollFast; !armed {
				timer.Reset(interval)
				armed = true
			}
			continue
		case <-timer.C:
			armed = false
		}
		directories := e.watched()
		if len(directories) == 0 {
			continue
		}
		var wg sync.WaitGroup
		for directory := range directories {
			wg.Go(func() { e.guard("look", func() { e.look(ctx, directory) }) })
		}
		wg.Wait()
		interval = min(interval*3/2, pollSlow)
		timer.Reset(interval)
		armed = true
	}
}

// watched returns the directories in which a task runs or a parent waits.
func (e *Engine) watched() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	directories := map[string]bool{}
	for _, r := range e.bySession {
		directories[r.directory] = true
	}
	for _, p := range e.parents {
		if len(p.outbox) > 0 && p.held.IsZero() && !e.closed[p.directory] {
			directories[p.directory] = true
		}
	}
	return directories
}

// look compares what runs with what OpenCode says is not idle.
func (e *Engine) look(ctx context.Context, directory string) {
	statuses, err := e.host.Statuses(ctx, directory)
	if err != nil {
		e.log.Debug().Err(err).Str("directory", directory).Msg("session status not readable")
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for session, r := range e.bySession {
		if r.directory != directory {
			continue
		}
		if r.lease != nil {
			r.lease.Renew()
		}
		if _, busy := statuses[session]; busy {
			r.shown = true
		} else {
			r.hint()
		}
	}
	for session, p := range e.parents {
		if _, busy := statuses[session]; !busy && p.directory == directory && len(p.outbox) > 0 && p.held.IsZero() {
			e.nudgeLocked(p)
		}
	}
}

// endTasksOf cancels the open tasks of a session that is gone.
func (e *Engine) endTasksOf(ctx context.Context, p *parent, reason string) {
	e.mu.Lock()
	var runs []*run
	for _, r := range e.runs {
		if r.parent == p.session {
			runs = append(runs, r)
		}
	}
	e.mu.Unlock()
	for _, r := range runs {
		e.end(ctx, r, &ending{state: task.Cancelled, reason: reason})
	}
}

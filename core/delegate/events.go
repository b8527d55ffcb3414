package delegate

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
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
			r.asked(ev.Session, ev.Question)
			e.warnLocked(r, ev.Question)
		case ev.Type == host.EventMessage && ev.Role == host.Assistant:
			e.spendLocked(r, ev.MessageID, ev.Usage)
			if ev.Usage.Output > 0 && r.lease != nil && e.limits.Open(keys(r.agent, r.model)...) {
				r.lease.Report(limit.Success) // now, not when the task ends: others wait for its provider to work
			}
		case ev.Type == host.EventPart && ev.Call.ID != "":
			e.calledLocked(r, ev.MessageID, ev.Call)
			e.editedLocked(r, ev.Call)
		}
	}
	if ev.Type == host.EventReplied { // it may be that of an agent below a task
		for _, r := range e.bySession {
			r.answered(ev.Question)
		}
	}
	if ev.Type == host.EventPermission && e.bySession[ev.Session] == nil && len(e.bySession) > 0 {
		e.strays = append(e.strays, stray{directory, ev.Session, ev.Question})
		poke(e.signal)
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
		directories, open := e.watched()
		if !open {
			continue
		}
		var wg sync.WaitGroup
		for directory := range directories {
			wg.Go(func() { e.guard("look", func() { e.look(ctx, directory) }) })
		}
		wg.Go(func() { e.guard("look", func() { e.obey(ctx) }) })
		wg.Wait()
		interval = min(interval*3/2, pollSlow)
		timer.Reset(interval)
		armed = true
	}
}

// watched returns the directories in which a task runs or a parent waits, and
// whether there is anything to look after at all.
func (e *Engine) watched() (directories map[string]bool, open bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	directories = map[string]bool{}
	for _, r := range e.bySession {
		directories[r.directory] = true
	}
	for _, p := range e.parents {
		if len(p.outbox) > 0 && p.held.IsZero() && !e.places[p.directory].closed {
			directories[p.directory] = true
		}
	}
	return directories, len(directories) > 0 || len(e.runs) > 0
}

// look compares what runs with what OpenCode says is not idle.
func (e *Engine) look(ctx context.Context, directory string) {
	statuses, err := e.host.Statuses(ctx, directory)
	if err != nil {
		e.log.Debug().Err(err).Str("directory", directory).Msg("session status not readable")
	}
	for _, r := range e.within(directory) {
		e.answers(err == nil, r)
	}
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for session, r := range e.bySession {
		if r.directory != directory {
			continue
		}
		if _, busy := statuses[session]; busy {
			r.shown = true
		} else {
			r.hint()
		}
	}
	for session, p := range e.parents {
		if p.directory != directory || len(p.outbox) == 0 || !p.held.IsZero() {
			continue
		}
		_, since := p.tellable()
		late := !since.IsZero() && time.Since(since) > e.configLocked(directory).Deferral
		if _, busy := statuses[session]; !busy || late {
			e.nudgeLocked(p)
		}
	}
}

// within returns the runs of a directory that have a session.
func (e *Engine) within(directory string) (runs []*run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.bySession {
		if r.directory == directory {
			runs = append(runs, r)
		}
	}
	return runs
}

// obey ends the tasks that somebody outside of this process wants to end.
func (e *Engine) obey(ctx context.Context) {
	e.mu.Lock()
	owner, shared := e.owner, e.owners != nil
	e.mu.Unlock()
	if !shared || owner == "" {
		return
	}
	page, err := e.store.List(ctx, task.Query{Owner: owner, Stop: true, States: openStates(), Limit: 1000})
	if err != nil {
		e.log.Debug().Err(err).Msg("requests of the command line not readable")
		return
	}
	for _, t := range page.Tasks {
		e.mu.Lock()
		r := e.runs[t.ID]
		e.mu.Unlock()
		if r != nil {
			e.condemn(&ending{state: task.Cancelled, reason: t.Stop}, r)
		}
	}
}

func openStates() []task.State { return []task.State{task.Pending, task.Running} }

func endStates() []task.State {
	return slices.DeleteFunc(task.States(), func(s task.State) bool { return !s.Terminal() })
}

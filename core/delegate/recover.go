package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Owners tells which OpenCode processes are alive. An owner is proven alive by a
// lock that its sidecar holds; an OpenCode that lives but whose sidecar has just
// died counts as alive too.
type Owners interface {
	// Alive reports whether an owner lives.
	Alive(owner string) (bool, error)
	// Claim takes a dead owner's place while its tasks are judged, so that nobody
	// else does the same; it fails if the owner lives or somebody else is at it.
	Claim(owner string) (release func(), err error)
}

const (
	// reapLimit is how many tasks of dead owners are judged at a time.
	reapLimit = 1000
	// adoptLimit is how many open tasks a sidecar takes over.
	adoptLimit = 100_000
)

// adopt takes over the open tasks of a directory that an earlier sidecar of the
// same OpenCode process has left, and what it has not told. Their sessions run on
// meanwhile; how far each attempt got is found out when it has its slot.
func (e *Engine) adopt(ctx context.Context, directory string) error {
	e.mu.Lock()
	owner := e.owner
	e.mu.Unlock()
	if owner == "" {
		return nil
	}
	open, err := e.store.List(ctx, task.Query{Owner: owner, States: openStates(), Limit: adoptLimit})
	if err != nil {
		return fmt.Errorf("open tasks: %w", err)
	}
	untold, err := e.store.List(ctx, task.Query{Owner: owner, Untold: true, Limit: adoptLimit})
	if err != nil {
		return fmt.Errorf("tasks that were not told: %w", err)
	}
	var runs []*run
	notBefore := map[task.ID]time.Time{}
	for _, t := range slices.Backward(open.Tasks) { // oldest first
		if t.Directory != directory {
			continue
		}
		r := newRun(t)
		r.background, r.adopted = true, t.State == task.Running // who waited for it has had an error instead
		if err := e.readmit(ctx, t); err != nil {
			return err
		}
		e.mu.Lock()
		known := e.runs[t.ID] != nil
		if !known {
			e.parentLocked(t.Parent, directory).open++
			e.enrolLocked(r)
		}
		e.mu.Unlock()
		if !known {
			runs = append(runs, r)
			notBefore[t.ID] = t.NotBefore
		}
	}
	e.mu.Lock()
	for _, t := range untold.Tasks {
		if t.Directory != directory || !t.State.Terminal() || t.Wake == task.WakeNone {
			continue
		}
		p := e.parentLocked(t.Parent, directory)
		p.remove(t.ID)
		p.outbox = append(p.outbox, due{id: t.ID, group: t.Group, all: t.Wake == task.WakeAll, since: t.Ended})
		p.arrived = time.Now()
		e.nudgeLocked(p)
	}
	e.mu.Unlock()
	// Those that run need their slots first.
	slices.SortStableFunc(runs, func(a, b *run) int {
		switch {
		case a.adopted == b.adopted:
			return 0
		case a.adopted:
			return -1
		}
		return 1
	})
	for _, r := range runs {
		if wait := time.Until(notBefore[r.id]); wait > 0 {
			e.mu.Lock()
			r.timer = time.AfterFunc(wait, func() { e.resubmit(ctx, r) })
			e.mu.Unlock()
			continue
		}
		_ = e.submit(ctx, r) // an error has ended it
	}
	if len(runs) > 0 {
		e.log.Info().Int("tasks", len(runs)).Str("directory", directory).Msg("tasks of an earlier sidecar go on")
	}
	return nil
}

// readmit counts an open task against its tree, whatever the caps are now.
func (e *Engine) readmit(ctx context.Context, t task.Task) error {
	return e.join(ctx, t.Root, Settings{MaxTree: adoptLimit})
}

// created looks for the session that an earlier sidecar may have created for a
// task just before it died, by its metadata.
func (e *Engine) created(ctx context.Context, t task.Task) string {
	for wait := 50 * time.Millisecond; ; wait *= 3 {
		children, err := e.host.Children(ctx, t.Directory, t.Parent)
		if err != nil {
			e.log.Debug().Err(err).Str("task", string(t.ID)).Msg("children of its parent not readable")
		}
		for _, s := range children {
			if s.Metadata[taskKey] == string(t.ID) {
				return s.ID
			}
		}
		if wait > 500*time.Millisecond {
			return ""
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ""
		}
	}
}

// lives reports whether an owner other than this one is alive; in doubt it is.
func (e *Engine) lives(owner string) bool {
	e.mu.Lock()
	ours := owner == "" || owner == e.owner
	e.mu.Unlock()
	if ours || e.owners == nil {
		return true
	}
	alive, err := e.owners.Alive(owner)
	if err != nil {
		e.log.Warn().Err(err).Str("owner", owner).Msg("not known whether it lives")
	}
	return alive || err != nil
}

// reap judges the open tasks that dead owners have left in the worktree of a
// directory: what was answered is completed, the rest is interrupted and keeps
// what it had written. Nobody is woken: their sessions are told when a person
// next uses them.
func (e *Engine) reap(ctx context.Context, directory string) {
	if e.owners == nil {
		return
	}
	e.introduce(ctx, directory)
	e.mu.Lock()
	worktree := e.places[directory].worktree
	e.mu.Unlock()
	page, err := e.store.List(ctx, task.Query{Worktree: worktree, States: openStates(), Limit: reapLimit})
	if err != nil {
		e.log.Warn().Err(err).Msg("tasks of other processes not readable")
		return
	}
	left := map[string][]task.Task{}
	for _, t := range page.Tasks {
		left[t.Owner] = append(left[t.Owner], t)
	}
	for owner, tasks := range left {
		if e.lives(owner) {
			continue
		}
		release, err := e.owners.Claim(owner)
		if err != nil {
			e.log.Debug().Err(err).Str("owner", owner).Msg("somebody else judges its tasks")
			continue
		}
		for _, t := range tasks {
			e.bequeath(ctx, directory, t)
		}
		release()
	}
}

// bequeath ends a task whose owner is dead.
func (e *Engine) bequeath(ctx context.Context, directory string, t task.Task) {
	out := outcome{state: task.Interrupted, reason: "its OpenCode process ended while it ran"}
	if t.State == task.Pending {
		out.reason = "its OpenCode process ended before it had started"
	}
	usage := t.Usage
	if t.Session != "" && t.MessageID != "" {
		messages, err := e.read(ctx, directory, t.Session, t.MessageID)
		if err != nil {
			e.log.Debug().Err(err).Str("task", string(t.ID)).Msg("its session is not readable")
		}
		v := judge(messages, t.MessageID)
		out.text = v.text
		if v.state == task.Completed {
			out.state, out.reason = v.state, ""
		}
		ours := false
		for _, m := range messages {
			if ours = ours || m.ID == t.MessageID; ours && m.Role == host.Assistant {
				usage = usage.Plus(task.Usage(m.Usage))
			}
		}
	}
	_, err := e.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) {
		if t.State == task.Pending && out.state == task.Completed {
			out.state = task.Interrupted // cannot be
		}
		t.State, t.Result, t.Error, t.Ended, t.Uncertain, t.Usage, t.Stop = out.state, out.text, out.reason, time.Now(), false, usage, ""
	})
	if err != nil && !errors.Is(err, task.ErrStale) {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("a task of a dead process could not be ended")
	}
}

// introduce finds out which agent and model speak in the sessions whose tasks
// were taken over: a continuation must not switch them.
func (e *Engine) introduce(ctx context.Context, directory string) {
	e.mu.Lock()
	var unknown []*parent
	for _, p := range e.parents {
		if p.directory == directory && p.agent == "" {
			unknown = append(unknown, p)
		}
	}
	e.mu.Unlock()
	for _, p := range unknown {
		messages, err := e.host.Messages(ctx, directory, p.session, recent)
		if err != nil {
			continue
		}
		agent, model := lastSpeaker(messages)
		e.mu.Lock()
		if p.agent == "" {
			p.agent, p.model = agent, model
		}
		e.mu.Unlock()
	}
}

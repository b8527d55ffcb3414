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
	// reapLimit is among how many open tasks those of dead owners are looked for.
	reapLimit = 20_000
	// What cannot be judged, because its session cannot be read, is tried again every
	// reapAgain, reapTries times; after that whenever somebody asks for it.
	reapAgain = 10 * time.Second
	reapTries = 30
	// adoptAgain is when tasks that could not be taken over are tried again.
	adoptAgain = 2 * time.Second
	// adoptLimit is how many open tasks a sidecar takes over.
	adoptLimit = 100_000
)

// adopt takes over the open tasks that an earlier sidecar of the same OpenCode
// process has left, and what it has not told. Their sessions run on meanwhile;
// how far each attempt got is found out when it has its slot. Those of all
// directories are taken over at once, because those that run come first in line;
// each then waits until OpenCode opens its directory again. What could not be
// read is left for another call.
func (e *Engine) adopt(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
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
	var errs []error
	var running, waiting []*run
	due := map[task.ID]time.Time{}                  // the earliest start
	for _, t := range slices.Backward(open.Tasks) { // oldest first
		r, err := e.takeOver(ctx, t)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.ID, err))
		}
		switch {
		case r == nil:
		case r.adopted:
			running = append(running, r)
		default:
			waiting = append(waiting, r)
			due[r.id] = t.NotBefore
		}
	}
	for _, t := range untold.Tasks {
		if t.State.Terminal() && t.Wake != task.WakeNone && t.Created.Before(e.born) {
			e.lateReview(t)
			e.inherit(ctx, t)
		}
	}
	if err := e.adoptNews(ctx, owner); err != nil {
		errs = append(errs, err)
	}
	// Those that may be waiting for tasks of their own come after those at work.
	slices.SortStableFunc(running, func(a, b *run) int { return e.delegated(a) - e.delegated(b) })
	for _, r := range append(running, waiting...) {
		if wait := time.Until(due[r.id]); wait > 0 {
			e.mu.Lock()
			r.timer = time.AfterFunc(wait, func() { e.resubmit(ctx, r) })
			e.mu.Unlock()
		} else if e.submit(ctx, r) != nil {
			continue // it has ended
		}
		if e.widowed(ctx, r.parent) {
			e.mu.Lock()
			r.orphan = true
			e.mu.Unlock()
			e.condemn(&ending{state: task.Cancelled, reason: "the task that asked for it ended"}, r)
		}
		e.rejudge(ctx, r)
	}
	if n := len(running) + len(waiting); n > 0 {
		e.log.Info().Int("tasks", n).Msg("tasks of an earlier sidecar go on")
	}
	return errors.Join(errs...)
}

// delegated is 1 for a run that has open tasks of its own, else 0.
func (e *Engine) delegated(r *run) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if own := e.parents[r.session]; own != nil && own.open > 0 {
		return 1
	}
	return 0
}

// takeOver makes an open task of an earlier sidecar known; nil if it is ours.
func (e *Engine) takeOver(ctx context.Context, t task.Task) (*run, error) {
	e.mu.Lock()
	known := e.runs[t.ID] != nil || !t.Created.Before(e.born)
	e.mu.Unlock()
	if known {
		return nil, nil
	}
	if err := e.readmit(ctx, t); err != nil {
		return nil, err
	}
	r := newRun(t)
	r.background, r.inherited, r.adopted = true, true, t.State == task.Running // who waited for it has had an error instead
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parentLocked(t.Parent, t.Directory).open++
	e.enrolLocked(r)
	if t.Session != "" {
		r.session = t.Session
		e.bySession[t.Session] = r
	}
	if r.adopted {
		r.messageID = t.MessageID
	}
	return r, nil
}

// inherit puts an outcome that an earlier sidecar has not told where its parent
// is told of it, if there is still somebody to tell.
func (e *Engine) inherit(ctx context.Context, t task.Task) {
	if e.widowed(ctx, t.Parent) {
		e.hush(ctx, []due{{id: string(t.ID)}})
		return
	}
	e.owe(t)
}

// owe puts an outcome where its parent is told of it.
func (e *Engine) owe(t task.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.oweLocked(e.parentLocked(t.Parent, t.Directory), due{id: string(t.ID), group: t.Group, all: t.Wake == task.WakeAll, since: t.Ended})
	e.nudgeLocked(e.parents[t.Parent])
}

// oweLocked puts what is due into an outbox, in the place of what an earlier
// attempt has left there.
func (e *Engine) oweLocked(p *parent, d due) {
	p.remove(d.id)
	p.outbox = append(p.outbox, d)
	p.arrived = time.Now()
}

// catchUp has a resumed task told what became of tasks of its own while it, or its
// process, was not there to be told.
func (e *Engine) catchUp(ctx context.Context, t task.Task) {
	page, err := e.store.List(ctx, task.Query{Parent: t.Session, Untold: true, States: endStates(), Limit: strangersLimit})
	if err != nil {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("what became of its own tasks is not readable")
		return
	}
	for _, own := range page.Tasks {
		if own.Wake != task.WakeNone {
			e.owe(own)
		}
	}
}

// widowed reports whether a session is that of a task which has ended.
func (e *Engine) widowed(ctx context.Context, session string) bool {
	page, err := e.store.List(ctx, task.Query{Session: session, Limit: 1})
	return err == nil && len(page.Tasks) == 1 && page.Tasks[0].State.Terminal()
}

// reopened waits a moment for OpenCode to open a directory again that it has
// closed, or that an earlier sidecar has served.
func (e *Engine) reopened(ctx context.Context, directory string) bool {
	over := time.NewTimer(sweepWindow)
	defer over.Stop()
	for {
		e.mu.Lock()
		place, known := e.places[directory]
		open := known && !place.closed
		next := e.opening
		e.mu.Unlock()
		if open {
			return true
		}
		select {
		case <-next:
		case <-over.C:
			return false
		case <-ctx.Done():
			return true // it ends for another reason
		}
	}
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
	ours, dead := owner == "" || owner == e.owner, e.dead[owner]
	e.mu.Unlock()
	if ours || e.owners == nil {
		return true
	}
	if dead { // and stays so, though it seems to live while its tasks are judged
		return false
	}
	alive, err := e.owners.Alive(owner)
	if err != nil {
		e.log.Warn().Err(err).Str("owner", owner).Msg("not known whether it lives")
	} else if !alive {
		e.mu.Lock()
		e.dead[owner] = true
		e.mu.Unlock()
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
	select { // who asks for it has it done when this returns, but for a hook in a hurry
	case e.reaping <- struct{}{}:
		defer func() { <-e.reaping }()
	case <-ctx.Done():
		return
	}
	e.introduce(ctx, directory)
	e.mu.Lock()
	worktree := e.places[directory].worktree
	e.mu.Unlock()
	if worktree == "" {
		return // not one of ours to look after
	}
	page, err := e.store.List(ctx, task.Query{Worktree: worktree, States: openStates(), Limit: reapLimit})
	if err != nil {
		e.log.Warn().Err(err).Msg("tasks of other processes not readable")
		return
	}
	unread := false
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
			if ctx.Err() == nil && !e.bequeath(ctx, directory, t) {
				unread = true
			}
		}
		release()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	place := e.places[directory]
	if place.reaps++; !unread {
		place.reaps = 0
	} else if place.reaps < reapTries {
		e.laterLocked(reapAgain, func() { e.opened = append(e.opened, directory) })
	}
	e.places[directory] = place
}

// laterLocked adds to Run's errands after a while.
func (e *Engine) laterLocked(d time.Duration, add func()) {
	time.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		add()
		poke(e.signal)
	})
}

// bequeath ends a task whose owner is dead, or returns false if its session
// cannot be read now: what it has written must not be lost to a hiccup.
func (e *Engine) bequeath(ctx context.Context, directory string, t task.Task) (judged bool) {
	out := outcome{state: task.Interrupted, reason: "its OpenCode process ended while it ran"}
	if t.State == task.Pending {
		out.reason = "its OpenCode process ended before it had started"
	}
	messageID := t.MessageID
	if n := len(t.Past); messageID == "" && t.Retries > 0 && n > 0 { // between two attempts
		messageID = t.Past[n-1].MessageID
		out.text, out.reason = t.Past[n-1].Result, "its OpenCode process ended before its next attempt"
	}
	usage := t.Usage
	if t.Session != "" && messageID != "" {
		messages, err := e.read(ctx, directory, t.Session, messageID)
		if err != nil && !host.NotFound(err) {
			e.log.Info().Err(err).Str("task", string(t.ID)).Msg("its session is not readable, so it is judged later")
			return false
		}
		v := judge(messages, messageID)
		if v.text != "" {
			out.text = v.text
		}
		waits, err := e.awaits(ctx, t.Session)
		if err != nil {
			e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("its own tasks are not readable, so it is judged later")
			return false
		}
		if v.state == task.Completed && t.State == task.Running && !waits {
			out.state, out.reason = v.state, ""
		}
		ours := false
		for _, m := range messages {
			if ours = ours || m.ID == t.MessageID; ours && m.Role == host.Assistant {
				usage = usage.Plus(task.Usage(m.Usage))
			}
		}
	}
	ended, err := e.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) {
		t.State, t.Result, t.Error, t.Ended, t.Uncertain, t.Usage, t.Stop = out.state, out.text, out.reason, time.Now(), false, usage, ""
		t.Told = t.Told || t.Background && t.Wake == task.WakeNone
	})
	if err != nil && !errors.Is(err, task.ErrStale) {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("a task of a dead process could not be ended")
	} else if err == nil {
		e.archiveEnd(ended)
	}
	return true
}

// awaits reports whether a session has tasks of its own of whose end it does not
// know: what it has said so far is not its last word then.
func (e *Engine) awaits(ctx context.Context, session string) (bool, error) {
	page, err := e.store.List(ctx, task.Query{Parent: session, Untold: true, Limit: strangersLimit})
	return slices.ContainsFunc(page.Tasks, func(t task.Task) bool {
		return !t.State.Terminal() || t.Wake != task.WakeNone
	}), err
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
		e.meet(ctx, p)
	}
}

// meet finds out which agent and model speak in a session.
func (e *Engine) meet(ctx context.Context, p *parent) {
	messages, err := e.host.Messages(ctx, p.directory, p.session, recent)
	if err != nil {
		return
	}
	agent, model := lastSpeaker(messages)
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.agent == "" {
		p.agent, p.model = agent, model
	}
}

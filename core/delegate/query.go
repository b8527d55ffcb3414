package delegate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// elsewhereLimit is how long a cancel waits for another process, which looks for
// such requests every few seconds.
const elsewhereLimit = 15 * time.Second

// View is a task as it stands now.
type View struct {
	task.Task
	Standing
	// Partial is what a running task has written so far.
	Partial string
}

// Get returns a task, with the partial output of a running one.
func (e *Engine) Get(ctx context.Context, id task.ID) (View, error) {
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return View{}, err
	}
	if !t.State.Terminal() && !e.lives(t.Owner) {
		e.reap(ctx, e.directoryIn(t.Worktree))
		if t, err = e.store.Get(ctx, id); err != nil {
			return View{}, err
		}
	}
	v := View{Task: t, Standing: e.Standing(&t)}
	if t.State == task.Running && t.Session != "" {
		if messages, err := e.read(ctx, t.Directory, t.Session, t.MessageID); err == nil {
			v.Partial = judge(messages, t.MessageID).text
		}
	}
	return v, nil
}

// List returns the newest tasks that match and the totals of all that do. Open
// tasks of a process that has gone are judged before.
func (e *Engine) List(ctx context.Context, q task.Query) (task.Page, error) {
	page, err := e.store.List(ctx, q)
	if err != nil || e.owners == nil {
		return page, err
	}
	for _, t := range page.Tasks {
		if !t.State.Terminal() && !e.lives(t.Owner) {
			e.reap(ctx, e.directoryIn(t.Worktree))
			return e.store.List(ctx, q)
		}
	}
	return page, nil
}

// directoryIn returns an open directory of a worktree.
func (e *Engine) directoryIn(worktree string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for directory, place := range e.places {
		if place.worktree == worktree && !place.closed {
			return directory
		}
	}
	return worktree
}

// Standing is what only memory knows of an open task. The zero value says nothing.
type Standing struct {
	Position  int       // place in the queue from 1, 0 if it does not wait for a slot
	Asks      string    // what it waits for a person to permit
	Breaker   string    // the provider or model that fails, for which it waits
	Until     time.Time // when that is tried again, or its own next attempt begins
	Memory    bool      // it waits for memory
	Elsewhere bool      // it belongs to another OpenCode process
	Shares    string    // what it edits together with others
	Waits     int       // its own tasks that it waits for
}

// Standing returns what only memory knows of an open task.
func (e *Engine) Standing(t *task.Task) Standing {
	e.mu.Lock()
	r := e.runs[t.ID]
	if r == nil {
		defer e.mu.Unlock()
		return Standing{Elsewhere: t.Owner != e.owner && t.Owner != ""}
	}
	s := Standing{Shares: e.edits.shared(t.ID)}
	if len(r.questions) > 0 {
		s.Asks = r.questions[0].String()
	}
	if p := e.parents[r.session]; p != nil && r.suspended {
		s.Waits = p.open
	}
	ticket, waits := r.ticket, r.lease == nil && r.cancel == nil
	e.mu.Unlock()
	switch {
	case waits && ticket != nil:
		w := ticket.Waits()
		s.Position, s.Until, s.Memory = w.Position, w.Until, w.Memory
		if w.Breaker != (limit.Key{}) {
			s.Breaker = w.Breaker.Name
		}
	case waits:
		s.Until = t.NotBefore
	}
	return s
}

// Cancel ends a task and returns it once its session has stopped; if that could
// not be confirmed the task's Error says so. ErrEnded if it had ended before.
// When ctx ends first the task goes on ending and is returned as it stands.
func (e *Engine) Cancel(ctx context.Context, id task.ID, reason string) (task.Task, error) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r == nil {
		return e.cancelElsewhere(ctx, id, reason)
	}
	e.end(ctx, r, &ending{state: task.Cancelled, reason: reason})
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	t, err := e.store.Get(context.WithoutCancel(ctx), id)
	if err == nil && t.State.Terminal() && t.State != task.Cancelled {
		return t, fmt.Errorf("%s: %w (%s)", id, ErrEnded, t.State)
	}
	return t, err
}

// cancelElsewhere asks the process that runs a task to end it, and waits for that.
func (e *Engine) cancelElsewhere(ctx context.Context, id task.ID, reason string) (task.Task, error) {
	t, err := e.store.Get(ctx, id)
	if err == nil && !t.State.Terminal() && !e.lives(t.Owner) {
		e.reap(ctx, e.directoryIn(t.Worktree))
		if t, err = e.store.Get(ctx, id); err != nil || t.State.Terminal() {
			return t, err
		}
		return e.store.Update(ctx, id, t.Fence(), func(t *task.Task) { // nobody else will
			t.State, t.Ended, t.Uncertain = task.Cancelled, time.Now(), false
			t.Error = reason + "; how far it got could not be read"
		})
	}
	if err == nil && t.State.Terminal() {
		return t, fmt.Errorf("%s: %w (%s)", id, ErrEnded, t.State)
	}
	if err == nil {
		t, err = e.store.Update(ctx, id, t.Fence(), func(t *task.Task) { t.Stop = reason })
	}
	for start := time.Now(); err == nil && !t.State.Terminal() && time.Since(start) < elsewhereLimit; {
		select {
		case <-ctx.Done():
			return t, nil
		case <-time.After(firstLook):
		}
		t, err = e.store.Get(context.WithoutCancel(ctx), id)
	}
	return t, err
}

// Wait returns a task once it has ended, within has passed (0 is no limit) or ctx
// has ended, as it then stands. Only an ended ctx is an error.
func (e *Engine) Wait(ctx context.Context, id task.ID, within time.Duration) (task.Task, error) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r != nil {
		var expired <-chan time.Time
		if within > 0 {
			timer := time.NewTimer(within)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-r.done:
		case <-expired:
		case <-ctx.Done():
			return task.Task{}, context.Cause(ctx)
		}
	}
	return e.store.Get(ctx, id)
}

// Delegate launches a task and waits for it. If it takes longer than SyncWait
// the task goes on in the background and is returned as it stands. When ctx
// ends (the user's Esc) the task is cancelled.
func (e *Engine) Delegate(ctx context.Context, s Spec) (task.Task, error) {
	s.Background, s.Wake = false, task.WakeEach // in case that it is handed back
	t, err := e.Launch(ctx, s)
	if err != nil {
		return t, err
	}
	return e.await(ctx, t, s)
}

// DelegateResume is Delegate for a task that is resumed.
func (e *Engine) DelegateResume(ctx context.Context, name string, s Spec) (task.Task, error) {
	s.Background, s.Wake = false, task.WakeEach
	t, err := e.Resume(ctx, name, s)
	if err != nil {
		return t, err
	}
	return e.await(ctx, t, s)
}

func (e *Engine) await(ctx context.Context, t task.Task, s Spec) (task.Task, error) {
	goOn := e.block(s.Parent)
	defer goOn(ctx)
	ended, err := e.Wait(ctx, t.ID, e.patience(s))
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*stopLimit)
		defer cancel()
		if _, cancelErr := e.Cancel(stop, t.ID, "the user stopped the call that waited for it"); cancelErr != nil {
			e.log.Debug().Err(cancelErr).Str("task", string(t.ID)).Msg("cancelled task had ended")
		}
		if _, tellErr := e.told(stop, t.ID); tellErr != nil { // the call's error tells
			e.log.Error().Err(tellErr).Str("task", string(t.ID)).Msg("delivery not stored")
		}
		return task.Task{}, err
	}
	if !ended.State.Terminal() && e.handBack(ctx, t.ID) {
		return ended, nil
	}
	t, err = e.told(ctx, t.ID)
	if err != nil && t.State.Terminal() { // the result is here, whatever the store says
		e.log.Error().Err(err).Str("task", string(t.ID)).Msg("delivery not stored")
		err = nil
	}
	return t, err
}

// patience is how long a call waits for its task before it is handed back; without
// a limit if it comes from a session that nobody could tell of the end later.
func (e *Engine) patience(s Spec) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parents[s.Parent]; p != nil && p.depth > 0 && e.bySession[s.Parent] == nil {
		return 0
	}
	return e.configLocked(s.Directory).SyncWait
}

// handBack turns a task that is waited for into a background one. It is false
// if the task ended meanwhile.
func (e *Engine) handBack(ctx context.Context, id task.ID) bool {
	e.mu.Lock()
	r := e.runs[id]
	if r == nil || r.finishing {
		e.mu.Unlock()
		if r != nil {
			select {
			case <-r.done:
			case <-ctx.Done():
			}
		}
		return false
	}
	r.background = true
	e.mu.Unlock()
	for {
		t, err := e.store.Get(ctx, id)
		if err != nil || t.Background {
			return true
		}
		// Stale: the task moved on between the two calls; it does so twice at most.
		// Another error is no harm: an earlier sidecar's tasks all count as such.
		if _, err = e.store.Update(ctx, id, t.Fence(), func(t *task.Task) { t.Background = true }); !errors.Is(err, task.ErrStale) {
			return true
		}
	}
}

// told marks an ended task's outcome as known to its parent, takes it out of
// the parent's outbox and returns it.
func (e *Engine) told(ctx context.Context, id task.ID) (task.Task, error) {
	t, err := e.store.Get(ctx, id)
	if err != nil || !t.State.Terminal() {
		return t, err
	}
	return e.tellOf(ctx, t)
}

// tellOf is told for a task that was just read.
func (e *Engine) tellOf(ctx context.Context, t task.Task) (task.Task, error) {
	e.mu.Lock()
	if p := e.parents[t.Parent]; p != nil {
		p.remove(string(t.ID))
	}
	e.mu.Unlock()
	if t.Told {
		return t, nil
	}
	next, err := e.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) { t.Told = true })
	if err != nil {
		return t, err
	}
	return next, nil
}

package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// View is a task as it stands now.
type View struct {
	task.Task
	// Position is the place in the queue from 1, 0 if the task does not wait.
	Position int
	// Partial is what a running task has written so far.
	Partial string
	// Asks is what it waits for a person to permit, "" if nothing.
	Asks string
}

// Get returns a task, with the partial output of a running one.
func (e *Engine) Get(ctx context.Context, id task.ID) (View, error) {
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return View{}, err
	}
	v := View{Task: t}
	v.Position, v.Asks = e.Standing(id)
	if t.State == task.Running && t.Session != "" {
		if messages, err := e.read(ctx, t.Directory, t.Session, t.MessageID); err == nil {
			v.Partial = judge(messages, t.MessageID).text
		}
	}
	return v, nil
}

// List returns the newest tasks that match and the totals of all that do.
func (e *Engine) List(ctx context.Context, q task.Query) (task.Page, error) {
	return e.store.List(ctx, q)
}

// Standing returns what only memory knows of an open task: its place in the
// queue from 1, 0 if it does not wait for a slot, and what it waits for a person
// to permit, "" if nothing.
func (e *Engine) Standing(id task.ID) (position int, asks string) {
	e.mu.Lock()
	r := e.runs[id]
	if r == nil {
		e.mu.Unlock()
		return 0, ""
	}
	ticket, waits := r.ticket, r.lease == nil
	if len(r.questions) > 0 {
		asks = r.questions[0].String()
	}
	e.mu.Unlock()
	if waits && ticket != nil {
		position = ticket.Position()
	}
	return position, asks
}

// Cancel ends a task and returns it once its session has stopped; if that could
// not be confirmed the task's Error says so. ErrEnded if it had ended before.
// When ctx ends first the task goes on ending and is returned as it stands.
func (e *Engine) Cancel(ctx context.Context, id task.ID, reason string) (task.Task, error) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r == nil {
		t, err := e.store.Get(ctx, id)
		if err != nil {
			return task.Task{}, err
		}
		return t, fmt.Errorf("%s: %w (%s)", id, ErrEnded, t.State)
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
	s.Background = false
	t, err := e.Launch(ctx, s)
	if err != nil {
		return t, err
	}
	ended, err := e.Wait(ctx, t.ID, e.config(s.Directory).SyncWait)
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
	return e.told(ctx, t.ID)
}

// handBack turns a task that is waited for into a background one. It is false
// if the task ended meanwhile.
func (e *Engine) handBack(ctx context.Context, id task.ID) bool {
	e.mu.Lock()
	r := e.runs[id]
	if r == nil || r.finishing {
		e.mu.Unlock()
		if r != nil {
			<-r.done // within stopLimit
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
		if _, err := e.store.Update(ctx, id, t.Fence(), func(t *task.Task) { t.Background = true }); err == nil {
			return true
		}
		// The task moved on between the two calls; it does so twice at most.
	}
}

// told marks an ended task's outcome as known to its parent, takes it out of
// the parent's outbox and returns it.
func (e *Engine) told(ctx context.Context, id task.ID) (task.Task, error) {
	t, err := e.store.Get(ctx, id)
	if err != nil || !t.State.Terminal() {
		return t, err
	}
	e.mu.Lock()
	if p := e.parents[t.Parent]; p != nil {
		p.remove(id)
	}
	e.mu.Unlock()
	if t.Told {
		return t, nil
	}
	return e.store.Update(ctx, id, t.Fence(), func(t *task.Task) { t.Told = true })
}

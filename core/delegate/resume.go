package delegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// ErrRunning refuses to resume what has not ended.
var ErrRunning = errors.New("the task has not ended")

// Resume begins a new attempt at an ended task, in its session and with s.Prompt.
// name is the task's id or that of its session. Everything else in s is as for
// Launch, but agent and mode stay the task's: s must not name others. The earlier attempts keep their
// results. It fails like Launch, and with task.ErrNotFound or ErrRunning.
func (e *Engine) Resume(ctx context.Context, name string, s Spec) (task.Task, error) {
	was, err := e.named(ctx, name, s.Worktree)
	if err != nil {
		return task.Task{}, err
	}
	if !was.State.Terminal() && !e.lives(was.Owner) {
		e.reap(ctx, e.directoryIn(was.Worktree))
		if was, err = e.store.Get(ctx, was.ID); err != nil {
			return task.Task{}, err
		}
	}
	if err := e.resumable(ctx, was, s); err != nil {
		return task.Task{}, err
	}
	settings, asker, err := e.reserve(s)
	if err != nil {
		return task.Task{}, err
	}
	t, err := e.resume(ctx, was, s, asker, settings)
	if err != nil {
		e.unreserve(s.Parent, t.Root)
		return task.Task{}, err
	}
	return t, e.admit(ctx, t, asker)
}

// named finds a task of a worktree by its id or its session's.
func (e *Engine) named(ctx context.Context, name, worktree string) (task.Task, error) {
	t, err := e.store.Get(ctx, task.ID(name))
	if errors.Is(err, task.ErrNotFound) && strings.HasPrefix(name, "ses") {
		page, listErr := e.store.List(ctx, task.Query{Session: name, Worktree: worktree, Limit: 1})
		if listErr != nil {
			return task.Task{}, listErr
		}
		if len(page.Tasks) == 1 {
			t, err = e.store.Get(ctx, page.Tasks[0].ID)
		}
	}
	if err == nil && t.Worktree != worktree {
		err = task.ErrNotFound
	}
	return t, err
}

// resumable refuses what cannot, or must not, be resumed by this session.
func (e *Engine) resumable(ctx context.Context, t task.Task, s Spec) error {
	if !t.State.Terminal() && !e.lives(t.Owner) {
		return fmt.Errorf("%w: its OpenCode process has gone, and its session cannot be read to see how far it got; try again in a moment", ErrRunning)
	}
	if !t.State.Terminal() {
		return fmt.Errorf("%w: %s is %s; send_to_task reaches a running one, cancel_task ends it", ErrRunning, t.ID, t.State)
	}
	if s.Agent != "" && s.Agent != t.Agent {
		return fmt.Errorf("%w: %s is a task of agent %s, and so it stays; resume it with that one, or delegate the work anew", ErrRefused, t.ID, t.Agent)
	}
	if s.Mode != task.Normal && s.Mode != t.Mode {
		return fmt.Errorf("%w: %s keeps its mode; delegate the work anew in mode %s", ErrRefused, t.ID, s.Mode)
	}
	if why := e.config(s.Directory).Task.exceeded(t.Usage); why != "" {
		return fmt.Errorf("%w: %s has used %s", ErrRefused, t.ID, why)
	}
	if !t.Told && t.Background && s.Parent != t.Parent {
		return fmt.Errorf("%w: the session that asked for %s has not been told of its end yet", ErrRefused, t.ID)
	}
	if t.Session == "" {
		return fmt.Errorf("%w: %s never had a session; delegate it anew", ErrRefused, t.ID)
	}
	e.mu.Lock()
	other := e.bySession[t.Session]
	e.mu.Unlock()
	if other != nil {
		return fmt.Errorf("%w: its session is used by %s now", ErrRunning, other.id)
	}
	if _, err := e.host.Session(ctx, s.Directory, t.Session); host.NotFound(err) {
		return fmt.Errorf("%w: the session of %s was deleted; delegate the work anew", ErrRefused, t.ID)
	} else if err != nil {
		return err
	}
	if s.Parent == t.Parent {
		return nil
	}
	from, err := e.originOf(ctx, s.Directory, s.Parent)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(from.rules, func(r host.Rule) bool { return r.Action == "deny" }) {
		return fmt.Errorf("%w: %s belongs to another session, and this one has rules of its own that the task does not know; delegate the work anew", ErrRefused, t.ID)
	}
	return nil
}

// resume stores the new attempt. As with launch, Root is set once it counts
// against its tree.
func (e *Engine) resume(ctx context.Context, was task.Task, s Spec, asker *run, settings Settings) (task.Task, error) {
	from, err := e.originOf(ctx, s.Directory, s.Parent)
	if err != nil {
		return task.Task{}, err
	}
	if err := allowed(from, asker, s, settings); err != nil {
		return task.Task{}, err
	}
	if err := e.join(ctx, from.root, settings); err != nil {
		return task.Task{}, err
	}
	e.mu.Lock()
	owner := e.owner
	e.pool.forget(was.Session)
	if own := e.parents[was.Session]; own != nil {
		own.held = time.Time{} // whoever has stopped it, it goes on now
	}
	if p := e.parents[s.Parent]; s.ParentAgent != "" {
		p.agent, p.depth = s.ParentAgent, from.depth
	}
	e.mu.Unlock()
	t, err := e.store.Update(context.WithoutCancel(ctx), was.ID, was.Fence(), func(t *task.Task) {
		t.Past = append(slices.Clip(t.Past), t.Over(t.State, t.Result, t.Error, t.Ended))
		t.Attempt, t.State, t.Retries, t.MessageID = t.Attempt+1, task.Pending, 0, ""
		t.Owner, t.Directory, t.Parent, t.Root, t.Depth = owner, s.Directory, s.Parent, from.root, from.depth+1
		t.Prompt, t.Background, t.Wake, t.Priority = s.Prompt, s.Background, s.Wake, s.Priority
		t.Model = e.healthy(settings, t.Agent, t.Model)
		if s.Description != "" {
			t.Description = s.Description
		}
		if s.Group != "" {
			t.Group = s.Group
		}
		if t.Mode == task.Race {
			t.Mode = task.Normal // its race is over
		}
		t.Result, t.Error, t.Note, t.Stop, t.Told, t.WakeID = "", "", "", "", false, ""
		t.Started, t.Ended, t.NotBefore = time.Time{}, time.Time{}, time.Time{}
	})
	if err != nil {
		return task.Task{Root: from.root}, fmt.Errorf("%w: the task could not be stored: %w", ErrRefused, err)
	}
	return t, nil
}

// Send gives a running task a further message, which joins its turn, and returns
// once OpenCode has it. Its outcome is then the answer to that. ErrEnded if it
// has ended; an error that wraps ErrRefused if it has not begun.
func (e *Engine) Send(ctx context.Context, id task.ID, text string) (task.Task, error) {
	t, err := e.store.Get(ctx, id)
	if err != nil {
		return t, err
	}
	e.mu.Lock()
	r := e.runs[id]
	switch {
	case r == nil && t.State.Terminal() || r != nil && (r.finishing || r.decided):
		e.mu.Unlock()
		return t, fmt.Errorf("%s: %w (%s); delegate_task with resume gives it a new prompt", id, ErrEnded, t.State)
	case r == nil:
		e.mu.Unlock()
		return t, fmt.Errorf("%w: %s runs in another OpenCode process; send it there", ErrRefused, id)
	case r.session == "" || r.cancel == nil:
		e.mu.Unlock()
		return t, fmt.Errorf("%w: %s has not begun, it waits for a slot; cancel it and delegate it anew if its prompt is wrong", ErrRefused, id)
	}
	r.steering++ // from here on its turn cannot be over
	session, model := r.session, r.model
	e.mu.Unlock()
	err = e.regain(ctx, r) // it may have given its slot to its own tasks
	e.mu.Lock()
	if err == nil && r.finishing { // while it waited for one
		err = ErrEnded
	}
	e.mu.Unlock()
	if err == nil {
		prompt := host.Prompt{Session: session, MessageID: e.ids.Next(), Agent: t.Agent, Model: model, Text: text, Synthetic: true}
		err = e.deliver(ctx, t.Directory, prompt, false)
	}
	e.mu.Lock()
	r.steering--
	r.turned++
	e.mu.Unlock()
	r.hint()
	if errors.Is(err, ErrEnded) {
		return t, fmt.Errorf("%s: %w before it could have the message", id, err)
	}
	if err != nil {
		return t, fmt.Errorf("OpenCode did not take the message: %w", err)
	}
	return t, nil
}

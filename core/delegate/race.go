package delegate

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// A race is the tasks of one parent and group in race mode: the first that
// completes ends the others. One that fails leaves the race to the rest.

// undecided refuses a task that joins a race which has been won.
func (e *Engine) undecided(ctx context.Context, s Spec) error {
	if s.Mode != task.Race {
		return nil
	}
	if s.Group == "" {
		return fmt.Errorf("%w: a race needs a groupID that its tasks share", ErrRefused)
	}
	page, err := e.store.List(ctx, task.Query{Parent: s.Parent, Group: s.Group, States: []task.State{task.Completed}, Limit: 50})
	if err != nil {
		return fmt.Errorf("the other tasks of the race could not be read: %w", err)
	}
	for _, t := range page.Tasks {
		if t.Mode == task.Race {
			return fmt.Errorf("%w: %s has won the race %q; choose another groupID", ErrRefused, t.ID, s.Group)
		}
	}
	return nil
}

// rejudge ends a racer whose race was won before it was known here.
func (e *Engine) rejudge(ctx context.Context, r *run) {
	err := e.undecided(ctx, Spec{Mode: r.mode, Group: r.group, Parent: r.parent})
	if errors.Is(err, ErrRefused) {
		e.condemn(&ending{state: task.Cancelled, reason: err.Error()}, r)
	} else if err != nil {
		e.log.Warn().Err(err).Str("task", string(r.id)).Msg("its race could not be looked at")
	}
}

// decide ends the rivals of a task that has completed.
func (e *Engine) decide(ctx context.Context, winner *run) {
	if winner.mode != task.Race {
		return
	}
	e.mu.Lock()
	var losers []*run
	for _, r := range e.runs {
		if r != winner && r.mode == task.Race && r.parent == winner.parent && r.group == winner.group {
			losers = append(losers, r)
		}
	}
	e.mu.Unlock()
	for _, r := range losers {
		e.end(ctx, r, &ending{state: task.Cancelled, reason: fmt.Sprintf("%s was first in their race", winner.id)})
	}
}

package delegate

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// reviewLimit is how much of a prompt and of a result a reviewer is shown, in
// bytes each.
const reviewLimit = 16_000

// reviewerLocked names the agent that is to check what a run did, "" for none.
func (e *Engine) reviewerLocked(r *run, out outcome) string {
	if out.state != task.Completed || !r.background || r.orphan || r.wake == task.WakeNone || r.mode == task.Race {
		return ""
	}
	return e.configLocked(r.directory).Reviewers[r.agent]
}

// review launches the task that checks what a completed one did, if that was
// chosen to be checked and is not yet. The id of the review is stored with the end
// of the task, so that a crash in between loses none and doubles none.
func (e *Engine) review(ctx context.Context, t task.Task) {
	reviewer := e.config(t.Directory).Reviewers[t.Agent]
	if t.Review == "" || reviewer == "" || t.State != task.Completed {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if _, err := e.store.Get(ctx, t.Review); !errors.Is(err, task.ErrNotFound) {
		return // it is there, or that cannot be known
	}
	_, err := e.Launch(ctx, Spec{
		id: t.Review, Directory: t.Directory, Worktree: t.Worktree, Parent: t.Parent, Agent: reviewer, Background: true, Priority: t.Priority,
		Description: "review: " + t.Description,
		Prompt: fmt.Sprintf("Check what another agent did. Do not change anything yourself.\n\nIts task was:\n\n%s\n\nIt reports:\n\n%s",
			clip(t.Prompt, reviewLimit), clip(t.Result, reviewLimit)),
	})
	if err != nil {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("nobody checks what it did")
	}
}

// lateReview has Run launch the review of a task that an earlier sidecar has ended.
func (e *Engine) lateReview(t task.Task) {
	if t.Review == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owed = append(e.owed, t.ID)
	poke(e.signal)
}

// checks launches a review that is owed.
func (e *Engine) checks(ctx context.Context, id task.ID) {
	t, err := e.store.Get(ctx, id)
	if err != nil {
		e.log.Warn().Err(err).Str("task", string(id)).Msg("nobody checks what it did")
		return
	}
	e.review(ctx, t)
}

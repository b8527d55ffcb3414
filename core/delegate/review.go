package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
// of the task, so that a crash in between loses none and doubles none. r is nil for
// a task that an earlier sidecar has ended.
func (e *Engine) review(ctx context.Context, r *run, t task.Task) {
	reviewer := e.config(t.Directory).Reviewers[t.Agent]
	if t.Review == "" || reviewer == "" || t.State != task.Completed {
		return
	}
	e.mu.Lock()
	orphan := r != nil && r.orphan // since its end was stored
	e.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if _, err := e.store.Get(ctx, t.Review); !errors.Is(err, task.ErrNotFound) {
		return // it is there, or that cannot be known
	}
	err := errors.New("somebody has cancelled it")
	if !orphan {
		_, err = e.Launch(ctx, Spec{
			id: t.Review, model: t.Model, Directory: t.Directory, Worktree: t.Worktree, Parent: t.Parent, Agent: reviewer, Background: true, Priority: t.Priority,
			Description: "review: " + t.Description,
			Prompt: fmt.Sprintf("Check what another agent did. Do not change anything yourself.\n\nIts task was:\n\n%s\n\nIt reports:\n\n%s",
				clip(t.Prompt, reviewLimit), clip(t.Result, reviewLimit)),
		})
	}
	if err == nil {
		return
	}
	e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("nobody checks what it did")
	why := err
	_, err = e.store.Update(ctx, t.ID, t.Fence(), func(now *task.Task) { // its parent is told what is true
		now.Note = strings.Replace(now.Note, checking(reviewer, t.Review), fmt.Sprintf("%s does not check it: %v", reviewer, why), 1)
		now.Review = ""
	})
	if err != nil {
		e.log.Error().Err(err).Str("task", string(t.ID)).Msg("that nobody checks it could not be stored")
	}
}

// checking is the note of a task that is to be reviewed.
func checking(reviewer string, review task.ID) string {
	return reviewer + " checks it in " + string(review)
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

// checks launches a review that is owed, once its directory is open.
func (e *Engine) checks(ctx context.Context, id task.ID) {
	t, err := e.store.Get(ctx, id)
	if err != nil {
		e.log.Warn().Err(err).Str("task", string(id)).Msg("nobody checks what it did")
		return
	}
	if e.reopened(ctx, t.Directory) {
		e.review(ctx, nil, t)
	}
}

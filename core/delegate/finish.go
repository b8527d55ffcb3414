package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

const (
	// partialLimit bounds the last look at what a task that ends badly has written.
	partialLimit = 3 * time.Second
	// storeAgain is the time between two tries to store an end.
	storeAgain = time.Second
)

// finish stops the session if need be, stores the end, frees the slot and queues
// the outcome for the parent. It runs once per run, whoever calls.
func (e *Engine) finish(ctx context.Context, r *run, out outcome) {
	e.mu.Lock()
	if r.finishing {
		e.mu.Unlock()
		return
	}
	r.finishing = true
	session, messageID, settle := r.session, r.messageID, time.Duration(0)
	if r.refusal != "" && out.state != task.Completed {
		out.reason += "; " + r.refusal
	}
	if r.steering > 0 { // a message to it may still start a turn
		out.stop = true
	}
	if !r.shown || r.steering > 0 {
		settle = settleLimit
	}
	var sending chan struct{}
	if own := e.parents[session]; own != nil {
		sending = own.sending
	}
	looking, done := context.WithCancel(ctx)
	defer done()
	r.rush = done
	e.mu.Unlock()
	if r.overdue != nil {
		r.overdue.Stop()
	}
	if !out.until.IsZero() {
		defer time.AfterFunc(time.Until(out.until), done).Stop()
	}
	if sending != nil { // it would start another turn
		out.stop = true
		select {
		case <-sending:
		case <-looking.Done():
		case <-time.After(promptLimit):
		}
	}
	reachable := session != "" && !e.bereft()
	if out.stop && reachable {
		if err := e.stopSession(looking, r.directory, session, messageID, settle); err != nil {
			out.reason += fmt.Sprintf("; that its session stopped is not confirmed (%v)", err)
		}
	}
	if out.state != task.Completed && reachable {
		partial, cancel := context.WithTimeout(looking, partialLimit)
		if messages, err := e.read(partial, r.directory, session, messageID); err == nil {
			e.account(r, messages, messageID)
			if out.text == "" {
				out.text = judge(messages, messageID).text
			}
		}
		cancel()
	}
	t := e.storeEnd(looking, r, out)
	e.releaseLease(r, out)
	e.review(ctx, r, t) // before its parent looks as if it had nothing left
	e.leave(r, t)
	close(r.done)
	e.log.Debug().Str("task", string(r.id)).Str("state", string(out.state)).Msg("task ended")
	if out.state == task.Completed {
		e.decide(ctx, r)
		e.keep(t)
	}
	e.archiveEnd(t)
}

// archiveEnd appends an ended task to the archive of its workspace.
func (e *Engine) archiveEnd(t task.Task) {
	if e.archive == nil || !t.State.Terminal() || t.ID == "" || !e.config(t.Directory).Archive {
		return
	}
	if err := e.archive.Append(t); err != nil {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("the task was not archived")
	}
}

// storeEnd stores the end of a run. What cannot be stored is kept and tried
// again until it can, or until ctx ends: then the next owner of the record judges
// the session anew.
func (e *Engine) storeEnd(ctx context.Context, r *run, out outcome) task.Task {
	e.mu.Lock()
	usage := r.before.Plus(r.total)
	settled := r.orphan || r.background && r.wake == task.WakeNone
	note := e.edits.shared(r.id)
	reviewer := e.reviewerLocked(r, out)
	e.mu.Unlock()
	keeping := context.WithoutCancel(ctx)
	for try := 0; ; try++ {
		if out.state != task.Completed && e.bereft() {
			return task.Task{}
		}
		t, err := e.store.Get(keeping, r.id)
		if err == nil {
			t, err = e.store.Update(keeping, r.id, t.Fence(), func(t *task.Task) {
				t.State, t.Ended, t.Uncertain, t.NotBefore = out.state, time.Now(), false, time.Time{}
				t.Result, t.Error, t.Usage, t.Stop = out.text, out.reason, usage, ""
				t.Told, t.Note = t.Told || settled, note
				if reviewer != "" {
					t.Review = task.NewID()
					t.Note = strings.TrimPrefix(note+"; "+checking(reviewer, t.Review), "; ")
				}
			})
		}
		if errors.Is(err, task.ErrNotFound) { // its database was damaged, or removed
			t = e.record(r, out, usage, settled, note)
			err = e.store.Create(keeping, t)
		}
		if err == nil {
			return t
		}
		lost := hopeless(err) || errors.Is(err, task.ErrStale) && t.State.Terminal()
		if try == 0 || lost {
			e.log.Error().Err(err).Str("task", string(r.id)).Msg("the end of a task could not be stored")
			e.releaseLease(r, out) // its session has stopped
		}
		if lost {
			return t
		}
		select {
		case <-e.quit:
			return t
		case <-time.After(storeAgain):
		}
	}
}

// record is what is known of a run whose record is gone.
func (e *Engine) record(r *run, out outcome, usage task.Usage, told bool, note string) task.Task {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	return task.Task{
		ID: r.id, Directory: r.directory, Worktree: r.worktree, Owner: e.owner, Parent: r.parent, Session: r.session, Agent: r.agent, Model: r.model,
		Description: "its record was lost while it ran", Group: r.group, Background: r.background, Root: r.root, Depth: r.depth,
		Mode: r.mode, Priority: r.priority, Wake: r.wake, Attempt: 1, MessageID: r.messageID,
		State: out.state, Result: out.text, Error: out.reason, Note: note, Usage: usage,
		Created: now, Started: now, Ended: now, Told: told,
	}
}

// releaseLease gives a run's slot back and says how its provider did.
func (e *Engine) releaseLease(r *run, out outcome) {
	e.mu.Lock()
	lease := r.lease
	r.lease = nil
	e.mu.Unlock()
	if lease == nil {
		return
	}
	lease.Report(reportOf(out))
	lease.Release()
}

// reportOf is what an outcome says about the provider.
func reportOf(out outcome) limit.Outcome {
	switch {
	case out.state == task.Completed:
		return limit.Success
	case out.err != nil && classify(out.err).provider:
		return limit.Failure
	}
	return limit.Neutral
}

// leave forgets a run that has ended, and puts it where its parent is told of it.
func (e *Engine) leave(r *run, t task.Task) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.runs[r.id] == r { // else it has been resumed since its end was stored
		delete(e.runs, r.id)
	}
	e.restLocked()
	if r.session != "" && e.bySession[r.session] == r {
		delete(e.bySession, r.session)
	}
	e.orphanLocked(r)
	e.edits.forget(r)
	e.leaveLocked(r.root)
	p := e.parentLocked(r.parent, r.directory)
	p.open--
	if r.wake == task.WakeAll {
		p.gathers(r.group, -1)
	}
	if r.orphan {
		e.unheard = append(e.unheard, due{id: string(r.id)})
		poke(e.signal)
	} else if r.background && r.wake != task.WakeNone {
		e.oweLocked(p, due{id: string(r.id), group: r.group, all: r.wake == task.WakeAll, since: time.Now()})
	}
	if r.background && t.ID != "" {
		e.noteLocked(r, t)
	}
	poke(p.bell)
	if waiting := e.bySession[r.parent]; waiting != nil {
		waiting.hint()
	}
	e.nudgeLocked(p)
}

// orphanLocked ends the tasks of a task that has ended; there is nobody left who
// could be told of them.
func (e *Engine) orphanLocked(r *run) {
	own := e.parents[r.session]
	if r.session == "" || own == nil {
		return
	}
	for _, other := range e.runs {
		if other.parent == r.session {
			other.orphan = true
			e.ending = append(e.ending, doomed{other, &ending{state: task.Cancelled, reason: "the task that asked for it ended"}})
		}
	}
	e.unheard = append(e.unheard, own.outbox...)
	own.expected, own.outbox, own.held, own.over = nil, nil, time.Time{}, true
	e.dropParentLocked(own)
	poke(e.signal)
}

// hush marks as told of what nobody is left to be told.
func (e *Engine) hush(ctx context.Context, dues []due) {
	for _, d := range dues {
		var err error
		if d.news != nil {
			err = d.news.settle(ctx, e)
		} else {
			_, err = e.told(ctx, task.ID(d.id))
		}
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			e.log.Warn().Err(err).Str("of", d.id).Msg("delivery not stored")
		}
	}
}

// endTasksOf cancels the open tasks of a session.
func (e *Engine) endTasksOf(session, reason string) {
	e.mu.Lock()
	var runs []*run
	if p := e.parents[session]; p != nil && p.open > 0 {
		for _, r := range e.runs {
			if r.parent == session {
				runs = append(runs, r)
			}
		}
	}
	e.mu.Unlock()
	e.condemn(&ending{state: task.Cancelled, reason: reason}, runs...)
}

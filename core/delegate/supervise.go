package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// quietLimit is how long a session may show neither work nor an answer
	// before its task is called uncertain: OpenCode reports a session idle
	// before the turn of a prompt has begun.
	quietLimit = 5 * time.Second
	// idleLimit is how long a turn that ended oddly must stay idle to be over.
	idleLimit = time.Second
	// nudgeAfter is when a session that is idle is reminded of a prompt that it has
	// and of which no turn has begun.
	nudgeAfter = 15 * time.Second
	// renewEvery is how often the goroutine of a run says that it looks after its slot.
	renewEvery = time.Minute
	// uncertainLimit ends an uncertain task.
	uncertainLimit = 10 * time.Minute
	// closeDelay is how much later than its aborts a closing workspace may say so.
	closeDelay = 300 * time.Millisecond
	// firstLook is the delay of the second look at a session that was idle
	// without an answer; it doubles up to lastLook.
	firstLook, lastLook = 100 * time.Millisecond, 5 * time.Second
	// leastRest is what an attempt may at least run on that an earlier sidecar began.
	leastRest = 30 * time.Second
)

// A watchman is the state of one attempt's supervision. Only its own goroutine
// uses it.
type watchman struct {
	*Engine
	run      *run
	task     task.Task
	settings Settings

	quiet   time.Time     // since when it has been idle without an answer
	stopped time.Time     // since when it is known to have been stopped
	delay   time.Duration // to the next look of our own
	size    int           // of what it has written
	nudged  bool          // it was reminded of its prompt
	credit  time.Duration // by how much the run deadline was put off
}

// supervise waits for proof of the end.
func (e *Engine) supervise(ctx context.Context, r *run, t task.Task) outcome {
	w := &watchman{Engine: e, run: r, task: t, settings: e.config(r.directory), delay: firstLook}
	deadline := time.NewTimer(max(w.settings.Timeout-time.Since(t.Started), min(leastRest, w.settings.Timeout)))
	defer deadline.Stop()
	silence := time.NewTimer(w.settings.Silence)
	defer silence.Stop()
	again := stoppedTimer()
	defer again.Stop()
	patience := stoppedTimer()
	defer patience.Stop()
	renewal := time.NewTicker(renewEvery)
	defer renewal.Stop()
	for {
		silent := false
		select {
		case <-ctx.Done():
			return outcome{stop: true}
		case <-deadline.C:
			if rest := w.left(); rest > 0 {
				deadline.Reset(rest)
				continue
			}
			return outcome{state: task.Timeout, reason: fmt.Sprintf("it ran for longer than %s", w.settings.Timeout), stop: true}
		case <-silence.C:
			if rest := w.settings.Silence - r.quietFor(); rest > 0 {
				silence.Reset(rest)
				continue
			}
			silent = true
		case <-renewal.C: // whether OpenCode answers or not: one that is stopped for a while goes on where it was
			e.renew(r)
			continue
		case <-r.hints:
		case <-again.C:
		case <-patience.C:
		}
		if rest := e.refuseLate(ctx, r, w.settings.PermissionWait); rest > 0 {
			patience.Reset(rest)
		}
		out, next := w.look(ctx, silent)
		if out.state != "" {
			return out
		}
		if next > 0 {
			again.Reset(next)
		}
		if silent {
			silence.Reset(max(w.settings.Silence-r.quietFor(), lastLook))
		}
	}
}

// left is what an attempt may still run on that has used its time up: that in
// which it had no slot, because it waited for tasks of its own, does not count.
func (w *watchman) left() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	rested := w.run.restedLocked()
	rest := rested - w.credit
	w.credit = rested
	return rest
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// look compares the session with what would prove an end: the outcome if it has
// come to one, else when to look again, 0 for at the next hint. silent says that
// it is overdue to show a sign of life.
func (w *watchman) look(ctx context.Context, silent bool) (outcome, time.Duration) {
	turned := w.turnedOf(w.run)
	messages, err := w.read(ctx, w.task.Directory, w.task.Session, w.task.MessageID)
	if host.NotFound(err) {
		// OpenCode deletes a session at once, and lets its turn go on.
		return outcome{state: task.Cancelled, reason: "its session was deleted", stop: true}, 0
	}
	if err != nil { // a lost answer is no answer: ask again
		w.answers(false, w.run)
		return outcome{}, w.slower()
	}
	if w.answers(true, w.run) {
		silent = false
	}
	w.account(w.run, messages, w.task.MessageID)
	v := judge(messages, w.task.MessageID)
	if v.state == task.Completed || v.state == task.Failed {
		if wait := w.engaged(w.run, v.state, turned); wait > 0 {
			w.run.touch()
			w.quiet = time.Time{}
			return outcome{}, wait
		}
	}
	if v.state == task.Completed && w.forsaken(w.run) {
		return outcome{state: task.Cancelled, text: v.text, reason: "its session was stopped while it waited for tasks of its own"}, 0
	}
	if v.state == task.Cancelled {
		// Somebody's stop, or OpenCode closing the workspace, which aborts first
		// and says so a moment later.
		if w.closedOf(w.run) {
			v.state, v.reason = task.Interrupted, reloaded
		} else if w.stopped.IsZero() {
			w.stopped = time.Now()
		}
		if v.state == task.Cancelled && time.Since(w.stopped) < closeDelay {
			return outcome{}, closeDelay
		}
	}
	if v.state != "" {
		return outcome{state: v.state, text: v.text, reason: v.reason, err: v.err}, 0
	}
	if v.size > w.size {
		w.size = v.size
		w.sign(w.run)
	}
	if v.toolRunning { // which is no silence, whenever it ends
		w.run.touch()
	}
	if silent && v.toolRunning {
		w.ask(ctx, w.run, w.task.Session)
	}
	if silent && !v.toolRunning && w.run.quietFor() >= w.settings.Silence {
		return outcome{state: task.Timeout, reason: fmt.Sprintf("it gave no sign of life for %s", w.settings.Silence), text: v.text, stop: true}, 0
	}
	return w.idle(ctx, v)
}

// idle looks at a session that a hint called idle but that has no answer: the
// hint was early, wrong, or there will be none.
func (w *watchman) idle(ctx context.Context, v verdict) (outcome, time.Duration) {
	statuses, err := w.host.Statuses(ctx, w.task.Directory)
	if err != nil {
		return outcome{}, w.slower()
	}
	if _, busy := statuses[w.task.Session]; busy {
		w.quiet, w.delay = time.Time{}, firstLook
		w.setUncertain(ctx, false)
		return outcome{}, 0
	}
	if w.quiet.IsZero() {
		w.quiet = time.Now()
	}
	idle := time.Since(w.quiet)
	patience := idleLimit
	if w.task.Attempt > 1 { // it may be that of the last attempt
		patience = quietLimit
	}
	if f := w.failureOf(w.run); f != nil && !f.Aborted() && idle >= patience {
		return outcome{state: task.Failed, reason: f.Error(), text: v.text, err: f, stop: true}, 0
	}
	if v.idle != nil && idle >= idleLimit {
		if v.idle.state == task.Cancelled && w.closedOf(w.run) {
			v.idle.state, v.idle.reason = task.Interrupted, reloaded
		}
		return *v.idle, 0
	}
	if idle >= uncertainLimit {
		return outcome{state: task.Interrupted, reason: "OpenCode showed neither work nor an answer for 10 minutes", text: v.text, stop: true}, 0
	} else if idle >= quietLimit {
		w.setUncertain(ctx, true)
	}
	if idle >= nudgeAfter && !v.begun && !w.nudged {
		w.nudged = true
		w.nudge(ctx)
	}
	return outcome{}, w.slower()
}

// nudge sends a word to a session that OpenCode has not begun to work in although
// it has the prompt. That is safe at any time: the answer to it is one to the
// prompt as well, and no turn is repeated by it.
func (w *watchman) nudge(ctx context.Context) {
	t := w.task
	if found, err := w.lookup(ctx, t.Directory, t.Session, t.MessageID); !found || err != nil {
		return
	}
	w.log.Warn().Str("task", string(t.ID)).Msg("OpenCode has swallowed its prompt, which it is reminded of")
	err := w.host.Prompt(ctx, t.Directory, host.Prompt{
		Session: t.Session, MessageID: w.ids.Next(), Agent: t.Agent, Model: t.Model, Synthetic: true,
		Text: "The message above has no answer yet: please go on with it.",
	})
	if err != nil {
		w.log.Warn().Err(err).Str("task", string(t.ID)).Msg("it could not be reminded")
	}
}

// answers notes whether OpenCode has answered a question about a run. After a
// while in which it did not, which answers reports, its silence counts anew: it may
// have been stopped, and its turns with it.
func (e *Engine) answers(does bool, r *run) (again bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	again = does && r.deaf
	if r.deaf = !does; again {
		r.touch()
	}
	return again
}

// slower returns the delay to the next look, and doubles it.
func (w *watchman) slower() time.Duration {
	delay := w.delay
	w.delay = min(2*w.delay, lastLook)
	return delay
}

func (w *watchman) setUncertain(ctx context.Context, uncertain bool) {
	if w.task.Uncertain == uncertain {
		return
	}
	next, err := w.store.Update(ctx, w.task.ID, w.task.Fence(), func(t *task.Task) { t.Uncertain = uncertain })
	if err != nil {
		w.log.Warn().Err(err).Str("task", string(w.task.ID)).Msg("uncertainty not stored")
		return
	}
	w.task = next
}

// engaged is how long to wait before the next look at a session whose turn has
// ended but that is to have another one: a message to it is under way, or it
// waits for tasks or news of its own. 0 if there is no such thing. Meanwhile it does not
// need its slot. turned is how many messages of ours it had when it was looked at.
func (e *Engine) engaged(r *run, state task.State, turned int) time.Duration {
	e.mu.Lock()
	p := e.parents[r.session]
	switch {
	case r.steering > 0, r.turned != turned, p != nil && p.sending != nil:
		e.mu.Unlock()
		return firstLook
	case state != task.Completed || p == nil || !p.held.IsZero() || p.deleted,
		p.outstanding() == 0 && len(p.outbox) == 0 && !p.serving:
		r.decided = true
		e.mu.Unlock()
		return 0
	}
	var lease *limit.Lease
	if !p.serving { // else its next turn may be about to begin
		lease = e.suspendLocked(r)
	}
	e.mu.Unlock()
	if lease != nil {
		lease.Release()
	}
	return lastLook
}

// forsaken reports whether a person has stopped the session of a run that waits
// for tasks or news of its own: what it said before it knew of them is no result.
func (e *Engine) forsaken(r *run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.parents[r.session]
	return own != nil && !own.held.IsZero() && (own.outstanding() > 0 || len(own.outbox) > 0)
}

func (e *Engine) closedOf(r *run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.closed
}

func (e *Engine) turnedOf(r *run) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.turned
}

func (e *Engine) failureOf(r *run) *host.MessageError {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.failure
}

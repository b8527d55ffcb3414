package delegate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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
	// uncertainLimit ends an uncertain task.
	uncertainLimit = 10 * time.Minute
	// promptLimit is how long a prompt under way may hold up the end of its task.
	promptLimit = 5 * time.Second
	// partialLimit bounds the last look at what a task that ends badly has written.
	partialLimit = 3 * time.Second
	// closeDelay is how much later than its aborts a closing workspace may say so.
	closeDelay = 300 * time.Millisecond
	// firstLook is the delay of the second look at a session that was idle
	// without an answer; it doubles up to lastLook.
	firstLook, lastLook = 100 * time.Millisecond, 5 * time.Second
)

// reloaded is why a task ended whose session OpenCode itself has stopped.
const reloaded = "OpenCode closed or reloaded the workspace while it ran"

// run is an open task in memory. The fields above mu's line never change after
// the launch; the engine's mu guards the ones below.
type run struct {
	id        task.ID
	directory string
	parent    string
	hints     chan struct{} // the session may have stopped: look
	done      chan struct{} // closed when the task is terminal and its slot free
	active    atomic.Int64  // Unix nanoseconds of the last sign of life

	background bool
	ticket     *limit.Ticket
	lease      *limit.Lease
	session    string
	messageID  string  // of the prompt in it
	ending     *ending // why somebody wants it to end
	cancel     context.CancelCauseFunc
	rush       context.CancelFunc // ends the wait for its session to stop
	failure    *host.MessageError // what session.error said
	questions  []question         // for a person's permission, oldest first
	refusal    string             // that nobody gave one
	shown      bool               // its turn was seen to run
	closed     bool               // its workspace was closed while it ran
	finishing  bool               // one goroutine ends it
}

// ending is a request to end a run.
type ending struct {
	state  task.State
	reason string
	until  time.Time // the end has to be stored by then; zero for no hurry
}

func (e *ending) Error() string { return e.reason }

func (r *run) hint() {
	select {
	case r.hints <- struct{}{}:
	default:
	}
}

// sign notes that a run's turn goes on.
func (e *Engine) sign(r *run) {
	r.touch()
	e.mu.Lock()
	r.shown = true
	e.mu.Unlock()
}

func (r *run) touch() { r.active.Store(time.Now().UnixNano()) }

// end asks a run to end, and ends it here if it has not got its slot yet. The
// first request wins. It does not wait.
func (e *Engine) end(ctx context.Context, r *run, why *ending) {
	e.mu.Lock()
	if r.ending != nil {
		if rush := r.rush; rush != nil && !why.until.IsZero() {
			time.AfterFunc(time.Until(why.until), rush) // ends with the process at the latest
		}
		e.mu.Unlock()
		return
	}
	r.ending = why
	cancel, ticket := r.cancel, r.ticket
	e.mu.Unlock()
	if cancel != nil {
		cancel(why)
		return
	}
	if ticket != nil && ticket.Withdraw() {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: why.state, reason: why.reason})
	}
}

// outcome is how an attempt ended.
type outcome struct {
	state  task.State
	text   string
	reason string
	// stop is set when the session may still be at work and must be aborted.
	stop bool
	// until is when the wait for that ends, zero for the usual limits.
	until time.Time
}

// play takes one attempt from its slot to its end.
func (e *Engine) play(ctx context.Context, r *run) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.mu.Lock()
	r.cancel = cancel
	why := r.ending
	e.mu.Unlock()
	if why != nil {
		cancel(why)
	}
	out := outcome{state: task.Failed, reason: "a bug of the sidecar ended it; the log has the details", stop: true}
	e.guard("task "+string(r.id), func() { out = e.attempt(runCtx, r) })
	if why, ok := errors.AsType[*ending](context.Cause(runCtx)); ok && out.state != task.Completed {
		out.state, out.reason, out.stop, out.until = why.state, why.reason, true, why.until
	} else if ctx.Err() != nil && out.state == "" {
		out.state, out.reason = task.Interrupted, "the sidecar ended"
	}
	e.finish(context.WithoutCancel(ctx), r, out)
}

// attempt creates the session, sends the prompt and watches. An outcome without
// a state means that ctx ended.
func (e *Engine) attempt(ctx context.Context, r *run) outcome {
	t, err := e.store.Get(ctx, r.id)
	if err == nil {
		t, err = e.store.Update(ctx, r.id, t.Fence(), func(t *task.Task) {
			t.State, t.Started, t.MessageID = task.Running, time.Now(), e.ids.Next()
		})
	}
	if err != nil {
		return outcome{state: task.Failed, reason: fmt.Sprintf("the task could not be stored as running: %v", err)}
	}
	r.touch()
	if ctx.Err() != nil {
		return outcome{}
	}
	rules, err := e.childRules(ctx, r)
	if err != nil { // without them the child could do what its parent may not
		return outcome{state: task.Failed, reason: fmt.Sprintf("the permissions of its parent could not be read: %v", err)}
	}
	session, err := e.host.CreateSession(ctx, r.directory, host.NewSession{
		Parent: t.Parent, Title: title(t), Agent: t.Agent,
		Metadata:   map[string]string{taskKey: string(t.ID)},
		Permission: rules,
	})
	if err != nil {
		return outcome{state: task.Failed, reason: fmt.Sprintf("its session could not be created: %v", err)}
	}
	t, err = e.store.Update(ctx, r.id, t.Fence(), func(t *task.Task) { t.Session = session.ID })
	if err != nil {
		return outcome{state: task.Failed, reason: fmt.Sprintf("its session could not be stored: %v", err)}
	}
	e.mu.Lock()
	r.session, r.messageID = session.ID, t.MessageID
	e.bySession[session.ID] = r
	e.mu.Unlock()
	poke(e.watch)

	// An abort that overtakes the prompt does nothing, so a prompt under way is
	// waited for before anybody can stop its session.
	sending, sent := outlast(ctx, promptLimit)
	err = e.host.Prompt(sending, r.directory, host.Prompt{
		Session: session.ID, MessageID: t.MessageID, Agent: t.Agent, Model: t.Model, Text: t.Prompt,
	})
	sent()
	if err != nil && ctx.Err() == nil && !e.arrived(ctx, r.directory, session.ID, t.MessageID) {
		// Refused, or lost on the way: never sent a second time, and aborted in
		// case it arrives late.
		return outcome{state: task.Failed, reason: fmt.Sprintf("OpenCode did not take the prompt: %v", err), stop: true}
	}
	return e.supervise(ctx, r, t)
}

// outlast returns a context that ends limit after ctx does, or earlier if its end
// is in a hurry.
func outlast(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if why, ok := errors.AsType[*ending](context.Cause(ctx)); ok && !why.until.IsZero() {
			limit = min(limit, time.Until(why.until))
		}
		select {
		case <-longer.Done():
		case <-time.After(limit):
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}

// supervise waits for proof of the end.
func (e *Engine) supervise(ctx context.Context, r *run, t task.Task) outcome {
	settings := e.config(r.directory)
	deadline := time.NewTimer(settings.Timeout)
	defer deadline.Stop()
	silence := time.NewTimer(settings.Silence)
	defer silence.Stop()
	again := time.NewTimer(0)
	if !again.Stop() {
		<-again.C
	}
	defer again.Stop()
	patience := time.NewTimer(time.Hour)
	patience.Stop()
	defer patience.Stop()

	var (
		quiet   time.Time // since when it has been idle without an answer
		stopped time.Time // since when it is known to have been stopped
		delay   = firstLook
		size    int
	)
	for {
		silent := false
		select {
		case <-ctx.Done():
			return outcome{stop: true}
		case <-deadline.C:
			return outcome{state: task.Timeout, reason: fmt.Sprintf("it ran for longer than %s", settings.Timeout), stop: true}
		case <-silence.C:
			if rest := settings.Silence - time.Since(time.Unix(0, r.active.Load())); rest > 0 {
				silence.Reset(rest)
				continue
			}
			silent = true
		case <-r.hints:
		case <-again.C:
		case <-patience.C:
		}
		if rest := e.refuseLate(ctx, r, t.Session, settings.PermissionWait); rest > 0 {
			patience.Reset(rest)
		}

		messages, err := e.read(ctx, r.directory, t.Session, t.MessageID)
		if host.NotFound(err) {
			return outcome{state: task.Cancelled, reason: "its session was deleted"}
		}
		if err != nil { // a lost answer is no answer: ask again
			delay = min(2*delay, lastLook)
			again.Reset(delay)
			if silent {
				silence.Reset(delay)
			}
			continue
		}
		v := judge(messages, t.MessageID)
		if v.state == task.Cancelled {
			// Somebody's stop, or OpenCode closing the workspace, which aborts first
			// and says so a moment later.
			if e.closedOf(r) {
				v.state, v.reason = task.Interrupted, reloaded
			} else if stopped.IsZero() {
				stopped = time.Now()
			}
			if v.state == task.Cancelled && time.Since(stopped) < closeDelay {
				again.Reset(closeDelay)
				continue
			}
		}
		if v.state != "" {
			return outcome{state: v.state, text: v.text, reason: v.reason}
		}
		if v.size > size {
			size = v.size
			e.sign(r)
		}
		if silent {
			if v.toolRunning || time.Since(time.Unix(0, r.active.Load())) < settings.Silence {
				silence.Reset(settings.Silence)
				continue
			}
			return outcome{state: task.Timeout, reason: fmt.Sprintf("it gave no sign of life for %s", settings.Silence), text: v.text, stop: true}
		}

		// Idle by a hint, but no answer: the hint was early, wrong, or there will be none.
		statuses, err := e.host.Statuses(ctx, r.directory)
		_, busy := statuses[t.Session]
		if err == nil && busy {
			quiet, delay = time.Time{}, firstLook
			t = e.setUncertain(ctx, t, false)
			continue
		}
		if err == nil {
			if quiet.IsZero() {
				quiet = time.Now()
			}
			if f := e.failureOf(r); f != nil && !f.Aborted() {
				return outcome{state: task.Failed, reason: f.Error(), text: v.text}
			}
			idle := time.Since(quiet)
			if v.idle != nil && idle >= idleLimit {
				if v.idle.state == task.Cancelled && e.closedOf(r) {
					v.idle.state, v.idle.reason = task.Interrupted, reloaded
				}
				return *v.idle
			}
			if idle >= uncertainLimit {
				return outcome{state: task.Interrupted, reason: "OpenCode showed neither work nor an answer for 10 minutes", text: v.text, stop: true}
			} else if idle >= quietLimit {
				t = e.setUncertain(ctx, t, true)
			}
		}
		again.Reset(delay)
		delay = min(2*delay, lastLook)
	}
}

func (e *Engine) closedOf(r *run) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.closed
}

func (e *Engine) failureOf(r *run) *host.MessageError {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.failure
}

func (e *Engine) setUncertain(ctx context.Context, t task.Task, uncertain bool) task.Task {
	if t.Uncertain == uncertain {
		return t
	}
	next, err := e.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) { t.Uncertain = uncertain })
	if err != nil {
		e.log.Warn().Err(err).Str("task", string(t.ID)).Msg("uncertainty not stored")
		return t
	}
	return next
}

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
	if !r.shown {
		settle = settleLimit
	}
	e.mu.Unlock()

	looking, done := context.WithCancel(ctx)
	defer done()
	if !out.until.IsZero() {
		defer time.AfterFunc(time.Until(out.until), done).Stop()
	}
	e.mu.Lock()
	r.rush = done
	e.mu.Unlock()
	if out.stop && session != "" {
		if err := e.stopSession(looking, r.directory, session, messageID, settle); err != nil {
			out.reason += fmt.Sprintf("; that its session stopped is not confirmed (%v)", err)
		}
	}
	t, err := e.store.Get(ctx, r.id)
	if err == nil && out.text == "" && out.state != task.Completed && session != "" {
		partial, cancel := context.WithTimeout(looking, partialLimit)
		if messages, err := e.read(partial, r.directory, session, t.MessageID); err == nil {
			out.text = judge(messages, t.MessageID).text
		}
		cancel()
	}
	if err == nil {
		_, err = e.store.Update(ctx, r.id, t.Fence(), func(t *task.Task) {
			t.State, t.Ended, t.Uncertain = out.state, time.Now(), false
			t.Result, t.Error = out.text, out.reason
		})
	}
	if err != nil {
		e.log.Error().Err(err).Str("task", string(r.id)).Msg("the end of a task could not be stored")
	}

	e.mu.Lock()
	delete(e.runs, r.id)
	if r.session != "" {
		delete(e.bySession, r.session)
	}
	lease := r.lease
	p := e.parentLocked(r.parent, r.directory)
	p.open--
	if r.background {
		p.outbox = append(p.outbox, r.id)
		p.arrived = time.Now()
	}
	poke(p.bell)
	e.nudgeLocked(p)
	e.mu.Unlock()
	if lease != nil {
		lease.Release()
	}
	close(r.done)
	e.log.Debug().Str("task", string(r.id)).Str("state", string(out.state)).Msg("task ended")
}

func title(t task.Task) string {
	return fmt.Sprintf("%s (@%s, %s)", t.Description, t.Agent, t.ID)
}

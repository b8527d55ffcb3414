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
	// promptLimit is how long a prompt under way may hold up the end of its task.
	promptLimit = 5 * time.Second
	// openTries is how often a workspace may be closed again while a session is opened in it.
	openTries = 3
	// reloaded is why a task ended whose session OpenCode itself has stopped.
	reloaded = "OpenCode closed or reloaded the workspace while it ran"
)

// run is an open task in memory, through all its attempts. The fields above ones
// that the engine's mu guards never change.
type run struct {
	id        task.ID
	directory string
	worktree  string
	parent    string
	root      string
	depth     int
	agent     string
	// description is the task's, for people.
	description string
	group       string
	mode        task.Mode
	priority    task.Priority
	wake        task.Wake
	hints       chan struct{} // the session may have stopped: look
	done        chan struct{} // closed when the task is terminal and its slot free
	made        time.Time
	active      atomic.Int64 // nanoseconds from made to the last sign of life: a suspended machine's clock stands still

	// Guarded by mu.
	model      host.Model
	background bool
	// adopted marks an attempt that an earlier sidecar has begun: nobody here knows
	// how far it got.
	adopted bool
	ticket  *limit.Ticket
	lease   *limit.Lease
	// inherited marks one whose workspace OpenCode may not have opened again.
	inherited bool
	orphan    bool        // the task that asked for it has ended: nobody is left to tell
	timer     *time.Timer // of a pending attempt that may not start yet
	overdue   *time.Timer // ends the wait for a slot
	ending    *ending     // why somebody wants it to end
	cancel    context.CancelCauseFunc
	rush      context.CancelFunc // ends the wait for its session to stop

	// Of the present attempt.
	session   string
	messageID string
	failure   *host.MessageError // what session.error said
	questions []question         // for a person's permission, oldest first
	refusal   string             // that nobody gave one
	shown     bool               // its turn was seen to run
	closed    bool               // its workspace was closed while it ran
	deaf      bool               // OpenCode did not answer when it was last asked about it
	steering  int                // messages to it that are under way
	turned    int                // messages that its session got from us: what was read before the last one proves no end
	blocked   int                // tool calls in which it waits for tasks of its own
	suspended bool               // it gave its slot back meanwhile
	resting   time.Time          // since when
	rested    time.Duration      // and how long it did before
	regaining chan struct{}      // closed when whoever takes a slot again has it, or gave up
	decided   bool               // its turn is proven to be over
	finishing bool               // one goroutine ends it

	// What it uses and does.
	before  task.Usage            // before this process took care of it
	total   task.Usage            // since
	used    map[string]task.Usage // the same by message
	seen    map[string]bool       // the tool calls of this attempt
	call    string                // the last one
	repeats int                   // and how often in a row
}

// newRun returns the run of an open task.
func newRun(t task.Task) *run {
	return &run{
		id: t.ID, directory: t.Directory, worktree: t.Worktree, parent: t.Parent, root: t.Root, depth: t.Depth, agent: t.Agent, description: t.Description,
		group: t.Group, mode: t.Mode, priority: t.Priority, wake: t.Wake,
		model: t.Model, background: t.Background, before: t.Usage,
		hints: make(chan struct{}, 1), done: make(chan struct{}), made: time.Now(),
	}
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

func (r *run) touch() { r.active.Store(int64(time.Since(r.made))) }

// quietFor is how long a run has shown no sign of life.
func (r *run) quietFor() time.Duration { return time.Since(r.made) - time.Duration(r.active.Load()) }

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
	cancel, ticket, timer, adopted := r.cancel, r.ticket, r.timer, r.adopted
	e.mu.Unlock()
	if cancel != nil {
		cancel(why)
		return
	}
	if timer != nil && timer.Stop() || ticket != nil && ticket.Withdraw() {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: why.state, reason: why.reason, stop: adopted, until: why.until})
	}
}

// outcome is how an attempt ended.
type outcome struct {
	state  task.State
	text   string
	reason string
	// err is what failed, for the decision whether to try again.
	err error
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
		out.state, out.reason, out.stop, out.until, out.err = why.state, why.reason, true, why.until, nil
	} else if ctx.Err() != nil && out.state == "" {
		out.state, out.reason = task.Interrupted, "the sidecar ended"
	}
	ctx = context.WithoutCancel(ctx)
	if !e.again(ctx, r, out) {
		e.finish(ctx, r, out)
	}
}

// attempt creates the session, sends the prompt and watches. An outcome without
// a state means that ctx ended.
func (e *Engine) attempt(ctx context.Context, r *run) outcome {
	e.mu.Lock()
	adopted := r.adopted
	waits := r.inherited || e.places[r.directory].closed
	r.adopted, r.inherited = false, false
	if !adopted {
		r.failure, r.questions, r.shown = nil, nil, false // late events of an earlier attempt
	}
	e.mu.Unlock()
	if waits && !e.reopened(ctx, r.directory) {
		return outcome{state: task.Interrupted, reason: "OpenCode did not open its workspace again"}
	}
	t, err := e.persist(ctx, r.id, func(t *task.Task) {
		if t.State == task.Pending {
			t.State, t.Started, t.MessageID = task.Running, time.Now(), e.ids.Next()
		}
	})
	if err != nil {
		return outcome{state: task.Failed, reason: fmt.Sprintf("the task could not be stored as running: %v", err)}
	}
	r.touch()
	if ctx.Err() != nil {
		return outcome{}
	}
	taken := t.Session != "" // by an earlier attempt, or an earlier sidecar
	if !taken {
		t, err = e.open(ctx, t, adopted)
		for try := 0; errors.Is(err, host.ErrWorkspaceClosed) && try < openTries && e.reopened(ctx, r.directory); try++ {
			t, err = e.open(ctx, t, adopted)
		}
		if host.NotFound(err) {
			return outcome{state: task.Cancelled, reason: "the session that asked for it was deleted"}
		} else if err != nil {
			return outcome{state: task.Failed, reason: err.Error(), err: err}
		}
	}
	e.mu.Lock()
	r.session, r.messageID = t.Session, t.MessageID
	e.bySession[t.Session] = r
	if own := e.parents[t.Session]; own != nil {
		own.over = false
	}
	e.mu.Unlock()
	poke(e.watch)

	text := t.Prompt
	if taken {
		text = e.continued(ctx, t)
	}
	if taken && !adopted {
		e.settled(ctx, r.directory, t.Session)
	}
	prompt := host.Prompt{Session: t.Session, MessageID: t.MessageID, Agent: t.Agent, Model: t.Model, Text: text}
	if err := e.deliver(ctx, r.directory, prompt, adopted); err != nil && ctx.Err() == nil {
		if host.NotFound(err) {
			return outcome{state: task.Cancelled, reason: "its session was deleted"}
		}
		// Aborted in case it arrives late.
		return outcome{state: task.Failed, reason: fmt.Sprintf("OpenCode did not take the prompt: %v", err), err: err, stop: true}
	}
	if taken && (adopted || t.Retries == 0) { // not before the prompt, which ends what a person's stop had held up
		e.catchUp(ctx, t)
	}
	if adopted { // it may have ended, or asked, while nobody listened
		e.ask(ctx, r, t.Session)
		r.hint()
	}
	return e.supervise(ctx, r, t)
}

// open finds or creates the session of a task and stores it.
func (e *Engine) open(ctx context.Context, t task.Task, adopted bool) (task.Task, error) {
	var id string
	if adopted {
		id = e.created(ctx, t)
	}
	if id == "" && t.Attempt == 1 {
		id = e.pooled(ctx, t)
	}
	if id == "" {
		rules, err := e.childRules(ctx, t)
		if err != nil { // without them the child could do what its parent may not
			return t, fmt.Errorf("the permissions of its parent could not be read: %w", err)
		}
		session, err := e.host.CreateSession(ctx, t.Directory, host.NewSession{
			Parent: t.Parent, Title: title(t), Agent: t.Agent,
			Metadata:   map[string]string{taskKey: string(t.ID)},
			Permission: rules,
		})
		if id = session.ID; err != nil && !refused(err) { // only the answer may be lost
			id = e.created(ctx, t)
		}
		if id == "" {
			return t, fmt.Errorf("its session could not be created: %w", err)
		}
	}
	next, err := e.persist(ctx, t.ID, func(t *task.Task) { t.Session = id })
	if err != nil {
		return t, fmt.Errorf("its session could not be stored: %w", err)
	}
	return next, nil
}

// persist changes a task that nobody else changes. What cannot be stored now, as
// on a full disk, is tried again until it can or ctx ends.
func (e *Engine) persist(ctx context.Context, id task.ID, change func(*task.Task)) (t task.Task, err error) {
	err = e.insist(ctx, id, func() error {
		if t, err = e.store.Get(ctx, id); err == nil {
			t, err = e.store.Update(ctx, id, t.Fence(), change)
		}
		return err
	})
	return t, err
}

// insist does something with the store until it succeeds, never will, or ctx ends.
func (e *Engine) insist(ctx context.Context, id task.ID, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if err == nil || hopeless(err) || ctx.Err() != nil {
			return err
		}
		if try == 0 {
			e.log.Error().Err(err).Str("task", string(id)).Msg("the store did not take or give a task; it is tried again")
		}
		select {
		case <-ctx.Done():
		case <-e.quit:
			return err
		case <-time.After(storeAgain):
		}
	}
}

// hopeless reports whether a store will never take a change.
func hopeless(err error) bool {
	_, lawless := errors.AsType[*task.TransitionError](err)
	return lawless || errors.Is(err, task.ErrNotFound)
}

// maxSends is how often a prompt is sent that OpenCode does not show.
const maxSends = 3

// deliver sends a prompt of ours so that it is in its session once. Wherever it
// may be there already, unsure, it is looked for first: OpenCode starts no second
// turn for a message id that it knows, but appends the text. An error that comes
// without an answer of OpenCode leaves open whether it is there.
func (e *Engine) deliver(ctx context.Context, directory string, p host.Prompt, unsure bool) error {
	var lost error
	for try := 0; ; {
		if unsure {
			found, err := e.arrives(ctx, directory, p.Session, p.MessageID)
			switch {
			case found:
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case host.NotFound(err):
				return err
			case err != nil: // it may be there: never sent blindly
				lost = err
				if try++; try >= 2*maxSends {
					return lost
				}
				continue
			case try >= maxSends:
				return lost
			}
		}
		// An abort that overtakes the prompt does nothing, so a prompt under way is
		// waited for before anybody can stop its session.
		sending, sent := outlast(ctx, promptLimit)
		err := e.host.Prompt(sending, directory, p)
		sent()
		if err == nil {
			return nil
		}
		lost, unsure = err, true
		try++
		if refused(err) {
			if found, _ := e.lookup(ctx, directory, p.Session, p.MessageID); found {
				return nil
			}
			return err
		}
	}
}

// refused reports whether OpenCode has answered a call with a no, as opposed to
// not at all.
func refused(err error) bool {
	call, ok := errors.AsType[*host.CallError](err)
	return ok && call.Status >= 400 && call.Status < 500
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

func title(t task.Task) string {
	return fmt.Sprintf("%s (@%s, %s)", t.Description, t.Agent, t.ID)
}

// Package delegate runs tasks as child sessions of OpenCode: it launches them
// under the limits, watches them to their true end, and tells the session that
// asked.
//
// One run per open task lives in memory beside its durable record. A run that
// waits for a slot costs no goroutine; one that holds a slot has a goroutine of
// its own (Engine.Run waits for it), which is the only one that ends it.
package delegate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Host is what the engine asks of OpenCode. Calls are bounded by the
// implementation, may fail at any time and are never taken for the truth twice.
type Host interface {
	CreateSession(ctx context.Context, directory string, n host.NewSession) (host.Session, error)
	Session(ctx context.Context, directory, id string) (host.Session, error)
	Prompt(ctx context.Context, directory string, p host.Prompt) error
	Abort(ctx context.Context, directory, id string) error
	Messages(ctx context.Context, directory, id string, limit int) ([]host.Message, error)
	Children(ctx context.Context, directory, id string) ([]host.Session, error)
	Statuses(ctx context.Context, directory string) (map[string]host.Status, error)
	Agents(ctx context.Context, directory string) ([]host.Agent, error)
	Toast(ctx context.Context, directory string, t host.Toast) error
	Questions(ctx context.Context, directory string) (map[string][]host.Question, error)
	ReplyPermission(ctx context.Context, directory, session, question, response string) error
}

// The errors that callers tell apart, besides those of core/task.
var (
	// ErrStopping refuses launches once the shutdown has begun.
	ErrStopping = errors.New("the sidecar is shutting down and takes no new tasks")
	// ErrEnded refuses to cancel what has ended.
	ErrEnded = errors.New("the task has already ended")
	// ErrRefused is wrapped by launches that a rule or a limit forbids.
	ErrRefused = errors.New("refused")
)

// errBug stands for what a call would have returned that panicked.
var errBug = errors.New("a bug of the sidecar got in the way; its log has the details")

// Archive gets each task that has ended in a workspace that wants one.
type Archive interface {
	Append(t task.Task) error
}

// Engine runs tasks. See New.
type Engine struct {
	store   task.Store
	host    Host
	limits  *limit.Limiter
	records record.Store
	owners  Owners
	archive Archive
	calm    func()
	log     zerolog.Logger
	ids     host.MessageIDs

	// signal tells Run that ready or nudged has grown, watch the poller that
	// there is something to watch. Both hold at most one token.
	signal, watch chan struct{}
	// quit is closed when Run begins to end.
	quit chan struct{}

	// reaping holds a token while the tasks of dead owners are judged.
	reaping chan struct{}

	// mu guards what follows. It is never held during a call to the store, the
	// host or the limiter.
	mu        sync.Mutex
	owner     string               // the OpenCode process that we serve
	places    map[string]workplace // by directory
	dead      map[string]bool      // owners that were seen dead
	born      time.Time            // what is older is an earlier sidecar's
	adopted   bool                 // what an earlier sidecar of the owner left is ours
	opening   chan struct{}        // closed when the next directory is opened
	headless  bool
	stopped   bool
	hostGone  bool
	runs      map[task.ID]*run
	bySession map[string]*run // by child session
	parents   map[string]*parent
	trees     map[string]*tree // by root session
	edits     edits
	pool      pool
	notices   map[string]*notice // by directory
	lineage   map[string]origin
	agents    map[string]agentList
	respawned time.Time   // when it was learnt that an earlier sidecar died; zero if none did
	quiet     *time.Timer // runs since the last open task has ended
	errands               // for Run
}

// workplace is a directory that OpenCode has opened.
type workplace struct {
	worktree string
	settings Settings
	closed   bool // perhaps for good
	swept    bool // and what the store knows nothing of was looked for
	reaps    int  // tries in a row that could not judge all tasks of the dead
}

// errands is what Run does next. The engine's mu guards them; signal has a token
// when there are any.
type errands struct {
	ready    []*run    // hold a slot, wait for a goroutine
	nudged   []*parent // may have something to be told
	orphaned []string  // directories in which an earlier sidecar left sessions running
	opened   []string  // directories in which dead owners may have left tasks
	ending   []doomed  // runs that an event condemned
	noted    []string  // directories that a toast is due in
	unheard  []due     // what nobody is left to be told
	unmet    []*parent // await news, and nobody has asked who speaks there
	owed     []task.ID // ended tasks that nobody checks yet
	strays   []stray   // questions of sessions that are no task's own
	calmed   bool      // no task has been open for a while
	readopt  bool      // not all tasks of an earlier sidecar could be taken over
}

// doomed is a run and why it has to end.
type doomed struct {
	run *run
	why *ending
}

// Options are what an engine is made of.
type Options struct {
	Store task.Store
	// Records keeps News; nil for a store that ends with the process.
	Records record.Store
	Host    Host
	Limits  *limit.Limiter
	// Owners tells which processes are alive; nil if only this one can see the store.
	Owners Owners
	// Archive may be nil.
	Archive Archive
	// Calm, if set, is called by a goroutine of Run's when no task has been open
	// for a moment: the time to give memory back.
	Calm func()
	Log  zerolog.Logger
}

// New returns an engine that does nothing until Run is called.
func New(o Options) *Engine {
	if o.Records == nil {
		o.Records = record.NewMemory()
	}
	return &Engine{
		store: o.Store, records: o.Records, host: o.Host, limits: o.Limits, owners: o.Owners, archive: o.Archive, calm: o.Calm, log: o.Log,
		signal: make(chan struct{}, 1), watch: make(chan struct{}, 1), quit: make(chan struct{}), reaping: make(chan struct{}, 1), opening: make(chan struct{}), born: time.Now(),
		places: map[string]workplace{}, dead: map[string]bool{}, runs: map[task.ID]*run{}, bySession: map[string]*run{},
		parents: map[string]*parent{}, trees: map[string]*tree{}, notices: map[string]*notice{},
		lineage: map[string]origin{}, agents: map[string]agentList{},
	}
}

// Serve tells which OpenCode process the tasks of this engine belong to, before
// the first workspace is opened.
func (e *Engine) Serve(owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owner = owner
}

// WorkspaceOpened sets the settings of a directory, without which
// DefaultSettings hold. At the first time it takes over what an earlier sidecar
// of the same host has left there; what a dead owner has left in the worktree is
// looked through in the background. Sessions are told what ended meanwhile.
func (e *Engine) WorkspaceOpened(ctx context.Context, directory, worktree string, s Settings) {
	e.mu.Lock()
	place := e.places[directory]
	place.worktree, place.settings, place.closed = worktree, s, false
	adopt := !e.adopted
	e.adopted = true
	// Once, and only the directories that the shim opens again at once: later such
	// sessions are people's.
	if !place.swept && !e.respawned.IsZero() && time.Since(e.respawned) < sweepWindow {
		place.swept = true
		e.orphaned = append(e.orphaned, directory)
	}
	e.places[directory] = place
	e.opened = append(e.opened, directory)
	for _, p := range e.parents {
		if p.directory == directory {
			e.nudgeLocked(p)
		}
	}
	close(e.opening)
	e.opening = make(chan struct{})
	e.mu.Unlock()
	poke(e.signal)
	if adopt {
		e.tryAdopt(ctx)
	}
}

// tryAdopt adopts, and has Run do so again until nothing is left out.
func (e *Engine) tryAdopt(ctx context.Context) {
	if err := e.adopt(ctx); err != nil {
		e.log.Error().Err(err).Msg("not all tasks of an earlier sidecar could be read")
		e.mu.Lock()
		e.laterLocked(adoptAgain, func() { e.readopt = true })
		e.mu.Unlock()
	}
}

// Headless is called in `opencode run`, which ends at the main session's first
// idle: results then reach the parent inside a continued turn instead of a wake.
func (e *Engine) Headless() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.headless = true
}

func (e *Engine) config(directory string) Settings {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.configLocked(directory)
}

func (e *Engine) configLocked(directory string) Settings {
	if place, ok := e.places[directory]; ok {
		return place.settings
	}
	return DefaultSettings()
}

// Run starts tasks that got their slot, delivers results and looks after lost
// events until ctx ends, and returns when every goroutine of the engine has.
// Call Stop first, or running tasks end as interrupted without an abort.
func (e *Engine) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(e.quit)
	defer e.restless()
	wg.Go(func() { e.poll(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.signal:
		}
		e.mu.Lock()
		next := e.errands
		e.errands = errands{}
		e.mu.Unlock()
		for _, r := range next.ready {
			wg.Go(func() { e.play(ctx, r) })
		}
		for _, p := range next.nudged {
			wg.Go(func() { e.guard("tell", func() { e.serve(ctx, p) }) })
		}
		for _, directory := range next.orphaned {
			wg.Go(func() { e.guard("sweep", func() { e.sweep(ctx, directory) }) })
		}
		for _, directory := range next.opened {
			wg.Go(func() { e.guard("reap", func() { e.reap(ctx, directory) }) })
		}
		for _, d := range next.ending {
			wg.Go(func() { e.guard("end", func() { e.end(ctx, d.run, d.why) }) })
		}
		if len(next.unheard) > 0 {
			wg.Go(func() { e.guard("told", func() { e.hush(ctx, next.unheard) }) })
		}
		for _, p := range next.unmet {
			wg.Go(func() { e.guard("meet", func() { e.meet(ctx, p) }) })
		}
		for _, id := range next.owed {
			wg.Go(func() { e.guard("review", func() { e.checks(ctx, id) }) })
		}
		for _, q := range next.strays {
			wg.Go(func() { e.guard("question", func() { e.trace(ctx, q) }) })
		}
		if next.readopt {
			wg.Go(func() { e.guard("adopt", func() { e.tryAdopt(ctx) }) })
		}
		if next.calmed && e.calm != nil {
			wg.Go(func() { e.guard("calm", e.calm) })
		}
		for _, directory := range next.noted {
			wg.Go(func() { e.guard("toast", func() { e.toast(ctx, directory) }) })
		}
	}
}

// calmAfter is how long no task must have been open.
const calmAfter = time.Second

// restLocked is called when a task has ended.
func (e *Engine) restLocked() {
	switch {
	case len(e.runs) > 0:
	case e.quiet != nil:
		e.quiet.Reset(calmAfter)
	default:
		e.quiet = time.AfterFunc(calmAfter, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			if len(e.runs) > 0 {
				return
			}
			e.runs, e.bySession = map[task.ID]*run{}, map[string]*run{} // a map never gets smaller
			e.calmed = true
			poke(e.signal)
		})
	}
}

// restless ends the wait for calm.
func (e *Engine) restless() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.quiet != nil {
		e.quiet.Stop()
	}
}

// HostGone is called when OpenCode has ended: nothing can be asked of it any
// more, and its sessions have stopped. Open tasks then stay open in the store,
// for the next process of their worktree to judge by what their sessions hold.
func (e *Engine) HostGone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	e.hostGone = e.owners != nil
}

// Stop refuses new tasks and ends the open ones as interrupted, their sessions
// aborted. It returns when they have ended or ctx has.
func (e *Engine) Stop(ctx context.Context) error {
	e.Refuse()
	return e.stopAll(ctx, "the sidecar shut down", func(*run) bool { return true })
}

// Refuse makes every further launch fail with ErrStopping.
func (e *Engine) Refuse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
}

// WorkspaceClosed takes note that OpenCode closes a directory, perhaps only to
// re-read its configuration: that aborts its sessions, which is nobody's cancel.
func (e *Engine) WorkspaceClosed(directory string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	place := e.places[directory]
	place.closed = true
	e.places[directory] = place
	delete(e.agents, directory)
	for _, r := range e.runs {
		if r.directory == directory {
			r.closed = true
		}
	}
}

// WorkspaceGone ends the tasks of a directory that OpenCode has closed for good.
func (e *Engine) WorkspaceGone(ctx context.Context, directory string) error {
	return e.stopAll(ctx, "OpenCode closed the workspace", func(r *run) bool { return r.directory == directory })
}

func (e *Engine) stopAll(ctx context.Context, reason string, which func(*run) bool) error {
	if e.bereft() {
		return nil
	}
	// The end has to be stored in time, whether the sessions stop or not.
	until := time.Now().Add(stopLimit)
	if deadline, ok := ctx.Deadline(); ok {
		until = deadline.Add(-time.Until(deadline) / 4)
	}
	e.mu.Lock()
	var runs []*run
	for _, r := range e.runs {
		if which(r) {
			runs = append(runs, r)
		}
	}
	e.mu.Unlock()
	e.condemn(&ending{state: task.Interrupted, reason: reason, until: until}, runs...)
	for i, r := range runs {
		select {
		case <-r.done:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d tasks did not end in time: %w", len(runs)-i, len(runs), context.Cause(ctx))
		}
	}
	return nil
}

// bereft reports whether open tasks are left to the next process.
func (e *Engine) bereft() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hostGone
}

// guard keeps a bug in one task's affairs from ending all the others.
func (e *Engine) guard(what string, work func()) {
	defer func() {
		if v := recover(); v != nil {
			e.log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("a bug in " + what)
		}
	}()
	work()
}

// poke puts a token into a signal channel.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

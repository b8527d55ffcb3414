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
	Statuses(ctx context.Context, directory string) (map[string]host.Status, error)
	Agents(ctx context.Context, directory string) ([]host.Agent, error)
	Toast(ctx context.Context, directory string, t host.Toast) error
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

// Settings are what users may choose for a workspace. They can change while
// tasks run; a task keeps the deadlines that it started with.
type Settings struct {
	// Timeout ends an attempt that runs for longer, Silence one that shows no sign of life.
	Timeout, Silence time.Duration
	// SyncWait is how long a synchronous delegation waits before it hands back the id.
	SyncWait time.Duration
	// PermissionWait is how long a task's question for permission waits for a
	// person before it is refused.
	PermissionWait time.Duration
	// MaxOpen is how many open tasks one session may have.
	MaxOpen int
	// MaxDepth is how deep sessions may nest.
	MaxDepth int
	// Toasts shows a toast when results arrive.
	Toasts bool
}

// DefaultSettings are design.md's defaults.
func DefaultSettings() Settings {
	return Settings{
		Timeout: 60 * time.Minute, Silence: 15 * time.Minute, SyncWait: 5 * time.Minute,
		PermissionWait: 5 * time.Minute, MaxOpen: 100, MaxDepth: 3, Toasts: true,
	}
}

// Engine runs tasks. See New.
type Engine struct {
	store  task.Store
	host   Host
	limits *limit.Limiter
	log    zerolog.Logger
	ids    host.MessageIDs

	// signal tells Run that ready or nudged has grown, watch the poller that
	// there is something to watch. Both hold at most one token.
	signal, watch chan struct{}

	// mu guards what follows. It is never held during a call to the store, the
	// host or the limiter.
	mu        sync.Mutex
	settings  map[string]Settings // by directory
	closed    map[string]bool     // directories that OpenCode has closed, perhaps for good
	headless  bool
	stopped   bool
	runs      map[task.ID]*run
	bySession map[string]*run // by child session
	parents   map[string]*parent
	ready     []*run          // hold a slot, wait for a goroutine
	nudged    []*parent       // may have something to be told
	orphaned  []string        // directories in which an earlier sidecar left tasks running
	swept     map[string]bool // which of them were looked through; nil if none died
	respawned time.Time       // when that was learnt
	lineage   map[string]origin
	agents    map[string]agentList
}

// New returns an engine that does nothing until Run is called.
func New(store task.Store, h Host, limits *limit.Limiter, log zerolog.Logger) *Engine {
	return &Engine{
		store: store, host: h, limits: limits, log: log, settings: map[string]Settings{}, closed: map[string]bool{},
		signal: make(chan struct{}, 1), watch: make(chan struct{}, 1),
		runs: map[task.ID]*run{}, bySession: map[string]*run{}, parents: map[string]*parent{},
		lineage: map[string]origin{}, agents: map[string]agentList{},
	}
}

// WorkspaceOpened sets the settings of a directory, without which
// DefaultSettings hold, and tells its sessions what ended while it was closed.
func (e *Engine) WorkspaceOpened(directory string, s Settings) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings[directory] = s
	delete(e.closed, directory)
	// Once, and only the directories that the shim opens again at once: later such
	// sessions are people's.
	if e.swept != nil && !e.swept[directory] && time.Since(e.respawned) < sweepWindow {
		e.swept[directory] = true
		e.orphaned = append(e.orphaned, directory)
		poke(e.signal)
	}
	for _, p := range e.parents {
		if p.directory == directory {
			e.nudgeLocked(p)
		}
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
	if s, ok := e.settings[directory]; ok {
		return s
	}
	return DefaultSettings()
}

// Run starts tasks that got their slot, delivers results and looks after lost
// events until ctx ends, and returns when every goroutine of the engine has.
// Call Stop first, or running tasks end as interrupted without an abort.
func (e *Engine) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { e.poll(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.signal:
		}
		e.mu.Lock()
		ready, nudged, orphaned := e.ready, e.nudged, e.orphaned
		e.ready, e.nudged, e.orphaned = nil, nil, nil
		e.mu.Unlock()
		for _, r := range ready {
			wg.Go(func() { e.play(ctx, r) })
		}
		for _, p := range nudged {
			wg.Go(func() { e.guard("tell", func() { e.serve(ctx, p) }) })
		}
		for _, directory := range orphaned {
			wg.Go(func() { e.guard("sweep", func() { e.sweep(ctx, directory) }) })
		}
	}
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
	e.closed[directory] = true
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
	for _, r := range runs {
		e.end(ctx, r, &ending{state: task.Interrupted, reason: reason, until: until})
	}
	for i, r := range runs {
		select {
		case <-r.done:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d tasks did not end in time: %w", len(runs)-i, len(runs), context.Cause(ctx))
		}
	}
	return nil
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

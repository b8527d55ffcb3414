package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrShuttingDown refuses a registration that comes after the start of the
// shutdown: nobody would ever run it, so its owner must end by itself.
var ErrShuttingDown = errors.New("lifecycle: shutting down")

// ErrPriority refuses a priority outside 0 to MaxPriority.
var ErrPriority = errors.New("lifecycle: priority must be from 0 to 100")

// ErrHandler refuses a handler without a name or a function.
var ErrHandler = errors.New("lifecycle: a handler needs a name and a function")

// Options tune a Manager. Zero values mean the house's constants.
type Options struct {
	// HandlerLimit is the longest that one handler may take.
	HandlerLimit time.Duration
	// PhaseReserve is set aside for every phase that is still to come.
	PhaseReserve time.Duration
}

// Manager holds the handlers and runs them once. It owns no goroutine before
// the shutdown, and none after it save those of abandoned handlers. It is safe
// for concurrent use.
type Manager struct {
	limit   time.Duration
	reserve time.Duration
	started chan struct{}
	done    chan struct{}
	shorter chan struct{} // one token: the deadline has come closer

	mu       sync.Mutex // guards all below; never held while a handler or hook runs
	hooks    []*hook
	handlers []*handler // by priority, then registration; the run takes them out
	running  bool
	deadline time.Time
	report   Report
}

type hook struct{ fn func() }

type handler struct {
	name     string
	priority int
	fn       func(context.Context) error
}

// New returns a Manager with nothing registered.
func New(o Options) *Manager {
	if o.HandlerLimit <= 0 {
		o.HandlerLimit = HandlerLimit
	}
	if o.PhaseReserve <= 0 {
		o.PhaseReserve = PhaseReserve
	}
	return &Manager{
		limit:   o.HandlerLimit,
		reserve: o.PhaseReserve,
		started: make(chan struct{}),
		done:    make(chan struct{}),
		shorter: make(chan struct{}, 1),
	}
}

// Register adds a handler. Lower priorities run first, equal ones together. The
// handler runs on a goroutine of its own and must return when its ctx ends;
// ctx.Deadline says when that will be at the latest. It must not wait for the
// shutdown itself.
//
// unregister takes the handler out again, unless its turn has come already; it
// may be called more than once and does not wait. The errors are
// ErrShuttingDown, ErrPriority and ErrHandler.
func (m *Manager) Register(name string, priority int, fn func(ctx context.Context) error) (unregister func(), err error) {
	if name == "" || fn == nil {
		return nil, fmt.Errorf("%w: %q", ErrHandler, name)
	}
	if priority < 0 || priority > MaxPriority {
		return nil, fmt.Errorf("%w: %s asks for %d", ErrPriority, name, priority)
	}
	h := &handler{name: name, priority: priority, fn: fn}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running {
		return nil, fmt.Errorf("%w: %s comes too late", ErrShuttingDown, name)
	}
	// After its equals: a phase is reported in the order of registration.
	at, _ := slices.BinarySearchFunc(m.handlers, priority+1, func(h *handler, p int) int {
		return cmp.Compare(h.priority, p)
	})
	m.handlers = slices.Insert(m.handlers, at, h)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if i := slices.Index(m.handlers, h); i >= 0 {
			m.handlers = slices.Delete(m.handlers, i, i+1)
		}
	}, nil
}

// Refuse adds a hook that makes its owner refuse new work. The hooks run one
// after the other at the start of a shutdown, before any handler; they must
// only flip a switch, not wait. After the start of a shutdown fn is called at
// once, on the caller's goroutine. unregister takes the hook out again.
func (m *Manager) Refuse(fn func()) (unregister func()) {
	h := &hook{fn: fn}
	m.mu.Lock()
	if m.running {
		m.mu.Unlock()
		fn()
		return func() {}
	}
	m.hooks = append(m.hooks, h)
	m.mu.Unlock()
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if i := slices.Index(m.hooks, h); i >= 0 {
			m.hooks = slices.Delete(m.hooks, i, i+1)
		}
	}
}

// Shutdown runs the refuse hooks and then the handlers, and returns the report.
// There is one run however many ask: a caller who comes while it goes on waits
// for the same report, and one who comes later gets it at once. A caller whose
// budget ends before the run's deadline moves the deadline there; nobody can
// move it away. A budget of zero or less runs the hooks and skips every handler
// whose turn has not come.
//
// The end of ctx ends only the waiting, never the run: the report is then not
// Complete. Handlers see the values of the first caller's ctx.
func (m *Manager) Shutdown(ctx context.Context, reason string, budget time.Duration) Report {
	m.ask(ctx, reason, budget)
	select {
	case <-m.done:
	case <-ctx.Done():
	}
	return m.Report()
}

func (m *Manager) ask(ctx context.Context, reason string, budget time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	deadline := now.Add(budget)
	if !m.running {
		m.running = true
		m.deadline = deadline
		m.report = Report{Reason: reason, Started: now, Budget: budget}
		close(m.started)
		go m.run(context.WithoutCancel(ctx))
		return
	}
	if m.report.Complete || !deadline.Before(m.deadline) {
		return
	}
	m.deadline = deadline
	m.report.Budget = deadline.Sub(m.report.Started)
	select {
	case m.shorter <- struct{}{}:
	default: // the token is there already, and the run reads the deadline itself
	}
}

// Report returns the report as far as the run has come: the zero Report before
// a shutdown, and what Shutdown returns after it. The handler that closes the
// logs can write it down as its last line.
func (m *Manager) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.report
	r.Handlers = slices.Clone(r.Handlers)
	if m.running && !r.Complete {
		r.Took = time.Since(r.Started)
	}
	return r
}

// Started is closed at the very start of a shutdown, before the refuse hooks.
func (m *Manager) Started() <-chan struct{} { return m.started }

// Done is closed when a shutdown has ended and its report is complete.
func (m *Manager) Done() <-chan struct{} { return m.done }

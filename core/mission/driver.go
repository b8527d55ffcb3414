package mission

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Host is what the driver asks of OpenCode. Calls are bounded by the
// implementation and may fail at any time.
type Host interface {
	Session(ctx context.Context, directory, id string) (host.Session, error)
	Prompt(ctx context.Context, directory string, p host.Prompt) error
	Abort(ctx context.Context, directory, id string) error
	Messages(ctx context.Context, directory, id string, limit int) ([]host.Message, error)
	Statuses(ctx context.Context, directory string) (map[string]host.Status, error)
	Toast(ctx context.Context, directory string, t host.Toast) error
}

// Tasks is what the driver asks of the delegated tasks.
type Tasks interface {
	// Unsettled reports whether a session has open tasks, or ended ones of which
	// it has not been told.
	Unsettled(session string) bool
	// OpenOf lists the open tasks of a session, oldest first.
	OpenOf(session string) []delegate.Open
	// CancelOf cancels the open tasks of a session and returns how many.
	CancelOf(session, reason string) int
	// Spent is what all tasks below a session have used.
	Spent(ctx context.Context, root string) (task.Usage, error)
	// Ours reports whether a message of a session was sent for its tasks.
	Ours(session, messageID string) bool
	// Agents lists the agents that can be delegated to.
	Agents(ctx context.Context, directory string) ([]host.Agent, error)
}

// Todos are the todo files of the open worktrees.
type Todos interface {
	Watch(worktree string)
	Read(worktree string) (*todo.Document, error)
	Merge(ctx context.Context, worktree string, base todo.Base, todos []todo.Todo, o todo.MergeOptions, create bool) (todo.Base, error)
}

// Store keeps missions; see core/record.
type Store interface {
	Put(ctx context.Context, r record.Record) (record.Record, error)
	Get(ctx context.Context, Kind, key string) (record.Record, error)
	List(ctx context.Context, q record.Query) ([]record.Record, error)
	Delete(ctx context.Context, Kind, key string) error
}

// Kind is that of our records; their key is the session.
const Kind = "mission"

// Options are what a driver is made of.
type Options struct {
	Store Store
	Host  Host
	Tasks Tasks
	Todos Todos
	// Lives tells whether the OpenCode process of an owner runs; nil if only this
	// process can see the store.
	Lives func(owner string) bool
	Log   zerolog.Logger
}

// Driver drives the missions of one OpenCode process. See New.
type Driver struct {
	store Store
	host  Host
	tasks Tasks
	todos Todos
	lives func(string) bool
	log   zerolog.Logger
	ids   host.MessageIDs

	// signal tells Run that ready or errands have grown. One token.
	signal chan struct{}

	// mu guards what follows. It is never held during a call to anybody.
	mu       sync.Mutex
	owner    string
	headless bool
	stopped  bool
	places   map[string]place     // open directories
	missions map[string]*mission  // by session: those that are not over
	asides   map[string]time.Time // sessions whose next message only carries an answer of ours
	ready    []*mission           // want a goroutine
	errands  []func(context.Context)
}

// place is a directory that OpenCode has open.
type place struct {
	worktree string
	settings Settings
}

// mission is one that is not over. The driver's mu guards it, except what never
// changes.
type mission struct {
	session, directory, worktree string

	State
	version int64         // of the record
	writing chan struct{} // holds a token: writes of one mission take turns

	driving bool          // a goroutine looks after it
	hints   chan struct{} // look: something may have happened. One token
	quit    chan struct{} // closed when this process lets go of it

	// adopted is when this process took it over: no person stopped a turn that was
	// cut off before, by a reload or the end of another sidecar.
	adopted time.Time
	asked   time.Time // when a turn was last asked for, which may not have begun yet
	stirred int       // counts what ends a countdown: words of a person, a turn that begins
	agent   string    // of the newest message of a person
	tries   int       // to get the newest continuation through
	doubt   time.Time // since when the list is gone or cannot be read

	todos []todo.Todo // OpenCode's list, to be merged; nil for none
	spend spending
	calls map[string]string // those since the newest continuation, by id, as events told

	// Headless only: the message whose turn is about to end, and the last one that
	// was gone on from.
	ending, continued string
}

// New returns a driver that does nothing until Run is called.
func New(o Options) *Driver {
	if o.Lives == nil {
		o.Lives = func(string) bool { return false }
	}
	return &Driver{
		store: o.Store, host: o.Host, tasks: o.Tasks, todos: o.Todos, lives: o.Lives, log: o.Log,
		signal: make(chan struct{}, 1), places: map[string]place{}, missions: map[string]*mission{}, asides: map[string]time.Time{},
	}
}

// Serve tells which OpenCode process the missions of this driver belong to,
// before the first workspace is opened.
func (d *Driver) Serve(owner string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owner = owner
}

// Headless is called in `opencode run`, which ends at the main session's first
// idle: a mission then goes on before its turn is over, without a countdown.
func (d *Driver) Headless() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.headless = true
}

// WorkspaceOpened sets the settings of a directory and goes on with the missions
// that an earlier sidecar of the same OpenCode process, or the directory's last
// close, has left there.
func (d *Driver) WorkspaceOpened(ctx context.Context, directory, worktree string, s Settings) {
	d.mu.Lock()
	d.places[directory] = place{worktree, s}
	owner := d.owner
	d.mu.Unlock()
	left, err := d.store.List(ctx, record.Query{Kind: Kind, Owner: owner, Worktree: worktree, Open: true, Limit: adoptLimit})
	if err != nil {
		d.log.Error().Err(err).Str("directory", directory).Msg("missions of an earlier sidecar not readable")
		return
	}
	for _, r := range left {
		if s, err := decode(r.Body); err != nil {
			d.log.Error().Err(err).Str("session", r.Key).Msg("mission not taken over")
		} else if s.Directory == directory {
			d.adopt(r, s)
		}
	}
}

// adoptLimit bounds how many missions of one process are gone on with.
const adoptLimit = 100

// adopt takes a stored mission into memory, unless it is there.
func (d *Driver) adopt(r record.Record, s State) *mission {
	d.mu.Lock()
	at, open := d.places[s.Directory]
	m := d.missions[r.Key]
	if m != nil || !open || s.Phase.Over() || d.stopped {
		d.mu.Unlock()
		return m
	}
	m = newMission(s, at.worktree)
	m.version, m.adopted = r.Version, time.Now()
	d.missions[r.Key] = m
	d.nudgeLocked(m)
	d.mu.Unlock()
	d.todos.Watch(m.worktree)
	return m
}

func newMission(s State, worktree string) *mission {
	return &mission{
		session: s.Session, directory: s.Directory, worktree: worktree, State: s,
		writing: make(chan struct{}, 1), hints: make(chan struct{}, 1), quit: make(chan struct{}), calls: map[string]string{},
	}
}

// WorkspaceClosed lets go of the missions of a directory, which end nothing by
// that: they go on when it is opened again.
func (d *Driver) WorkspaceClosed(directory string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.places, directory)
	for _, m := range d.missions {
		if m.directory == directory {
			d.dropLocked(m)
		}
	}
}

// dropLocked forgets a mission: it is over, or no longer ours to drive.
func (d *Driver) dropLocked(m *mission) {
	if d.missions[m.session] == m {
		delete(d.missions, m.session)
		close(m.quit)
	}
}

// Run drives missions until ctx ends, and returns when all its goroutines have.
func (d *Driver) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.signal:
		}
		d.mu.Lock()
		ready, errands := d.ready, d.errands
		d.ready, d.errands = nil, nil
		d.mu.Unlock()
		for _, m := range ready {
			wg.Go(func() { d.guard("drive", func() { d.drive(ctx, m) }) })
		}
		for _, errand := range errands {
			wg.Go(func() { d.guard("errand", func() { errand(ctx) }) })
		}
	}
}

// Stop has the driver send nothing any more. Missions stay as they are stored.
func (d *Driver) Stop(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	for _, m := range d.missions {
		d.dropLocked(m)
	}
	return nil
}

// nudgeLocked has a mission looked at soon.
func (d *Driver) nudgeLocked(m *mission) {
	select {
	case m.hints <- struct{}{}:
	default:
	}
	if m.Phase != Active || m.driving || d.stopped || d.missions[m.session] != m {
		return
	}
	m.driving = true
	d.ready = append(d.ready, m)
	d.pokeLocked()
}

// errandLocked has Run do something in a goroutine of its own.
func (d *Driver) errandLocked(work func(context.Context)) {
	d.errands = append(d.errands, work)
	d.pokeLocked()
}

func (d *Driver) pokeLocked() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// guard keeps a bug in one mission's affairs from ending all the others.
func (d *Driver) guard(what string, work func()) {
	defer func() {
		if v := recover(); v != nil {
			d.log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("a bug in " + what)
		}
	}()
	work()
}

// save changes a mission and stores it. The change holds in any case; the error
// says that it may not be there after a crash.
func (d *Driver) save(ctx context.Context, m *mission, change func(*State)) error {
	d.mu.Lock()
	change(&m.State)
	if m.Phase.Over() {
		d.dropLocked(m)
	}
	d.mu.Unlock()
	err := d.flush(ctx, m)
	if err != nil {
		d.log.Error().Err(err).Str("session", m.session).Msg("mission not stored")
		err = fmt.Errorf("the mission could not be stored: %w", err)
	}
	return err
}

// staleTries is how often a write is repeated of which the store says that it is
// behind another one of this process.
const staleTries = 3

// flush stores a mission as it now stands. Writes of one mission take turns.
func (d *Driver) flush(ctx context.Context, m *mission) error {
	select {
	case m.writing <- struct{}{}:
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		d.errandLocked(func(ctx context.Context) { _ = d.save(ctx, m, func(*State) {}) })
		return context.Cause(ctx)
	}
	defer func() { <-m.writing }()
	for try := 1; ; try++ {
		d.mu.Lock()
		s, version, owner, now := m.State, m.version, d.owner, d.missions[m.session]
		d.mu.Unlock()
		if now != nil && now != m {
			return nil // it was let go of, and is another's to write
		}
		body, err := s.encode()
		if err != nil {
			return err
		}
		stored, err := d.store.Put(ctx, record.Record{
			Kind: Kind, Key: m.session, Worktree: m.worktree, Owner: owner, Open: !s.Phase.Over(), Body: body, Version: version,
		})
		stale := errors.Is(err, record.ErrStale)
		d.mu.Lock()
		if err == nil || stale && stored.Owner == owner { // then a write of ours came to it that we were not told of
			m.version = stored.Version
		} else if stale {
			d.dropLocked(m) // another process has taken it
		}
		d.mu.Unlock()
		if err == nil || !stale || stored.Owner != owner || try == staleTries {
			return err
		}
	}
}

// settings are those of a mission's directory.
func (d *Driver) settings(directory string) Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, open := d.places[directory]; open {
		return at.settings
	}
	return DefaultSettings()
}

// toastLimit bounds a toast, which is a courtesy.
const toastLimit = 2 * time.Second

func (d *Driver) toast(ctx context.Context, m *mission, variant string, duration time.Duration, text string) {
	if !d.settings(m.directory).Toasts {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, toastLimit)
	defer cancel()
	_ = d.host.Toast(ctx, m.directory, host.Toast{Title: "Mission", Message: text, Variant: variant, Duration: duration})
}

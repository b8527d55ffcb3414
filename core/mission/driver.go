package mission

import (
	"context"
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
	// CancelOf cancels the open tasks of a session, which is not told of their end,
	// and returns how many.
	CancelOf(session, reason string) int
	// Hold keeps news of a session's tasks back until a person next speaks there,
	// after the message that is about to be stored.
	Hold(session, directory string)
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
	Get(ctx context.Context, kind, key string) (record.Record, error)
	List(ctx context.Context, q record.Query) ([]record.Record, error)
	Delete(ctx context.Context, kind, key string) error
}

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
	closed   map[string]time.Time // when a directory was last closed
	missions map[string]*mission  // by session: those that are not over, or not stored so
	sent     []string             // our newest messages
	asides   map[string]aside     // sessions whose next message is that of a command of ours
	ready    []*mission           // want a goroutine
	errands  []func(context.Context)
}

// place is a directory that OpenCode has open.
type place struct {
	worktree string
	settings Settings
}

// aside is a command whose message comes next: to the mission it is no word of a
// person's.
type aside struct {
	at time.Time
	// silent says that it is none to the agent either: it only carries an answer.
	silent bool
}

// mission is one in memory. The driver's mu guards it, except what never changes.
type mission struct {
	session, directory, worktree string

	state   State
	version int64         // of the record
	writing chan struct{} // holds a token: writes of one mission take turns
	unsaved bool          // a write is due

	driving bool          // a goroutine looks after it
	hints   chan struct{} // look: something may have happened. One token
	quit    chan struct{} // closed when this process lets go of it

	// stirred counts what makes a judgement under way worthless, and ends a
	// countdown: words of a person, a turn that begins.
	stirred int
	awaited time.Time // when a turn was last asked for, which may not have begun yet
	heard   string    // the newest message of a person
	hooked  []string  // the newest messages of which a hook told
	paused  time.Time // when it was last paused
	escaped bool      // its turn was aborted
	// reloaded is until when aborts were OpenCode's own, which reads its
	// configuration anew.
	reloaded time.Time
	tries    int       // to get the newest continuation through
	doubt    time.Time // since when the list is gone or cannot be read

	todos  []todo.Todo // OpenCode's list, to be merged; nil for none
	span   spending
	calls  map[string]string // those since the newest continuation, by id, as events told
	latest *outlook          // what was last read of the files and the tasks

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
		signal: make(chan struct{}, 1), places: map[string]place{}, closed: map[string]time.Time{},
		missions: map[string]*mission{}, asides: map[string]aside{},
	}
}

func newMission(s State, worktree string) *mission {
	return &mission{
		session: s.Session, directory: s.Directory, worktree: worktree, state: s, span: newSpending(), paused: time.Now(),
		writing: make(chan struct{}, 1), hints: make(chan struct{}, 1), quit: make(chan struct{}), calls: map[string]string{},
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

// adoptLimit bounds how many missions of one process are gone on with, those that
// are over included: the newest count.
const adoptLimit = 200

// WorkspaceOpened sets the settings of a directory and goes on with the missions
// that an earlier sidecar of the same OpenCode process, or the directory's last
// close, has left there.
func (d *Driver) WorkspaceOpened(ctx context.Context, directory, worktree string, s Settings) {
	d.mu.Lock()
	d.places[directory] = place{worktree, s}
	owner := d.owner
	d.mu.Unlock()
	d.resumeUnsaved(directory)
	left, err := d.store.List(ctx, record.Query{Kind: Kind, Owner: owner, Worktree: worktree, Limit: adoptLimit})
	if err != nil {
		d.log.Error().Err(err).Str("directory", directory).Msg("missions of an earlier sidecar not readable")
		return
	}
	for _, r := range left {
		s, err := decode(r.Body)
		switch {
		case err != nil:
			d.log.Error().Err(err).Str("session", r.Key).Msg("mission not taken over")
		case s.Directory != directory:
		case r.Open:
			d.adopt(r, s)
		case s.Held:
			d.tasks.Hold(s.Session, directory)
		}
	}
}

// resumeUnsaved goes on with missions that the directory's last close could not
// let go of, because they are not stored as they stand.
func (d *Driver) resumeUnsaved(directory string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.missions {
		if m.directory == directory {
			m.reloaded = time.Now()
			d.nudgeLocked(m)
		}
	}
}

// adopt takes a stored mission into memory, unless it is there. It returns nil if
// there is nothing to drive.
func (d *Driver) adopt(r record.Record, s State) *mission {
	d.mu.Lock()
	at, open := d.places[s.Directory]
	m := d.missions[r.Key]
	if m != nil || !open || s.Phase.Over() || d.stopped {
		d.mu.Unlock()
		return m
	}
	m = newMission(s, at.worktree)
	m.version = r.Version
	m.span.floor, m.span.began = s.Counted, s.Counted
	if _, reload := d.closed[s.Directory]; reload {
		m.reloaded = time.Now()
	}
	d.missions[r.Key] = m
	d.nudgeLocked(m)
	d.mu.Unlock()
	d.todos.Watch(m.worktree)
	return m
}

// WorkspaceClosed lets go of the missions of a directory, which end nothing by
// that: they go on when it is opened again.
func (d *Driver) WorkspaceClosed(directory string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.places, directory)
	d.closed[directory] = time.Now()
	for _, m := range d.missions {
		switch {
		case m.directory != directory:
		case m.unsaved: // the store knows less than we do
			poke(m.hints)
		default:
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
			wg.Go(func() { d.drive(ctx, m) })
		}
		for _, errand := range errands {
			wg.Go(func() {
				defer d.caught("an errand", func() {})
				errand(ctx)
			})
		}
	}
}

// caught is deferred: it keeps a bug in one mission's affairs from ending all the
// others, and then calls cleanup.
func (d *Driver) caught(what string, cleanup func()) {
	if v := recover(); v != nil {
		d.log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("a bug in " + what)
		cleanup()
	}
}

// Stop has the driver begin nothing any more. Missions stay as they are stored.
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
	poke(m.hints)
	if m.driving || !d.activeLocked(m) {
		return
	}
	m.driving = true
	d.ready = append(d.ready, m)
	poke(d.signal)
}

// activeLocked reports whether a mission is ours to go on with.
func (d *Driver) activeLocked(m *mission) bool {
	_, open := d.places[m.directory]
	return m.state.Phase == Active && d.missions[m.session] == m && open && !d.stopped
}

// errandLocked has Run do something in a goroutine of its own.
func (d *Driver) errandLocked(work func(context.Context)) {
	d.errands = append(d.errands, work)
	poke(d.signal)
}

// poke puts a token into a signal channel.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settings are those of a directory.
func (d *Driver) settings(directory string) Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settingsLocked(directory)
}

func (d *Driver) settingsLocked(directory string) Settings {
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

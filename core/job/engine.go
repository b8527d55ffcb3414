package job

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
)

// What an engine does when Options say nothing else.
const (
	DefaultLimit   = 5
	DefaultTimeout = 5 * time.Minute
	DefaultGrace   = 2 * time.Second
	DefaultBuffer  = 1 << 20
	DefaultKeep    = 1000
	DefaultMemory  = 16 << 20
)

const (
	// IDPrefix begins every id.
	IDPrefix = "job_"
	// maxWaiting is how many commands may wait for a place, maxHeldBack how many
	// bytes they may have together: their lines, variables and input.
	maxWaiting  = 1000
	maxHeldBack = 64 << 20
	// stopGrace is what commands get to end by themselves when Run ends without a
	// Stop before it.
	stopGrace = 200 * time.Millisecond
	// storeLimit bounds one call to the store that nobody waits for.
	storeLimit = 5 * time.Second
)

// Owners tells whether the owner of a record is alive.
type Owners interface {
	Alive(owner string) (bool, error)
}

// NoTimeout is the timeout of a command that may run for ever.
const NoTimeout = time.Duration(math.MaxInt64)

// Settings are what a user may set while commands run, which go on with what they
// were started with. Zero values mean the defaults above.
type Settings struct {
	// Limit is how many commands run at once; the others wait.
	Limit int
	// Timeout is how long a command may run that does not say.
	Timeout time.Duration
	// Buffer is how many bytes of each stream are kept in memory.
	Buffer int
	// Logs keeps the output of every command in files, LogAge is how old these get.
	Logs   bool
	LogAge time.Duration
}

func (s Settings) orDefault() Settings {
	s.Limit = cmp.Or(max(s.Limit, 0), DefaultLimit)
	s.Timeout = cmp.Or(max(s.Timeout, 0), DefaultTimeout)
	s.Buffer = cmp.Or(max(s.Buffer, 0), DefaultBuffer)
	s.LogAge = cmp.Or(max(s.LogAge, 0), DefaultSpillAge)
	return s
}

// Options are what an engine is made of. Zero values mean the defaults above.
type Options struct {
	// Keeper starts and ends the processes; whoever made it decides whether this
	// process adopts orphans. Needed.
	Keeper *proc.Keeper
	// Store remembers what runs, for the next start; nil if nothing does.
	Store Store
	// Owners tells which OpenCode processes are alive; nil if only the identity of
	// their sidecar does.
	Owners Owners
	// Settings are what Configure may change.
	Settings
	// Grace is the time between asking a command's processes to end and killing
	// them.
	Grace time.Duration
	// Keep is how many ended commands are remembered, Memory how many bytes of
	// their output all of them may take; beyond that it is read from files, where
	// there are any.
	Keep   int
	Memory int64
	// Shell is the program, with its arguments, that gets the line as its last one;
	// nil for what DefaultShell finds.
	Shell []string
	// Env is the environment of the commands, as "name=value"; nil for this
	// process' own.
	Env []string
	// Spill says where output is kept in files.
	Spill Spill
	// Started, if set, is called by Start for each command that it takes in and has
	// recorded, as it is before it runs or waits: Ended follows later, unless Start
	// returns ErrStopping. It must not call the engine.
	Started func(j Job)
	// Seen, if set, is called when the session that launched a command and wants to
	// be told of its end has read of that end through a tool, once Ended has returned
	// for it; perhaps more than once.
	Seen func(ctx context.Context, j Job)
	// Ended, if set, is called once for each command that has ended, on a goroutine
	// of the engine's; those of an earlier sidecar included. The command is recorded
	// until it returns, so that a crash before makes the next start call it again.
	// It must not call Stop.
	Ended func(ctx context.Context, j Job)
	Log   zerolog.Logger
}

// Engine runs background commands. It is safe for concurrent use. See New.
type Engine struct {
	o       Options
	self    string // the Identity of this process
	running sync.WaitGroup

	// mu guards what follows and is taken before a run's, never after it. It is
	// never held during a call to the store or while a process is started.
	mu       sync.Mutex
	owner    string
	settings Settings
	begun    bool // Run has been called
	stopped  bool
	active   int
	queue    []*run
	runs     map[string]*run
	ended    []*run // the one that ended first is first
}

// New returns an engine that starts nothing until Run is called.
func New(o Options) *Engine {
	o.Grace = cmp.Or(max(o.Grace, 0), DefaultGrace)
	o.Keep = cmp.Or(max(o.Keep, 0), DefaultKeep)
	o.Memory = cmp.Or(max(o.Memory, 0), DefaultMemory)
	if o.Store == nil {
		o.Store = forgetful{}
	}
	if len(o.Shell) == 0 {
		o.Shell = DefaultShell(os.Getenv)
	}
	if o.Seen == nil {
		o.Seen = func(context.Context, Job) {}
	}
	if o.Started == nil {
		o.Started = func(Job) {}
	}
	if o.Ended == nil {
		o.Ended = func(context.Context, Job) {}
	}
	self, err := proc.Identity(os.Getpid())
	if err != nil {
		self = fmt.Sprintf("%d-", os.Getpid()) // dead to all others, as it cannot be recognised
	}
	return &Engine{o: o, self: self, settings: o.Settings.orDefault(), runs: map[string]*run{}}
}

// Serve tells which OpenCode process the commands belong to, before the first one.
func (e *Engine) Serve(owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owner = owner
}

// Configure changes the settings.
func (e *Engine) Configure(s Settings) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settings = s.orDefault()
	e.fillLocked(context.Background())
}

// Run runs commands until ctx ends, and returns when every goroutine of the engine
// has. Call Stop first, or what still runs gets only a short time to end.
func (e *Engine) Run(ctx context.Context) {
	e.mu.Lock()
	e.begun = true
	e.fillLocked(ctx)
	e.mu.Unlock()
	e.o.Keeper.Run(ctx)
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*stopGrace)
	defer cancel()
	if err := e.Stop(last); err != nil {
		e.o.Log.Error().Err(err).Msg("background commands not ended in time")
	}
	e.running.Wait()
}

// Start takes in a command and returns it as it is then: it runs, could not be
// started (its state says so, that is no error here), or waits for a place. It is recorded first, so that a crash of this process leaves
// nothing that the next start does not end. The errors are FieldError, ErrFull,
// ErrStopping and those of the store.
func (e *Engine) Start(ctx context.Context, s Spec) (Job, error) {
	if err := s.check(); err != nil {
		return Job{}, err
	}
	r := e.newRun(s)
	e.mu.Lock()
	if err := e.acceptLocked(r); err != nil {
		e.mu.Unlock()
		return Job{}, err
	}
	e.mu.Unlock()
	err := r.record(ctx)
	if err != nil {
		err = fmt.Errorf("record the command: %w", err)
	} else {
		e.o.Started(r.snapshot())
	}
	e.mu.Lock()
	if err == nil && e.stopped {
		err = ErrStopping
	}
	if err != nil {
		delete(e.runs, r.id)
		e.mu.Unlock()
		r.erase(context.WithoutCancel(ctx)) // it may have been stored all the same
		close(r.done)
		close(r.told)
		return Job{}, err
	}
	e.queue = append(e.queue, r)
	e.fillLocked(ctx)
	waits := slices.Contains(e.queue, r)
	e.mu.Unlock()
	if !waits {
		select {
		case <-r.begun:
		case <-ctx.Done(): // it goes on all the same
		}
	}
	return e.look(r), nil
}

// acceptLocked gives a run its id, unless it cannot be taken in.
func (e *Engine) acceptLocked(r *run) error {
	switch {
	case e.stopped:
		return ErrStopping
	case len(e.queue) >= maxWaiting, e.heldBackLocked()+r.spec.size() > maxHeldBack:
		return fmt.Errorf("%w: %d", ErrFull, len(e.queue))
	}
	for r.id = newID(); e.runs[r.id] != nil; {
		r.id = newID()
	}
	r.job.ID, r.owner = r.id, e.owner
	e.runs[r.id] = r
	return nil
}

func (e *Engine) heldBackLocked() (n int) {
	for _, r := range e.queue {
		n += r.spec.size()
	}
	return n
}

func newID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return IDPrefix + hex.EncodeToString(b[:])
}

// fillLocked starts waiting commands as long as there is a place.
func (e *Engine) fillLocked(ctx context.Context) {
	for e.begun && !e.stopped && e.active < e.settings.Limit && len(e.queue) > 0 {
		r := e.queue[0]
		e.queue = slices.Delete(e.queue, 0, 1)
		e.active++
		// What it waits for has deadlines of its own; nobody else's ctx ends it.
		ctx := context.WithoutCancel(ctx)
		e.running.Go(func() { r.play(ctx) })
	}
}

// retire takes a run for ended, and gives the place that it had to the next one.
func (e *Engine) retire(ctx context.Context, r *run, hadPlace bool) {
	e.mu.Lock()
	full := len(e.ended) >= e.o.Keep
	e.mu.Unlock()
	if full { // some may go whose daemons have ended
		e.recount(ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if hadPlace {
		e.active--
	}
	e.retireLocked(r)
	e.fillLocked(ctx)
}

// retireLocked puts a run among those that have ended. The output of those that
// ended first goes first, then they themselves, unless processes of theirs live
// on.
func (e *Engine) retireLocked(r *run) {
	e.ended = append(e.ended, r)
	for i := 0; len(e.ended) > e.o.Keep && i < len(e.ended); {
		if old := e.ended[i]; old.left() > 0 {
			i++
		} else {
			delete(e.runs, old.id)
			e.ended = slices.Delete(e.ended, i, i+1)
		}
	}
	memory := int64(0)
	for i, old := range slices.Backward(e.ended) {
		// Somebody is about to be told of the last one.
		if memory += old.kept(); memory > e.o.Memory && i < len(e.ended)-1 {
			memory -= old.forget()
		}
	}
}

// recount looks which of the daemons that ended commands have left still live.
func (e *Engine) recount(ctx context.Context) {
	e.mu.Lock()
	ended := slices.Clone(e.ended)
	e.mu.Unlock()
	for _, r := range ended {
		if err := r.recount(ctx); err != nil {
			e.o.Log.Warn().Err(err).Str("job", r.id).Msg("who is left of a background command is not known")
		}
	}
}

// writes reports whether a command may still print something.
func (e *Engine) writes(id string) bool {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	return r != nil && !r.snapshot().State.Terminal()
}

// find returns a run by its id.
func (e *Engine) find(id string) (*run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.runs[id]; r != nil {
		return r, nil
	}
	return nil, unknown(id)
}

func unknown(id string) error {
	return &FieldError{Field: "taskId", Reason: fmt.Sprintf("there is no background command %q", id), Err: ErrUnknown}
}

// look returns a run as it is now, with its place in the queue.
func (e *Engine) look(r *run) Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lookLocked(r)
}

func (e *Engine) lookLocked(r *run) Job {
	j := r.snapshot()
	if j.State == Pending {
		j.Position = slices.Index(e.queue, r) + 1
	}
	return j
}

// Get returns a command. The error is a FieldError that wraps ErrUnknown.
func (e *Engine) Get(id string) (Job, error) {
	r, err := e.find(id)
	if err != nil {
		return Job{}, err
	}
	return e.look(r), nil
}

// seen tells that a session has read how its command ended.
func (e *Engine) seen(ctx context.Context, j Job) {
	r, err := e.find(j.ID)
	if err != nil {
		return // forgotten meanwhile
	}
	select {
	case <-r.told: // else it could be told a moment later
		e.o.Seen(ctx, j)
	case <-ctx.Done():
	}
}

// List returns the commands, the one that was launched last first. Of those that
// have ended it counts anew who is left.
func (e *Engine) List(ctx context.Context) []Job {
	e.recount(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Job, 0, len(e.runs))
	for _, r := range e.runs {
		out = append(out, e.lookLocked(r))
	}
	slices.SortFunc(out, func(a, b Job) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return out
}

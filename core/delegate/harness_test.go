package delegate

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/work/project"

// rig is an engine over a fake OpenCode, in a synctest bubble.
type rig struct {
	*testing.T
	engine  *Engine
	host    *fake.OpenCode
	limits  *limit.Limiter
	store   task.Store
	records record.Store
	main    string // a session that a person opened
	way     way
	max     int
	owners  *owners
	life    *life
	hears   atomic.Pointer[Engine] // the events
	cancel  func()

	// settings changes those with which the next engine opens its workspace.
	settings func(*Settings)
}

// through has the engine call h from now on: the fake, or something around it.
func (r *rig) through(h Host) { r.way.Store(&h) }

// way is a Host that can be exchanged while it is used.
type way struct{ atomic.Pointer[Host] }

func (w *way) to() Host { return *w.Load() }

func (w *way) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	return w.to().CreateSession(ctx, d, n)
}
func (w *way) Session(ctx context.Context, d, id string) (host.Session, error) {
	return w.to().Session(ctx, d, id)
}
func (w *way) Prompt(ctx context.Context, d string, p host.Prompt) error {
	return w.to().Prompt(ctx, d, p)
}
func (w *way) Abort(ctx context.Context, d, id string) error { return w.to().Abort(ctx, d, id) }
func (w *way) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	return w.to().Messages(ctx, d, id, n)
}
func (w *way) Statuses(ctx context.Context, d string) (map[string]host.Status, error) {
	return w.to().Statuses(ctx, d)
}
func (w *way) Children(ctx context.Context, d, id string) ([]host.Session, error) {
	return w.to().Children(ctx, d, id)
}
func (w *way) Questions(ctx context.Context, d string) (map[string][]host.Question, error) {
	return w.to().Questions(ctx, d)
}
func (w *way) Agents(ctx context.Context, d string) ([]host.Agent, error) {
	return w.to().Agents(ctx, d)
}
func (w *way) ReplyPermission(ctx context.Context, d, id, q, reply string) error {
	return w.to().ReplyPermission(ctx, d, id, q, reply)
}
func (w *way) Toast(ctx context.Context, d string, t host.Toast) error {
	return w.to().Toast(ctx, d, t)
}

// play runs test in a bubble with an engine whose agents may run max at a time.
// When test returns, everything has to come to an end by itself.
func play(t *testing.T, max int, answer func(host.Prompt, host.Session) fake.Reply, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, host: fake.New(answer), store: memstore.New(), records: record.NewMemory(), max: max, owners: &owners{dead: map[string]bool{}}}
		r.through(r.host)
		r.host.Emit = func(d string, ev host.Event) {
			if e := r.hears.Load(); e != nil {
				e.Event(d, ev)
			}
		}
		r.main = r.host.Open(dir)
		r.start("host-1")
		defer func() {
			r.stop()
			r.host.Close()
		}()
		test(t, r)
	})
}

// start starts an engine that serves an OpenCode process.
func (r *rig) start(owner string) {
	limits, err := limit.New(limit.Options{Defaults: map[limit.Level]int{limit.Agent: r.max}})
	if err != nil {
		r.Fatal(err)
	}
	r.limits, r.life = limits, &life{Store: r.store}
	r.engine = New(Options{Store: r.life, Records: r.records, Host: mortal{&r.way, r.life}, Limits: limits, Owners: r.owners, Log: zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.InfoLevel)})
	r.engine.Serve(owner)
	r.owners.set(owner, true)
	r.configure(func(s *Settings) {
		s.MaxOpen, s.MaxTree = 100_000, 100_000
		if r.settings != nil {
			r.settings(s)
		}
	})
	r.hears.Store(r.engine)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	engine := r.engine
	go func() { engine.Run(ctx); close(ended) }()
	r.cancel = func() { cancel(); <-ended }
	synctest.Wait() // what it does first is done: a test may put another store under it
}

// stop ends the engine in order.
func (r *rig) stop() {
	stop, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	if err := r.engine.Stop(stop); err != nil {
		r.Error(err)
	}
	r.atRest()
	r.end()
	for _, k := range r.limits.Stats() {
		if k.InUse != 0 {
			r.Errorf("%s: %d leases are still held", k.Key, k.InUse)
		}
	}
}

// end ends what runs, without a word to anybody who waits for a slot.
func (r *rig) end() {
	if _, err := r.limits.Close(context.Background()); err != nil {
		r.Error(err)
	}
	r.cancel()
}

// atRest fails the test if a task's session is at work although the engine has
// stopped, unless the task says so itself or its OpenCode process counts as gone.
// Turns that a test or a person began in a session of their own may go on.
func (r *rig) atRest() {
	r.Helper()
	r.host.Fault(nil)
	synctest.Wait() // a turn shows its end a moment before it is over
	busy, err := r.host.Statuses(context.Background(), dir)
	if err != nil {
		r.Fatal(err)
	}
	for session := range busy {
		if _, err := r.host.Session(context.Background(), dir, session); host.NotFound(err) {
			continue // deleted: its turn cannot be stopped any more
		}
		page, err := r.store.List(context.Background(), task.Query{Session: session, Limit: 1})
		if err != nil {
			r.Fatal(err)
		}
		for _, t := range page.Tasks {
			alive, _ := r.owners.Alive(t.Owner)
			if alive && !strings.Contains(t.Error, "not confirmed") {
				r.Errorf("the session of %s is at work although the engine has stopped: %s %s", t.ID, t.State, t.Error)
			}
		}
	}
}

// kill ends the engine as SIGKILL does: nothing of it reaches the host or the
// store any more. OpenCode goes on.
func (r *rig) kill() {
	r.hears.Store(nil)
	r.life.dead.Store(true)
	r.cancel()
	_, _ = r.limits.Close(context.Background())
}

// life is a store until its process is dead.
type life struct {
	task.Store
	dead atomic.Bool
	// fatal is the agent whose first task the process dies of, when it is stored.
	fatal string
}

var errDead = &host.CallError{Call: "any", Status: 410, Message: "this process is dead"}

func (l *life) Create(ctx context.Context, t task.Task) error {
	if l.fatal != "" && t.Agent == l.fatal {
		l.dead.Store(true)
	}
	if l.dead.Load() {
		return errDead
	}
	return l.Store.Create(ctx, t)
}

func (l *life) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	if l.dead.Load() {
		return task.Task{}, task.ErrNotFound
	}
	return l.Store.Update(ctx, id, at, change)
}

// mortal is a host until the process that calls it is dead.
type mortal struct {
	*way
	life *life
}

func (m mortal) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if m.life.dead.Load() {
		return errDead
	}
	return m.way.Prompt(ctx, d, p)
}

func (m mortal) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	if m.life.dead.Load() {
		return host.Session{}, errDead
	}
	return m.way.CreateSession(ctx, d, n)
}

func (m mortal) Abort(ctx context.Context, d, id string) error {
	if m.life.dead.Load() {
		return errDead
	}
	return m.way.Abort(ctx, d, id)
}

// owners is who lives.
type owners struct {
	mu      sync.Mutex
	dead    map[string]bool
	claimed map[string]bool
}

func (o *owners) set(owner string, alive bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead[owner] = !alive
}

func (o *owners) Alive(owner string) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.dead[owner], nil
}

func (o *owners) Claim(owner string) (func(), error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.dead[owner] || o.claimed[owner] {
		return nil, errDead
	}
	if o.claimed == nil {
		o.claimed = map[string]bool{}
	}
	o.claimed[owner] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.claimed, owner)
	}, nil
}

func (r *rig) configure(change func(*Settings)) {
	s := r.engine.config(dir)
	change(&s)
	r.engine.WorkspaceOpened(r.Context(), dir, dir, s)
}

func (r *rig) launch(prompt string) task.ID {
	r.Helper()
	t, err := r.engine.Launch(r.Context(), Spec{
		Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Description: "look", Prompt: prompt, Background: true,
	})
	if err != nil {
		r.Fatal(err)
	}
	return t.ID
}

func (r *rig) wait(id task.ID) task.Task {
	r.Helper()
	t, err := r.engine.Wait(r.Context(), id, 0)
	if err != nil {
		r.Fatal(err)
	}
	return t
}

func (r *rig) get(id task.ID) task.Task {
	r.Helper()
	t, err := r.store.Get(r.Context(), id)
	if err != nil {
		r.Fatal(err)
	}
	return t
}

// standing is the place of a task in the queue and what it asks for.
func (r *rig) standing(id task.ID) (position int, asks string) {
	r.Helper()
	t := r.get(id)
	s := r.engine.Standing(&t)
	return s.Position, s.Asks
}

// sleep lets time pass and everything that it sets off come to rest.
func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) want(t task.Task, state task.State, text string) {
	r.Helper()
	if t.State != state {
		r.Fatalf("%s is %s (%s), want %s", t.ID, t.State, t.Error, state)
	}
	if !strings.Contains(t.Result+" "+t.Error, text) {
		r.Errorf("%s has result %q and error %q, want %q in it", t.ID, t.Result, t.Error, text)
	}
}

// wakes are the messages of ours in the main session.
func (r *rig) wakes() []host.Message {
	var out []host.Message
	for _, m := range r.host.History(r.main) {
		if m.Role == host.User && len(m.Parts) > 0 && m.Parts[0].Synthetic {
			out = append(out, m)
		}
	}
	return out
}

// after answers everything with its own prompt, a while later.
func after(d time.Duration) func(host.Prompt, host.Session) fake.Reply {
	return func(p host.Prompt, s host.Session) fake.Reply {
		return fake.Reply{After: d, Text: "answer to " + p.Text}
	}
}

// child answers prompts to child sessions with r, and the main session at once.
func child(r fake.Reply) func(host.Prompt, host.Session) fake.Reply {
	return func(p host.Prompt, s host.Session) fake.Reply {
		if s.Parent == "" {
			return fake.Reply{Text: "thanks"}
		}
		return r
	}
}

// failing fails the first n calls of a method.
func failing(method string, n int32) func(context.Context, string) error {
	var failed atomic.Int32
	return func(_ context.Context, call string) error {
		if call == method && failed.Add(1) <= n {
			return &host.CallError{Call: method, Message: "hiccup"}
		}
		return nil
	}
}

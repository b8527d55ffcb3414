package mission

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a driver over a fake OpenCode and a real worktree, in a bubble.
type rig struct {
	*testing.T
	dir      string
	host     *fake.OpenCode
	tasks    *tasks
	store    *record.Memory
	todos    *todo.Sync
	through  Host  // between the next driver and the fake
	stored   Store // and the store
	driver   *Driver
	settings Settings
	owners   map[string]bool
	session  string
	spoken   int
	speaker  string // the agent that a person speaks to, Commander if empty
	cancel   func()
	// answer is how the agent answers, after it has done what work says.
	answer func(r *rig, p host.Prompt) fake.Reply
}

// play runs test with a session whose todo.md holds a list.
func play(t *testing.T, list string, answer func(r *rig, p host.Prompt) fake.Reply, test func(r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, dir: dir, tasks: &tasks{}, store: record.NewMemory(), settings: DefaultSettings(), owners: map[string]bool{}, answer: answer}
		r.todos = todo.NewSync(todo.SyncOptions{State: filepath.Join(dir, "state")})
		r.todos.Open(dir, dir, false)
		if list != "" {
			r.write(todo.Path, list)
		}
		r.host = fake.New(func(p host.Prompt, _ host.Session) fake.Reply { return r.answer(r, p) })
		r.host.Emit = func(d string, ev host.Event) { r.driver.Event(d, ev) }
		r.session = r.host.Open(dir)
		r.through, r.stored = r.host, r.store
		time.Sleep(time.Second) // its first message is older than any mission
		r.start("host-1")
		defer func() {
			r.stop()
			r.host.Close()
			if err := r.todos.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		test(r)
	})
}

// start starts a driver that serves an OpenCode process.
func (r *rig) start(owner string) {
	r.driver = New(Options{
		Store: r.stored, Host: r.through, Tasks: r.tasks, Todos: unwatched{r.todos},
		Lives: func(owner string) bool { return r.owners[owner] },
		Log:   zerolog.New(zerolog.NewTestWriter(r.T)).Level(zerolog.InfoLevel),
	})
	r.driver.Serve(owner)
	r.owners[owner] = true
	r.open()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	driver := r.driver
	go func() { driver.Run(ctx); close(ended) }()
	r.cancel = func() { cancel(); <-ended }
	synctest.Wait()
}

func (r *rig) open() { r.driver.WorkspaceOpened(context.Background(), r.dir, r.dir, r.settings) }

func (r *rig) stop() {
	if err := r.driver.Stop(context.Background()); err != nil {
		r.Error(err)
	}
	r.cancel()
}

func (r *rig) write(name, text string) {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) read() string {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, todo.Path))
	if err != nil {
		r.Fatal(err)
	}
	return string(b)
}

// check marks the first open item, as an agent or a person does.
func (r *rig) check() { r.write(todo.Path, strings.Replace(r.read(), "[ ]", "[x]", 1)) }

// command runs a command of ours and, as OpenCode does, sends its message.
func (r *rig) command(name, arguments string) string {
	r.Helper()
	text, err := r.driver.Command(context.Background(), r.dir, r.session, name, arguments)
	if err != nil {
		r.Fatal(err)
	}
	said := text
	if said == "" {
		said = "template of " + name + ": " + arguments
	}
	r.say(said)
	return text
}

// say is a message of a person.
func (r *rig) say(text string) {
	r.Helper()
	r.spoken++
	id := fmt.Sprintf("msg_person_%d", r.spoken)
	speaker := cmp.Or(r.speaker, "Commander")
	r.driver.UserSpoke(context.Background(), r.dir, r.session, id)
	r.driver.Event(r.dir, host.Event{Type: host.EventMessage, Session: r.session, MessageID: id, Role: host.User, Created: time.Now()})
	if err := r.host.Prompt(context.Background(), r.dir, host.Prompt{Session: r.session, MessageID: id, Text: text, Agent: speaker, Model: host.Model{Provider: "p", ID: "m"}}); err != nil {
		r.Fatal(err)
	}
}

// after lets time pass and everything come to rest.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// continuations are the messages that the driver has sent.
func (r *rig) continuations() []host.Message {
	return slices.DeleteFunc(r.host.History(r.session), func(m host.Message) bool {
		return m.Role != host.User || !strings.HasPrefix(m.ID, "msg_") || strings.HasPrefix(m.ID, "msg_person_") || strings.HasPrefix(m.ID, "msg_user_")
	})
}

// sent fails unless so many continuations were sent.
func (r *rig) sent(n int) {
	r.Helper()
	if all := r.continuations(); len(all) != n {
		r.Errorf("%d continuations were sent, want %d", len(all), n)
		for _, m := range r.host.History(r.session) {
			r.Logf("%s %s %s %q %v", m.Created.Format("05.000"), m.Role, m.ID, m.Text(), m.Error)
		}
	}
}

// stands fails unless the stored mission is in a phase, for a reason.
func (r *rig) stands(phase Phase, reason string) State {
	r.Helper()
	stored, err := r.store.Get(context.Background(), Kind, r.session)
	if err != nil {
		r.Fatal(err)
	}
	s, err := decode(stored.Body)
	if err != nil {
		r.Fatal(err)
	}
	if s.Phase != phase || !strings.Contains(s.Reason, reason) {
		r.Errorf("the mission is %s (%s), want %s (%s)", s.Phase, s.Reason, phase, reason)
	}
	if stored.Open == s.Phase.Over() {
		r.Errorf("a mission that is %s is stored as open = %t", s.Phase, stored.Open)
	}
	return s
}

// toasted reports whether a toast said something.
func (r *rig) toasted(text string) bool {
	return slices.ContainsFunc(r.host.Toasts(), func(t host.Toast) bool { return strings.Contains(t.Message, text) })
}

// words answers with nothing else.
func words(_ *rig, _ host.Prompt) fake.Reply {
	return fake.Reply{After: time.Second, Text: "I am working on it."}
}

// works does one item a turn.
func works(r *rig, _ host.Prompt) fake.Reply {
	r.check()
	return fake.Reply{After: time.Second, Text: "One more is done."}
}

// store calls put for each write, which does it or not.
type store struct {
	*record.Memory
	put func(context.Context, record.Record) (record.Record, error)
}

func (s store) Put(ctx context.Context, rec record.Record) (record.Record, error) {
	return s.put(ctx, rec)
}

// storing starts another sidecar whose writes go through put.
func (r *rig) storing(put func(context.Context, record.Record) (record.Record, error)) {
	r.stop()
	r.stored = store{r.store, put}
	r.start("host-1")
}

// unwatched are todo files that nobody watches: a bubble has no system to wake it.
type unwatched struct{ *todo.Sync }

func (unwatched) Watch(string) {}

// tasks are the delegated tasks of a test.
type tasks struct {
	mu        sync.Mutex
	open      []delegate.Open
	untold    bool
	spent     task.Usage
	ours      string
	cancelled string
	held      int
	asked     func() // called by Spent, in the middle of a judgement
}

func (t *tasks) set(change func(*tasks)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

func (t *tasks) Unsettled(string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) > 0 || t.untold
}

func (t *tasks) OpenOf(string) []delegate.Open {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.open)
}

func (t *tasks) CancelOf(_, reason string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.open)
	t.open, t.cancelled = nil, reason
	return n
}

func (t *tasks) Hold(string, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held++
}

func (t *tasks) Spent(context.Context, string) (task.Usage, error) {
	t.mu.Lock()
	asked := t.asked
	t.mu.Unlock()
	if asked != nil {
		asked()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spent, nil
}

func (t *tasks) Ours(_, messageID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ours == messageID && messageID != ""
}

func (t *tasks) Agents(context.Context, string) ([]host.Agent, error) {
	return []host.Agent{{Name: "Reviewer", Description: "checks"}, {Name: "Worker"}}, nil
}

package delegate

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// What the tests of several subjects set up alike.

// below is a background task of a session.
func (r *rig) below(session, prompt string) Spec {
	s := r.spec(prompt)
	s.Parent = session
	return s
}

// acts has the agents of tasks with the prompt "outer" do as work says, which is
// given their session. Everything else is answered as seconds does. It comes
// before the first task.
func (r *rig) acts(work func(session string) fake.Reply) {
	r.host.Answer = func(p host.Prompt, s host.Session) fake.Reply {
		if p.Text == "outer" {
			return work(s.ID)
		}
		return seconds(p, s)
	}
}

// delegates has them launch tasks with these prompts and end their turn.
func (r *rig) delegates(prompts ...string) {
	r.acts(func(session string) fake.Reply {
		for _, prompt := range prompts {
			if _, err := r.hears.Load().Launch(context.Background(), r.below(session, prompt)); err != nil {
				return fake.Reply{Text: err.Error()}
			}
		}
		return fake.Reply{Text: "I have delegated it and wait"}
	})
}

// outer begins a task in fractal mode.
func (r *rig) outer() task.ID {
	r.Helper()
	s := r.spec("outer")
	s.Mode = task.Fractal
	return r.begin(s)
}

// tasksOf are the tasks of a session, oldest first.
func (r *rig) tasksOf(session string) []task.Task {
	r.Helper()
	page, err := r.store.List(r.Context(), task.Query{Parent: session, Limit: 100})
	if err != nil {
		r.Fatal(err)
	}
	var tasks []task.Task
	for _, t := range page.Tasks {
		tasks = append([]task.Task{r.get(t.ID)}, tasks...)
	}
	return tasks
}

// die ends OpenCode and its sidecar with it, and starts those of another window.
func (r *rig) die() {
	r.Helper()
	r.kill()
	r.owners.set("host-1", false)
	r.host.Close()
	r.start("host-2")
}

// session makes a session as OpenCode's own tools do.
func (r *rig) session(parent string, rules ...host.Rule) string {
	r.Helper()
	s, err := r.host.CreateSession(r.Context(), dir, host.NewSession{Parent: parent, Permission: rules})
	if err != nil {
		r.Fatal(err)
	}
	return s.ID
}

// rules is what the rules of a session say, by permission.
func (r *rig) rules(session string) map[string]string {
	r.Helper()
	s, err := r.host.Session(r.Context(), dir, session)
	if err != nil {
		r.Fatal(err)
	}
	rules := map[string]string{}
	for _, rule := range s.Permission {
		rules[rule.Permission] = rule.Action
	}
	return rules
}

var errBusy = errors.New("database is locked")

// faulty is a store in which something goes wrong where its hooks say so. Those
// that are nil let everything pass.
type faulty struct {
	task.Store
	get    func(task.ID) error
	list   func(task.Query) error
	update func(was, next task.Task) error
}

func (f faulty) Get(ctx context.Context, id task.ID) (task.Task, error) {
	if f.get != nil {
		if err := f.get(id); err != nil {
			return task.Task{}, err
		}
	}
	return f.Store.Get(ctx, id)
}

func (f faulty) List(ctx context.Context, q task.Query) (task.Page, error) {
	if f.list != nil {
		if err := f.list(q); err != nil {
			return task.Page{}, err
		}
	}
	return f.Store.List(ctx, q)
}

func (f faulty) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	if was, err := f.Store.Get(ctx, id); err == nil && f.update != nil {
		next := was
		change(&next)
		if err := f.update(was, next); err != nil {
			return task.Task{}, err
		}
	}
	return f.Store.Update(ctx, id, at, change)
}

// times returns a func that is true for the first n calls.
func times(n int32) func() bool {
	var called atomic.Int32
	return func() bool { return called.Add(1) <= n }
}

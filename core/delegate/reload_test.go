package delegate

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// away is another directory of the worktree.
const away = dir + "/away"

// shut is an OpenCode that has a directory closed while it reloads it.
type shut struct {
	*fake.OpenCode
	closed *atomic.Pointer[string]
}

func newShut(o *fake.OpenCode) shut { return shut{o, new(atomic.Pointer[string])} }

func (s shut) close(d string) { s.closed.Store(&d) }
func (s shut) open()          { s.closed.Store(nil) }

func (s shut) pass(d string) error {
	if closed := s.closed.Load(); closed != nil && *closed == d {
		return host.ErrWorkspaceClosed
	}
	return nil
}

func (s shut) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	if err := s.pass(d); err != nil {
		return host.Session{}, err
	}
	return s.OpenCode.CreateSession(ctx, d, n)
}

func (s shut) Session(ctx context.Context, d, id string) (host.Session, error) {
	if err := s.pass(d); err != nil {
		return host.Session{}, err
	}
	return s.OpenCode.Session(ctx, d, id)
}

func (s shut) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if err := s.pass(d); err != nil {
		return err
	}
	return s.OpenCode.Prompt(ctx, d, p)
}

func (s shut) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	if err := s.pass(d); err != nil {
		return nil, err
	}
	return s.OpenCode.Messages(ctx, d, id, n)
}

func (s shut) Statuses(ctx context.Context, d string) (map[string]host.Status, error) {
	if err := s.pass(d); err != nil {
		return nil, err
	}
	return s.OpenCode.Statuses(ctx, d)
}

func (s shut) Agents(ctx context.Context, d string) ([]host.Agent, error) {
	if err := s.pass(d); err != nil {
		return nil, err
	}
	return s.OpenCode.Agents(ctx, d)
}

// A slot gets free while OpenCode reloads the directory of those that wait for it.
func TestAReloadLosesNoTaskThatWaits(t *testing.T) {
	for name, where := range map[string]string{"of its own directory": dir, "of another one": away} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, seconds, func(t *testing.T, r *rig) {
				s := newShut(r.host)
				r.through(s)
				r.engine.WorkspaceOpened(t.Context(), away, dir, r.engine.config(dir))
				runs := r.launch("20 runs")
				parent := r.main
				if where == away {
					parent = r.host.Open(away)
				}
				var waiting []task.ID
				for range 5 {
					spec := r.below(parent, "20 waits")
					spec.Directory = where
					waiting = append(waiting, r.begin(spec))
				}
				r.sleep(19 * time.Second)
				if where == dir { // which aborts what runs in it
					r.host.Interrupt(r.get(runs).Session)
				}
				r.engine.WorkspaceClosed(where)
				s.close(where)
				r.sleep(3 * time.Second)
				for _, id := range waiting {
					if got := r.get(id); got.State != task.Pending {
						t.Errorf("%s is %s: its time runs while OpenCode reloads", id, got.State)
					}
				}
				s.open()
				r.engine.WorkspaceOpened(t.Context(), where, dir, r.engine.config(dir))
				if got := r.wait(runs); where == dir {
					r.want(got, task.Interrupted, "reloaded")
				} else {
					r.want(got, task.Completed, "answer")
				}
				for _, id := range waiting {
					got := r.wait(id)
					r.want(got, task.Completed, "answer")
					if n := len(r.host.History(got.Session)); n != 2 {
						t.Errorf("%s: %d messages in its session, want its prompt and the answer", id, n)
					}
				}
			})
		})
	}
}

// It is closed in the very moment in which a session is created.
func TestADirectoryThatIsClosedUnderATaskIsWaitedFor(t *testing.T) {
	for _, call := range []string{"Agents", "Session", "CreateSession"} {
		t.Run(call, func(t *testing.T) {
			play(t, 1, seconds, func(t *testing.T, r *rig) {
				first, second := r.launch("60 first"), r.launch("5 second")
				r.sleep(59 * time.Second) // what was known of agents and rules is old
				closes := times(1)
				r.host.Fault(func(_ context.Context, c string) error {
					if c != call || !closes() {
						return nil
					}
					r.engine.WorkspaceClosed(dir)
					time.AfterFunc(3*time.Second, func() { r.configure(func(*Settings) {}) })
					return host.ErrWorkspaceClosed
				})
				r.want(r.wait(first), task.Completed, "first")
				got := r.wait(second)
				r.want(got, task.Completed, "second")
				if took := got.Ended.Sub(got.Started); took < 8*time.Second {
					t.Errorf("it took %s: nothing was closed", took)
				}
			})
		})
	}
}

// endless makes messages that ended for an unknown reason end without a word, as
// an abort between two tries of a provider leaves them.
type endless struct{ *fake.OpenCode }

func (o endless) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	messages, err := o.OpenCode.Messages(ctx, d, id, n)
	for i := range messages {
		if messages[i].Finish == "unknown" {
			messages[i].Finish = ""
		}
	}
	return messages, err
}

// Such an abort is nobody's cancel if it was OpenCode that reloaded the directory.
func TestAnAbortThatLeavesNoErrorIsJudgedByWhoDidIt(t *testing.T) {
	for name, reload := range map[string]bool{"a person": false, "a reload": true} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, child(fake.Reply{After: 5 * time.Second, Finish: "unknown"}), func(t *testing.T, r *rig) {
				r.through(endless{r.host})
				id := r.launch("x")
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if reload {
					r.engine.WorkspaceClosed(dir)
					r.configure(func(*Settings) {})
				}
				if got := r.wait(id); reload {
					r.want(got, task.Interrupted, "reloaded")
				} else {
					r.want(got, task.Cancelled, "its session was stopped")
				}
			})
		})
	}
}

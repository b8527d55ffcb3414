package delegate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// deaf is an OpenCode that has ended: it counts the calls and answers none.
type deaf struct {
	*fake.OpenCode
	calls chan string
}

func (d deaf) gone(call string) error {
	d.calls <- call
	return &host.CallError{Call: call, Message: "the connection is closed"}
}

func (d deaf) CreateSession(context.Context, string, host.NewSession) (host.Session, error) {
	return host.Session{}, d.gone("CreateSession")
}
func (d deaf) Session(context.Context, string, string) (host.Session, error) {
	return host.Session{}, d.gone("Session")
}
func (d deaf) Prompt(context.Context, string, host.Prompt) error    { return d.gone("Prompt") }
func (d deaf) Abort(context.Context, string, string) error          { return d.gone("Abort") }
func (d deaf) Toast(context.Context, string, host.Toast) error      { return d.gone("Toast") }
func (d deaf) Agents(context.Context, string) ([]host.Agent, error) { return nil, d.gone("Agents") }
func (d deaf) Messages(context.Context, string, string, int) ([]host.Message, error) {
	return nil, d.gone("Messages")
}
func (d deaf) Statuses(context.Context, string) (map[string]host.Status, error) {
	return nil, d.gone("Statuses")
}
func (d deaf) Children(context.Context, string, string) ([]host.Session, error) {
	return nil, d.gone("Children")
}
func (d deaf) Questions(context.Context, string) (map[string][]host.Question, error) {
	return nil, d.gone("Questions")
}
func (d deaf) ReplyPermission(context.Context, string, string, string, string) error {
	return d.gone("ReplyPermission")
}

// hostGone ends OpenCode: from now on no call of the engine is answered, and each
// is written to the channel.
func (r *rig) hostGone() <-chan string {
	calls := make(chan string, 1000)
	r.through(deaf{r.host, calls})
	r.engine.HostGone()
	return calls
}

// The next process of the worktree can judge by what the sessions hold, so
// nothing is given up here, and OpenCode is not asked for what it cannot answer.
func TestTasksStayOpenWhenTheHostIsGone(t *testing.T) {
	play(t, 2, after(time.Hour/2), func(t *testing.T, r *rig) {
		ended := r.launch("ended")
		synctest.Wait()
		if _, err := r.engine.Cancel(t.Context(), ended, "enough"); err != nil {
			t.Fatal(err)
		}
		running, other, waiting := r.launch("1"), r.launch("2"), r.launch("3")
		r.sleep(10 * time.Second)
		calls := r.hostGone()
		start := time.Now()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Stop waited for %s", took)
		}
		synctest.Wait()
		for len(calls) > 0 {
			t.Errorf("OpenCode was called for %s", <-calls)
		}
		r.end() // calls that are made now fail at once
		for id, want := range map[task.ID]task.State{ended: task.Cancelled, running: task.Running, other: task.Running, waiting: task.Pending} {
			if got := r.get(id); got.State != want || got.Attempt != 1 || got.Told && id != ended {
				t.Errorf("the next process finds %s, attempt %d, told %v (%s); want %s", got.State, got.Attempt, got.Told, got.Error, want)
			}
		}
		if _, err := r.engine.Launch(t.Context(), r.spec("late")); err == nil {
			t.Error("a launch was accepted although nothing can run")
		}
		r.owners.set("host-1", false) // whose sessions end with it
	})
}

// The calls of a host that has gone fail one by one, before the process ends:
// they must not be taken for the ends of the tasks.
func TestFailuresOfAHostThatIsGoneEndNothing(t *testing.T) {
	play(t, 3, after(time.Hour/2), func(t *testing.T, r *rig) {
		running := r.launch("1")
		synctest.Wait()
		r.host.Fault(func(ctx context.Context, call string) error {
			if call != "CreateSession" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		creating := r.launch("2")
		synctest.Wait()
		r.hostGone()
		r.engine.Event(dir, host.Event{Type: host.EventSessionIdle, Session: r.get(running).Session})
		r.end()
		r.host.Fault(nil)
		for _, id := range []task.ID{running, creating} {
			if got := r.get(id); got.State.Terminal() {
				t.Errorf("%s became %s (%s)", id, got.State, got.Error)
			}
		}
		r.owners.set("host-1", false)
	})
}

// What the last look at a session has proven is kept, though nobody can be told.
func TestAnAnswerSeenAsTheHostGoesIsKept(t *testing.T) {
	play(t, 1, after(time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		reading := make(chan struct{})
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Messages" {
				<-reading
			}
			return nil
		})
		r.sleep(2 * time.Second)
		r.engine.HostGone()
		close(reading)
		synctest.Wait()
		r.want(r.get(id), task.Completed, "answer to 1")
	})
}

// Where no other process can see the store, nobody would ever judge what is open.
func TestWithoutOtherProcessesTasksEndWithTheHost(t *testing.T) {
	play(t, 1, after(time.Hour/2), func(t *testing.T, r *rig) {
		r.engine.owners = nil
		running, waiting := r.launch("1"), r.launch("2")
		r.sleep(10 * time.Second)
		r.hostGone()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		for _, id := range []task.ID{running, waiting} {
			r.want(r.get(id), task.Interrupted, "shut down")
		}
		r.owners.set("host-1", false)
	})
}

// The next OpenCode of the worktree takes over what the last one has left.
func TestTheNextHostJudgesWhatTheLastHasLeft(t *testing.T) {
	play(t, 2, after(time.Hour/2), func(t *testing.T, r *rig) {
		running := r.launch("1")
		r.sleep(10 * time.Second)
		r.hostGone()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		r.end()
		r.owners.set("host-1", false)
		r.host.Close()
		r.through(r.host)
		r.start("host-2")
		r.sleep(time.Second)
		r.want(r.get(running), task.Interrupted, "OpenCode process ended")
	})
}

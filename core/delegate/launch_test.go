package delegate

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// Whoever asked for it has ended while OpenCode was asked about it: nobody would
// end it then, or be told of it.
func TestATaskWhoseAskerEndsMeanwhileDoesNotRunOn(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.acts(func(string) fake.Reply { return fake.Reply{Hang: true} })
		outer := r.outer()
		r.sleep(time.Minute) // the list of agents gets old
		gate := make(chan struct{})
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Agents" {
				<-gate
			}
			return nil
		})
		type launched struct {
			task.Task
			err error
		}
		done := make(chan launched)
		spec := r.below(r.get(outer).Session, "3000 inner")
		go func() {
			inner, err := r.engine.Launch(context.Background(), spec)
			done <- launched{inner, err}
		}()
		r.sleep(time.Second)
		if _, err := r.engine.Cancel(t.Context(), outer, "enough"); err != nil {
			t.Fatal(err)
		}
		close(gate)
		inner := <-done
		r.host.Fault(nil)
		r.sleep(time.Minute)
		switch {
		case inner.err == nil:
			r.want(r.get(inner.ID), task.Cancelled, "")
		case !errors.Is(inner.err, ErrRefused):
			t.Errorf("refused with %v", inner.err)
		}
		for _, own := range r.tasksOf(spec.Parent) {
			if !own.State.Terminal() || !own.Told {
				t.Errorf("%s is %s; told %v", own.ID, own.State, own.Told)
			}
		}
	})
}

// Its session takes a while to stop.
func TestATaskThatIsEndingLaunchesNothing(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.host.IgnoreAbort = true
		r.acts(func(string) fake.Reply { return fake.Reply{Hang: true} })
		outer := r.outer()
		r.sleep(time.Second)
		session := r.get(outer).Session
		cancelled := make(chan error, 1)
		go func() {
			_, err := r.engine.Cancel(context.Background(), outer, "enough")
			cancelled <- err
		}()
		r.sleep(time.Second)
		if _, err := r.engine.Launch(t.Context(), r.below(session, "1 inner")); !errors.Is(err, ErrRefused) {
			t.Errorf("launched: %v", err)
		}
		if err := <-cancelled; err != nil {
			t.Error(err)
		}
		if own := r.tasksOf(session); len(own) > 0 {
			t.Errorf("it has %d tasks", len(own))
		}
	})
}

// unheard is an OpenCode whose first answer about a new session is lost.
type unheard struct {
	*fake.OpenCode
	lost func() bool
}

func (u unheard) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	s, err := u.OpenCode.CreateSession(ctx, d, n)
	if u.lost() {
		return host.Session{}, &host.CallError{Call: "session.create", Message: "no answer within 1m0s"}
	}
	return s, err
}

func TestALostAnswerIsNoSecondSession(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		r.through(unheard{r.host, times(1)})
		got := r.wait(r.launch("2 x"))
		r.want(got, task.Completed, "answer to 2 x")
		children, err := r.host.Children(t.Context(), dir, r.main)
		if err != nil || len(children) != 1 {
			t.Errorf("%d sessions for one task (%v)", len(children), err)
		}
		if got.Attempt != 1 {
			t.Errorf("%d attempts", got.Attempt)
		}
	})
}

package delegate

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// The news of its own tasks does not start a turn after a task has ended.
func TestAFailedTaskIsNotToldOfItsOwn(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "outer":
			return fake.Reply{After: 5 * time.Second, Error: badRequest}
		case strings.Contains(p.Text, "has ended"):
			return fake.Reply{After: time.Minute, Text: "a turn that nobody needs"}
		}
		return fake.Reply{Text: "the inner answer"}
	}
	play(t, 2, answer, func(t *testing.T, r *rig) {
		outer := r.outer()
		r.sleep(time.Second)
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.sleep(time.Second)
		r.host.Fault(slowPrompts)
		got := r.wait(outer)
		r.sleep(10 * time.Second)
		if busy, _ := r.host.Statuses(t.Context(), dir); len(busy) > 0 {
			t.Errorf("after the end of the task its session is at work: %v\n%+v", busy, r.host.History(got.Session))
		}
	})
}

// Nor does one that is on its way when somebody cancels the task.
func TestACancelledTaskIsNotToldOfItsOwn(t *testing.T) {
	play(t, 2, nil, func(t *testing.T, r *rig) {
		r.delegates("2 inner")
		answer := r.host.Answer
		r.host.Answer = func(p host.Prompt, s host.Session) fake.Reply {
			if s.Parent != "" && strings.Contains(p.Text, "has ended") {
				return fake.Reply{Hang: true}
			}
			return answer(p, s)
		}
		outer := r.outer()
		r.sleep(time.Second)
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		r.sleep(2 * time.Second) // the news is on its way
		if _, err := r.engine.Cancel(t.Context(), outer, "enough"); err != nil {
			t.Fatal(err)
		}
		r.sleep(10 * time.Second)
		if busy, _ := r.host.Statuses(t.Context(), dir); len(busy) > 0 {
			t.Errorf("the session of a cancelled task is at work: %v", busy)
		}
	})
}

// A task between two attempts has no slot, so its session does not work.
func TestATaskBetweenTwoAttemptsIsNotAtWork(t *testing.T) {
	first := true
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "outer" && first:
			first = false
			return fake.Reply{After: 5 * time.Second, Error: &limited}
		case strings.Contains(p.Text, "has ended"):
			return fake.Reply{After: time.Minute, Text: "final"}
		}
		return fake.Reply{Text: "the inner answer"}
	}
	play(t, 2, answer, func(t *testing.T, r *rig) {
		outer := r.outer()
		r.sleep(time.Second)
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.sleep(time.Second)
		r.host.Fault(slowPrompts)
		r.sleep(10 * time.Second)
		busy, _ := r.host.Statuses(t.Context(), dir)
		if got := r.get(outer); got.State == task.Pending && len(busy) > 0 {
			t.Errorf("it waits for its next attempt, and its session is at work without a slot: %v", busy)
		}
		r.wait(outer)
	})
}

// A long tool call is no silence, even if nobody heard of its end.
func TestALongToolCallIsNoSilence(t *testing.T) {
	play(t, 1, child(fake.Reply{ToolFor: 40 * time.Minute, After: time.Minute, Text: "the answer"}), func(t *testing.T, r *rig) {
		r.host.Filter = func(host.Event) int { return 0 }
		r.want(r.wait(r.launch("1")), task.Completed, "the answer")
	})
}

// Whoever stopped an earlier attempt, a resumed task waits for its own again.
func TestAResumedTaskWaitsForItsOwnAfterAnEsc(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "hang":
			return fake.Reply{Hang: true}
		case p.Text == "outer":
			return fake.Reply{After: 2 * time.Second, Text: "waiting"}
		case strings.Contains(p.Text, "has ended"):
			return fake.Reply{Text: "final"}
		}
		return fake.Reply{After: 10 * time.Second, Text: "the inner answer"}
	}
	play(t, 2, answer, func(t *testing.T, r *rig) {
		s := r.spec("hang")
		s.Mode = task.Fractal
		outer := r.begin(s)
		synctest.Wait()
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.sleep(time.Second)
		r.host.Interrupt(r.get(outer).Session)
		r.want(r.wait(outer), task.Cancelled, "stopped")
		s.Prompt = "outer"
		if _, err := r.engine.Resume(t.Context(), string(outer), s); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Second)
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.want(r.wait(outer), task.Completed, "final")
	})
}

// After a crash whoever is at work gets a slot before who only waits.
func TestAfterACrashWhoWorksHasTheSlot(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "outer":
			return fake.Reply{After: time.Second, Text: "waiting"}
		case strings.Contains(p.Text, "ended"):
			return fake.Reply{After: time.Minute, Text: "final"}
		case p.Text == "short":
			return fake.Reply{Text: "the inner answer"}
		}
		return fake.Reply{After: time.Minute, Text: "the inner answer"}
	}
	play(t, 1, answer, func(t *testing.T, r *rig) {
		outer := r.outer()
		synctest.Wait()
		r.begin(r.below(r.get(outer).Session, "short"))
		r.begin(r.below(r.get(outer).Session, "long"))
		r.sleep(1010 * time.Millisecond)
		for n := 0; r.host.Calls("CreateSession") < 3; n++ {
			if n == 1000 {
				t.Fatal("the second task does not begin")
			}
			time.Sleep(10 * time.Millisecond)
		}
		r.kill()
		r.start("host-1")
		r.sleep(30 * time.Second)
		if n := r.host.HighWater(); n > 1 {
			t.Errorf("%d sessions were at work, the limit is 1", n)
		}
		r.wait(outer)
	})
}

func slowPrompts(_ context.Context, call string) error {
	if call == "Prompt" {
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// A message that waits for the slot of its task is not sent when that has ended.
func TestAMessageToATaskThatEndsMeanwhileIsNotSent(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "outer":
			return fake.Reply{After: 2 * time.Second, Text: "waiting"}
		case p.Text == "one more thing":
			return fake.Reply{After: time.Minute, Text: "a turn that nobody needs"}
		}
		return fake.Reply{Hang: true}
	}
	play(t, 1, answer, func(t *testing.T, r *rig) {
		outer := r.outer()
		synctest.Wait()
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.sleep(10 * time.Second)
		sent := make(chan error, 1)
		go func() {
			_, err := r.engine.Send(t.Context(), outer, "one more thing")
			sent <- err
		}()
		r.sleep(time.Second)
		if _, err := r.engine.Cancel(t.Context(), outer, "enough"); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err == nil {
			t.Error("the message was sent although the task had ended")
		}
		synctest.Wait()
		if busy, _ := r.host.Statuses(t.Context(), dir); len(busy) > 0 {
			t.Errorf("the session of an ended task is at work: %v", busy)
		}
	})
}

// givesUp is a store whose caller gives up while it stores a task.
type givesUp struct {
	task.Store
	cancel func()
}

func (g givesUp) Create(ctx context.Context, t task.Task) error {
	g.cancel()
	return g.Store.Create(ctx, t)
}

// A launch that its caller gave up is told to nobody.
func TestALaunchThatWasGivenUpIsNotTold(t *testing.T) {
	play(t, 1, after(time.Second), func(t *testing.T, r *rig) {
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r.life.Store = givesUp{r.life.Store, cancel}
		if _, err := r.engine.Launch(ctx, r.spec("1")); err == nil {
			t.Fatal("launched")
		}
		r.sleep(time.Minute)
		r.kill() // and is it told of by the next sidecar?
		r.start("host-1")
		r.sleep(time.Minute)
		page, err := r.store.List(t.Context(), task.Query{Limit: 10})
		if err != nil || len(page.Tasks) != 1 {
			t.Fatal(page, err)
		}
		if got := page.Tasks[0]; !got.Told || len(r.wakes()) > 0 {
			t.Errorf("told %t, in %d messages: %s %s", got.Told, len(r.wakes()), got.State, got.Error)
		}
	})
}

// News for a session that was busy for long is answered also when its turn was just over.
func TestNewsForABusySessionThatBecomesIdleIsAnswered(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "outer":
			return fake.Reply{After: 20 * time.Second, Text: "waiting"}
		case strings.Contains(p.Text, "please go on"):
			return fake.Reply{Text: "final"}
		}
		return fake.Reply{Text: "the inner answer"}
	}
	play(t, 2, answer, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Deferral = 10 * time.Second })
		outer := r.outer()
		r.sleep(time.Second)
		r.begin(r.below(r.get(outer).Session, "inner"))
		r.sleep(time.Second)
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" {
				time.Sleep(12 * time.Second) // until the turn is over
			}
			return nil
		})
		r.sleep(17 * time.Second)
		r.want(r.wait(outer), task.Completed, "final")
	})
}

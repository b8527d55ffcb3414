package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

func TestABusyParentIsNotInterrupted(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		ids := []task.ID{r.launch("1"), r.launch("2"), r.launch("3")}
		for _, id := range ids {
			r.wait(id)
		}
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("a busy parent got %d messages", n)
		}
		r.host.SetBusy(r.main, false)
		r.sleep(100 * time.Millisecond)
		w := r.wakes()
		if len(w) != 1 || strings.Count(w[0].Text(), "[DONE]") != 3 {
			t.Errorf("%d wakes, want one with all three results", len(w))
		}
	})
}

func TestAWakeComesWithoutTheIdleEvent(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.wait(r.launch("1"))
		r.sleep(time.Minute)
		r.host.Filter = func(host.Event) int { return 0 }
		r.host.SetBusy(r.main, false)
		r.sleep(pollSlow + time.Second)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("%d wakes after a lost idle event, want 1", n)
		}
	})
}

// The original forgot what it could not send.
func TestAWakeThatFailsIsTriedAgainButNotTwice(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		var failed atomic.Int32
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && r.host.Calls("Prompt") > 1 && failed.Add(1) <= 2 {
				return errors.New("connection reset")
			}
			return nil
		})
		id := r.launch("1")
		r.wait(id)
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("%d wakes, want 1", n)
		}
		if !r.get(id).Told {
			t.Error("not told")
		}
	})
}

func TestAWakeWhoseAcknowledgementIsLostIsNotRepeated(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		prompts := -1 // the child's prompt goes through, the wake's answer is lost
		inner := r.host
		r.through(lossy{inner, &prompts})
		r.wait(r.launch("1"))
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("%d wakes, want 1", n)
		}
	})
}

func TestAfterAnAbortNothingStartsATurn(t *testing.T) {
	play(t, 5, after(10*time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.host.Interrupt(r.main)
		r.want(r.wait(id), task.Completed, "answer")
		r.sleep(time.Hour)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("%d turns nobody asked for", n)
		}
		// chat.message comes before the message is stored.
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.host.Say(r.main, "msg_person", "what came out of it?")
		r.sleep(time.Minute)
		w := r.wakes()
		if len(w) != 1 {
			t.Fatalf("told %d times after the user's next message, want once", len(w))
		}
		history := r.host.History(r.main)
		if last := history[len(history)-1]; last.ID != "msg_person" {
			t.Errorf("the last message is %s: the result must come before the user's and start no turn", last.ID)
		}
	})
}

func TestAResultThatWasReadIsNotToldAgain(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		id := r.launch("1")
		r.wait(id)
		if _, err := r.engine.told(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 0 {
			t.Errorf("%d wakes for a result that was read", n)
		}
	})
}

func TestADeletedParentTakesItsTasksAlong(t *testing.T) {
	play(t, 1, after(10*time.Minute), func(t *testing.T, r *rig) {
		running, waiting := r.launch("1"), r.launch("2")
		synctest.Wait()
		r.host.Delete(r.main)
		r.want(r.wait(running), task.Cancelled, "deleted")
		r.want(r.wait(waiting), task.Cancelled, "deleted")
		r.sleep(time.Minute)
		if !r.get(running).Told {
			t.Error("a task whose parent is gone waits for ever to be told")
		}
	})
}

func TestADeletedChildEndsItsTask(t *testing.T) {
	play(t, 1, after(10*time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.host.Delete(r.get(id).Session)
		r.want(r.wait(id), task.Cancelled, "session was deleted")
	})
}

func TestHeadlessResultsReachTheHeldTurn(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if s.Parent != "" {
			var seconds int
			_, _ = fmt.Sscan(p.Text, &seconds)
			return fake.Reply{After: time.Duration(seconds) * time.Second, Text: "result " + p.Text}
		}
		return fake.Reply{Hang: true} // the turn is held; the test plays the model
	}
	play(t, 10, answer, func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		for _, s := range []string{"3", "3", "9"} {
			r.launch(s)
		}
		r.sleep(time.Second)
		stop := host.Event{Type: host.EventPart, Session: r.main, MessageID: "msg_a1", Part: "step-finish", Reason: "stop"}
		looked := r.host.Calls("Messages") + r.host.Calls("Session") + r.host.Calls("Statuses")
		r.engine.Event(dir, stop)
		r.engine.Event(dir, stop) // doubled
		synctest.Wait()
		// OpenCode is about to go idle and end: there is no time to ask anything.
		if n := r.host.Calls("Messages") + r.host.Calls("Session") + r.host.Calls("Statuses"); n != looked {
			t.Errorf("%d look-ups before the turn was continued", n-looked)
		}
		w := r.wakes()
		if len(w) != 1 || !strings.Contains(w[0].Text(), "3 background tasks") {
			t.Fatalf("%d continuations, want one that names 3 tasks", len(w))
		}
		texts := r.hold(w[0].ID)
		if len(texts) != 1 || !strings.Contains(texts[0], "result 3") || strings.Count(texts[0], "[DONE]") != 2 {
			t.Errorf("the held turn got %q, want the two results that came together", texts)
		}
		if stored := r.wakes()[0].Text(); !strings.Contains(stored, "result 3") {
			t.Errorf("later steps would not see the results: %q", stored)
		}
		stop.MessageID = "msg_a2"
		r.engine.Event(dir, stop)
		synctest.Wait()
		w = r.wakes()
		if len(w) != 2 {
			t.Fatalf("%d continuations, want a second for the last task", len(w))
		}
		if texts = r.hold(w[1].ID); len(texts) != 1 || !strings.Contains(texts[0], "result 9") {
			t.Errorf("the second held turn got %q", texts)
		}
		stop.MessageID = "msg_a3"
		r.engine.Event(dir, stop)
		synctest.Wait()
		if n := len(r.wakes()); n != 2 {
			t.Errorf("continued although nothing is open: %d", n)
		}
		r.host.Interrupt(r.main)
	})
}

// hold calls Transform as the shim does.
func (r *rig) hold(messageID string) []string {
	for range 100 {
		add, again := r.engine.Transform(r.Context(), r.main, messageID)
		if again {
			continue
		}
		var texts []string
		for _, a := range add {
			texts = append(texts, a.Text)
		}
		return texts
	}
	r.Fatal("the turn was held for ever")
	return nil
}

func TestOtherTurnsAreNotHeld(t *testing.T) {
	play(t, 10, after(time.Hour/2), func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.launch("x")
		synctest.Wait()
		start := time.Now()
		for _, session := range []string{r.main, "ses_other"} {
			if add, again := r.engine.Transform(t.Context(), session, "msg_user"); len(add) > 0 || again {
				t.Errorf("a turn of %s was held or changed", session)
			}
		}
		if time.Since(start) > 0 {
			t.Error("Transform took time")
		}
	})
}

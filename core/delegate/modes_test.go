package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// spec is a background task of the main session.
func (r *rig) spec(prompt string) Spec {
	return Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: prompt, Background: true}
}

func (r *rig) begin(s Spec) task.ID {
	r.Helper()
	t, err := r.engine.Launch(r.Context(), s)
	if err != nil {
		r.Fatal(err)
	}
	return t.ID
}

// seconds answers a prompt "N text" after N seconds.
func seconds(p host.Prompt, s host.Session) fake.Reply {
	if s.Parent == "" {
		return fake.Reply{Text: "thanks"}
	}
	var n int
	_, _ = fmt.Sscan(p.Text, &n)
	return fake.Reply{After: time.Duration(n) * time.Second, Text: "answer to " + p.Text}
}

// The original knew the mode race by name only.
func TestTheFirstOfARaceEndsTheOthers(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		race := func(prompt string) task.ID {
			s := r.spec(prompt)
			s.Mode, s.Group, s.Wake = task.Race, "g", task.WakeAll
			return r.begin(s)
		}
		slow, fast, waiting := race("60"), race("5"), race("1")
		r.want(r.wait(fast), task.Completed, "answer to 5")
		r.want(r.wait(slow), task.Cancelled, "first in their race")
		r.want(r.wait(waiting), task.Cancelled, "first in their race")
		r.sleep(time.Minute)
		if w := r.wakes(); len(w) != 1 || strings.Count(w[0].Text(), "task_") < 3 {
			t.Errorf("%d wakes, want one with all three", len(w))
		}
		s := r.spec("1")
		s.Mode, s.Group = task.Race, "g"
		if _, err := r.engine.Launch(t.Context(), s); !errors.Is(err, ErrRefused) {
			t.Errorf("joining a race that is won: %v", err)
		}
	})
}

func TestARacerThatFailsLeavesTheRaceToTheRest(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if p.Text == "bad" {
			return fake.Reply{After: time.Second, Error: &host.MessageError{Name: "ContentFilterError", Message: "no"}}
		}
		return seconds(p, s)
	}
	play(t, 5, answer, func(t *testing.T, r *rig) {
		var ids []task.ID
		for _, prompt := range []string{"bad", "3"} {
			s := r.spec(prompt)
			s.Mode, s.Group = task.Race, "g"
			ids = append(ids, r.begin(s))
		}
		r.want(r.wait(ids[0]), task.Failed, "no")
		r.want(r.wait(ids[1]), task.Completed, "answer to 3")
	})
}

// With one slot, a task that waited for its own child while it held the slot
// would wait for ever.
func TestAFractalTaskGivesItsSlotToItsChildren(t *testing.T) {
	for _, how := range []struct{ background, headless bool }{{false, false}, {true, false}, {true, true}} {
		background := how.background
		t.Run(fmt.Sprintf("%+v", how), func(t *testing.T) {
			var engine *Engine
			answer := func(p host.Prompt, s host.Session) fake.Reply {
				switch {
				case p.Text == "outer":
					inner := Spec{Directory: dir, Worktree: dir, Parent: s.ID, Agent: "general", Prompt: "inner", Background: background}
					result := "started"
					if background {
						if _, err := engine.Launch(context.Background(), inner); err != nil {
							result = err.Error()
						}
					} else {
						ended, err := engine.Delegate(context.Background(), inner)
						if result = ended.Result; err != nil {
							result = err.Error()
						}
					}
					return fake.Reply{Text: result}
				case strings.Contains(p.Text, "has ended"):
					return fake.Reply{After: time.Second, Text: "final: " + p.Text}
				}
				return fake.Reply{After: time.Second, Text: "the inner answer"}
			}
			play(t, 1, answer, func(t *testing.T, r *rig) {
				engine = r.engine
				if how.headless {
					r.engine.Headless()
				}
				s := r.spec("outer")
				s.Mode = task.Fractal
				id := r.begin(s)
				r.want(r.wait(id), task.Completed, "the inner answer")
				if n := r.host.HighWater(); !background && n != 2 || background && n != 1 {
					t.Errorf("%d sessions were busy at once", n)
				}
				r.sleep(time.Minute)
			})
		})
	}
}

func TestDepthAndFanOutAreCapped(t *testing.T) {
	play(t, 50, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.MaxTree = 4 })
		plain, s := r.begin(r.spec("plain")), r.spec("outer")
		s.Mode = task.Fractal
		outer := r.begin(s)
		synctest.Wait()
		under := func(id task.ID, mode task.Mode) (task.ID, error) {
			s := r.spec("x")
			s.Parent, s.Mode = r.get(id).Session, mode
			t, err := r.engine.Launch(r.Context(), s)
			return t.ID, err
		}
		if _, err := under(plain, task.Normal); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "fractal") {
			t.Errorf("a plain task delegates: %v", err)
		}
		inner, err := under(outer, task.Fractal)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.get(inner); got.Depth != 2 || got.Root != r.main {
			t.Errorf("depth %d below %s", got.Depth, got.Root)
		}
		if _, err := under(inner, task.Fractal); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "terminalDepth") {
			t.Errorf("an agent at the terminal depth delegates: %v", err)
		}
		if _, err := under(outer, task.Normal); err != nil {
			t.Fatal(err)
		}
		if _, err := under(outer, task.Normal); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "maxTasksPerTree") {
			t.Errorf("beyond the tree's cap: %v", err)
		}
		if _, err := r.engine.Cancel(t.Context(), outer, "enough"); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(inner), task.Cancelled, "task that asked for it ended")
	})
}

// In the original a resumed task took no slot.
func TestResumeIsANewAttemptInTheSameSession(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		id := r.begin(r.spec("1 first"))
		first := r.wait(id)
		r.want(first, task.Completed, "first")
		r.sleep(time.Minute)
		blocker := r.begin(r.spec("30"))
		synctest.Wait()
		for _, name := range []string{string(id), first.Session} {
			s := r.spec("2 again " + name)
			if _, err := r.engine.Resume(t.Context(), name, s); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := r.get(id); got.State != task.Pending {
				t.Errorf("a resumed task took no slot: it is %s", got.State)
			}
			if _, err := r.engine.Resume(t.Context(), name, s); !errors.Is(err, ErrRunning) {
				t.Errorf("resumed twice: %v", err)
			}
			if blocker != "" {
				r.wait(blocker)
				blocker = ""
			}
			r.want(r.wait(id), task.Completed, "again "+name)
			r.sleep(time.Minute)
			if name == string(id) {
				blocker = r.begin(r.spec("30"))
				synctest.Wait()
			}
		}
		got := r.get(id)
		if got.Attempt != 3 || len(got.Past) != 2 || got.Past[0].Result != "answer to 1 first" || got.Session != first.Session {
			t.Errorf("attempt %d, past %+v", got.Attempt, got.Past)
		}
		if n := r.prompts(got.Session); n != 3 {
			t.Errorf("%d prompts in its session, want 3", n)
		}
		told := 0
		for _, w := range r.wakes() {
			told += strings.Count(w.Text(), "[DONE] "+string(id))
		}
		if told != 3 {
			t.Errorf("told %d times of 3 attempts", told)
		}
	})
}

func TestWhatCannotBeResumed(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		running, waiting := r.begin(r.spec("1")), r.begin(r.spec("2"))
		r.sleep(time.Second)
		if _, err := r.engine.Resume(t.Context(), string(running), r.spec("x")); !errors.Is(err, ErrRunning) {
			t.Errorf("a running task: %v", err)
		}
		if _, err := r.engine.Cancel(t.Context(), waiting, "enough"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.engine.Resume(t.Context(), string(waiting), r.spec("x")); !errors.Is(err, ErrRefused) {
			t.Errorf("a task without a session: %v", err)
		}
		if _, err := r.engine.Resume(t.Context(), "task_ffffffff", r.spec("x")); !errors.Is(err, task.ErrNotFound) {
			t.Errorf("an unknown task: %v", err)
		}
		session := r.get(running).Session
		if _, err := r.engine.Cancel(t.Context(), running, "enough"); err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(*Spec){
			func(s *Spec) { s.Agent = "plan" },
			func(s *Spec) { s.Mode = task.Fractal },
		} {
			other := r.spec("x")
			change(&other)
			if _, err := r.engine.Resume(t.Context(), string(running), other); !errors.Is(err, ErrRefused) {
				t.Errorf("as %s, in mode %q: %v", other.Agent, other.Mode, err)
			}
		}
		r.host.Delete(session)
		if _, err := r.engine.Resume(t.Context(), string(running), r.spec("x")); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "deleted") {
			t.Errorf("a task whose session was deleted: %v", err)
		}
	})
}

func TestARunningTaskTakesAFurtherMessage(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		id := r.begin(r.spec("10 first"))
		r.sleep(9 * time.Second)
		if _, err := r.engine.Send(t.Context(), id, "20 second"); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Completed, "answer to 20 second")
		if _, err := r.engine.Send(t.Context(), id, "late"); !errors.Is(err, ErrEnded) {
			t.Errorf("a message to an ended task: %v", err)
		}
	})
}

// The message may reach the session just as the answer to the prompt does.
func TestAMessageThatCrossesTheAnswerIsAnswered(t *testing.T) {
	for _, at := range []time.Duration{9999 * time.Millisecond, 10 * time.Second} {
		play(t, 1, seconds, func(t *testing.T, r *rig) {
			id := r.begin(r.spec("10 first"))
			r.sleep(time.Second)
			time.Sleep(at - time.Second)
			if _, err := r.engine.Send(t.Context(), id, "5 second"); errors.Is(err, ErrEnded) {
				r.want(r.wait(id), task.Completed, "answer to 10 first")
				return
			} else if err != nil {
				t.Fatal(err)
			}
			r.want(r.wait(id), task.Completed, "answer to 5 second")
		})
	}
}

func TestWakePolicies(t *testing.T) {
	play(t, 10, seconds, func(t *testing.T, r *rig) {
		launch := func(prompt, group string, wake task.Wake) task.ID {
			s := r.spec(prompt)
			s.Group, s.Wake = group, wake
			return r.begin(s)
		}
		launch("1 each", "", task.WakeEach)
		launch("2 all", "g", task.WakeAll)
		launch("30 all", "g", task.WakeAll)
		launch("3 all", "h", task.WakeAll)
		none := launch("4 none", "g", task.WakeNone)
		r.sleep(20 * time.Second)
		var texts []string
		for _, w := range r.wakes() {
			texts = append(texts, w.Text())
		}
		if len(texts) != 2 || !strings.Contains(texts[0], "1 each") || !strings.Contains(texts[1], "3 all") {
			t.Fatalf("after 20 s the parent was told\n%s", strings.Join(texts, "\n---\n"))
		}
		r.sleep(time.Minute)
		w := r.wakes()
		if len(w) != 3 || !strings.Contains(w[2].Text(), "2 all") || !strings.Contains(w[2].Text(), "30 all") {
			t.Fatalf("%d wakes; the third: %s", len(w), w[len(w)-1].Text())
		}
		if got := r.get(none); got.State != task.Completed || !got.Told {
			t.Errorf("a task that nobody is told of: %+v", got)
		}
	})
}

func TestAParentThatIsBusyForTooLongIsToldInItsTurn(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		id := r.launch("1")
		r.wait(id)
		r.sleep(9 * time.Minute)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("a busy parent got %d messages", n)
		}
		r.sleep(2 * time.Minute)
		if n := len(r.wakes()); n != 1 || !r.get(id).Told {
			t.Errorf("after the deferral it was told %d times", n)
		}
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

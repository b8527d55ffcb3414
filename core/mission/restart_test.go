package mission

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// A sidecar that takes the place of another goes on, also in the middle of a turn.
func TestAnotherSidecarGoesOn(t *testing.T) {
	for name, when := range map[string]time.Duration{"in a turn": 500 * time.Millisecond, "in the countdown": 3 * time.Second, "after it": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			play(t, five, works, func(r *rig) {
				r.command("task", "build it")
				r.after(when)
				r.stop()
				r.start("host-1")
				r.after(time.Minute)
				r.sent(4)
				r.stands(Done, "5 of 5")
			})
		})
	}
}

// After the end of OpenCode nobody asked for a turn: it waits for the person.
func TestAnotherOpenCodeWaitsForThePerson(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.stop()
		r.owners["host-1"] = false
		r.start("host-2")
		r.after(time.Hour)
		r.sent(0)
		r.say("where were we")
		r.after(time.Minute)
		r.sent(3)
		r.stands(Done, "5 of 5")
	})
}

func TestAMissionOfALivingProcessIsLeftAlone(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.stop() // the process lives, and is only slow
		r.start("host-2")
		r.say("hello from the other window")
		r.after(time.Hour)
		r.sent(0)
		if text := r.command("task", ""); !strings.Contains(text, "another OpenCode process") {
			t.Errorf("/task says %q", text)
		}
	})
}

// A continuation that was stored but not sent is sent under its id, and counts
// once.
func TestAContinuationThatDidNotGetThrough(t *testing.T) {
	lost := errors.New("lost")
	for name, crash := range map[string]bool{"a call that fails": false, "a crash": true} {
		t.Run(name, func(t *testing.T) {
			play(t, five, words, func(r *rig) {
				r.command("task", "build it")
				r.after(2 * time.Second)
				var works atomic.Bool
				r.host.Fault(func(_ context.Context, call string) error {
					if call == "Prompt" && !works.Load() {
						return lost
					}
					return nil
				})
				r.after(3 * time.Second)
				r.sent(0)
				s := r.stands(Active, "")
				if s.Iteration != 1 || s.Prompt == "" {
					t.Errorf("stored: %+v", s)
				}
				works.Store(true)
				if crash {
					r.stop()
					r.start("host-1")
				}
				r.after(turnLimit + lookEvery + 4*time.Second)
				all := r.continuations()
				if len(all) == 0 || all[0].ID != s.Prompt {
					t.Fatalf("sent: %+v, stored was %s", all, s.Prompt)
				}
				r.after(time.Hour)
				if now := r.stands(Stopped, ""); now.Iteration != len(r.continuations()) {
					t.Errorf("%d continuations are counted, %d were sent", now.Iteration, len(r.continuations()))
				}
			})
		})
	}
}

// One that went through but was not confirmed is not sent again.
func TestAContinuationWhoseAnswerWasLost(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.stop()
		r.through = deaf{r.host}
		r.start("host-1")
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(3)
		for _, m := range r.continuations() {
			if len(m.Parts) != 1 {
				t.Errorf("it was sent %d times", len(m.Parts))
			}
		}
	})
}

// deaf takes prompts and says that it did not.
type deaf struct{ *fake.OpenCode }

func (d deaf) Prompt(ctx context.Context, directory string, p host.Prompt) error {
	_ = d.OpenCode.Prompt(ctx, directory, p)
	return errors.New("the answer was lost")
}

// OpenCode that takes no continuation is not asked for ever.
func TestAnOpenCodeThatTakesNoMessagePausesTheMission(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" {
				return errors.New("no")
			}
			return nil
		})
		r.after(time.Hour)
		r.stands(Paused, "takes no message")
	})
}

// A reload closes the directory and aborts its turns: nobody meant the mission.
func TestAReloadEndsNoMission(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.host.Interrupt(r.session)
		r.after(100 * time.Millisecond)
		r.driver.WorkspaceClosed(r.dir)
		r.after(time.Minute)
		r.sent(0)
		r.answer = works
		r.open()
		r.after(time.Minute)
		r.sent(5)
		r.stands(Done, "5 of 5")
	})
}

// /task without words takes up what was stopped; with words it begins anew.
func TestTakingUpAgain(t *testing.T) {
	play(t, "", words, func(r *rig) {
		if text := r.command("task", "  "); !strings.Contains(text, "neither a mission to take up again") {
			t.Errorf("/task says %q", text)
		}
		r.after(time.Minute)
		r.sent(0)
		r.write(todo.Path, five)
		r.command("task", "build the tower")
		r.after(time.Hour)
		r.stands(Stopped, "nothing came")
		before := len(r.continuations())
		r.answer = works
		if text := r.command("task", ""); !strings.Contains(text, "Go on with the mission") || !strings.Contains(text, "build the tower") {
			t.Errorf("/task says %q", text)
		}
		r.after(time.Minute)
		r.sent(before + 4)
		if s := r.stands(Done, "5 of 5"); s.Objective != "build the tower" {
			t.Errorf("its objective is %q", s.Objective)
		}
	})
}

// After /plan, or with a list that a person wrote, /task needs no words.
func TestAListIsObjectiveEnough(t *testing.T) {
	play(t, five, works, func(r *rig) {
		if text := r.command("task", ""); !strings.Contains(text, "Finish what is open in .opencode/todo.md.") {
			t.Errorf("/task says %q", text)
		}
		r.after(time.Minute)
		r.sent(4)
		r.stands(Done, "5 of 5")
	})
}

func TestMissionsBelongToMainSessions(t *testing.T) {
	play(t, five, words, func(r *rig) {
		child, err := r.host.CreateSession(context.Background(), r.dir, host.NewSession{Parent: r.session})
		if err != nil {
			t.Fatal(err)
		}
		text, err := r.driver.Command(context.Background(), r.dir, child.ID, "task", "build it")
		if err != nil || !strings.Contains(text, "session of a task") {
			t.Errorf("%q, %v", text, err)
		}
	})
}

func TestStatusAndAgents(t *testing.T) {
	play(t, five, words, func(r *rig) {
		if text := r.command("status", ""); !strings.Contains(text, "No mission was started") || !strings.Contains(text, "0 of 5 done") {
			t.Errorf("/status says %q", text)
		}
		if text := r.command("agents", ""); !strings.Contains(text, "- Reviewer: checks\n- Worker\n") {
			t.Errorf("/agents says %q", text)
		}
		r.command("task", "build it")
		if text := r.command("status", ""); !strings.Contains(text, "Mission: active\nObjective: build it\nContinuations: 0 of at most 100") {
			t.Errorf("/status says %q", text)
		}
	})
}

// `opencode run` ends with its first idle: the next message is there before.
func TestHeadless(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.driver.Headless()
		r.command("task", "build it")
		r.after(time.Second)
		r.sent(1) // at once
		r.after(10 * time.Second)
		r.sent(4)
		r.stands(Done, "5 of 5")
		if all := r.continuations(); !strings.Contains(all[0].Text(), "Nobody is there to answer") || all[0].Agent != "Commander" {
			t.Errorf("the first is %+v", all[0])
		}
	})
	play(t, five, words, func(r *rig) {
		r.driver.Headless()
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(3)
		r.stands(Stopped, "nothing came")
	})
}

// A store that fails is no reason to end a mission; the person is told that it is
// not stored, and it is once that can be done.
func TestAFullDisk(t *testing.T) {
	play(t, five, works, func(r *rig) {
		var room atomic.Bool
		r.storing(func(ctx context.Context, rec record.Record) (record.Record, error) {
			if !room.Load() {
				return record.Record{}, errors.New("no space left on device")
			}
			return r.store.Put(ctx, rec)
		})
		r.command("task", "build it")
		if !r.toasted("not stored yet") {
			t.Errorf("no toast says so: %v", r.host.Toasts())
		}
		r.after(time.Minute)
		r.sent(4)
		room.Store(true)
		r.after(2 * storeAgain)
		r.stands(Done, "5 of 5")
	})
}

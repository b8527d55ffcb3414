package delegate

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// A task in fractal mode gives its slot back while it waits, and takes one again
// for what follows. All of this is about the moments between.

// It has ended a call, and is told of what ended meanwhile, at the same time: both
// need the slot, of which it is given one.
func TestTwoReasonsToGoOnNeedOneSlot(t *testing.T) {
	for _, max := range []int{1, 2} {
		t.Run(fmt.Sprint(max), func(t *testing.T) {
			play(t, max, nil, func(t *testing.T, r *rig) {
				var took atomic.Int64
				r.acts(func(session string) fake.Reply {
					engine := r.hears.Load()
					if _, err := engine.Launch(context.Background(), r.below(session, "1 background")); err != nil {
						return fake.Reply{Text: err.Error()}
					}
					start := time.Now()
					got, err := engine.Delegate(context.Background(), r.below(session, "1 sync"))
					took.Store(int64(time.Since(start)))
					return fake.Reply{Text: fmt.Sprint(got.Result, err)}
				})
				if max == 2 {
					r.launch("3000 somebody else's, in the other slot")
				}
				got := r.wait(r.outer())
				r.want(got, task.Completed, "answer to")
				if d := time.Duration(took.Load()); d > 10*time.Second {
					t.Errorf("its call took %s", d)
				}
				if n := len(r.tasksOf(got.Session)); n != 2 {
					t.Errorf("it has %d tasks", n)
				}
				if took := got.Ended.Sub(got.Created); took > time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// While it waits in a call, the end of a background task of its own is no reason
// to take a slot: the task that it waits for may need that one.
func TestABlockedTaskTakesNoSlot(t *testing.T) {
	for name, failures := range map[string]int32{"its child waits for a slot": 0, "its child waits for its next attempt": 1} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, nil, func(t *testing.T, r *rig) {
				r.acts(func(string) fake.Reply { return fake.Reply{ToolFor: 3 * time.Minute, Text: "final"} })
				answer, fails := r.host.Answer, times(failures)
				r.host.Answer = func(p host.Prompt, s host.Session) fake.Reply {
					if p.Text == "1 sync" && fails() {
						return fake.Reply{Error: &overloaded}
					}
					return answer(p, s)
				}
				outer := r.outer()
				r.sleep(time.Second)
				session := r.get(outer).Session
				sync := r.below(session, "1 sync")
				if failures > 0 {
					sync.Priority = task.High
				}
				background := r.begin(r.below(session, "1 background"))
				start := time.Now()
				got, err := r.engine.Delegate(t.Context(), sync)
				if err != nil {
					t.Fatal(err)
				}
				r.want(got, task.Completed, "answer to")
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("the child waited for %s: its parent had the slot", took)
				}
				r.want(r.wait(outer), task.Completed, "answer to") // to what it was told
				if !r.get(background).Told {
					t.Error("it was not told of the background task")
				}
			})
		})
	}
}

// A person works in its session meanwhile: what it is told can wait for the end of
// that turn, and others need the slot now.
func TestATaskWhoseSessionIsBusyTakesNoSlotToBeTold(t *testing.T) {
	play(t, 1, nil, func(t *testing.T, r *rig) {
		r.delegates("5 one", "10 two")
		id := r.outer()
		r.sleep(2 * time.Second)
		session := r.get(id).Session
		if err := r.host.Prompt(t.Context(), dir, host.Prompt{Session: session, MessageID: "msg_person", Text: "300 typed by a person"}); err != nil {
			t.Fatal(err)
		}
		r.sleep(10 * time.Second) // one has ended, two has the slot for three more
		start := time.Now()
		r.want(r.wait(r.launch("1 later")), task.Completed, "later")
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("it waited for %s: a busy session had the slot", took)
		}
		r.want(r.wait(id), task.Completed, "ended")
		for _, own := range r.tasksOf(session) {
			if !own.Told {
				t.Errorf("it was not told of %q", own.Prompt)
			}
		}
	})
}

func TestAMessageAndAWakeNeedOneSlot(t *testing.T) {
	play(t, 1, nil, func(t *testing.T, r *rig) {
		r.delegates("5 one", "10 two")
		id := r.outer()
		r.sleep(8 * time.Second) // one has ended, two has the slot, for which the wake waits
		start := time.Now()
		if _, err := r.engine.Send(t.Context(), id, "1 more"); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Completed, "answer to")
		if took := time.Since(start); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		for _, own := range r.tasksOf(r.get(id).Session) {
			if !own.Told {
				t.Errorf("it was not told of %q", own.Prompt)
			}
		}
	})
}

func TestATaskThatIsCancelledWhileItWaitsForItsSlotLeavesNone(t *testing.T) {
	play(t, 1, nil, func(t *testing.T, r *rig) {
		r.delegates("5 one", "30 two")
		id := r.outer()
		r.sleep(8 * time.Second)
		if _, err := r.engine.Cancel(t.Context(), id, "enough"); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Cancelled, "enough")
		r.want(r.wait(r.launch("1 later")), task.Completed, "later")
	})
}

// It must not time out, and take its tasks along, because they wait for slots.
func TestTheDeadlineStandsStillWhileATaskHasNoSlot(t *testing.T) {
	play(t, 1, nil, func(t *testing.T, r *rig) {
		r.delegates("800 1", "800 2", "800 3", "800 4", "800 5", "800 6") // one after the other, 80 minutes
		got := r.wait(r.outer())
		r.want(got, task.Completed, "ended")
		for _, own := range r.tasksOf(got.Session) {
			r.want(own, task.Completed, "answer")
		}
	})
}

// What it said before it waited is not its answer.
func TestATaskThatWaitedAsItsProcessDiedIsNotCompleted(t *testing.T) {
	for name, prompt := range map[string]string{"its task is open": "3000 inner", "it was not told of its task": "5 inner"} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, nil, func(t *testing.T, r *rig) {
				r.delegates(prompt)
				id := r.outer()
				r.sleep(4 * time.Second)
				r.kill() // OpenCode outlives it for a moment
				r.sleep(4 * time.Second)
				r.owners.set("host-1", false)
				r.host.Close()
				r.start("host-2")
				r.sleep(10 * time.Second)
				r.want(r.get(id), task.Interrupted, "I have delegated it and wait")
			})
		})
	}
}

// The tasks of an interrupted one have ended too, and it is the only one who can
// be told.
func TestAResumedTaskIsToldOfItsOwnTasks(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.delegates("3000 inner")
		id := r.outer()
		r.sleep(10 * time.Second)
		r.die()
		r.sleep(time.Second)
		r.want(r.get(id), task.Interrupted, "I have delegated it and wait")
		inner := r.tasksOf(r.get(id).Session)[0]
		r.want(inner, task.Interrupted, "OpenCode process ended")
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		if _, err := r.engine.Resume(t.Context(), string(id), r.spec("1 go on")); err != nil {
			t.Fatal(err)
		}
		got := r.wait(id)
		r.want(got, task.Completed, "answer to")
		r.sleep(time.Minute)
		told := 0
		for _, m := range r.host.History(got.Session) {
			told += strings.Count(m.Text(), "[WARNING] "+string(inner.ID))
		}
		if told == 0 || !r.get(inner.ID).Told {
			t.Errorf("told %d times of its own task; told %v", told, r.get(inner.ID).Told)
		}
	})
}

func TestACrashAtAnySecondOfAFractalTaskLosesNothing(t *testing.T) {
	for at := range 13 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			play(t, 1, nil, func(t *testing.T, r *rig) {
				r.delegates("3 one", "3 two")
				answer := r.host.Answer
				r.host.Answer = func(p host.Prompt, s host.Session) fake.Reply {
					reply := answer(p, s)
					if s.Parent == r.main { // the outer one's turns take a moment
						reply.After = 2 * time.Second
					}
					return reply
				}
				id := r.outer()
				r.sleep(time.Duration(at+1) * time.Second)
				r.kill()
				r.sleep(time.Second)
				r.start("host-1")
				got := r.wait(id)
				r.want(got, task.Completed, "ended")
				r.sleep(time.Minute)
				told := 0
				for _, m := range r.host.History(got.Session) {
					if synthetic(m) {
						told += strings.Count(m.Text(), "[DONE]")
					}
				}
				if told != 2 {
					t.Errorf("told of %d tasks, it has 2", told)
				}
			})
		})
	}
}

// Nobody is left to be told of the tasks of a task that has ended: they are
// settled with their end, not a moment later, when the sidecar may be dead.
func TestTheTasksOfAnEndedOneAreSettledAtOnce(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.delegates("3000 inner")
		ended := make(chan task.Task, 10)
		r.life.Store = faulty{Store: r.store, update: func(was, next task.Task) error {
			if next.State.Terminal() && !was.State.Terminal() && next.Prompt != "outer" {
				ended <- next
			}
			return nil
		}}
		outer := r.outer()
		r.sleep(5 * time.Second)
		if _, err := r.engine.Cancel(t.Context(), outer, "enough"); err != nil {
			t.Fatal(err)
		}
		got := <-ended
		r.want(got, task.Cancelled, "the task that asked for it ended")
		if !got.Told {
			t.Error("its end was stored as one that somebody is to be told of")
		}
	})
}

package mission

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// What reviews of this package have found.

// updated is an event about a message of a person.
func (r *rig) updated(id string, created time.Time) {
	r.driver.Event(r.dir, host.Event{Type: host.EventMessage, Session: r.session, MessageID: id, Role: host.User, Created: created})
}

// inTime fails if the newest answer has been complete for a while.
func (r *rig) inTime() {
	all := r.host.History(r.session)
	last := all[len(all)-1]
	if late := time.Since(last.Completed); last.Role == host.Assistant && !last.Completed.IsZero() && late > 20*time.Millisecond {
		r.Errorf("sent %v after the end of the turn", late)
	}
}

// OpenCode tells of a message by its hook and then by an event.
func TestAnAnswerOfOursIsNoWordOfAPerson(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{After: time.Second, Text: "Which one?"} }, func(r *rig) {
		r.command("task", "build it")
		r.after(10 * time.Second)
		r.stands(Paused, "asks you")
		r.answer = words
		r.command("status", "")
		r.updated("msg_person_2", time.Now())
		r.after(20 * time.Second)
		r.stands(Paused, "asks you")
		r.sent(0)
	})
}

func TestAPlanIsNoWordToTheMission(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		r.command("plan", "something else")
		r.after(time.Millisecond)
		r.updated("msg_person_2", time.Now())
		r.after(20 * time.Second)
		r.stands(Paused, "you asked for a plan")
		r.sent(0)
	})
}

// OpenCode reports old messages again whenever it adds something to them.
func TestAnOldMessageIsNoWordAfterACrash(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }, func(r *rig) {
		r.command("task", "build it")
		made := time.Now()
		r.after(2 * time.Second)
		r.host.Interrupt(r.session)
		r.after(10 * time.Second)
		r.stands(Paused, "you stopped its turn")
		r.stop()
		r.start("host-1")
		r.updated("msg_person_1", made)
		r.after(20 * time.Second)
		r.stands(Paused, "you stopped its turn")
		r.sent(0)
	})
}

func TestAnOldMessageIsNoWord(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }, func(r *rig) {
		r.command("task", "build it")
		made := time.Now()
		r.after(2 * time.Second)
		r.host.Interrupt(r.session)
		r.after(10 * time.Second)
		r.updated("msg_person_1", made)
		r.after(20 * time.Second)
		r.stands(Paused, "you stopped its turn")
	})
}

// A turn whose continuation was lost is not judged twice.
func TestALostContinuationIsNoIdleTurn(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		var n atomic.Int32
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && n.Add(1) == 3 {
				return errors.New("lost")
			}
			return nil
		})
		r.after(time.Hour)
		r.stands(Stopped, "nothing came")
		r.sent(3)
	})
}

func TestALostContinuationIsNoFailure(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply {
		return fake.Reply{After: time.Second, Error: &host.MessageError{Name: "APIError", Message: "overloaded", Status: 529}}
	}, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		var n atomic.Int32
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && n.Add(1) == 1 {
				return errors.New("lost")
			}
			return nil
		})
		r.after(time.Hour)
		r.stands(Paused, "3 turns in a row")
		r.sent(2)
	})
}

func TestStopHoldsTheNewsWithoutAMissionToo(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.tasks.set(func(t *tasks) { t.open = []delegate.Open{{ID: "task_1"}} })
		r.command("stop", "")
		if r.tasks.held != 1 {
			t.Errorf("held %d", r.tasks.held)
		}
	})
}

// In `opencode run` neither the store nor a question to OpenCode holds up the next
// message.
func TestHeadlessWithASlowStore(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.storing(func(ctx context.Context, rec record.Record) (record.Record, error) {
			time.Sleep(1100 * time.Millisecond)
			return r.store.Put(ctx, rec)
		})
		r.driver.Headless()
		r.command("task", "build it")
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" {
				r.inTime()
			}
			return nil
		})
		r.after(time.Minute)
	})
}

// The hook of a continuation on its way is not that of the command that overtook it.
func TestAPlanThatOvertakesAContinuation(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		var once atomic.Bool
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && !once.Swap(true) && r.spoken == 1 {
				if _, err := r.driver.Command(context.Background(), r.dir, r.session, "plan", "x"); err != nil {
					t.Error(err)
				}
				s := r.stands(Paused, "you asked for a plan")
				r.driver.UserSpoke(context.Background(), r.dir, r.session, s.Prompt)
				r.driver.UserSpoke(context.Background(), r.dir, r.session, "msg_person_plan")
			}
			return nil
		})
		r.after(20 * time.Second)
		r.stands(Paused, "you asked for a plan")
	})
}

func TestEscWhileTasksRun(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }, func(r *rig) {
		r.command("task", "build it")
		r.tasks.set(func(t *tasks) { t.open = []delegate.Open{{ID: "task_1"}} })
		r.after(2 * time.Second)
		r.host.Interrupt(r.session)
		r.after(10 * time.Second)
		r.stands(Paused, stoppedTurn)
		r.answer = words
		r.command("status", "")
		r.after(10 * time.Second)
		r.tasks.set(func(t *tasks) { t.open = nil })
		r.after(20 * time.Second)
		r.sent(0)
	})
}

func TestStatusAfterEsc(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.host.Interrupt(r.session)
		r.after(10 * time.Second)
		r.stands(Paused, "you stopped its turn")
		r.answer = words
		r.command("status", "")
		r.updated("msg_person_2", time.Now())
		r.after(20 * time.Second)
		r.sent(0)
	})
}

func TestTheTurnInWhichASidecarDiesIsCounted(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply {
		return fake.Reply{After: 10 * time.Second, Text: "x", Usage: host.Usage{Input: 100_000}}
	}, func(r *rig) {
		r.settings.Tokens = 50_000
		r.open()
		r.command("task", "build it")
		r.after(5 * time.Second)
		r.stop()
		r.start("host-1")
		r.after(20 * time.Second)
		r.stands(Stopped, "missionTokens")
		r.sent(0)
	})
}

func TestAMissionOfADeletedSessionIsForgottenByAnybody(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		r.stop()
		r.owners["host-1"] = false
		r.start("host-2")
		r.driver.Event(r.dir, host.Event{Type: host.EventSessionDeleted, Session: r.session})
		r.after(time.Second)
		if _, err := r.store.Get(context.Background(), Kind, r.session); err == nil {
			t.Error("its record stays, open")
		}
	})
}

func TestHeadlessWithASlowOpenCode(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.driver.Headless()
		r.command("task", "build it")
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Messages" {
				time.Sleep(300 * time.Millisecond)
			}
			if call == "Prompt" {
				r.inTime()
			}
			return nil
		})
		r.after(900 * time.Millisecond)
		r.driver.Event(r.dir, host.Event{Type: host.EventSessionStatus, Session: r.session, Status: "busy"})
		r.after(time.Minute)
	})
}

func TestAStopThatIsNotStoredOutlivesAReload(t *testing.T) {
	play(t, five, words, func(r *rig) {
		var broken atomic.Bool
		r.storing(func(ctx context.Context, rec record.Record) (record.Record, error) {
			if broken.Load() {
				return record.Record{}, errors.New("no space")
			}
			return r.store.Put(ctx, rec)
		})
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		broken.Store(true)
		r.command("stop", "")
		r.after(100 * time.Millisecond)
		r.driver.WorkspaceClosed(r.dir)
		r.after(100 * time.Millisecond)
		r.open()
		r.after(500 * time.Millisecond)
		broken.Store(false)
		r.after(20 * time.Second)
		r.sent(0)
		r.stands(Stopped, "you stopped it")
	})
}

func TestAContinuationIsNoWordOfAPerson(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(8 * time.Second)
		s := r.stands(Active, "")
		if s.Prompt != "" && r.driver.UserSpoke(context.Background(), r.dir, r.session, s.Prompt) {
			t.Error("a person has spoken")
		}
	})
}

func TestAnOldMessageAfterAPlanAndACrash(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		made := time.Now()
		r.after(1100 * time.Millisecond)
		r.command("plan", "x")
		r.after(20 * time.Second)
		r.stands(Paused, "you asked for a plan")
		r.stop()
		r.start("host-1")
		r.updated("msg_person_1", made)
		r.after(20 * time.Second)
		r.stands(Paused, "you asked for a plan")
	})
}

// Who stopped a mission while tasks ran is not told of them after a crash either,
// before they speak.
func TestHeldNewsOutlivesACrash(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.tasks.set(func(t *tasks) { t.open = []delegate.Open{{ID: "task_1"}} })
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.command("stop", "")
		r.after(10 * time.Second)
		for _, want := range []int{1, 2, 2} { // by /stop, by the next sidecar, and not once the person has spoken
			if r.tasks.held != want {
				t.Errorf("held back %d times, want %d", r.tasks.held, want)
			}
			if want == 2 {
				r.say("thanks")
				r.after(10 * time.Second)
			}
			r.stop()
			r.start("host-1")
		}
	})
}

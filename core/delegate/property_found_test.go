package delegate

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// What TestAnySchedule has found, each in the fewest steps.

// An abort throws away what was queued behind it, so a message to the task that
// was there before does not make its end undecided.
func TestEscEndsATaskThatWasSentAMessage(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		if _, err := r.engine.Send(t.Context(), id, "and another thing"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.host.Interrupt(r.get(id).Session)
		r.sleep(10 * time.Second)
		r.want(r.get(id), task.Cancelled, "its session was stopped")
	})
}

// Nor is what a person asks in that session afterwards the task's business.
func TestAnAnswerToAPersonAfterEscIsNotTheResult(t *testing.T) {
	answer := func(p host.Prompt, _ host.Session) fake.Reply {
		if p.MessageID == "msg_person" {
			return fake.Reply{Text: "it is noon"}
		}
		return fake.Reply{Hang: true}
	}
	play(t, 1, answer, func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		if _, err := r.engine.Send(t.Context(), id, "and another thing"); err != nil {
			t.Fatal(err)
		}
		session := r.get(id).Session
		r.host.Interrupt(session)
		time.Sleep(time.Second)
		if err := r.host.Prompt(t.Context(), dir, host.Prompt{Session: session, MessageID: "msg_person", Text: "what time is it?"}); err != nil {
			t.Fatal(err)
		}
		r.sleep(10 * time.Second)
		r.want(r.get(id), task.Cancelled, "its session was stopped")
	})
}

func TestATaskResumedBeforeItWasToldIsToldOnce(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		return fake.Reply{Text: "done", Hang: p.Text == "hang"}
	}
	play(t, 2, answer, func(t *testing.T, r *rig) {
		spec := Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Description: "look", Prompt: "work", Background: true, Wake: task.WakeAll}
		first, err := r.engine.Launch(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		spec.Prompt = "hang"
		other, err := r.engine.Launch(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		r.wait(first.ID)
		spec.Prompt = "work"
		if _, err := r.engine.Resume(t.Context(), string(first.ID), spec); err != nil {
			t.Fatal(err)
		}
		r.wait(first.ID)
		if _, err := r.engine.Cancel(t.Context(), other.ID, "enough"); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Minute)
		if n := told(r.host.History(r.main))[string(first.ID)+"/2"]; n != 1 {
			t.Errorf("told %d times: %q", n, r.wakes()[0].Text())
		}
	})
}

// full is a store on a disk that has no room left.
type full struct {
	task.Store
	is    atomic.Bool
	tried atomic.Int64
	fail  func()
}

func (f *full) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	if !f.is.Load() {
		return f.Store.Update(ctx, id, at, change)
	}
	if f.tried.Add(1) > 1000 {
		f.fail()
		f.is.Store(false)
	}
	return task.Task{}, errors.New("no space left on device")
}

func TestAWaitThatEndsOnAFullDiskDoesNotSpin(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		disk := &full{Store: r.store, fail: func() { t.Error("the same update was tried 1000 times in a row") }}
		synctest.Wait()
		r.life.Store = disk
		r.configure(func(s *Settings) { s.SyncWait = time.Minute })
		time.AfterFunc(30*time.Second, func() { disk.is.Store(true) })
		time.AfterFunc(2*time.Minute, func() { disk.is.Store(false) })
		got, err := r.engine.Delegate(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Description: "look", Prompt: "x"})
		if err != nil || got.State != task.Running {
			t.Errorf("%s (%s), %v", got.State, got.Error, err)
		}
		r.sleep(2 * time.Minute)
	})
}

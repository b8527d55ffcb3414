package delegate

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// A quota that is used up for hours is not waited for, but another model may have
// one of its own.
func TestWhatAProviderMayAskUsToWaitIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		after    time.Duration
		fallback []string
		state    task.State
		attempts int
	}{
		"not long":                     {time.Hour, nil, task.Completed, 2},
		"too long":                     {2 * time.Hour, nil, task.Failed, 1},
		"too long, with another model": {2 * time.Hour, []string{"q/other"}, task.Completed, 2},
	} {
		t.Run(name, func(t *testing.T) {
			used := host.MessageError{Name: "APIError", Message: "usage limit", Status: 429, Retryable: true, RetryAfter: c.after}
			play(t, 1, failingTurns(1, used), func(t *testing.T, r *rig) {
				r.configure(func(s *Settings) { s.Fallback = map[string][]string{"*": c.fallback} })
				got := r.wait(r.launch("x"))
				r.want(got, c.state, "")
				if got.Attempt != c.attempts {
					t.Errorf("%d attempts, want %d", got.Attempt, c.attempts)
				}
				if took := got.Ended.Sub(got.Created); c.after > maxAfter && took > time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// A store that is busy just when a turn has failed holds up the next attempt only.
func TestABusyStoreDoesNotCostTheRetry(t *testing.T) {
	for name, fault := range map[string]func(*faulty){
		"it cannot be read": func(f *faulty) {
			fails, begun := times(3), new(atomic.Bool)
			f.update = func(was, next task.Task) error {
				begun.Store(begun.Load() || next.Session != "")
				return nil
			}
			f.get = func(task.ID) error {
				if begun.Load() && fails() { // the next one is that after the failure
					return errBusy
				}
				return nil
			}
		},
		"it cannot be written": func(f *faulty) {
			fails := times(3)
			f.update = func(was, next task.Task) error {
				if next.Attempt > was.Attempt && fails() {
					return errBusy
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, failingTurns(1, overloaded), func(t *testing.T, r *rig) {
				f := faulty{Store: r.store}
				fault(&f)
				r.life.Store = f
				got := r.wait(r.launch("x"))
				r.want(got, task.Completed, "answer")
				if got.Attempt != 2 || len(got.Past) != 1 {
					t.Errorf("attempt %d, %d past ones", got.Attempt, len(got.Past))
				}
			})
		})
	}
}

// What a task has used up ends the tries, too.
func TestABudgetEndsTheTries(t *testing.T) {
	play(t, 1, failingTurns(1, overloaded), func(t *testing.T, r *rig) {
		for budget, attempts := range map[int64]int{100: 1, 0: 2} {
			id := r.launch("x")
			r.sleep(500 * time.Millisecond)
			if _, err := r.store.Update(t.Context(), id, r.get(id).Fence(), func(t *task.Task) { t.Usage.Output = 100 }); err != nil {
				t.Fatal(err)
			}
			r.configure(func(s *Settings) { s.Task.Tokens = budget })
			if got := r.wait(id); got.Attempt != attempts {
				t.Errorf("with a budget of %d: %s after %d attempts, want %d", budget, got.State, got.Attempt, attempts)
			}
		}
	})
}

// Between a turn that has failed and the next attempt nobody reads a message.
func TestAMessageToAFailedTurnIsRefused(t *testing.T) {
	play(t, 1, failingTurns(1, overloaded), func(t *testing.T, r *rig) {
		var engine atomic.Pointer[Engine]
		engine.Store(r.engine)
		sent := make(chan error, 1)
		r.life.Store = faulty{Store: r.store, update: func(was, next task.Task) error {
			if next.Attempt > was.Attempt {
				_, err := engine.Load().Send(context.Background(), was.ID, "more")
				sent <- err
			}
			return nil
		}}
		id := r.launch("x")
		r.want(r.wait(id), task.Completed, "answer")
		if err := <-sent; !errors.Is(err, ErrEnded) {
			t.Errorf("it was taken: %v", err)
		}
		if n := r.prompts(r.get(id).Session); n != 2 {
			t.Errorf("%d prompts in its session, want one for each attempt", n)
		}
	})
}

// late is an OpenCode that begins the second turn of a session only a while after
// its prompt, and tells of the error of the first one once more in between.
type late struct {
	*fake.OpenCode
	prompts *atomic.Int32
	again   func(session string)
}

func (l late) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if s, err := l.Session(ctx, d, p.Session); err != nil || s.Parent == "" || l.prompts.Add(1) != 2 {
		return l.OpenCode.Prompt(ctx, d, p)
	}
	time.AfterFunc(200*time.Millisecond, func() { l.again(p.Session) })
	time.AfterFunc(900*time.Millisecond, func() { _ = l.OpenCode.Prompt(context.Background(), d, p) })
	return nil
}

func TestALateErrorOfTheLastAttemptDoesNotEndTheNext(t *testing.T) {
	play(t, 1, failingTurns(1, forbidden), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Fallback = map[string][]string{"*": {"q/other"}} })
		e := forbidden
		r.through(late{r.host, new(atomic.Int32), func(session string) {
			r.hears.Load().Event(dir, host.Event{Type: host.EventSessionError, Session: session, Error: &e})
		}})
		got := r.wait(r.launch("x"))
		r.want(got, task.Completed, "answer of q/other")
		if got.Attempt != 2 {
			t.Errorf("%d attempts", got.Attempt)
		}
	})
}

// An error without a message may come before the turn that it is wrongly taken
// to have ended.
func TestATurnThatBeginsAfterItsErrorIsStopped(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Attempts = 1 })
		r.through(slow{r.host, 3 * time.Second})
		id := r.launch("x")
		r.sleep(time.Second)
		r.engine.Event(dir, host.Event{Type: host.EventSessionError, Session: r.get(id).Session, Error: &host.MessageError{Name: "UnknownError", Message: "Model not found"}})
		got := r.wait(id)
		r.want(got, task.Failed, "Model not found")
		r.sleep(10 * time.Second)
		if busy, _ := r.host.Statuses(t.Context(), dir); len(busy) > 0 {
			t.Errorf("its session is at work: %v", busy)
		}
	})
}

// slow is an OpenCode that begins turns a while after their prompts.
type slow struct {
	*fake.OpenCode
	by time.Duration
}

func (s slow) Prompt(ctx context.Context, d string, p host.Prompt) error {
	time.AfterFunc(s.by, func() { _ = s.OpenCode.Prompt(context.Background(), d, p) })
	return nil
}

package delegate

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A person can stop OpenCode for a while (Ctrl-Z), or the machine is too slow for
// it: what it does not say is no silence of a task's.
func TestAnOpenCodeThatIsStoppedCostsNoTask(t *testing.T) {
	for name, minutes := range map[string]int{"longer than a lease": 12, "longer than a silence": 20} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, after(time.Duration(minutes+10)*time.Minute), func(t *testing.T, r *rig) {
				id := r.launch("x")
				r.sleep(time.Minute)
				var stopped atomic.Bool
				stopped.Store(true)
				r.host.Fault(func(ctx context.Context, call string) error {
					if !stopped.Load() {
						return nil
					}
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Second):
					}
					return &host.CallError{Call: call, Message: "no answer within 10s"}
				})
				r.sleep(time.Duration(minutes) * time.Minute)
				stopped.Store(false)
				r.want(r.wait(id), task.Completed, "answer to x")
			})
		})
	}
}

func TestSilenceCountsAgainWhenOpenCodeAnswers(t *testing.T) {
	play(t, 2, after(50*time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("x")
		r.sleep(time.Minute)
		start := time.Now()
		r.host.Fault(func(_ context.Context, call string) error {
			return &host.CallError{Call: call, Message: "no answer"}
		})
		r.sleep(20 * time.Minute)
		r.host.Fault(nil)
		r.want(r.wait(id), task.Timeout, "no sign of life for 15m")
		if took := time.Since(start); took < 20*time.Minute || took > 40*time.Minute {
			t.Errorf("it ended after %s", took)
		}
	})
}

// The clock of a suspended machine jumps; what it measures from one point to
// another stands still.
func TestSignsOfLifeAreTimedFromTheBeginningOfARun(t *testing.T) {
	if made := newRun(task.Task{}).made; made == made.Round(0) {
		t.Error("its beginning has no monotonic reading")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRun(task.Task{})
		time.Sleep(time.Hour)
		if got := r.quietFor(); got != time.Hour {
			t.Errorf("quiet for %s, want an hour", got)
		}
		r.touch()
		time.Sleep(time.Minute)
		if got := r.quietFor(); got != time.Minute {
			t.Errorf("quiet for %s, want a minute", got)
		}
	})
}

package delegate

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

const (
	swarmSize  = 10_000
	swarmLimit = 50
)

// swarmReply is how the model answers a task, and how it ends then.
type swarmReply struct {
	reply fake.Reply
	end   task.State
}

// swarmScript is how the nth task goes: most answer after a while, some with a
// tool before, some fail, and one in a hundred gives an answer only at the
// second try.
func swarmScript(d *dice, n int) swarmReply {
	text := fmt.Sprintf("result %d", n)
	wait := d.within(30 * time.Second)
	switch {
	case n%100 == 1:
		return swarmReply{fake.Reply{After: wait, Error: tooBusy}, task.Completed}
	case n%20 == 2:
		return swarmReply{fake.Reply{After: wait, Error: badRequest}, task.Failed}
	case n%20 == 3:
		return swarmReply{fake.Reply{After: wait, Text: text, Finish: "length"}, task.Failed}
	case n%10 == 4:
		return swarmReply{fake.Reply{After: wait, ToolFor: wait / 2, Text: text}, task.Completed}
	}
	return swarmReply{fake.Reply{After: wait, Text: text}, task.Completed}
}

// Ten thousand tasks, of whose events a fifth is lost and the rest comes late, in
// any order and sometimes twice, all come to their true end; never more than the
// limit are at work; and afterwards the memory is free again.
func TestASwarmEndsAndLeavesNothing(t *testing.T) {
	before := inUse()
	start := time.Now()
	engine := runSwarm(t)
	engine.store, engine.host = nil, nil // which keep what they are given
	t.Logf("%d tasks in %s", swarmSize, time.Since(start).Round(time.Millisecond))
	after := inUse()
	t.Logf("heap: %d KB before, %d KB after", before>>10, after>>10)
	// A map does not shrink: where ten thousand tasks were known at once there is
	// room for their ids. A record is ten times that.
	if allowed := before + before/10 + 100*swarmSize; after > allowed {
		t.Errorf("the heap has %d KB, it was %d KB", after>>10, before>>10)
	}
	runtime.KeepAlive(engine)
}

// ends is a store that keeps how tasks ended, also those that it may forget.
type ends struct {
	task.Store
	mu sync.Mutex
	of map[task.ID]task.Task
}

func (s *ends) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	t, err := s.Store.Update(ctx, id, at, change)
	if err == nil && t.State.Terminal() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.of[id] = task.Task{State: t.State, Result: t.Result, Error: t.Error}
	}
	return t, err
}

// runSwarm returns the engine after all is over.
func runSwarm(t *testing.T) (engine *Engine) {
	d := newDice(7)
	var again atomic.Int64
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if s.Parent == "" {
			return fake.Reply{Text: "thanks", After: time.Second}
		}
		if strings.HasPrefix(p.Text, "The last turn") {
			again.Add(1)
			return fake.Reply{Text: "at last"}
		}
		var n int
		if _, err := fmt.Sscanf(p.Text, "do part %d", &n); err != nil {
			return fake.Reply{Error: badRequest}
		}
		return swarmScript(d, n).reply
	}
	play(t, swarmLimit, answer, func(t *testing.T, r *rig) {
		r.sleep(time.Millisecond) // the workspace is open
		kept := &ends{Store: r.store, of: map[task.ID]task.Task{}}
		r.life.Store, engine = kept, r.engine
		deliver := r.host.Emit
		r.host.Emit = func(dir string, ev host.Event) {
			for range min(d.below(5), 2) {
				time.AfterFunc(d.within(2*time.Second), func() { deliver(dir, ev) })
			}
		}
		r.configure(func(s *Settings) { s.Toasts = false })
		counts := map[task.State]int{}
		ids := make([]task.ID, swarmSize)
		for n := range ids {
			ids[n] = r.launch(fmt.Sprintf("do part %d", n))
		}
		for _, id := range ids {
			_, _ = r.engine.Wait(t.Context(), id, 0) // the store forgets what was told
		}
		r.sleep(5 * time.Minute)
		for n, id := range ids {
			got, want := kept.of[id], swarmScript(d, n).end
			counts[got.State]++
			if got.State != want {
				t.Errorf("task %d is %q (%s), want %q", n, got.State, got.Error, want)
			}
			if want == task.Completed && got.Result != fmt.Sprintf("result %d", n) && got.Result != "at last" {
				t.Errorf("task %d has the result %q", n, got.Result)
			}
		}
		if n := r.host.HighWater(); n > swarmLimit {
			t.Errorf("%d sessions were at work at once, the limit is %d", n, swarmLimit)
		} else {
			t.Logf("%v, %d at once at most, %d second tries", counts, n, again.Load())
		}
		news := told(r.host.History(r.main))
		if len(news) < swarmSize {
			t.Errorf("%d of %d were told", len(news), swarmSize)
		}
		for name, n := range news {
			if n != 1 {
				t.Errorf("%s was told %d times", name, n)
			}
		}
		if left := len(r.engine.runs) + len(r.engine.bySession) + len(r.engine.trees); left > 0 {
			t.Errorf("%d entries are left in the engine", left)
		}
	})
	return engine
}

// inUse is the heap after a collection, in bytes.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

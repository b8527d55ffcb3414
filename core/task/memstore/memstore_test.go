package memstore

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) task.Store { return New() })
}

func TestOldSettledTasksAreForgotten(t *testing.T) {
	s := New()
	add := func(i int, told bool) task.ID {
		tk := task.Task{ID: task.ID(fmt.Sprintf("task_%08x", i)), Attempt: 1, State: task.Running}
		if err := s.Create(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State, x.Told = task.Completed, told }); err != nil {
			t.Fatal(err)
		}
		return tk.ID
	}
	untold := add(0, false)
	first := add(1, true)
	for i := range Keep - 1 {
		add(2+i, true)
	}
	if _, err := s.Get(t.Context(), first); err != nil {
		t.Fatalf("forgotten within the limit: %v", err)
	}
	add(5000, true)
	if _, err := s.Get(t.Context(), first); err == nil {
		t.Error("the oldest settled task is still there")
	}
	if _, err := s.Get(t.Context(), untold); err != nil {
		t.Errorf("a task that its parent does not know of was forgotten: %v", err)
	}
}

func TestTasksThatEndedADayAgoAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		add := func(id task.ID, change func(*task.Task)) {
			t.Helper()
			tk := task.Task{ID: id, Attempt: 1, State: task.Completed, Told: true, Created: time.Now(), Ended: time.Now()}
			change(&tk)
			if err := s.Create(t.Context(), tk); err != nil {
				t.Fatal(err)
			}
		}
		has := func(want bool, ids ...task.ID) {
			t.Helper()
			for _, id := range ids {
				if _, err := s.Get(t.Context(), id); (err == nil) != want {
					t.Errorf("%s: there: %v, want %v", id, err == nil, want)
				}
			}
		}
		as := func(*task.Task) {}
		add("young", func(x *task.Task) { x.Ended = time.Now().Add(time.Hour) })
		add("old", as) // ended before the one that settled before it
		add("nobody waits", func(x *task.Task) { x.Told, x.Wake = false, task.WakeNone })
		add("untold", func(x *task.Task) { x.Told = false })
		add("open", func(x *task.Task) { x.State = task.Running })
		time.Sleep(MaxAge)
		add("now", as)
		has(true, "young", "old", "nobody waits", "untold", "open", "now")
		time.Sleep(time.Second)
		add("later", as)
		has(false, "old", "nobody waits")
		has(true, "young", "untold", "open", "now", "later")
		time.Sleep(time.Hour)
		if _, err := s.Update(t.Context(), "open", task.Fence{Attempt: 1, State: task.Running}, as); err != nil {
			t.Fatal(err)
		}
		has(false, "young")
		has(true, "now")
	})
}

func BenchmarkListNewest50Of5000(b *testing.B) {
	s := storetest.Filled(b, New(), 5000)
	for b.Loop() {
		if _, err := s.List(b.Context(), task.Query{Limit: 50}); err != nil {
			b.Fatal(err)
		}
	}
}

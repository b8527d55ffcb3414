package memstore

import (
	"fmt"
	"testing"

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

func BenchmarkListNewest50Of5000(b *testing.B) {
	s := storetest.Filled(b, New(), 5000)
	for b.Loop() {
		if _, err := s.List(b.Context(), task.Query{Limit: 50}); err != nil {
			b.Fatal(err)
		}
	}
}

package delegate

import (
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

// BenchmarkListTasks is one call of the tool, arguments to answer.
func BenchmarkListTasks(b *testing.B) {
	for _, n := range []int{0, 50, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			limits, err := limit.New(limit.Options{})
			if err != nil {
				b.Fatal(err)
			}
			store := memstore.New()
			for i := range n {
				start := time.Now().Add(-time.Minute)
				err := store.Create(b.Context(), task.Task{
					ID: task.ID(fmt.Sprintf("task_%08x", i)), Worktree: dir, Agent: "general", Description: "look at a part",
					Attempt: 1, State: task.Completed, Created: start, Started: start, Ended: start.Add(time.Second), Told: true,
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			registry, err := tool.NewRegistry(Tools(New(Options{Store: store, Limits: limits, Log: zerolog.Nop()}), func(string) (workspace.Workspace, error) {
				return workspace.Workspace{Directory: dir, Worktree: dir}, nil
			})...)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Call(b.Context(), "list_tasks", tool.Call{}, []byte(`{}`)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

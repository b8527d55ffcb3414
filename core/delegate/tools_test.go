package delegate

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

func TestToolsSeeTheirOwnWorktreeOnly(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		registry, err := tool.NewRegistry(Tools(r.engine, func(id string) (workspace.Workspace, error) {
			return workspace.Workspace{Directory: id, Worktree: id}, nil
		})...)
		if err != nil {
			t.Fatal(err)
		}
		id := r.launch("secret")
		synctest.Wait()
		for _, name := range []string{"get_task_result", "cancel_task"} {
			_, err := registry.Call(t.Context(), name, tool.Call{Workspace: "/elsewhere"}, []byte(`{"taskId":"`+string(id)+`"}`))
			if err == nil || !strings.Contains(err.Error(), "there is no task") {
				t.Errorf("%s from another worktree: %v", name, err)
			}
		}
		res, err := registry.Call(t.Context(), "list_tasks", tool.Call{Workspace: "/elsewhere"}, nil)
		if err != nil || res.Output != "No tasks." {
			t.Errorf("list_tasks from another worktree: %q, %v", res.Output, err)
		}
		r.wait(id)
		res, err = registry.Call(t.Context(), "get_task_result", tool.Call{Workspace: dir, SessionID: r.main}, []byte(`{"taskId":"`+string(id)+`"}`))
		if err != nil || !strings.Contains(res.Output, "answer to secret") {
			t.Errorf("its own: %q, %v", res.Output, err)
		}
	})
}

// A stop that no other process has confirmed is not called one.
func TestACancelThatTheOtherProcessDoesNotConfirmSaysSo(t *testing.T) {
	play(t, 2, after(time.Hour/2), func(t *testing.T, r *rig) {
		id := r.launch("x")
		r.sleep(2 * time.Second)
		r.kill() // its sidecar hangs, or is about to be started again
		r.start("host-2")
		got, err := r.tools()("cancel_task", `{"taskId":"`+string(id)+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got.Output, "not confirmed") {
			t.Errorf("the model reads %q", got.Output)
		}
		r.owners.set("host-1", false)
		r.host.Close()
	})
}

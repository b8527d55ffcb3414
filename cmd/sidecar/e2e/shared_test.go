package e2e

import (
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// Two OpenCode processes in one worktree see each other's tasks, and each ends
// its own.
func TestTwoProcessesInOneWorktree(t *testing.T) {
	r := newRig(t, nil)
	a, b := serve(t, r), serve(t, r)
	ctx := deadline(t, limit)
	session := a.session()
	stopped := a.leave(session, "stopped")
	b.contains("the other process's list", b.ask("list_tasks", nil), "[RUNNING] "+stopped, "in another OpenCode process")
	b.contains("the cancel in the other process", b.ask("cancel_task", map[string]any{"taskId": stopped}), "[CANCELLED] "+stopped, "cancelled with cancel_task")
	if _, err := r.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Tag == "stopped" && r.Step == 1 && r.Outcome == "gone" }); err != nil {
		t.Errorf("the cancelled task goes on: %v", err)
	}
	a.contains("the wake of its parent", a.told(session, 1), "[CANCELLED] "+stopped)

	// However a task ends, and whoever ends it, its parent is told.
	other := a.leave(session, "other")
	a.contains("the cancel in another session", a.ask("cancel_task", map[string]any{"taskId": other}), "[CANCELLED] "+other)
	a.contains("the wake of its parent", a.told(session, 2), "[CANCELLED] "+other, "written by other")

	left := a.leave(session, "left")
	b.contains("the list while it runs", b.ask("list_tasks", nil), "[RUNNING] "+left, "in another OpenCode process")
	a.gone(syscall.SIGKILL)
	b.contains("the list after the other's end", b.ask("list_tasks", nil), "[WARNING] "+left, "its OpenCode process ended while it ran")
	b.contains("its result after the other's end", b.ask("get_task_result", map[string]any{"taskId": left}), "written by left")
}

// gone signals one OpenCode of several and waits for its end and its sidecar's.
func (s *served) gone(sig syscall.Signal) {
	s.Helper()
	ctx := deadline(s.T, gone)
	before, err := s.Sidecars()
	if err != nil {
		s.Fatal(err)
	}
	if err := s.Signal(sig); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Process.Wait(ctx); err != nil {
		s.Fatal(err)
	}
	s.wait("its sidecar is gone", func() bool {
		now, err := s.Sidecars()
		return err == nil && len(now) == len(before)-1
	})
}

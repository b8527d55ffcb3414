package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// atWork counts the goroutines that look after missions and todo lists, and the
// descriptors of file watches, of this process.
func atWork(t *testing.T) (goroutines, watches int) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		for _, where := range []string{"mission.(*Driver).drive", "core/todo.(*Watcher)", "core/todo.(*watch)", "fsnotify."} {
			if strings.Contains(stack, where) {
				goroutines++
				break
			}
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, "inotify") {
			watches++
		}
	}
	return goroutines, watches
}

// A closed workspace leaves nothing behind: no goroutine, timer or descriptor of a
// mission in its countdown and its watched list. Opened again, it all comes back.
func TestNothingIsLeftOfAClosedWorkspace(t *testing.T) {
	worktree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(worktree, ".opencode"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(worktree, ".opencode", "todo.md"), []byte("- [ ] one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	toasts := make(chan wire.ToastParams, 64)
	router := rpc.NewHostRouter()
	rpc.Handle(router, wire.HostToast, func(_ context.Context, p wire.ToastParams) (bool, error) { toasts <- p; return true, nil })
	rpc.Handle(router, wire.HostSessionGet, func(_ context.Context, p wire.SessionPathParams) (wire.SessionInfo, error) {
		return wire.SessionInfo{ID: p.Path.ID}, nil
	})
	rpc.Handle(router, wire.HostSessionStatus, func(context.Context, wire.WorkspaceParams) (map[string]wire.SessionStatus, error) {
		return nil, nil
	})
	rpc.Handle(router, wire.HostSessionMessages, func(context.Context, wire.SessionMessagesParams) ([]wire.MessageWithParts, error) {
		later := wire.MessageTime{Created: now + 60_000, Completed: now + 60_000}
		return []wire.MessageWithParts{
			{Info: wire.MessageInfo{ID: "msg_1", Role: "user", Time: later}},
			{Info: wire.MessageInfo{ID: "msg_2", Role: "assistant", Finish: "stop", Time: later}},
		}, nil
	})
	s := startWith(t, map[string]string{"OPENCODE_SIDECAR_STORE": filepath.Join(t.TempDir(), "tasks.db"), "OPENCODE_SIDECAR_MISSION_COUNTDOWN": "10m"}, router)
	if err := s.initialize(hash(t)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"wrk_1", "wrk_2"} {
		if _, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: id, Directory: worktree}); err != nil {
			t.Fatal(err)
		}
		if id == "wrk_1" {
			if g, w := atWork(t); g != 0 || w != 0 {
				t.Errorf("before anybody wants it: %d goroutines, %d watches", g, w)
			}
			if _, err := rpc.Invoke(s.ctx(), s.conn, wire.HookCommand, wire.CommandParams{Workspace: id, Command: "task", SessionID: "ses_1", Arguments: "build it"}); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case toast := <-toasts:
			if !strings.Contains(toast.Body.Message, "It goes on in 10m") {
				t.Errorf("the toast says %q", toast.Body.Message)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the mission does not count down")
		}
		s.eventually(func() bool { g, w := atWork(t); return g >= 2 && w == 1 })
		if _, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceClose, wire.WorkspaceCloseParams{Workspace: id}); err != nil {
			t.Fatal(err)
		}
		s.eventually(func() bool { g, w := atWork(t); return g == 0 && w == 0 })
	}
	s.hangUp()
	s.ends(exitOK)
}

// eventually waits until something holds.
func (s *shimmed) eventually(holds func() bool) {
	s.Helper()
	for start := time.Now(); !holds(); {
		if time.Since(start) > 10*time.Second {
			s.Fatal("it never came to that")
		}
		runtime.Gosched()
	}
}

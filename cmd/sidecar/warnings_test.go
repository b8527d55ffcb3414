package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// told takes note of what OpenCode is told.
type told struct {
	deaf bool // every call fails

	mu   sync.Mutex
	said []string
}

func (o *told) say(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf {
		return errors.New("closed")
	}
	o.said = append(o.said, text)
	return nil
}

func (o *told) Toast(_ context.Context, directory string, t host.Toast) error {
	return o.say(fmt.Sprintf("toast %s %s %s", directory, t.Variant, t.Message))
}

func (o *told) Log(_ context.Context, directory, level, text string) error {
	return o.say(fmt.Sprintf("log %s %s", level, text))
}

func TestWarningsAreShownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, to := newWarnings(zerolog.Nop()), &told{}
		var directories []string
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { w.run(ctx, func() []string { return directories }, to) })

		w.add("nobody is here")
		synctest.Wait()
		if got := w.take(); len(to.said) > 0 || !slices.Equal(got, []string{"nobody is here"}) {
			t.Errorf("with no workspace %q is said, %q kept", to.said, got)
		}
		directories = []string{"/a", "/b"}
		w.note("for the next one")
		synctest.Wait()
		if len(to.said) > 0 {
			t.Errorf("said at once: %q", to.said)
		}
		w.add("it broke")
		synctest.Wait()
		want := []string{
			"log warn for the next one", "toast /a warning for the next one", "toast /b warning for the next one",
			"log warn it broke", "toast /a warning it broke", "toast /b warning it broke",
		}
		if diff := cmp.Diff(want, to.said); diff != "" || len(w.take()) > 0 {
			t.Errorf("(-want +got):\n%s", diff)
		}
		to.deaf = true
		w.add("they were closed just now")
		synctest.Wait()
		if got := w.take(); !slices.Equal(got, []string{"they were closed just now"}) {
			t.Errorf("kept is %q", got)
		}
	})
}

// What the store meets while it is used is a toast at once.
func TestWhatTheStoreWarnsOfIsShownAtOnce(t *testing.T) {
	path, worktree := filepath.Join(t.TempDir(), "tasks.db"), workspace.Workspace{Directory: t.TempDir()}.Canonical().Directory
	other := sidecarOf(t, path)
	release, err := other.shared.Claim("another")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	running := task.Task{ID: "task_00000001", Owner: "another", Worktree: worktree, Directory: worktree, Attempt: 1, State: task.Running, Created: time.Now()}
	if err := other.Create(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	toasts, lines := make(chan wire.ToastParams, 8), make(chan wire.LogParams, 8)
	router := rpc.NewHostRouter()
	rpc.Handle(router, wire.HostToast, func(_ context.Context, p wire.ToastParams) (bool, error) { toasts <- p; return true, nil })
	rpc.Handle(router, wire.HostLog, func(_ context.Context, p wire.LogParams) (bool, error) { lines <- p; return true, nil })
	s := startWith(t, map[string]string{"OPENCODE_SIDECAR_STORE": path}, router)
	if err := s.initialize(hash(t)); err != nil {
		t.Fatal(err)
	}
	opened, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: "wrk_1", Directory: worktree})
	if err != nil || len(opened.Warnings) > 0 {
		t.Fatalf("%v, warned of %q", err, opened.Warnings)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	// To ask its owner to end a task is a write, whatever comes of it.
	_, _ = rpc.Invoke(s.ctx(), s.conn, wire.ToolCall, wire.ToolCallParams{
		Workspace: "wrk_1", Tool: "cancel_task", Args: json.RawMessage(`{"taskId":"task_00000001"}`), SessionID: "ses_p", MessageID: "msg_1", CallID: "call", Agent: "build",
	})
	select {
	case toast := <-toasts:
		if line := <-lines; toast.Workspace != "wrk_1" || toast.Body.Variant != "warning" || !strings.Contains(toast.Body.Message, path+" was removed") || line.Body.Message != toast.Body.Message {
			t.Errorf("the toast is %+v, the line %+v", toast, line)
		}
	case <-time.After(10 * time.Second):
		t.Error("no toast")
	}
	s.hangUp()
	s.ends(exitOK)
}

func TestWarningsAreBounded(t *testing.T) {
	w := newWarnings(zerolog.Nop())
	for n := range maxWarnings + 3 {
		w.add(fmt.Sprint(n)) // nobody takes them, and nobody waits
	}
	if got := w.take(); len(got) != maxWarnings || got[0] != "3" || got[maxWarnings-1] != fmt.Sprint(maxWarnings+2) {
		t.Errorf("kept are %q", got)
	}
}

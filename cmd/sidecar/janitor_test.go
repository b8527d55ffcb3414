package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

// The defaults of the options are those of the janitor.
func TestJanitorSettings(t *testing.T) {
	if diff := cmp.Diff(janitor.Defaults(), janitorSettings(config.Default())); diff != "" {
		t.Error(diff)
	}
}

// Whatever of an open workspace reaches the sidecar is a use of it, a tool call too, after
// which it is cleaned; the packages go when it is closed for good.
func TestAWorkspaceIsCleanedOnceUsedAndLeft(t *testing.T) {
	state := t.TempDir()
	env := map[string]string{"XDG_STATE_HOME": state, "OPENCODE_SIDECAR_JANITOR_DELAY": "1s", "OPENCODE_SIDECAR_JANITOR_NODE_MODULES": "remove"}
	a, err := newApp(strings.NewReader(""), io.Discard, io.Discard, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.janitor.Run(ctx) }()
	defer func() {
		cancel()
		<-done
		a.workspaces.Stop()
		if err := errors.Join(a.todos.Stop(t.Context()), a.missions.Stop(t.Context()), a.tasks.Stop(t.Context()), a.store.Close()); err != nil {
			t.Error(err)
		}
	}()

	project := workspace.Workspace{Directory: t.TempDir()}.Canonical().Directory
	folder := filepath.Join(project, ".opencode")
	write := func(name, content string) {
		t.Helper()
		name = filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("package-lock.json", `{"lockfileVersion":3,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"1.18.33"}},"node_modules/@opencode-ai/plugin":{"version":"1.18.33"}}}`)
	write("node_modules/.package-lock.json", `{"lockfileVersion":3,"packages":{"node_modules/@opencode-ai/plugin":{"version":"1.18.33"}}}`)
	write("node_modules/@opencode-ai/plugin/package.json", `{"name":"@opencode-ai/plugin","version":"1.18.33"}`)
	const old = "archive/tasks/tasks_2025-01-01.jsonl"
	write(old, `{"id":"task_01234567","agent":"Worker","prompt":"","status":"completed"}`+"\n")
	long := time.Now().AddDate(-1, 0, 0)
	if err := os.Chtimes(filepath.Join(folder, old), long, long); err != nil {
		t.Fatal(err)
	}

	if _, _, err := a.Open("wrk_1", workspace.Workspace{Directory: project, Worktree: project}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.tools.Call(t.Context(), "list_tasks", tool.Call{Workspace: "wrk_1"}, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	gone := func(name string) bool {
		_, err := os.Lstat(filepath.Join(folder, name))
		return errors.Is(err, fs.ErrNotExist)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !gone(old) {
		if time.Now().After(deadline) {
			t.Fatal("it is not cleaned")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if gone("node_modules") {
		t.Error("the packages are gone while it is open")
	}
	a.workspaceGone(workspace.Workspace{Directory: project, Worktree: project}) // too late: it is open again
	if gone("node_modules") {
		t.Error("the packages are gone though it was opened again")
	}
	a.Close("wrk_1")
	a.workspaceGone(workspace.Workspace{Directory: project, Worktree: project})
	if !gone("node_modules") || !gone("package-lock.json") {
		t.Error("the packages stay after it was closed")
	}
}

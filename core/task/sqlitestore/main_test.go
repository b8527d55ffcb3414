package sqlitestore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/storetest"
)

// role names the variable that makes the test binary play a part in another
// process instead of running tests; its value is a key of roles.
const role = "SQLITESTORE_ROLE"

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		if err := roles()[name](os.Getenv("SQLITESTORE_PATH")); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) task.Store { return open(t, file(t)) })
}

func file(tb testing.TB) string { return filepath.Join(tb.TempDir(), "state", "tasks.db") }

// open opens a store that the test closes, if it has not done so itself.
func open(tb testing.TB, path string) *Store {
	tb.Helper()
	s, found, err := Open(Options{Path: path, Log: zerolog.Nop()})
	if err != nil {
		tb.Fatal(err)
	}
	if len(found.Warnings) > 0 {
		tb.Errorf("opening warns: %q", found.Warnings)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func sample(n int) task.Task {
	now := time.UnixMilli(1_760_000_000_000 + int64(n))
	return task.Task{
		ID: task.ID(fmt.Sprintf("task_%08x", n)), Directory: "/w", Worktree: "/w", Owner: "host-1", Parent: "ses_parent", Agent: "general",
		Description: "look at part " + strconv.Itoa(n), Prompt: fmt.Sprintf("prompt %d", n), Background: true, Depth: 1,
		Attempt: 1, State: task.Pending, Created: now,
	}
}

func create(tb testing.TB, s *Store, tasks ...task.Task) {
	tb.Helper()
	for _, tk := range tasks {
		if err := s.Create(tb.Context(), tk); err != nil {
			tb.Fatal(err)
		}
	}
}

// count returns how many tasks the store says it has.
func count(tb testing.TB, s *Store) (n int) {
	tb.Helper()
	page, err := s.List(tb.Context(), task.Query{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, of := range page.Totals {
		n += of
	}
	return n
}

// live runs a task through its states as the engine does: one insert, three
// updates, and its result.
func live(ctx context.Context, s *Store, t task.Task, result string) error {
	if err := s.Create(ctx, t); err != nil {
		return err
	}
	for _, change := range []func(*task.Task){
		func(t *task.Task) { t.State, t.Session, t.Started = task.Running, "ses_"+string(t.ID), t.Created },
		func(t *task.Task) { t.MessageID = "msg_" + string(t.ID) },
		func(t *task.Task) { t.State, t.Result, t.Ended = task.Completed, result, t.Created.Add(time.Second) },
		func(t *task.Task) { t.Told, t.WakeID = true, "msg_wake" },
	} {
		var err error
		if t, err = s.Update(ctx, t.ID, t.Fence(), change); err != nil {
			return err
		}
	}
	return nil
}

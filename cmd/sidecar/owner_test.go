package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// sidecarOf is the store of a sidecar at path.
func sidecarOf(t *testing.T, path string) *tasksStore {
	t.Helper()
	s := openStore(path, zerolog.Nop())
	if s.shared == nil {
		t.Fatalf("in memory: %q", s.warnings.take())
	}
	s.patience = 0
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// opencode is a process that a sidecar serves; end ends it.
func opencode(t *testing.T) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		stdin.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

func (s *tasksStore) wantAlive(t *testing.T, owner string, want bool) {
	t.Helper()
	if alive, err := s.owners().Alive(owner); err != nil || alive != want {
		t.Errorf("that %s is alive: %v, %v; want %v", owner, alive, err, want)
	}
}

// Two sidecars serve one process, as when the first does not let go. Others must
// not judge the tasks of either while that process lives, also not between the
// death of a sidecar and its respawn, which takes the tasks over.
func TestOwnersLiveAsLongAsTheirOpenCode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	pid, end := opencode(t)
	first, second, other := sidecarOf(t, path), sidecarOf(t, path), sidecarOf(t, path)
	one, two := first.own(pid, false), second.own(pid, false)
	if one == two {
		t.Fatalf("both are %s", one)
	}
	open := task.Task{ID: "task_00000001", Owner: two, Parent: "ses_p", Root: "ses_p", Worktree: "/w", Attempt: 1, State: task.Running, Created: time.Now()}
	untold := open
	untold.ID, untold.State, untold.Ended, untold.Background = "task_00000002", task.Completed, time.Now(), true
	told := untold
	told.ID, told.Told = "task_00000003", true
	for _, tk := range []task.Task{open, untold, told} {
		if err := second.Create(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
	}
	other.wantAlive(t, one, true)
	other.wantAlive(t, two, true)
	for _, s := range []*tasksStore{first, second} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other.wantAlive(t, one, true)
	other.wantAlive(t, two, true)

	third := sidecarOf(t, path)
	if got := third.own(pid, true); got != one {
		t.Errorf("the next sidecar is %s, want %s", got, one)
	}
	for id, want := range map[task.ID]string{open.ID: one, untold.ID: one, told.ID: two} {
		if got, err := other.Get(t.Context(), id); err != nil || got.Owner != want {
			t.Errorf("%s is owned by %s, %v; want %s", id, got.Owner, err, want)
		}
	}
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	end()
	other.wantAlive(t, one, false)
	other.wantAlive(t, two, false)
}

// What a living second sidecar owns is its own.
func TestARespawnLeavesALivingSidecarItsTasks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	pid, _ := opencode(t)
	first, second := sidecarOf(t, path), sidecarOf(t, path)
	first.own(pid, false)
	two := second.own(pid, false)
	if err := second.Create(t.Context(), task.Task{ID: "task_00000001", Owner: two, Attempt: 1, State: task.Running, Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	sidecarOf(t, path).own(pid, true)
	if got, err := second.Get(t.Context(), "task_00000001"); err != nil || got.Owner != two {
		t.Errorf("it is owned by %s, %v; want %s", got.Owner, err, two)
	}
}

func TestWhoCannotBeIdentifiedIsOwnedInOurName(t *testing.T) {
	pid, end := opencode(t)
	end() // no process has this pid
	us, err := proc.Identity(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := sidecarOf(t, filepath.Join(t.TempDir(), "tasks.db"))
	if got := s.own(pid, false); got != us || !proc.Lives(got) {
		t.Errorf("the owner is %s, want %s", got, us)
	}
}

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A full disk refuses new tasks and loses none that it has accepted: their ends
// are stored, and told, once there is room.
func TestAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Logf("no disk can be mounted here (%v): only the store's own tests meet a full one", err)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := serve(t, newRig(t, nil, "OPENCODE_SIDECAR_STORE="+filepath.Join(disk, "tasks.db")))
	ctx := deadline(t, limit)
	session := s.session()
	calls := s.prompt(session, Delegate(true, "@tag accepted", "@gate accepted", "@say it was accepted"), "@say launched")
	accepted := taskID.FindString(calls[0].State.Output)
	if err := s.Model.WaitLoad(ctx, "accepted", 1); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	calls = s.prompt(session, Delegate(true, "@tag refused", "@say never"), Delegate(false, "@tag refused", "@say never"), "@say ok")
	for _, call := range calls {
		s.contains("the refusal", call.State.Error, "the task could not be stored: the disk is full")
	}
	s.contains("the list on a full disk", s.ask("list_tasks", nil), "1 running", "[RUNNING] "+accepted)
	children, err := s.Children(ctx, session)
	if err != nil || len(children) != 1 {
		t.Fatalf("%d sessions of tasks (%v), want that of the accepted one", len(children), err)
	}
	s.Model.Open("accepted")
	if err := s.WaitIdle(ctx, children[0].ID); err != nil {
		t.Fatal(err)
	}
	s.wait("its end cannot be stored", func() bool { return strings.Contains(s.Log(), "the end of a task could not be stored") })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.contains("the wake", s.told(session, 1), "[DONE] "+accepted, "it was accepted")
	s.contains("a task once there is room", s.ask("delegate_task", map[string]any{
		"agent": "general", "description": "later", "background": false, "prompt": "@say stored again",
	}), "[DONE]", "stored again")
	if n := s.Model.Load("refused").Total; n != 0 {
		t.Errorf("refused tasks asked their model %d times", n)
	}
}

// fill writes a file until its disk has no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); ; {
		if _, err = f.Write(chunk); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// Two clones of one repository are one project to OpenCode, but not to us.
func TestTwoClonesDoNotMix(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a := serve(t, r)
	ctx := deadline(t, limit)
	clone := filepath.Join(r.Root, "clone")
	cmd := exec.CommandContext(ctx, "git", "clone", "--quiet", r.Dir, clone)
	cmd.Env = r.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	if err := os.CopyFS(filepath.Join(clone, ".opencode"), os.DirFS(filepath.Join(r.Dir, ".opencode"))); err != nil {
		t.Fatal(err)
	}
	b := serve(t, r)
	b.Server = &hosttest.Server{Process: b.Process, Client: b.Client.In(clone)}
	first, second := a.project(), b.project()
	if first.ID != second.ID {
		t.Errorf("OpenCode calls the clones %s and %s: nothing is shown here", first.ID, second.ID)
	}
	ones, others := a.leave(a.session(), "one"), b.leave(b.session(), "other")
	for _, seen := range []struct {
		by          *served
		own, others string
	}{{a, ones, others}, {b, others, ones}} {
		list := seen.by.ask("list_tasks", nil)
		seen.by.contains("the list", list, "1 running", "[RUNNING] "+seen.own)
		if strings.Contains(list, seen.others) {
			t.Errorf("a clone lists the other's task:\n%s", list)
		}
		seen.by.contains("asking for the other's task", seen.by.ask("get_task_result", map[string]any{"taskId": seen.others}), "no task")
	}
}

// project is what OpenCode takes its directory for.
func (s *served) project() (p struct{ ID, Worktree string }) {
	s.Helper()
	if err := s.Do(deadline(s.T, limit), "GET", "/project/current", nil, &p); err != nil {
		s.Fatal(err)
	}
	return p
}

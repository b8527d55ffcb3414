package janitor

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A git that is a script (of a version manager, say) leaves its child when it is
// killed, which keeps the pipe: that must not hold up the end.
func TestAGitThatIsAScriptHoldsUpNobody(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(1), 60*day)
	if err := os.Mkdir(filepath.Join(s.dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\nsleep 6\necho done\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := s.janitor.Clean(ctx, s.dir, Defaults(), false)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %s, %v", took, err)
	}
}

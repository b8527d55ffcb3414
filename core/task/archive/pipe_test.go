//go:build linux || darwin

package archive_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task/archive"
)

func TestAPipeIsNotWaitedFor(t *testing.T) {
	worktree := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(file(worktree)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(file(worktree), 0o600); err != nil {
		t.Fatal(err)
	}
	err := archive.New(zone).Append(ended(worktree))
	if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("error is %v", err)
	}
}

package sqlitestore

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// On a machine that lets nobody mount anything, the page limit of the test above
// has to do.
func TestASmallDiskRefusesAndLosesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=full", "SQLITESTORE_PATH="+t.TempDir())
	t.Logf("a small file system was filled: %s", proctest.Apart(t, cmd))
}

// mountSmall mounts 8 MB of memory on path, which only this process sees.
func mountSmall(path string) error {
	return syscall.Mount("small", path, "tmpfs", 0, "size=8m")
}

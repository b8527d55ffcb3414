package sqlitestore

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// On a machine that lets nobody mount anything, the page limit of the test above
// has to do.
func TestASmallDiskRefusesAndLosesNothing(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=full", "SQLITESTORE_PATH="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var said, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := cmd.Start(); err != nil {
		t.Logf("no file system of our own: %v", err)
		return
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	t.Logf("a small file system was filled: %s", said.String())
}

// mountSmall mounts 8 MB of memory on path, which only this process sees.
func mountSmall(path string) error {
	return syscall.Mount("small", path, "tmpfs", 0, "size=8m")
}

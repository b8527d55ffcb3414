package proctest

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Apart runs a command to its end as one that may mount file systems, which only it
// sees, and returns what it wrote. The test fails if the command does, and [Lacks]
// what it needs where users may not do that.
func Apart(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	probe := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "none", t.TempDir())
	probe.SysProcAttr = attr
	if out, err := probe.CombinedOutput(); err != nil {
		Lacks(t, "a file system of its own: "+err.Error()+" "+string(out))
	}
	var said bytes.Buffer
	cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = attr, &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	return said.String()
}

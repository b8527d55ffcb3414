//go:build unix

package hosttest

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps signals of the caller's terminal away from the process.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endSignal returns the signal that ended a process, nil if none did.
func endSignal(state *os.ProcessState) os.Signal {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return nil
}

//go:build !windows

package job

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const hasTerminals = true

// DefaultShell is the user's shell if it is of the family of sh, else bash or sh.
func DefaultShell(getenv func(string) string) []string {
	shell := getenv("SHELL")
	switch filepath.Base(shell) {
	case "bash", "zsh", "sh", "dash", "ash", "ksh", "mksh":
		if info, err := os.Stat(shell); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(shell) {
			return []string{shell, "-c"}
		}
	}
	if path, err := exec.LookPath("bash"); err == nil && filepath.IsAbs(path) {
		return []string{path, "-c"}
	}
	return []string{"/bin/sh", "-c"}
}

// shellCommand is the shell with a line to run.
func shellCommand(shell []string, line string) *exec.Cmd {
	cmd := exec.Command(shell[0], shell[1:]...) //nolint:noctx // its whole tree is ended elsewhere
	cmd.Args = append(cmd.Args, line)
	return cmd
}

// onTerminal makes the command's standard input its controlling terminal.
func onTerminal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
}

// openTerminal returns both ends of a terminal.
func openTerminal(s Size) (ours, theirs *os.File, err error) {
	blocking, theirs, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = blocking.Close() }()
	// Of a file that blocks, Close would wait for Read.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
		ours = os.NewFile(uintptr(fd), "terminal")
	}
	if err == nil {
		err = resize(ours, s)
	}
	if err != nil {
		closeAll([]*os.File{ours, theirs})
		return nil, nil, err
	}
	return ours, theirs, nil
}

// resize sets the size of a terminal.
func resize(terminal *os.File, s Size) error {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Row: uint16(s.Rows), Col: uint16(s.Cols)}
	var set error
	err = conn.Control(func(fd uintptr) { set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	if err != nil {
		return err
	}
	return set
}

// signalName names the signal that ended a process; empty if none did.
func signalName(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	if name := unix.SignalName(status.Signal()); name != "" {
		return name
	}
	return status.Signal().String()
}

package job

import (
	"cmp"
	"os"
	"os/exec"
	"syscall"
)

// hasTerminals: a console cannot be had through the library.
const hasTerminals = false

// DefaultShell is the command interpreter of the system.
func DefaultShell(getenv func(string) string) []string {
	return []string{cmp.Or(getenv("ComSpec"), "cmd.exe"), "/d", "/s", "/c"}
}

// shellCommand is the shell with a line to run, which it gets as it is.
func shellCommand(shell []string, line string) *exec.Cmd {
	cmd := exec.Command(shell[0])
	words := syscall.EscapeArg(shell[0])
	for _, a := range shell[1:] {
		words += " " + syscall.EscapeArg(a)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: words + ` "` + line + `"`}
	return cmd
}

func onTerminal(*exec.Cmd) {}

func openTerminal(Size) (ours, theirs *os.File, err error) { return nil, nil, errNoTerminals }

func resize(*os.File, Size) error { return errNoTerminals }

var errNoTerminals = wrong("pty", "there are no terminals on this system")

func signalName(*os.ProcessState) string { return "" }

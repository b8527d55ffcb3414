//go:build !linux

package proc

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Identity names a process: here by its pid alone, which may come again.
func Identity(pid int) (string, error) { return strconv.Itoa(pid) + "-", nil }

// Lives reports whether a process with the pid of that Identity, or Part
// of one, runs.
func Lives(identity string) bool {
	identity, _, _ = strings.Cut(identity, partMark)
	head, _, ok := strings.Cut(identity, "-")
	pid, err := strconv.Atoi(head)
	if err != nil || !ok {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	return p.Signal(syscall.Signal(0)) == nil
}

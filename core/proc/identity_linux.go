package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Identity names a process so that no other one ever has the same name: its pid,
// when it started, and the boot that this is counted from.
func Identity(pid int) (string, error) {
	start, err := started(pid)
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", pid, err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", pid, err)
	}
	return fmt.Sprintf("%d-%s-%.8s", pid, start, boot), nil
}

// Lives reports whether the process of that Identity, or Part of one, still runs, as far as this
// process can see; zombies do not. What is no Identity does not live.
func Lives(identity string) bool {
	identity, _, _ = strings.Cut(identity, partMark)
	head, _, _ := strings.Cut(identity, "-")
	pid, err := strconv.Atoi(head)
	if err != nil {
		return false
	}
	now, err := Identity(pid)
	return err == nil && now == identity
}

// started returns the start of a process in clock ticks since the boot (field 22
// of /proc/PID/stat); the name in field 2 may hold anything.
func started(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("unreadable state of process %d", pid)
	}
	if state := string(fields[0]); state == "Z" || state == "X" {
		return "", os.ErrProcessDone
	}
	return string(fields[19]), nil
}

package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Identity names a process so that no other one ever has the same name: its pid,
// when it started, and the boot that this is counted from.
func Identity(pid int) (string, error) {
	p, err := current(pid)
	if err == nil && p.dead() {
		err = os.ErrProcessDone
	}
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", pid, err)
	}
	return name(p.life)
}

// name makes an Identity.
func name(l life) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify process %d: %w", l.pid, err)
	}
	return fmt.Sprintf("%d-%d-%.8s", l.pid, l.start, boot), nil
}

// parse takes an Identity apart and reports whether it is one of this boot.
func parse(identity string) (life, bool) {
	var l life
	var boot string
	if n, err := fmt.Sscanf(identity, "%d-%d-%s", &l.pid, &l.start, &boot); n != 3 || err != nil {
		return life{}, false
	}
	again, err := name(l)
	return l, err == nil && again == identity
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

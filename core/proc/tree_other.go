//go:build !linux && !windows && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package proc

import (
	"context"
	"os/exec"
	"time"
)

// system is what these systems need besides: nothing.
type system struct{}

func lead(*exec.Cmd) {}

func (t *Tree) started() { t.identity, _ = Identity(t.pid) }

// watch closes exited when the leader has exited.
func (t *Tree) watch() {
	defer close(t.exited)
	t.reapEarly()
}

func (t *Tree) leftLocked() (int, error) { return 0, nil }

// endLocked kills the leader.
func (t *Tree) endLocked(_ context.Context, _ time.Duration) (Ending, error) {
	if err := t.cmd.Process.Kill(); err != nil {
		return Ending{}, nil // it has exited
	}
	return Ending{Killed: 1}, nil
}

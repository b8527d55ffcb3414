//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package proc

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAgain is the time between two looks at a group that is to end.
	lookAgain = 10 * time.Millisecond
	// killPatience is how long a group that was killed may take to be gone.
	killPatience = 2 * time.Second
)

// system is what these systems need besides: nothing.
type system struct{}

// lead makes cmd the leader of a session, and so of a group, of its own.
func lead(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}

func (t *Tree) started() { t.identity, _ = Identity(t.pid) }

// watch closes exited when the leader has exited, without reaping it: so its
// number, and that of the group, stay ours. Where that cannot be watched the
// leader is reaped at once.
func (t *Tree) watch() {
	defer close(t.exited)
	kq, err := unix.Kqueue()
	if err != nil {
		t.reapEarly()
		return
	}
	defer func() { _ = unix.Close(kq) }()
	var exit, seen [1]unix.Kevent_t
	unix.SetKevent(&exit[0], t.pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	exit[0].Fflags = unix.NOTE_EXIT
	for {
		_, err := unix.Kevent(kq, exit[:], seen[:], nil)
		if !errors.Is(err, unix.EINTR) {
			return // ESRCH: it has exited already
		}
	}
}

// leftLocked counts the group as one: its members are not listed here. Its number
// is only surely ours until the leader is reaped, whose zombie counts as nobody.
func (t *Tree) leftLocked() (int, error) {
	if t.reaped || !t.groupLives() {
		return 0, nil
	}
	return 1, nil
}

// groupLives reports whether anybody of the group can be signalled. macOS and the
// BSDs refuse to signal a group of zombies.
func (t *Tree) groupLives() bool { return unix.Kill(-t.pid, 0) == nil }

func (t *Tree) endLocked(ctx context.Context, grace time.Duration) (Ending, error) {
	var e Ending
	if t.reaped || !t.groupLives() {
		return e, nil
	}
	if grace > 0 && unix.Kill(-t.pid, unix.SIGTERM) == nil {
		e.Terminated++
		_ = unix.Kill(-t.pid, unix.SIGCONT)
	}
	if t.gone(ctx, grace) {
		return e, nil
	}
	_ = unix.Kill(-t.pid, unix.SIGKILL)
	e.Killed++
	if !t.gone(context.WithoutCancel(ctx), killPatience) {
		e.Left = []int{t.pid}
	}
	return e, e.err()
}

// gone waits until nobody of the group lives, and reports false if limit or ctx
// ends first.
func (t *Tree) gone(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for t.groupLives() {
		select {
		case <-ctx.Done():
			return !t.groupLives()
		case <-again.C:
		}
	}
	return true
}

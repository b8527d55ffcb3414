package proc

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

func TestWhoMayNotBeSignalledIsToldAtOnce(t *testing.T) {
	tree := grow(t, newKeeper(t), "exec sleep 300")
	p, err := current(tree.Pid())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	var e Ending
	start := time.Now()
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it has become
		const nobody = 65534
		if os.Geteuid() == 0 {
			_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody)
			if errno != 0 {
				ended <- errno
				return
			}
		} else { // somebody else's process
			p, err = current(1)
			if err != nil {
				ended <- err
				return
			}
		}
		h := hunt{scan: func() ([]process, error) { return []process{p}, nil }}
		e, err = h.end(context.Background(), time.Minute)
		ended <- err
	}()
	if err := <-ended; !errors.Is(err, ErrSurvivors) || !slices.Equal(e.Left, []int{p.pid}) || e.Killed+e.Terminated > 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestABlindHuntKillsTheGroup(t *testing.T) {
	tree := grow(t, newKeeper(t), "trap '' TERM; sleep 300 & wait")
	why := errors.New("nothing to see")
	h := hunt{scan: func() ([]process, error) { return nil, why }, group: tree.Pid()}
	if _, err := h.end(t.Context(), time.Minute); !errors.Is(err, why) {
		t.Error(err)
	}
	proctest.Eventually(t, "all are gone", func() bool { n, err := tree.Left(); return n == 0 && err == nil })
}

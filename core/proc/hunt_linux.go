package proc

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAgain is how long a hunt waits for deaths before it looks again, at most:
	// processes may have been born that nobody watches yet.
	lookAgain = 50 * time.Millisecond
	// lastTry is how long a hunt goes on killing after its context has ended.
	lastTry = 250 * time.Millisecond
	// killPatience is how long a hunt goes on killing at most: what does not die
	// then hangs in the kernel.
	killPatience = 5 * time.Second
)

// hunt ends all processes that scan finds.
type hunt struct {
	scan  func() ([]process, error)
	group int // a process group whose number is surely ours; 0 for none
	// cohorts are the control groups that scan has looked into.
	cohorts []*cohort
}

// end asks, waits, kills, and looks whether all are gone.
func (h hunt) end(ctx context.Context, grace time.Duration) (Ending, error) {
	var e Ending
	var asked uint64 // the tick of the youngest process that was asked
	terminated := map[life]bool{}
	term := func(p process) {
		if terminated[p.life] || p.start > asked { // or it helps another to clean up
			return
		}
		if send(p, unix.SIGTERM) == nil {
			terminated[p.life] = true
			e.Terminated++
		}
		if p.state == 'T' { // a stopped process does not hear it
			_ = send(p, unix.SIGCONT)
		}
	}
	over := time.Now().Add(grace)
	for grace > 0 {
		alive, err := h.look()
		if err != nil {
			return e, h.blind(err)
		}
		if len(alive) == 0 {
			return e, nil
		}
		// Once nobody is left who was asked, nobody is left to help.
		if !slices.ContainsFunc(alive, func(p process) bool { return terminated[p.life] }) {
			for _, p := range alive {
				asked = max(asked, p.start)
			}
		}
		for _, p := range alive {
			term(p)
		}
		left := time.Until(over)
		if left <= 0 || ctx.Err() != nil || len(terminated) == 0 {
			break
		}
		await(ctx, alive, min(left, lookAgain))
	}
	return h.kill(ctx, e)
}

// kill kills until nothing is left.
func (h hunt) kill(ctx context.Context, e Ending) (Ending, error) {
	killed := map[life]bool{}
	start := time.Now()
	for {
		alive, err := h.look()
		if err != nil {
			return e, h.blind(err)
		}
		if len(alive) == 0 {
			return e, nil
		}
		since := time.Since(start)
		if since > killPatience || ctx.Err() != nil && since > lastTry {
			return e.left(alive)
		}
		if h.group > 0 { // at once, so that none is born meanwhile
			_ = unix.Kill(-h.group, unix.SIGKILL)
		}
		denied := 0
		for _, p := range alive {
			err := send(p, unix.SIGKILL)
			if errors.Is(err, unix.EPERM) { // it runs as another user: sudo, say
				denied++
			}
			if err == nil && !killed[p.life] {
				killed[p.life] = true
				e.Killed++
			}
		}
		swept := false
		for _, c := range h.cohorts { // after those who are counted: they are not born here any more
			swept = c.kill() || swept
		}
		if denied == len(alive) && !swept {
			return e.left(alive)
		}
		await(context.WithoutCancel(ctx), alive, lookAgain)
	}
}

// left is an ending that could not end all.
func (e Ending) left(alive []process) (Ending, error) {
	for _, p := range alive {
		e.Left = append(e.Left, p.pid)
	}
	return e, e.err()
}

// blind kills what can be killed without looking.
func (h hunt) blind(err error) error {
	if h.group > 0 {
		_ = unix.Kill(-h.group, unix.SIGKILL)
	}
	return err
}

// look scans, and believes that nothing is left only when it has seen so twice:
// a process that has just been born may hide from one look behind its dying
// parent.
func (h hunt) look() ([]process, error) {
	alive, err := h.scan()
	if err == nil && len(alive) == 0 {
		alive, err = h.scan()
	}
	return alive, err
}

// send signals the very process that was seen.
func send(p process, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return err
	}
	now, statErr := current(p.pid) // after the open: what fd names can be no later process
	if statErr != nil || now.life != p.life {
		if err == nil {
			_ = unix.Close(fd)
		}
		return unix.ESRCH
	}
	if err != nil { // no pidfd on this system, or too many files open
		return unix.Kill(p.pid, sig)
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// await returns when all of the processes have exited, limit is over, or ctx has
// ended.
func await(ctx context.Context, processes []process, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, p := range processes {
		if err := WaitExit(ctx, p.pid); err != nil {
			if ctx.Err() == nil { // cannot be watched
				<-ctx.Done()
			}
			return
		}
	}
}

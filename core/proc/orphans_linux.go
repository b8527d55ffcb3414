package proc

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// reapPause is the least time between two looks for dead orphans.
const reapPause = 500 * time.Millisecond

// Run reaps adopted orphans soon after they have died, until ctx ends; without
// Adopt before it there is nothing to do. It sleeps until a child dies.
func (k *Keeper) Run(ctx context.Context) {
	if !k.adopting() {
		<-ctx.Done()
		return
	}
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, unix.SIGCHLD)
	defer signal.Stop(deaths)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-deaths:
		}
		_ = k.ReapOrphans() // without /proc nothing is found, and nothing is lost
		pause.Reset(reapPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// Adopt makes this process adopt the orphans among its descendants, which else
// go to the first process of the system; once is enough. It changes the whole
// process, so the program decides, not a package: from then on a child that is
// in a session of its own may be reaped by the keeper as soon as it has exited,
// unless Start has started it. Children that share this process' session are
// left to whoever started them. It comes before the first Start and before Run.
// ErrUnsupported on systems that cannot.
func (k *Keeper) Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adopts = true
	return nil
}

func (k *Keeper) adopting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.adopts
}

// orphan reports whether p is a child that nobody waits for: adopted, so in a
// session that is not ours, and no leader.
func (k *Keeper) orphan(p, own process) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.adopts && p.parent == own.pid && p.session != own.session && k.leaders[p.pid] == nil
}

// reap takes note of the death of an adopted child.
func (k *Keeper) reap(p, own process) {
	k.births.Lock()
	defer k.births.Unlock()
	if k.orphan(p, own) {
		_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
	}
}

// ReapOrphans takes note of the deaths of adopted children, which else stay
// zombies until this process ends. It is cheap enough for every SIGCHLD that is
// not of a rapid series.
func (k *Keeper) ReapOrphans() error {
	if !k.adopting() {
		return nil
	}
	v, err := look()
	if err != nil {
		return err
	}
	for _, p := range v.byPid {
		if p.dead() && k.orphan(p, v.own) {
			k.reap(p, v.own)
		}
	}
	return nil
}

// EndOrphans ends the adopted children, and what descends from them, that belong
// to no tree that runs: daemons of trees that have ended, among them those that
// threw their cookie away. Without Adopt there are none.
func (k *Keeper) EndOrphans(ctx context.Context, grace time.Duration) (Ending, error) {
	if !k.adopting() {
		return Ending{}, nil
	}
	h := hunt{scan: func() ([]process, error) {
		v, err := look()
		if err != nil {
			return nil, err
		}
		r := roots{lives: map[life]bool{}}
		for _, p := range v.byPid {
			if !k.orphan(p, v.own) {
				continue
			}
			if p.dead() {
				k.reap(p, v.own)
			}
			r.lives[p.life] = true
		}
		return living(v.members(r)), nil
	}}
	return h.end(ctx, grace)
}

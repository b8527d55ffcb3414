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

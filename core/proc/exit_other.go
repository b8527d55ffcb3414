//go:build !linux

package proc

import (
	"context"
	"os"
	"time"
)

// probe is how often the parent is looked at where the kernel cannot tell.
const probe = 5 * time.Second

// WaitExit returns nil once the process pid, our parent, has ended, or the
// cause of ctx when that ends first.
func WaitExit(ctx context.Context, pid int) error {
	tick := time.NewTicker(probe)
	defer tick.Stop()
	for os.Getppid() == pid {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

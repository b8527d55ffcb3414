//go:build linux || darwin

package archive

import (
	"os"
	"syscall"
	"time"
)

// lockWait bounds the wait for a process that was stopped while it appended.
const lockWait = 500 * time.Millisecond

// alone waits until nobody else appends to the file and reports whether that is
// so until the file is closed.
func alone(file *os.File) bool {
	for start := time.Now(); time.Since(start) < lockWait; <-time.After(time.Millisecond) {
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return true
		}
	}
	return false
}

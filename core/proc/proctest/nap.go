// Package proctest has what tests that start processes share: ones that only one test
// runs, a way to find them that is not the one under test, a way to wait for what
// other processes do, and one to have them mount what only they see.
package proctest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long Eventually waits.
const patience = 20 * time.Second

// Nap returns a command that sleeps for minutes and that only this test runs, and
// sees to it that none outlives the test.
func Nap(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("sleep 300.%012d", rand.Int64N(1e12))
	t.Cleanup(func() {
		for _, pid := range Naps(name) {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	})
	return name
}

// Naps returns the pids of the processes that run a nap. It finds none but on Linux.
func Naps(name string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, _ := os.ReadFile(f)
		if string(bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '})) == name {
			pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// Eventually waits until ok is true, and fails the test if that takes too long.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

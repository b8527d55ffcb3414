package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// verified runs the tests and returns the code to exit with.
func verified(m *testing.M) int {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func TestWaitExit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make(chan error, 1)
	go func() { seen <- WaitExit(ctx, cmd.Process.Pid) }()
	select {
	case err := <-seen:
		t.Fatalf("WaitExit returned %v while the process lives", err)
	case <-time.After(50 * time.Millisecond):
	}
	stdin.Close()
	if err := <-seen; err != nil { // before Wait: a zombie counts as ended
		t.Errorf("WaitExit: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := WaitExit(ctx, cmd.Process.Pid); err != nil {
		t.Errorf("for a process that is long gone: %v", err)
	}
}

func TestWaitExitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	go cancel(why)
	if err := WaitExit(ctx, os.Getppid()); !errors.Is(err, why) {
		t.Errorf("WaitExit: %v, want the cause", err)
	}
}

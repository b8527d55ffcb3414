package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/lifecycle"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
)

// Exit codes of `sidecar serve`. The shim starts another one after any but 0.
const (
	exitOK       = 0
	exitInternal = 1
	exitProtocol = 3 // the shim sent frames that cannot be read
)

// grace is what the process may take beyond the shutdown's budget before it
// ends without regard to what is left.
const grace = 500 * time.Millisecond

// serve speaks JSON-RPC until the host goes away, asks for the end, or the last
// workspace has been closed for a while.
func serve(in io.Reader, out io.Writer, logTo io.Writer, env func(string) (string, bool)) int {
	a, err := newApp(in, out, logTo, env)
	if err != nil {
		fmt.Fprintf(logTo, "sidecar: %v\n", err)
		return exitInternal
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.tasks.Run(ctx) })
	running.Go(func() { a.missions.Run(ctx) })
	running.Go(func() { a.runJobs(ctx) })
	running.Go(func() { a.janitor.Run(ctx) })
	running.Go(func() { a.watchHost(ctx) })
	running.Go(func() { a.store.warnings.run(ctx, a.directories, a.host) })
	running.Go(func() {
		select {
		case age := <-a.retention:
			a.store.retain(ctx, age)
		case <-ctx.Done():
		}
	})
	// The one goroutine that nobody waits for at the end is the connection's
	// reader: a blocked read of stdin cannot be interrupted, so the process exits.
	var broken error
	served := make(chan struct{})
	go func() {
		broken = a.conn.Serve(ctx)
		close(served)
	}()
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	defer signal.Stop(terminate)

	request, code := stopRequest{}, exitOK
	select {
	case <-served:
		request = stopRequest{"the host closed our input", lifecycle.BudgetHostGone}
		if frame, ok := errors.AsType[*rpc.FrameError](broken); ok {
			request.reason, code = frame.Error(), exitProtocol
		} else if broken != nil {
			request.reason = broken.Error()
		}
	case request = <-a.stop:
	case <-terminate:
		request = stopRequest{"SIGTERM", lifecycle.BudgetDispose}
	case <-a.exit:
		request = stopRequest{"exit was called", lifecycle.BudgetDispose}
	case <-a.lifecycle.Done(): // `shutdown` was called: wait for `exit` or EOF
		select {
		case <-served:
		case <-a.exit:
		case <-time.After(lifecycle.BudgetDispose):
		}
	}
	last := time.AfterFunc(request.budget+grace, func() {
		fmt.Fprintln(logTo, "sidecar: the shutdown took too long; what is left dies with the process")
		os.Exit(code)
	})
	defer last.Stop()
	running.Go(func() { // the host may still go away while we end
		select {
		case <-served:
			a.lifecycle.Shutdown(ctx, "the host closed our input", lifecycle.BudgetHostGone)
		case <-a.lifecycle.Done():
		}
	})
	a.lifecycle.Shutdown(ctx, request.reason, request.budget)
	a.conn.Close()
	cancel()
	running.Wait()
	return code
}

// watchHost is the second sign of the host's death; the first is EOF, which a
// process that inherited the other end of our pipe could hold back.
func (a *app) watchHost(ctx context.Context) {
	parent := os.Getppid()
	if parent <= 1 {
		return // gone before we looked, or we are init's child on purpose
	}
	if err := proc.WaitExit(ctx, parent); err == nil {
		a.tasks.HostGone()
		a.requestStop("the host ended", lifecycle.BudgetHostGone)
	} else if ctx.Err() == nil {
		a.log.Warn().Err(err).Msg("the host cannot be watched; its end shows by EOF only")
	}
}

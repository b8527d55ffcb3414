// Command demo shows the main job in one go: the real OpenCode, this checkout's
// plugin, and a main agent that has six background agents work for it at once.
//
// What it shows comes from OpenCode's side: its events, its sessions and what
// the plugin said to the main agent. The exit code is 0 only if those agree
// with each other and with what the mission must bring about, and no process is
// left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// errInterrupted is the cause of an end that somebody asked for.
var errInterrupted = errors.New("interrupted")

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the demo from its arguments to its exit code. Whatever happens, what
// it started is gone when it returns.
func run(args []string, stdout, stderr *os.File) int {
	start := time.Now()
	// Nothing may end us before the cleaning up. SIGPIPE comes when the reader of
	// our output has gone.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()

	o, err := parseOptions(args, os.Getenv, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "demo: %v; --help lists what there is\n", err)
		return exitUsage
	}
	timed, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("it took longer than %s; --keep leaves the logs to look at, --timeout gives it more time", o.timeout))
	defer cancel()

	screen := newScreen(stdout, os.Getenv, start)
	err = show(timed, o, screen, start)
	screen.end()
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		complain(stderr, errInterrupted)
		return exitInterrupted
	case timed.Err() != nil && !errors.Is(err, context.Cause(timed)):
		err = fmt.Errorf("%w (%w)", context.Cause(timed), err)
	}
	complain(stderr, err)
	return exitFailed
}

// complain prints an error, one line for each sentence.
func complain(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "demo: %s\n", strings.TrimSpace(line))
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// How long the steps of the end may take.
const (
	deleteTimeout = 3 * time.Second
	stopTimeout   = 5 * time.Second
	goneTimeout   = 5 * time.Second
)

// stage is everything that is started and made for the show, and the means to
// take it away again.
type stage struct {
	root    string
	keep    bool
	own     bool            // the data folder is the user's
	model   *hosttest.Model // nil if a model of the user's plays
	project *hosttest.Project
	server  *hosttest.Server
	session string // the main session, once there is one
}

// newStage returns a stage on which nothing is yet.
func newStage(o options) *stage { return &stage{keep: o.keep, own: o.model != nil} }

// open starts the model and OpenCode with the plugin. The caller closes the
// stage, after an error too.
func (s *stage) open(ctx context.Context, shim string) error {
	binary, err := hosttest.Install(ctx)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "opencode-sidecar-demo-")
	if err != nil {
		return fmt.Errorf("no temporary folder (is TMPDIR writable?): %w", err)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return err
	}
	s.root = root
	setup := hosttest.Setup{Binary: binary, Root: root, Files: files(), Plugins: []hosttest.Plugin{{Spec: shim}}}
	if s.own {
		// Nothing but the plugin is added to the user's configuration; without
		// snapshots less of the project stays in the user's data folder.
		config, err := json.Marshal(map[string]any{"plugin": []string{shim}, "snapshot": false})
		if err != nil {
			return err
		}
		setup.Files["opencode.json"] = string(config) + "\n"
		setup.Env = userEnviron(os.Environ(), root)
	} else {
		if s.model, err = hosttest.StartModel(); err != nil {
			return err
		}
		setup.ModelURL = s.model.URL()
	}
	if s.project, err = hosttest.NewProject(ctx, setup); err != nil {
		return err
	}
	if s.server, err = s.project.Serve(ctx); err != nil {
		return err
	}
	// The first request loads the plugin.
	if _, err := s.server.Status(ctx); err != nil {
		return fmt.Errorf("OpenCode does not open the project: %w", err)
	}
	return nil
}

// end is what is left after the stop.
type end struct {
	ran     int // processes just before
	left    []hosttest.ProcessInfo
	scanned int // processes of the machine that were looked at, 0 where there is no /proc
}

// check is the error that names what is left.
func (e end) check() error {
	if len(e.left) == 0 {
		return nil
	}
	return fmt.Errorf("%s left: %v", plural(len(e.left), "process"), e.left)
}

// stop ends OpenCode as its users do and looks for what is left.
func (s *stage) stop(ctx context.Context) (end, error) {
	ctx = context.WithoutCancel(ctx)
	s.forget(ctx)
	processes := s.project.Processes()
	before, err := processes.List()
	if err != nil {
		return end{}, err
	}
	_ = s.server.Signal(syscall.SIGTERM) // it may have ended by itself
	slow, cancel := context.WithTimeout(ctx, stopTimeout)
	_, err = s.server.Wait(slow)
	cancel()
	if err != nil {
		return end{}, fmt.Errorf("OpenCode did not stop: %w", err)
	}
	gone, cancel := context.WithTimeout(ctx, goneTimeout)
	_ = processes.WaitGone(gone) // the list says it
	cancel()
	left, err := processes.List()
	return end{ran: len(before), left: left, scanned: countProcesses()}, err
}

// forget deletes the sessions from the user's own data folder.
func (s *stage) forget(ctx context.Context) {
	if !s.own || s.session == "" || s.keep {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	_ = s.server.DeleteSession(ctx, s.session) // with an OpenCode that is gone there is nothing to be done
	s.session = ""
}

// close takes everything away, whatever state it is in.
func (s *stage) close() error {
	var errs []error
	if s.server != nil {
		s.forget(context.Background())
		s.server.Client.Close()
	}
	if s.project != nil {
		errs = append(errs, s.project.Close())
	}
	if s.model != nil {
		errs = append(errs, s.model.Close())
	}
	if s.root != "" && !s.keep {
		errs = append(errs, os.RemoveAll(s.root))
	}
	return errors.Join(errs...)
}

// countProcesses is how many processes the machine has, 0 where it cannot be told.
func countProcesses() int {
	entries, _ := os.ReadDir("/proc")
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	return n
}

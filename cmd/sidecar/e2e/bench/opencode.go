package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// stepLimit bounds every wait for OpenCode: past it something hangs.
const stepLimit = 60 * time.Second

// served is `opencode serve` with plugins, and what it says.
type served struct {
	*e2e.Rig
	*hosttest.Server
	events *hosttest.Events
}

// serve starts OpenCode with our plugin.
func (b *bench) serve(ctx context.Context) (*served, error) {
	return b.serveWith(ctx, filepath.Join(b.root, "shim"))
}

// serveWith starts it with another plugin, and variables in its environment.
func (b *bench) serveWith(ctx context.Context, plugin string, env ...string) (*served, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	rig, err := b.rig(ctx, plugin, env...)
	if err != nil {
		return nil, err
	}
	server, err := rig.Serve(ctx)
	if err != nil {
		return nil, errors.Join(err, rig.Close())
	}
	events, err := server.Events(ctx)
	if err != nil {
		return nil, errors.Join(err, rig.Close())
	}
	return &served{rig, server, events}, nil
}

func (b *bench) rig(ctx context.Context, plugin string, env ...string) (*e2e.Rig, error) {
	return e2e.NewRigWith(ctx, b.root, []hosttest.Plugin{{Spec: plugin}}, env...)
}

// writePlugin writes a plugin of one file and returns its folder.
func (b *bench) writePlugin(name, source string) (string, error) {
	dir := filepath.Join(b.temp, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	pkg := fmt.Sprintf(`{"name":%q,"version":"1.0.0","type":"module","main":"index.js"}`, name)
	return dir, errors.Join(
		os.WriteFile(filepath.Join(dir, "package.json"), []byte(pkg), 0o600),
		os.WriteFile(filepath.Join(dir, "index.js"), []byte(source), 0o600))
}

// close ends OpenCode by force and removes its project.
func (s *served) close() error {
	s.events.Close()
	s.Client.Close()
	return s.Rig.Close()
}

// session opens a session.
func (s *served) session(ctx context.Context) (string, error) {
	made, err := s.CreateSession(ctx, hosttest.NewSession{Title: "bench"})
	return made.ID, err
}

// ask sends a script to a session and waits for the end of its turn.
func (s *served) ask(ctx context.Context, session string, script ...string) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	answer, err := s.Prompt(ctx, session, hosttest.Text(script...))
	if err == nil && answer.Info.Error != nil {
		err = fmt.Errorf("the turn failed: %s", answer.Info.Error.Data.Message)
	}
	return err
}

// turn returns the model's request for a step of the script with this tag.
func (s *served) turn(ctx context.Context, tag string, step int) (hosttest.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	return s.Model.Wait(ctx, func(r hosttest.Request) bool {
		return r.Tag == tag && r.Step == step && !r.End.IsZero()
	})
}

// sidecar returns the process id of the one sidecar that runs.
func (s *served) sidecar() (int, error) {
	running, err := s.Sidecars()
	if err == nil && len(running) != 1 {
		err = fmt.Errorf("%d sidecars run, want one", len(running))
	}
	if err != nil {
		return 0, err
	}
	return running[0].PID, nil
}

// batch is a call of delegate_tasks with n children that play one script.
func batch(n int, script ...string) string {
	scripts := make([]string, n)
	for i := range scripts {
		scripts[i] = strings.Join(script, "\n")
	}
	return e2e.Batch(scripts...)
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// startSidecar starts `sidecar serve` with a state folder of its own.
func (b *bench) startSidecar(name string) (*fakeshim.Process, error) {
	return fakeshim.Start(b.binary, filepath.Join(b.temp, name), nil)
}

// fakeShim plays the shim for a sidecar, with an OpenCode in memory behind it.
type fakeShim struct {
	*fakeshim.Shim
	fake *fake.OpenCode
}

// startShim starts a sidecar, shakes hands and opens one workspace.
func (b *bench) startShim(ctx context.Context, name string, options map[string]any) (*fakeShim, error) {
	hash, err := fakeshim.ManifestHash(b.root)
	if err != nil {
		return nil, err
	}
	process, err := b.startSidecar(name)
	if err != nil {
		return nil, err
	}
	s := &fakeShim{fake: fake.New(func(host.Prompt, host.Session) fake.Reply { return fake.Reply{Text: "done"} })}
	s.Shim, err = fakeshim.Connect(ctx, process, fakeshim.Router(s.fake, launchDir, nil), fakeshim.Setup{Hash: hash, Directory: launchDir, Options: options})
	if err != nil {
		return nil, err
	}
	s.fake.Emit = func(_ string, e host.Event) { s.Emit(e) }
	return s, nil
}

// end ends the sidecar in order and returns when everything has.
func (s *fakeShim) end() error {
	err := s.End()
	s.fake.Close()
	return err
}

// complete runs n background tasks to their end and returns when the session
// that asked has been told of all.
func (s *fakeShim) complete(ctx context.Context, n int) error {
	main := s.fake.Open(launchDir)
	var ids []string
	for i := range n {
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskLaunch, wire.TaskLaunchParams{
			Workspace: fakeshim.Workspace, ParentSession: main, Agent: "general", Description: "look", Prompt: fmt.Sprintf("look at part %d", i),
		})
		if err != nil {
			return fmt.Errorf("launch %d: %w", i, err)
		}
		ids = append(ids, t.ID)
	}
	for _, id := range ids {
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskWait, wire.TaskWaitParams{ID: id})
		if err != nil {
			return err
		}
		if t.State != "completed" {
			return fmt.Errorf("%s is %s: %s", id, t.State, t.Error)
		}
	}
	return s.quiet(ctx)
}

// quiet returns when the sidecar has asked nothing of the host for a second.
func (s *fakeShim) quiet(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	calls := func() (all int) {
		for _, name := range []string{"CreateSession", "Session", "Prompt", "Abort", "Messages", "Statuses"} {
			all += s.fake.Calls(name)
		}
		return all
	}
	for last, since := calls(), time.Now(); time.Since(since) < time.Second; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the sidecar does not come to rest: %w", context.Cause(ctx))
		}
		if now := calls(); now != last {
			last, since = now, time.Now()
		}
	}
	return nil
}

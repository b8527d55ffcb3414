package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// sidecarProcess is the real binary, with its pipes.
type sidecarProcess struct {
	cmd *exec.Cmd
	in  *os.File // to its stdin
	out *os.File // from its stdout
}

// startSidecar starts `sidecar serve` with a state folder of its own.
func (b *bench) startSidecar(name string) (*sidecarProcess, error) {
	state := filepath.Join(b.temp, name)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer stdout.Close()
	cmd := exec.Command(b.binary, "serve")
	cmd.Dir = state
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + state, "XDG_STATE_HOME=" + state}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return &sidecarProcess{cmd, in, out}, nil
}

// end closes its input and returns how it ended, by force after a while.
func (p *sidecarProcess) end() error {
	_ = p.in.Close() // perhaps it is closed already: that is what we want
	force := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer force.Stop()
	err := p.cmd.Wait()
	_ = p.out.Close()
	return err
}

// fakeShim plays the shim for a sidecar, with an OpenCode in memory behind it.
type fakeShim struct {
	*sidecarProcess
	conn *rpc.Conn
	fake *fake.OpenCode
	done chan error
}

const benchWorkspace = "wrk_bench"

// startShim starts a sidecar, shakes hands and opens one workspace.
func (b *bench) startShim(ctx context.Context, name string, options map[string]any) (*fakeShim, error) {
	hash, err := b.manifestHash()
	if err != nil {
		return nil, err
	}
	process, err := b.startSidecar(name)
	if err != nil {
		return nil, err
	}
	s := &fakeShim{sidecarProcess: process, done: make(chan error, 1)}
	s.fake = fake.New(func(host.Prompt, host.Session) fake.Reply { return fake.Reply{Text: "done"} })
	s.conn = rpc.NewConn(rpc.Options{In: process.out, Out: process.in, Router: s.router(), Log: zerolog.Nop()})
	s.fake.Emit = s.emit
	go func() { s.done <- s.conn.Serve(context.WithoutCancel(ctx)) }()
	_, err = rpc.Invoke(ctx, s.conn, wire.Initialize, wire.InitializeParams{
		Version: wire.Version, Protocol: wire.Protocol, ManifestHash: hash, Host: wire.HostInfo{PID: os.Getpid(), Mode: "other"},
	})
	if err == nil {
		var raw json.RawMessage
		if raw, err = json.Marshal(options); err == nil {
			_, err = rpc.Invoke(ctx, s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{
				Workspace: benchWorkspace, Directory: launchDir, Worktree: launchDir, Options: raw,
			})
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// end ends the sidecar in order and returns when everything has.
func (s *fakeShim) end() error {
	s.conn.Close()
	<-s.done // ErrClosed, or that the sidecar has ended
	err := s.sidecarProcess.end()
	s.fake.Close()
	return err
}

// emit passes an event of the fake on, as the shim does. Only those of which the
// fake makes more than a type are written out.
func (s *fakeShim) emit(_ string, e host.Event) {
	properties, err := json.Marshal(map[string]any{"sessionID": e.Session})
	if err != nil || e.Type != host.EventSessionIdle {
		return
	}
	// A sidecar that has ended hears nothing; the caller notices otherwise.
	_ = rpc.Notify(context.Background(), s.conn, wire.Event, wire.EventParams{Workspace: benchWorkspace, Type: e.Type, Properties: properties})
}

// router serves the calls to the host that delegating needs.
func (s *fakeShim) router() *rpc.Router {
	r := rpc.NewHostRouter()
	rpc.Handle(r, wire.HostSessionCreate, func(ctx context.Context, p wire.SessionCreateParams) (wire.SessionInfo, error) {
		made, err := s.fake.CreateSession(ctx, launchDir, host.NewSession{Parent: p.Body.ParentID, Title: p.Body.Title, Agent: p.Body.Agent})
		return info(made), explain(err)
	})
	rpc.Handle(r, wire.HostSessionGet, func(ctx context.Context, p wire.SessionPathParams) (wire.SessionInfo, error) {
		found, err := s.fake.Session(ctx, launchDir, p.Path.ID)
		return info(found), explain(err)
	})
	rpc.Handle(r, wire.HostSessionPromptAsync, func(ctx context.Context, p wire.SessionPromptParams) (wire.Empty, error) {
		err := s.fake.Prompt(ctx, launchDir, host.Prompt{
			Session: p.Path.ID, MessageID: p.Body.MessageID, Agent: p.Body.Agent, NoReply: p.Body.NoReply, Text: p.Body.Parts[0].Text,
		})
		return wire.Empty{}, explain(err)
	})
	rpc.Handle(r, wire.HostSessionAbort, func(ctx context.Context, p wire.SessionPathParams) (bool, error) {
		return true, explain(s.fake.Abort(ctx, launchDir, p.Path.ID))
	})
	rpc.Handle(r, wire.HostSessionMessages, func(ctx context.Context, p wire.SessionMessagesParams) ([]wire.MessageWithParts, error) {
		list, err := s.fake.Messages(ctx, launchDir, p.Path.ID, p.Query.Limit)
		out := make([]wire.MessageWithParts, 0, len(list))
		for _, m := range list {
			out = append(out, message(m))
		}
		return out, explain(err)
	})
	rpc.Handle(r, wire.HostSessionStatus, func(ctx context.Context, _ wire.WorkspaceParams) (map[string]wire.SessionStatus, error) {
		list, err := s.fake.Statuses(ctx, launchDir)
		out := map[string]wire.SessionStatus{}
		for id, status := range list {
			out[id] = wire.SessionStatus{Type: status.Type}
		}
		return out, explain(err)
	})
	rpc.Handle(r, wire.HostAgents, func(context.Context, wire.WorkspaceParams) ([]wire.AgentInfo, error) {
		return []wire.AgentInfo{{Name: "general", Mode: "subagent"}}, nil
	})
	rpc.Handle(r, wire.HostToast, func(context.Context, wire.ToastParams) (bool, error) { return true, nil })
	return r
}

func info(s host.Session) wire.SessionInfo {
	return wire.SessionInfo{ID: s.ID, ParentID: s.Parent, Title: s.Title, Agent: s.Agent}
}

func message(m host.Message) wire.MessageWithParts {
	out := wire.MessageWithParts{Info: wire.MessageInfo{
		ID: m.ID, SessionID: m.Session, Role: string(m.Role), ParentID: m.Parent, Agent: m.Agent, Finish: m.Finish,
		Time: wire.MessageTime{Created: m.Created.UnixMilli()},
	}}
	if !m.Completed.IsZero() {
		out.Info.Time.Completed = m.Completed.UnixMilli()
	}
	for _, p := range m.Parts {
		out.Parts = append(out.Parts, wire.MessagePart{Type: p.Type, Text: p.Text, Synthetic: p.Synthetic})
	}
	return out
}

// explain makes an error of the fake one of OpenCode's.
func explain(err error) error {
	if e, ok := errors.AsType[*host.CallError](err); ok {
		answer := rpc.Errorf(wire.CodeHost, wire.KindHost, "%s", e.Message)
		answer.Data.Status, answer.Data.Name = e.Status, e.Name
		return answer
	}
	return err
}

// complete runs n background tasks to their end and returns when the session
// that asked has been told of all.
func (s *fakeShim) complete(ctx context.Context, n int) error {
	main := s.fake.Open(launchDir)
	var ids []string
	for i := range n {
		t, err := rpc.Invoke(ctx, s.conn, wire.TaskLaunch, wire.TaskLaunchParams{
			Workspace: benchWorkspace, ParentSession: main, Agent: "general", Description: "look", Prompt: fmt.Sprintf("look at part %d", i),
		})
		if err != nil {
			return fmt.Errorf("launch %d: %w", i, err)
		}
		ids = append(ids, t.ID)
	}
	for _, id := range ids {
		t, err := rpc.Invoke(ctx, s.conn, wire.TaskWait, wire.TaskWaitParams{ID: id})
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

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/handler"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// shimmed is a served sidecar with a connection that plays the shim.
type shimmed struct {
	*testing.T
	conn *rpc.Conn
	code chan int
	logs *strings.Builder
	// hangUp closes the sidecar's stdin.
	hangUp func()
}

// start serves in this process over pipes, to a shim that answers no call.
func start(t *testing.T, env map[string]string) *shimmed {
	t.Helper()
	return startWith(t, env, rpc.NewHostRouter())
}

func startWith(t *testing.T, env map[string]string, host *rpc.Router) *shimmed {
	t.Helper()
	toSidecar, shimOut := io.Pipe()
	shimIn, fromSidecar := io.Pipe()
	s := &shimmed{T: t, code: make(chan int, 1), logs: &strings.Builder{}, hangUp: func() { shimOut.Close() }}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	go func() { s.code <- serve(toSidecar, fromSidecar, io.Discard, lookup) }()
	s.conn = rpc.NewConn(rpc.Options{In: shimIn, Out: shimOut, Router: host, Log: zerolog.Nop()})
	ended := make(chan struct{})
	go func() { _ = s.conn.Serve(context.Background()); close(ended) }()
	t.Cleanup(func() {
		s.conn.Close()
		<-ended
	})
	return s
}

func (s *shimmed) initialize(hash string) error {
	_, err := rpc.Invoke(s.ctx(), s.conn, wire.Initialize, wire.InitializeParams{
		Version: wire.Version, Protocol: wire.Protocol, ManifestHash: hash, Host: wire.HostInfo{Mode: "serve"},
	})
	return err
}

func (s *shimmed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	s.Cleanup(cancel)
	return ctx
}

func (s *shimmed) ends(code int) {
	s.Helper()
	select {
	case got := <-s.code:
		if got != code {
			s.Errorf("exit code %d, want %d", got, code)
		}
	case <-time.After(10 * time.Second):
		s.Error("the sidecar does not end")
	}
}

func hash(t *testing.T) string {
	t.Helper()
	a, err := newApp(strings.NewReader(""), io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return manifestOf(a.tools).hash()
}

func kindOf(err error) wire.Kind {
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		return e.Data.Kind
	}
	return ""
}

func TestEveryMethodHasAHandler(t *testing.T) {
	r := rpc.NewRouter()
	handler.Register(r, handler.Deps{})
	if missing := r.Missing(); len(missing) > 0 {
		t.Errorf("no handler for %v", missing)
	}
}

func TestTheHandshakeRefusesAStranger(t *testing.T) {
	s := start(t, nil)
	if _, err := rpc.Invoke(s.ctx(), s.conn, wire.TaskList, wire.TaskListParams{}); kindOf(err) != wire.KindNotInitialized {
		t.Errorf("a call before initialize: %v", err)
	}
	if err := s.initialize("another manifest"); kindOf(err) != wire.KindVersionMismatch || !strings.Contains(err.Error(), "make build") {
		t.Errorf("another manifest: %v", err)
	}
	if err := s.initialize(hash(t)); err != nil {
		t.Errorf("the right one: %v", err)
	}
	s.hangUp()
	s.ends(exitOK)
}

func TestShutdownThenExit(t *testing.T) {
	s := start(t, nil)
	if err := s.initialize(hash(t)); err != nil {
		t.Fatal(err)
	}
	report, err := rpc.Invoke(s.ctx(), s.conn, wire.Shutdown, wire.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, p := range report.Phases {
		order = append(order, p.Name)
		if p.Outcome != "ok" {
			t.Errorf("%s: %s %s", p.Name, p.Outcome, p.Error)
		}
	}
	if got := strings.Join(order, " "); got != "missions todo janitor jobs tasks limits store logs" {
		t.Errorf("phases %q", got)
	}
	if err := rpc.Notify(s.ctx(), s.conn, wire.Exit, wire.Empty{}); err != nil {
		t.Fatal(err)
	}
	s.ends(exitOK)
}

func TestAnUnreadableFrameEndsTheProcess(t *testing.T) {
	var out strings.Builder
	code := serve(strings.NewReader("garbage\r\n\r\n"), &out, io.Discard, func(string) (string, bool) { return "", false })
	if code != exitProtocol {
		t.Errorf("exit code %d, want %d", code, exitProtocol)
	}
	if !strings.Contains(out.String(), "-32700") {
		t.Errorf("answered %q, want one error", out.String())
	}
}

func TestOptionsWarnAndConflict(t *testing.T) {
	s := start(t, map[string]string{"OPENCODE_SIDECAR_MAX_DEPTH": "2", "OPENCODE_SIDECAR_STORE": memoryOnly})
	if err := s.initialize(hash(t)); err != nil {
		t.Fatal(err)
	}
	open := func(id, dir, options string) wire.WorkspaceOpenResult {
		t.Helper()
		res, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{
			Workspace: id, Directory: dir, Options: json.RawMessage(options),
		})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	a, b := t.TempDir(), t.TempDir()
	if res := open("wrk_1", a, `{"defaultConcurency":3,"defaultConcurrency":4}`); len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "defaultConcurrency") {
		t.Errorf("a typo: %q", res.Warnings)
	}
	if res := open("wrk_2", b, `{"defaultConcurrency":9}`); len(res.Warnings) != 1 {
		t.Errorf("a conflict: %q", res.Warnings)
	}
	if res := open("wrk_3", a, ""); !res.Reattached {
		t.Error("the same directory again is not re-attached")
	}
	_, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: "wrk_4"})
	if e, ok := errors.AsType[*rpc.Error](err); !ok || e.Data.Field != "directory" {
		t.Errorf("no directory: %v", err)
	}
	s.hangUp()
	s.ends(exitOK)
}

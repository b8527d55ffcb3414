package fakeshim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Workspace is the id of the one workspace of a Shim.
const Workspace = "wrk_fake"

// handlers is how many calls of the sidecar are served at once: the shim, which
// is all promises, knows no limit.
const handlers = 1024

// Setup is what a Shim is made of.
type Setup struct {
	// Hash is the manifest's, see ManifestHash.
	Hash string
	// Restarts is how many sidecars of this process have died before.
	Restarts int
	// Directory is the workspace's, Options its plugin options.
	Directory string
	Options   map[string]any
}

// Shim is a connection to a sidecar that has accepted the handshake.
type Shim struct {
	*Process
	Conn *rpc.Conn
	// Done gets the end of the connection: nothing is served any more.
	Done <-chan error
}

// Connect shakes hands with a process, whose calls router serves, and opens the
// workspace. The connection and its handlers outlive ctx. On an error it has
// ended the process.
func Connect(ctx context.Context, p *Process, router *rpc.Router, s Setup) (*Shim, error) {
	shim := Attach(ctx, p, router)
	err := shim.Handshake(ctx, s)
	if err == nil {
		var warnings []string
		if warnings, err = shim.Open(ctx, s); len(warnings) > 0 {
			err = fmt.Errorf("the workspace was opened with warnings: %q", warnings)
		}
	}
	if err != nil {
		return nil, errors.Join(err, shim.End())
	}
	return shim, nil
}

// Attach serves the calls of a process and says nothing to it.
func Attach(ctx context.Context, p *Process, router *rpc.Router) *Shim {
	done := make(chan error, 1)
	s := &Shim{Process: p, Done: done}
	s.Conn = rpc.NewConn(rpc.Options{In: p.Out, Out: p.In, Router: router, Log: zerolog.Nop(), MaxConcurrent: handlers})
	go func() { done <- s.Conn.Serve(context.WithoutCancel(ctx)) }()
	return s
}

// Handshake sends initialize in the name of this process.
func (s *Shim) Handshake(ctx context.Context, with Setup) error {
	_, err := rpc.Invoke(ctx, s.Conn, wire.Initialize, wire.InitializeParams{
		Version: wire.Version, Protocol: wire.Protocol, ManifestHash: with.Hash,
		Host: wire.HostInfo{PID: os.Getpid(), Mode: "other", Restarts: with.Restarts},
	})
	return err
}

// Open opens the workspace and returns what the user is warned of.
func (s *Shim) Open(ctx context.Context, with Setup) (warnings []string, err error) {
	raw, err := json.Marshal(with.Options)
	if err != nil {
		return nil, err
	}
	opened, err := rpc.Invoke(ctx, s.Conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{
		Workspace: Workspace, Directory: with.Directory, Worktree: with.Directory, Options: raw,
	})
	return opened.Warnings, err
}

// End ends the sidecar in order and returns when everything has.
func (s *Shim) End() error {
	s.Conn.Close()
	<-s.Done // ErrClosed, or that the sidecar has ended
	return s.Process.End()
}

// Emit passes an event on. A sidecar that has ended hears nothing; that is no
// error: its callers notice otherwise.
func (s *Shim) Emit(e host.Event) {
	properties, err := json.Marshal(properties(e))
	if err != nil {
		return
	}
	_ = rpc.Notify(context.Background(), s.Conn, wire.Event, wire.EventParams{Workspace: Workspace, Type: e.Type, Properties: properties})
}

var hashPattern = regexp.MustCompile(`MANIFEST_HASH = "([0-9a-f]+)"`)

// ManifestHash is what the handshake wants to hear, read in a checkout.
func ManifestHash(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, "shim", "src", "generated", "manifest.ts"))
	if err != nil {
		return "", err
	}
	found := hashPattern.FindSubmatch(data)
	if found == nil {
		return "", errors.New("the generated manifest names no hash")
	}
	return string(found[1]), nil
}

// Package handler connects the wire to the core: it decodes nothing and decides
// nothing, but calls the room that does and gives the answer its wire form. One
// file per feature.
package handler

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/mission"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Sidecar is the process as the shim sees it.
type Sidecar interface {
	// Initialized tells in what kind of OpenCode process we are.
	Initialized(wire.HostInfo)
	// Open opens a workspace. The warnings are about its options.
	Open(id string, w workspace.Workspace, options json.RawMessage) (reattached bool, warnings []string, err error)
	// Close closes one.
	Close(id string)
	// Lookup returns an open workspace.
	Lookup(id string) (workspace.Workspace, error)
	// Shutdown runs the ordered shutdown and returns its report.
	Shutdown(ctx context.Context) wire.ShutdownReport
	// Exit ends the process, after a shutdown.
	Exit()
}

// Deps are the rooms behind the wire.
type Deps struct {
	Sidecar      Sidecar
	Tools        *tool.Registry
	Tasks        *delegate.Engine
	Todos        *todo.Sync
	Missions     *mission.Driver
	Jobs         *job.Engine
	ManifestHash string
	PID          int
}

// Register routes every method of the shim.
func Register(r *rpc.Router, d Deps) {
	registerSession(r, d)
	registerWorkspaces(r, d)
	registerTools(r, d)
	registerTasks(r, d)
	registerHooks(r, d)
}

// MapError gives the core's errors their wire form. Nil means: internal.
func MapError(err error) *rpc.Error {
	if e, ok := errors.AsType[*tool.ArgumentError](err); ok {
		return rpc.InvalidParams(e.Field, "%s", e.Error())
	}
	if e, ok := errors.AsType[*tool.Refusal](err); ok {
		return rpc.Refused(wire.KindRefused, "%s", e.Error())
	}
	if e, ok := errors.AsType[*tool.UnknownToolError](err); ok {
		return rpc.Refused(wire.KindUnknownTool, "%s", e.Error())
	}
	if e, ok := errors.AsType[*delegate.AgentError](err); ok {
		return rpc.InvalidParams("agent", "%s", e.Error())
	}
	if e, ok := errors.AsType[*host.CallError](err); ok {
		mapped := rpc.Errorf(wire.CodeHost, wire.KindHost, "%s", err.Error())
		mapped.Data.Status, mapped.Data.Name = e.Status, e.Name
		return mapped
	}
	for sentinel, kind := range map[error]wire.Kind{
		delegate.ErrStopping:    wire.KindShuttingDown,
		delegate.ErrRefused:     wire.KindRefused,
		delegate.ErrEnded:       wire.KindConflict,
		delegate.ErrRunning:     wire.KindConflict,
		task.ErrStale:           wire.KindConflict,
		task.ErrNotFound:        wire.KindNotFound,
		workspace.ErrNotOpen:    wire.KindNotFound,
		host.ErrWorkspaceClosed: wire.KindNotFound,
	} {
		if errors.Is(err, sentinel) {
			return rpc.Refused(kind, "%s", err.Error())
		}
	}
	return nil
}

package handler

import (
	"context"

	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func registerSession(r *rpc.Router, d Deps) {
	rpc.Handle(r, wire.Initialize, func(_ context.Context, p wire.InitializeParams) (wire.InitializeResult, error) {
		if p.Version != wire.Version || p.Protocol != wire.Protocol || p.ManifestHash != d.ManifestHash {
			return wire.InitializeResult{}, rpc.Refused(wire.KindVersionMismatch,
				"The shim is version %s (protocol %d, manifest %s) but the sidecar is version %s (protocol %d, manifest %s). Reinstall opencode-sidecar so that both come from one package, or run `make build` in its checkout, and restart OpenCode.",
				p.Version, p.Protocol, p.ManifestHash, wire.Version, wire.Protocol, d.ManifestHash)
		}
		d.Sidecar.Initialized(p.Host)
		return wire.InitializeResult{Version: wire.Version, Protocol: wire.Protocol, ManifestHash: d.ManifestHash, PID: d.PID}, nil
	})
	rpc.Handle(r, wire.Ping, func(_ context.Context, p wire.PingParams) (wire.PingParams, error) { return p, nil })
	rpc.Handle(r, wire.Shutdown, func(ctx context.Context, _ wire.Empty) (wire.ShutdownReport, error) {
		return d.Sidecar.Shutdown(ctx), nil
	})
	rpc.HandleNotice(r, wire.Exit, func(context.Context, wire.Empty) { d.Sidecar.Exit() })
}

func registerWorkspaces(r *rpc.Router, d Deps) {
	rpc.Handle(r, wire.WorkspaceOpen, func(_ context.Context, p wire.WorkspaceOpenParams) (wire.WorkspaceOpenResult, error) {
		if p.Workspace == "" {
			return wire.WorkspaceOpenResult{}, rpc.InvalidParams("workspace", "workspace is missing; it is an id of the shim's choice")
		}
		if p.Directory == "" {
			return wire.WorkspaceOpenResult{}, rpc.InvalidParams("directory", "directory is missing; it is the folder that OpenCode opened")
		}
		reattached, warnings, err := d.Sidecar.Open(p.Workspace, workspace.Workspace{Directory: p.Directory, Worktree: p.Worktree}, p.Options)
		if err != nil {
			return wire.WorkspaceOpenResult{}, rpc.InvalidParams("workspace", "%s", err.Error())
		}
		return wire.WorkspaceOpenResult{Reattached: reattached, Warnings: warnings}, nil
	})
	rpc.Handle(r, wire.WorkspaceClose, func(_ context.Context, p wire.WorkspaceCloseParams) (wire.Empty, error) {
		d.Sidecar.Close(p.Workspace)
		return wire.Empty{}, nil
	})
}

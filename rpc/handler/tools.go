package handler

import (
	"context"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func registerTools(r *rpc.Router, d Deps) {
	rpc.Handle(r, wire.ToolCall, func(ctx context.Context, p wire.ToolCallParams) (wire.ToolCallResult, error) {
		// A tool may wait for minutes, and OpenCode bounds how many run at once.
		rpc.Yield(ctx)
		res, err := d.Tools.Call(ctx, p.Tool, tool.Call{
			Workspace: p.Workspace, SessionID: p.SessionID, MessageID: p.MessageID, CallID: p.CallID, Agent: p.Agent,
		}, p.Args)
		return wire.ToolCallResult(res), err
	})
}

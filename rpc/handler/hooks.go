package handler

import (
	"context"
	"slices"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func registerHooks(r *rpc.Router, d Deps) {
	rpc.Handle(r, wire.HookChatMessage, func(ctx context.Context, p wire.ChatMessageParams) (wire.Empty, error) {
		w, err := d.Sidecar.Lookup(p.Workspace)
		if err != nil {
			return wire.Empty{}, err
		}
		// First, for it ends a countdown. What answers a command is nobody's word.
		if d.Missions.UserSpoke(ctx, w.Directory, p.SessionID, p.MessageID) {
			d.Tasks.UserSpoke(ctx, w.Directory, p.SessionID, p.MessageID)
		}
		return wire.Empty{}, nil
	})
	rpc.Handle(r, wire.HookCommand, func(ctx context.Context, p wire.CommandParams) (wire.CommandResult, error) {
		w, err := d.Sidecar.Lookup(p.Workspace)
		if err != nil {
			return wire.CommandResult{}, err
		}
		text, err := d.Missions.Command(ctx, w.Directory, p.SessionID, p.Command, p.Arguments)
		return wire.CommandResult{Text: text}, err
	})
	rpc.Handle(r, wire.HookTransform, func(ctx context.Context, p wire.TransformParams) (wire.TransformResult, error) {
		rpc.Yield(ctx) // holds a headless turn
		add, again := d.Tasks.Transform(ctx, p.SessionID, p.MessageID)
		res := wire.TransformResult{Again: again}
		for _, a := range add {
			res.Append = append(res.Append, wire.AppendText(a))
		}
		if !again {
			for _, a := range d.Missions.Transform(ctx, p.SessionID, p.MessageID) {
				res.Append = append(res.Append, wire.AppendText(a))
			}
		}
		return res, nil
	})
	rpc.Handle(r, wire.HookCompacting, func(ctx context.Context, p wire.CompactingParams) (wire.CompactingResult, error) {
		context := slices.Concat(d.Tasks.Compacting(ctx, p.SessionID), d.Missions.Compacting(p.SessionID))
		return wire.CompactingResult{Context: context}, nil
	})
	rpc.HandleNotice(r, wire.Event, func(_ context.Context, p wire.EventParams) {
		w, err := d.Sidecar.Lookup(p.Workspace)
		if err != nil {
			return // of a workspace that was closed meanwhile
		}
		if e, err := host.ParseEvent(p.Type, p.Properties); err == nil {
			d.Tasks.Event(w.Directory, e)
			d.Missions.Event(w.Directory, e)
			if e.Type == host.EventSessionDeleted {
				d.Jobs.SessionDeleted(e.Session) //nolint:contextcheck // a notice waits for nothing
			}
			if len(e.Call.Files) > 0 {
				d.Todos.Touched(w.Directory, e.Call.Files)
			}
		}
	})
}

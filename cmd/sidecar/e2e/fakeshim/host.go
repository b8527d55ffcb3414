package fakeshim

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Host is the OpenCode behind a Shim; fake.OpenCode is one.
type Host interface {
	CreateSession(ctx context.Context, directory string, n host.NewSession) (host.Session, error)
	Session(ctx context.Context, directory, id string) (host.Session, error)
	Children(ctx context.Context, directory, id string) ([]host.Session, error)
	Prompt(ctx context.Context, directory string, p host.Prompt) error
	Abort(ctx context.Context, directory, id string) error
	Messages(ctx context.Context, directory, id string, limit int) ([]host.Message, error)
	Statuses(ctx context.Context, directory string) (map[string]host.Status, error)
	Agents(ctx context.Context, directory string) ([]host.Agent, error)
	Toast(ctx context.Context, directory string, t host.Toast) error
	ReplyPermission(ctx context.Context, directory, session, question, response string) error
}

// Call is one call of the sidecar.
type Call struct {
	Method  string // of the wire
	Session string // that it is for; for a session to be created its parent
}

// Around is called in place of each call; do carries it out. The answer is sent
// when it returns. ctx ends with the connection.
type Around func(ctx context.Context, c Call, do func(context.Context) error) error

// Router serves the calls of a sidecar whose workspace is directory.
func Router(h Host, directory string, around Around) *rpc.Router {
	if around == nil {
		around = func(ctx context.Context, _ Call, do func(context.Context) error) error { return do(ctx) }
	}
	r := rpc.NewHostRouter()
	on(r, around, wire.HostSessionCreate, func(p wire.SessionCreateParams) string { return p.Body.ParentID },
		func(ctx context.Context, p wire.SessionCreateParams) (wire.SessionInfo, error) {
			n := host.NewSession{Parent: p.Body.ParentID, Title: p.Body.Title, Agent: p.Body.Agent, Metadata: p.Body.Metadata}
			for _, rule := range p.Body.Permission {
				n.Permission = append(n.Permission, host.Rule(rule))
			}
			made, err := h.CreateSession(ctx, directory, n)
			return info(made), err
		})
	on(r, around, wire.HostSessionGet, path, func(ctx context.Context, p wire.SessionPathParams) (wire.SessionInfo, error) {
		found, err := h.Session(ctx, directory, p.Path.ID)
		return info(found), err
	})
	on(r, around, wire.HostSessionChildren, path, func(ctx context.Context, p wire.SessionPathParams) ([]wire.SessionInfo, error) {
		list, err := h.Children(ctx, directory, p.Path.ID)
		out := make([]wire.SessionInfo, 0, len(list))
		for _, s := range list {
			out = append(out, info(s))
		}
		return out, err
	})
	on(r, around, wire.HostSessionPromptAsync, func(p wire.SessionPromptParams) string { return p.Path.ID },
		func(ctx context.Context, p wire.SessionPromptParams) (wire.Empty, error) {
			return wire.Empty{}, h.Prompt(ctx, directory, prompt(p))
		})
	on(r, around, wire.HostSessionAbort, path, func(ctx context.Context, p wire.SessionPathParams) (bool, error) {
		return true, h.Abort(ctx, directory, p.Path.ID)
	})
	on(r, around, wire.HostSessionMessages, func(p wire.SessionMessagesParams) string { return p.Path.ID },
		func(ctx context.Context, p wire.SessionMessagesParams) ([]wire.MessageWithParts, error) {
			limit := p.Query.Limit
			if limit == 0 {
				limit = math.MaxInt // all, to OpenCode
			}
			list, err := h.Messages(ctx, directory, p.Path.ID, limit)
			out := make([]wire.MessageWithParts, 0, len(list))
			for _, m := range list {
				out = append(out, message(m, p.Parts))
			}
			return out, err
		})
	on(r, around, wire.HostSessionStatus, nothing, func(ctx context.Context, _ wire.WorkspaceParams) (map[string]wire.SessionStatus, error) {
		list, err := h.Statuses(ctx, directory)
		out := map[string]wire.SessionStatus{}
		for id, s := range list {
			out[id] = wire.SessionStatus{Type: s.Type, Message: s.Message, Attempt: s.Attempt}
		}
		return out, err
	})
	on(r, around, wire.HostAgents, nothing, func(ctx context.Context, _ wire.WorkspaceParams) ([]wire.AgentInfo, error) {
		list, err := h.Agents(ctx, directory)
		out := make([]wire.AgentInfo, 0, len(list))
		for _, a := range list {
			out = append(out, wire.AgentInfo{Name: a.Name, Description: a.Description, Mode: a.Mode, Hidden: a.Hidden, Model: model(a.Model), Permission: rules(a.Permission)})
		}
		return out, err
	})
	on(r, around, wire.HostPermissionReply, func(p wire.PermissionReplyParams) string { return p.Path.ID },
		func(ctx context.Context, p wire.PermissionReplyParams) (bool, error) {
			return true, h.ReplyPermission(ctx, directory, p.Path.ID, p.Path.PermissionID, p.Body.Response)
		})
	on(r, around, wire.HostToast, func(wire.ToastParams) string { return "" }, func(ctx context.Context, p wire.ToastParams) (bool, error) {
		return true, h.Toast(ctx, directory, host.Toast{Title: p.Body.Title, Message: p.Body.Message, Variant: p.Body.Variant})
	})
	return r
}

func path(p wire.SessionPathParams) string { return p.Path.ID }

func nothing(wire.WorkspaceParams) string { return "" }

// on serves one method.
func on[P, R any](r *rpc.Router, around Around, m wire.Call[P, R], session func(P) string, serve func(context.Context, P) (R, error)) {
	rpc.Handle(r, m, func(ctx context.Context, p P) (result R, err error) {
		err = around(ctx, Call{m.Name, session(p)}, func(ctx context.Context) error {
			result, err = serve(ctx, p)
			return err
		})
		return result, explain(err)
	})
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

func info(s host.Session) wire.SessionInfo {
	out := wire.SessionInfo{ID: s.ID, ParentID: s.Parent, Title: s.Title, Agent: s.Agent, Permission: rules(s.Permission)}
	if len(s.Metadata) > 0 {
		out.Metadata, _ = json.Marshal(s.Metadata) // strings always encode
	}
	return out
}

func rules(list []host.Rule) []wire.PermissionRule {
	var out []wire.PermissionRule
	for _, r := range list {
		out = append(out, wire.PermissionRule(r))
	}
	return out
}

func model(m host.Model) *wire.ModelRef {
	if m.ID == "" {
		return nil
	}
	return &wire.ModelRef{ProviderID: m.Provider, ModelID: m.ID, Variant: m.Variant}
}

func prompt(p wire.SessionPromptParams) host.Prompt {
	out := host.Prompt{Session: p.Path.ID, MessageID: p.Body.MessageID, Agent: p.Body.Agent, NoReply: p.Body.NoReply}
	if m := p.Body.Model; m != nil {
		out.Model = host.Model{Provider: m.ProviderID, ID: m.ModelID, Variant: p.Body.Variant}
	}
	for i, part := range p.Body.Parts {
		if i > 0 {
			out.Text += "\n"
		}
		out.Text += part.Text
		out.Synthetic = out.Synthetic || part.Synthetic
	}
	return out
}

// message is a message as it crosses, with the parts of the kept types only.
func message(m host.Message, kept []string) wire.MessageWithParts {
	out := wire.MessageWithParts{Parts: []wire.MessagePart{}, Info: wire.MessageInfo{
		ID: m.ID, SessionID: m.Session, Role: string(m.Role), ParentID: m.Parent, Agent: m.Agent, Finish: m.Finish,
		Time: wire.MessageTime{Created: m.Created.UnixMilli()},
	}}
	if m.Role == host.User {
		out.Info.Model = model(m.Model)
	} else {
		out.Info.Cost, out.Info.Tokens = m.Usage.Cost, tokens(m.Usage)
		out.Info.ProviderID, out.Info.ModelID, out.Info.Variant = m.Model.Provider, m.Model.ID, m.Model.Variant
	}
	if m.Summary {
		out.Info.Summary = true
	}
	if !m.Completed.IsZero() {
		out.Info.Time.Completed = m.Completed.UnixMilli()
	}
	out.Info.Error = failure(m.Error)
	for _, p := range m.Parts {
		if len(kept) > 0 && !slices.Contains(kept, p.Type) {
			continue
		}
		part := wire.MessagePart{MessageID: m.ID, Type: p.Type, Text: p.Text, Synthetic: p.Synthetic, Tool: p.Tool, CallID: p.Call}
		if p.Type == "tool" {
			part.State = &wire.ToolState{Status: p.Status}
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

func tokens(u host.Usage) *wire.TokenCounts {
	return &wire.TokenCounts{
		Input: u.Input, Output: u.Output, Reasoning: u.Reasoning, Cache: wire.CacheCounts{Read: u.CacheRead, Write: u.CacheWrite},
	}
}

func failure(e *host.MessageError) *wire.MessageError {
	if e == nil {
		return nil
	}
	out := &wire.MessageError{Name: e.Name}
	out.Data.Message, out.Data.StatusCode, out.Data.IsRetryable = e.Message, e.Status, e.Retryable
	if e.RetryAfter > 0 {
		out.Data.ResponseHeaders = &wire.RetryHeaders{AfterMS: strconv.FormatInt(e.RetryAfter.Milliseconds(), 10)}
	}
	return out
}

package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// CreateSession creates a session.
func (c *Client) CreateSession(ctx context.Context, directory string, n host.NewSession) (host.Session, error) {
	s, err := invoke(ctx, c, wire.HostSessionCreate, directory, writeDeadline, func(ws string) wire.SessionCreateParams {
		body := wire.SessionCreateBody{ParentID: n.Parent, Title: n.Title, Agent: n.Agent, Metadata: n.Metadata}
		for _, r := range n.Permission {
			body.Permission = append(body.Permission, wire.PermissionRule(r))
		}
		return wire.SessionCreateParams{Workspace: ws, Body: body}
	})
	return session(s), err
}

// Session returns a session.
func (c *Client) Session(ctx context.Context, directory, id string) (host.Session, error) {
	s, err := invoke(ctx, c, wire.HostSessionGet, directory, readDeadline, path(id))
	return session(s), err
}

// Prompt sends a message of ours and starts a turn unless it says NoReply. It
// returns once OpenCode has accepted it.
func (c *Client) Prompt(ctx context.Context, directory string, p host.Prompt) error {
	_, err := invoke(ctx, c, wire.HostSessionPromptAsync, directory, writeDeadline, func(ws string) wire.SessionPromptParams {
		body := wire.SessionPromptBody{
			MessageID: p.MessageID, Agent: p.Agent, NoReply: p.NoReply,
			Parts: []wire.TextPart{{Type: "text", Text: p.Text, Synthetic: p.Synthetic}},
		}
		if p.Model.ID != "" {
			body.Model = &wire.ModelRef{ProviderID: p.Model.Provider, ModelID: p.Model.ID}
			body.Variant = p.Model.Variant
		}
		return wire.SessionPromptParams{Workspace: ws, Path: wire.SessionPath{ID: p.Session}, Body: body}
	})
	return err
}

// Abort asks a session to stop. That it has stopped shows in Statuses.
func (c *Client) Abort(ctx context.Context, directory, id string) error {
	_, err := invoke(ctx, c, wire.HostSessionAbort, directory, readDeadline, path(id))
	return err
}

// Messages returns the newest messages of a session, oldest first, with their
// text, tool and compaction parts.
func (c *Client) Messages(ctx context.Context, directory, id string, limit int) ([]host.Message, error) {
	list, err := invoke(ctx, c, wire.HostSessionMessages, directory, readDeadline, func(ws string) wire.SessionMessagesParams {
		return wire.SessionMessagesParams{
			Workspace: ws, Path: wire.SessionPath{ID: id}, Query: wire.MessagesQuery{Limit: limit},
			Parts: []string{"text", "tool", "compaction"},
		}
	})
	if err != nil {
		return nil, err
	}
	out := make([]host.Message, 0, len(list))
	for _, m := range list {
		out = append(out, message(m))
	}
	return out, nil
}

// Statuses maps the sessions of a directory that are not idle to what they do.
func (c *Client) Statuses(ctx context.Context, directory string) (map[string]host.Status, error) {
	m, err := invoke(ctx, c, wire.HostSessionStatus, directory, readDeadline, whole)
	if err != nil {
		return nil, err
	}
	out := make(map[string]host.Status, len(m))
	for id, s := range m {
		out[id] = host.Status(s)
	}
	return out, nil
}

// Agents lists the agents of a directory.
func (c *Client) Agents(ctx context.Context, directory string) ([]host.Agent, error) {
	list, err := invoke(ctx, c, wire.HostAgents, directory, readDeadline, whole)
	if err != nil {
		return nil, err
	}
	out := make([]host.Agent, 0, len(list))
	for _, a := range list {
		out = append(out, host.Agent{Name: a.Name, Description: a.Description, Mode: a.Mode, Hidden: a.Hidden, Model: model(a.Model), Permission: rules(a.Permission)})
	}
	return out, nil
}

// Ask asks OpenCode's permission rules, and through them perhaps the user, on
// behalf of a running tool call. It returns nil once that is allowed; of a
// refusal, host.NotAllowed is true. A person may think for as long as it takes:
// unlike all other calls this one has no deadline of its own.
func (c *Client) Ask(ctx context.Context, callID string, q host.Ask) error {
	params := wire.ToolAskParams{CallID: callID, Permission: q.Permission, Patterns: q.Patterns, Always: q.Always, Metadata: q.Metadata}
	if params.Patterns == nil { // OpenCode takes no null for any of them
		params.Patterns = []string{}
	}
	if params.Always == nil {
		params.Always = []string{}
	}
	if params.Metadata == nil {
		params.Metadata = map[string]any{}
	}
	var nothing wire.Empty
	return describe(ctx, wire.HostToolAsk.Name, c.caller.Call(ctx, wire.HostToolAsk.Name, params, &nothing))
}

// Toast shows a toast in the TUI; elsewhere it does nothing.
func (c *Client) Toast(ctx context.Context, directory string, t host.Toast) error {
	_, err := invoke(ctx, c, wire.HostToast, directory, readDeadline, func(ws string) wire.ToastParams {
		return wire.ToastParams{Workspace: ws, Body: wire.ToastBody{
			Title: t.Title, Message: t.Message, Variant: t.Variant, Duration: int(t.Duration.Milliseconds()),
		}}
	})
	return err
}

// Log writes a line to OpenCode's own log. level is debug, info, warn or error.
func (c *Client) Log(ctx context.Context, directory, level, text string) error {
	_, err := invoke(ctx, c, wire.HostLog, directory, readDeadline, func(ws string) wire.LogParams {
		return wire.LogParams{Workspace: ws, Body: wire.LogBody{Service: "opencode-sidecar", Level: level, Message: text}}
	})
	return err
}

// Questions lists the questions for permission that nobody has answered, by
// session.
func (c *Client) Questions(ctx context.Context, directory string) (map[string][]host.Question, error) {
	list, err := invoke(ctx, c, wire.HostPermissionList, directory, readDeadline, whole)
	if err != nil {
		return nil, err
	}
	out := map[string][]host.Question{}
	for _, q := range list {
		out[q.SessionID] = append(out[q.SessionID], host.Question{ID: q.ID, Permission: q.Permission, Patterns: q.Patterns})
	}
	return out, nil
}

// ReplyPermission answers a permission question of a session with once, always
// or reject.
func (c *Client) ReplyPermission(ctx context.Context, directory, sessionID, permissionID, response string) error {
	_, err := invoke(ctx, c, wire.HostPermissionReply, directory, readDeadline, func(ws string) wire.PermissionReplyParams {
		return wire.PermissionReplyParams{
			Workspace: ws, Path: wire.PermissionReplyPath{ID: sessionID, PermissionID: permissionID},
			Body: wire.PermissionReplyBody{Response: response},
		}
	})
	return err
}

// DeleteSession deletes a session and its children, for good.
func (c *Client) DeleteSession(ctx context.Context, directory, id string) error {
	_, err := invoke(ctx, c, wire.HostSessionDelete, directory, readDeadline, path(id))
	return err
}

// Children lists the sessions that have the given one as their parent.
func (c *Client) Children(ctx context.Context, directory, id string) ([]host.Session, error) {
	list, err := invoke(ctx, c, wire.HostSessionChildren, directory, readDeadline, path(id))
	if err != nil {
		return nil, err
	}
	out := make([]host.Session, 0, len(list))
	for _, s := range list {
		out = append(out, session(s))
	}
	return out, nil
}

func whole(ws string) wire.WorkspaceParams { return wire.WorkspaceParams{Workspace: ws} }

func path(id string) func(ws string) wire.SessionPathParams {
	return func(ws string) wire.SessionPathParams {
		return wire.SessionPathParams{Workspace: ws, Path: wire.SessionPath{ID: id}}
	}
}

func session(s wire.SessionInfo) host.Session {
	out := host.Session{ID: s.ID, Parent: s.ParentID, Title: s.Title, Agent: s.Agent, Permission: rules(s.Permission)}
	// Metadata is free-form: a value that is no string map is not ours.
	_ = json.Unmarshal(s.Metadata, &out.Metadata)
	return out
}

func rules(list []wire.PermissionRule) []host.Rule {
	var out []host.Rule
	for _, r := range list {
		out = append(out, host.Rule(r))
	}
	return out
}

func model(m *wire.ModelRef) host.Model {
	if m == nil {
		return host.Model{}
	}
	return host.Model{Provider: m.ProviderID, ID: m.ModelID, Variant: m.Variant}
}

func message(m wire.MessageWithParts) host.Message {
	out := host.Message{
		ID: m.Info.ID, Session: m.Info.SessionID, Role: host.Role(m.Info.Role), Parent: m.Info.ParentID,
		Agent: m.Info.Agent, Model: model(m.Info.Model), Finish: m.Info.Finish,
		Created: moment(m.Info.Time.Created), Completed: moment(m.Info.Time.Completed),
	}
	if m.Info.ModelID != "" {
		out.Model = host.Model{Provider: m.Info.ProviderID, ID: m.Info.ModelID}
	}
	if out.Model.Variant == "" {
		out.Model.Variant = m.Info.Variant
	}
	// On an assistant message `summary` is a flag, on a user message an object.
	out.Summary, _ = m.Info.Summary.(bool)
	if e := m.Info.Error; e != nil {
		out.Error = &host.MessageError{Name: e.Name, Message: e.Data.Message, Status: e.Data.StatusCode, Retryable: e.Data.IsRetryable}
		if h := e.Data.ResponseHeaders; h != nil {
			out.Error.RetryAfter = host.RetryAfter(h.AfterMS, h.After, out.Completed)
		}
	}
	out.Usage.Cost = m.Info.Cost
	if t := m.Info.Tokens; t != nil {
		out.Usage = host.Usage{Input: t.Input, Output: t.Output, Reasoning: t.Reasoning, CacheRead: t.Cache.Read, CacheWrite: t.Cache.Write, Cost: m.Info.Cost}
	}
	for _, p := range m.Parts {
		part := host.Part{Type: p.Type, Text: p.Text, Synthetic: p.Synthetic, Tool: p.Tool, Call: p.CallID}
		if p.State != nil {
			part.Status = p.State.Status
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

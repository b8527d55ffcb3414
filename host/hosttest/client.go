package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// pollEvery is how often waiting asks again.
const pollEvery = 50 * time.Millisecond

// Client speaks HTTP with `opencode serve` for one directory. It is
// independent of the code under test and safe for concurrent use. Every method
// blocks until OpenCode answers or the context ends, so give it a deadline.
type Client struct {
	url       string
	directory string
	http      *http.Client
}

func newClient(url, directory string) *Client {
	return &Client{url: url, directory: directory, http: &http.Client{Transport: &http.Transport{}}}
}

// In returns a client of the same server for another directory.
func (c *Client) In(directory string) *Client {
	return &Client{url: c.url, directory: directory, http: c.http}
}

// URL is where the server listens, without a trailing slash.
func (c *Client) URL() string { return c.url }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer of OpenCode other than 2xx.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.Method, e.Path, e.Status, e.Body)
}

// Session is a session.
type Session struct {
	ID         string          `json:"id"`
	ParentID   string          `json:"parentID"`
	Title      string          `json:"title"`
	Directory  string          `json:"directory"`
	Agent      string          `json:"agent"`
	Metadata   json.RawMessage `json:"metadata"`
	Permission []Rule          `json:"permission"`
}

// Rule is a permission rule.
type Rule struct {
	Permission string `json:"permission"`
	Pattern    string `json:"pattern"`
	Action     string `json:"action"`
}

// Agent is an agent as OpenCode has resolved it.
type Agent struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Mode        string         `json:"mode"` // primary | subagent | all
	Native      bool           `json:"native"`
	Hidden      bool           `json:"hidden"`
	Color       string         `json:"color"`
	Prompt      string         `json:"prompt"`
	Temperature float64        `json:"temperature"`
	Model       *ModelRef      `json:"model"`
	Options     map[string]any `json:"options"` // for the provider
	Permission  []Rule         `json:"permission"`
}

// Command is a slash command.
type Command struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Agent       string `json:"agent"`
	Template    string `json:"template"`
	Source      string `json:"source"` // command | mcp | skill
}

// NewSession is what a session is created with. OpenCode asks the model for a
// title only if it has none.
type NewSession struct {
	ParentID   string         `json:"parentID,omitempty"`
	Title      string         `json:"title,omitempty"`
	Agent      string         `json:"agent,omitempty"`
	Metadata   map[string]any `json:"metadata,omitempty"`
	Permission []Rule         `json:"permission,omitempty"`
}

// Prompt is a user message.
type Prompt struct {
	MessageID string          `json:"messageID,omitempty"`
	Agent     string          `json:"agent,omitempty"`
	Model     *ModelRef       `json:"model,omitempty"`
	Tools     map[string]bool `json:"tools,omitempty"`
	NoReply   bool            `json:"noReply,omitempty"`
	Parts     []Part          `json:"parts"`
}

// Text is the prompt of one text part made of the lines.
func Text(lines ...string) Prompt {
	return Prompt{Parts: []Part{{Type: "text", Text: strings.Join(lines, "\n")}}}
}

// ModelRef names a model.
type ModelRef struct {
	ProviderID string `json:"providerID"`
	ModelID    string `json:"modelID"`
}

// Message is a message with its parts. A turn of several steps has one
// assistant message per step.
type Message struct {
	Info  MessageInfo `json:"info"`
	Parts []Part      `json:"parts"`
}

// MessageInfo is the head of a message.
type MessageInfo struct {
	ID        string        `json:"id"`
	SessionID string        `json:"sessionID"`
	Role      string        `json:"role"`     // user | assistant
	ParentID  string        `json:"parentID"` // assistant: the user message that was the newest when the step began
	Agent     string        `json:"agent"`
	Finish    string        `json:"finish"`
	Error     *MessageError `json:"error"`
	Tokens    struct {
		Input, Output int64
	} `json:"tokens"` // assistant: of this step
	Time struct {
		Created   int64 `json:"created"` // Unix milliseconds
		Completed int64 `json:"completed"`
	} `json:"time"`
}

// MessageError is why a turn failed.
type MessageError struct {
	Name string `json:"name"`
	Data struct {
		Message    string `json:"message"`
		StatusCode int    `json:"statusCode"`
	} `json:"data"`
}

// Part is one part of a message.
type Part struct {
	ID        string     `json:"id,omitempty"`
	MessageID string     `json:"messageID,omitempty"`
	Type      string     `json:"type"`
	Text      string     `json:"text,omitempty"`
	Synthetic bool       `json:"synthetic,omitempty"`
	Tool      string     `json:"tool,omitempty"`
	CallID    string     `json:"callID,omitempty"`
	State     *ToolState `json:"state,omitempty"`
	Reason    string     `json:"reason,omitempty"` // step-finish
}

// ToolState is what became of a tool call.
type ToolState struct {
	Status   string          `json:"status"` // pending | running | completed | error
	Input    json.RawMessage `json:"input,omitempty"`
	Output   string          `json:"output,omitempty"`
	Error    string          `json:"error,omitempty"`
	Title    string          `json:"title,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// Text joins the text parts with line breaks.
func (m Message) Text() string {
	var texts []string
	for _, p := range m.Parts {
		if p.Type == "text" && p.Text != "" {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// Calls returns the tool parts.
func (m Message) Calls() []Part {
	var calls []Part
	for _, p := range m.Parts {
		if p.Type == "tool" {
			calls = append(calls, p)
		}
	}
	return calls
}

// Status is what a session that is not idle does.
type Status struct {
	Type    string `json:"type"` // busy | retry
	Attempt int    `json:"attempt"`
	Message string `json:"message"`
	Next    int64  `json:"next"` // retry: when, in Unix milliseconds
}

// CreateSession creates a session.
func (c *Client) CreateSession(ctx context.Context, new NewSession) (Session, error) {
	var s Session
	return s, c.Do(ctx, http.MethodPost, "/session", new, &s)
}

// Session reads a session.
func (c *Client) Session(ctx context.Context, id string) (Session, error) {
	var s Session
	return s, c.Do(ctx, http.MethodGet, sessionPath(id), nil, &s)
}

// Sessions lists the sessions of the directory's project.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	var list []Session
	return list, c.Do(ctx, http.MethodGet, "/session", nil, &list)
}

// Children lists the sessions that have this one as their parent.
func (c *Client) Children(ctx context.Context, id string) ([]Session, error) {
	var list []Session
	return list, c.Do(ctx, http.MethodGet, sessionPath(id, "children"), nil, &list)
}

// DeleteSession deletes a session and its children.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	return c.Do(ctx, http.MethodDelete, sessionPath(id), nil, nil)
}

// Prompt sends a prompt and returns the last answer when the session is idle
// again. A turn that failed or was aborted has Info.Error, not an error.
func (c *Client) Prompt(ctx context.Context, session string, p Prompt) (Message, error) {
	var m Message
	return m, c.Do(ctx, http.MethodPost, sessionPath(session, "message"), p, &m)
}

// Command runs a slash command, whose name has no slash here, and returns the
// last answer when the session is idle again.
func (c *Client) Command(ctx context.Context, session, name, arguments string) (Message, error) {
	var m Message
	in := map[string]string{"command": name, "arguments": arguments}
	return m, c.Do(ctx, http.MethodPost, sessionPath(session, "command"), in, &m)
}

// PromptAsync sends a prompt and returns at once. Whatever is wrong with the
// agent or the model only shows as a session.error event.
func (c *Client) PromptAsync(ctx context.Context, session string, p Prompt) error {
	return c.Do(ctx, http.MethodPost, sessionPath(session, "prompt_async"), p, nil)
}

// Messages returns the newest messages, oldest first; limit 0 means all.
func (c *Client) Messages(ctx context.Context, session string, limit int) ([]Message, error) {
	path := sessionPath(session, "message")
	if limit > 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	var list []Message
	return list, c.Do(ctx, http.MethodGet, path, nil, &list)
}

// Abort stops what the session does; its children go on.
func (c *Client) Abort(ctx context.Context, session string) error {
	return c.Do(ctx, http.MethodPost, sessionPath(session, "abort"), struct{}{}, nil)
}

// Status returns the sessions that are not idle.
func (c *Client) Status(ctx context.Context) (map[string]Status, error) {
	var list map[string]Status
	return list, c.Do(ctx, http.MethodGet, "/session/status", nil, &list)
}

// WaitIdle returns when the session does nothing. A prompt that was sent with
// PromptAsync just before may not have begun: wait for its answer instead.
func (c *Client) WaitIdle(ctx context.Context, session string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		list, err := c.Status(ctx)
		if err != nil {
			return err
		}
		status, busy := list[session]
		if !busy {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("session %s is still %s: %w", session, status.Type, context.Cause(ctx))
		}
	}
}

// WaitMessages returns the messages of a session as soon as match accepts them.
func (c *Client) WaitMessages(ctx context.Context, session string, match func([]Message) bool) ([]Message, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		list, err := c.Messages(ctx, session, 0)
		if err != nil {
			return nil, err
		}
		if match(list) {
			return list, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return list, fmt.Errorf("session %s has %d messages, not the awaited ones: %w", session, len(list), context.Cause(ctx))
		}
	}
}

// Agents lists the agents of the directory, hidden ones included.
func (c *Client) Agents(ctx context.Context) ([]Agent, error) {
	var list []Agent
	return list, c.Do(ctx, http.MethodGet, "/agent", nil, &list)
}

// Commands lists the slash commands of the directory.
func (c *Client) Commands(ctx context.Context) ([]Command, error) {
	var list []Command
	return list, c.Do(ctx, http.MethodGet, "/command", nil, &list)
}

// Dispose ends OpenCode's instance of the directory, plugins included. OpenCode
// answers first and disposes then; the next request loads a new instance.
func (c *Client) Dispose(ctx context.Context) error {
	return c.Do(ctx, http.MethodPost, "/instance/dispose", struct{}{}, nil)
}

// Do sends a request to any endpoint and decodes the answer into out, unless
// that is nil. An answer other than 2xx is a *StatusError.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return &StatusError{Method: method, Path: path, Status: resp.StatusCode, Body: string(data)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: %w in %.200q", method, path, err, data)
	}
	return nil
}

// send sends a request for the client's directory. The caller closes the body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-opencode-directory", url.PathEscape(c.directory))
	return c.http.Do(req)
}

func sessionPath(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/session/" + strings.Join(parts, "/")
}

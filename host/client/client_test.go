package client

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// caller plays the connection: it notes the last call and answers as told.
type caller struct {
	method string
	params string
	answer string
	err    error
	hang   bool
}

func (c *caller) Call(ctx context.Context, method string, params, result any) error {
	b, err := json.Marshal(params)
	if err != nil {
		return err
	}
	c.method, c.params = method, string(b)
	if c.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if c.err != nil {
		return c.err
	}
	return json.Unmarshal([]byte(c.answer), result)
}

type answered struct{ data wire.ErrorData }

func (answered) Error() string                      { return "answered" }
func (a answered) Detail() (string, wire.ErrorData) { return "it says no", a.data }
func open(string) (string, bool)                    { return "wrk_1", true }
func closed(string) (string, bool)                  { return "", false }
func newClient(answer string) (*caller, *Client) {
	c := &caller{answer: answer}
	return c, New(c, open)
}
func wantCall(t *testing.T, c *caller, method, want string) {
	t.Helper()
	if c.method != method || c.params != want {
		t.Errorf("sent %s %s\nwant %s %s", c.method, c.params, method, want)
	}
}

func TestCalls(t *testing.T) {
	ctx := t.Context()
	c, client := newClient(`{"id":"ses_1","parentID":"ses_0","metadata":{"a":"b"},"permission":[{"permission":"bash","pattern":"*","action":"deny"}]}`)
	got, err := client.CreateSession(ctx, "/w", host.NewSession{
		Parent: "ses_0", Title: "t", Agent: "a", Metadata: map[string]string{"a": "b"},
		Permission: []host.Rule{{Permission: "bash", Pattern: "*", Action: "deny"}},
	})
	want := host.Session{ID: "ses_1", Parent: "ses_0", Metadata: map[string]string{"a": "b"}, Permission: []host.Rule{{Permission: "bash", Pattern: "*", Action: "deny"}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("session (-want +got), err %v:\n%s", err, diff)
	}
	wantCall(t, c, "host/session.create", `{"workspace":"wrk_1","body":{"parentID":"ses_0","title":"t","agent":"a","metadata":{"a":"b"},"permission":[{"permission":"bash","pattern":"*","action":"deny"}]}}`)

	c, client = newClient(`{}`)
	if err := client.Prompt(ctx, "/w", host.Prompt{Session: "s", MessageID: "msg_1", Text: "go", Model: host.Model{Provider: "p", ID: "m", Variant: "v"}, NoReply: true, Synthetic: true}); err != nil {
		t.Error(err)
	}
	wantCall(t, c, "host/session.promptAsync", `{"workspace":"wrk_1","path":{"id":"s"},"body":{"messageID":"msg_1","model":{"providerID":"p","modelID":"m"},"variant":"v","noReply":true,"parts":[{"type":"text","text":"go","synthetic":true}]}}`)

	c, client = newClient(`{"ses_1":{"type":"retry","message":"slow","attempt":2}}`)
	statuses, err := client.Statuses(ctx, "/w")
	if diff := cmp.Diff(map[string]host.Status{"ses_1": {Type: "retry", Message: "slow", Attempt: 2}}, statuses); diff != "" || err != nil {
		t.Errorf("statuses (-want +got), err %v:\n%s", err, diff)
	}
	wantCall(t, c, "host/session.status", `{"workspace":"wrk_1"}`)

	c, client = newClient(`[{"name":"general","mode":"subagent","model":{"providerID":"p","modelID":"m"},"permission":[{"permission":"edit","pattern":"*","action":"deny"}]}]`)
	agents, err := client.Agents(ctx, "/w")
	if diff := cmp.Diff([]host.Agent{{Name: "general", Mode: "subagent", Model: host.Model{Provider: "p", ID: "m"}, Permission: []host.Rule{{Permission: "edit", Pattern: "*", Action: "deny"}}}}, agents); diff != "" || err != nil {
		t.Errorf("agents (-want +got), err %v:\n%s", err, diff)
	}
	wantCall(t, c, "host/app.agents", `{"workspace":"wrk_1"}`)

	for method, call := range map[string]func(*Client) error{
		"host/session.abort":    func(c *Client) error { return c.Abort(ctx, "/w", "s") },
		"host/session.delete":   func(c *Client) error { return c.DeleteSession(ctx, "/w", "s") },
		"host/toast":            func(c *Client) error { return c.Toast(ctx, "/w", host.Toast{Message: "m", Variant: "info"}) },
		"host/log":              func(c *Client) error { return c.Log(ctx, "/w", "info", "text") },
		"host/permission.reply": func(c *Client) error { return c.ReplyPermission(ctx, "/w", "s", "p", "once") },
	} {
		c, client := newClient(`true`)
		if err := call(client); err != nil || c.method != method {
			t.Errorf("%s: sent %s, err %v", method, c.method, err)
		}
	}
	for method, call := range map[string]func(*Client) error{
		"host/session.get":      func(c *Client) error { _, err := c.Session(ctx, "/w", "s"); return err },
		"host/session.children": func(c *Client) error { _, err := c.Children(ctx, "/w", "s"); return err },
	} {
		answer := `{"id":"s"}`
		if method == "host/session.children" {
			answer = `[` + answer + `]`
		}
		c, client := newClient(answer)
		if err := call(client); err != nil || c.method != method {
			t.Errorf("%s: sent %s, err %v", method, c.method, err)
		}
	}
}

// As OpenCode 1.18.33 sends them: `summary` is an object on user messages.
func TestMessages(t *testing.T) {
	_, client := newClient(`[
		{"info":{"id":"msg_1","sessionID":"s","role":"user","agent":"build","model":{"providerID":"p","modelID":"m","variant":"high"},"summary":{"diffs":[]},"time":{"created":1000}},
		 "parts":[{"id":"prt_1","type":"text","text":"hello","synthetic":true}]},
		{"info":{"id":"msg_2","sessionID":"s","role":"assistant","parentID":"msg_1","providerID":"p","modelID":"m","mode":"build","finish":"stop","summary":true,"time":{"created":2000,"completed":3000},
		 "error":{"name":"APIError","data":{"message":"no","statusCode":429,"isRetryable":true,"responseHeaders":{"retry-after":"Thu, 01 Jan 1970 00:00:33 GMT"}}},
		 "cost":0.25,"tokens":{"input":1,"output":2,"reasoning":3,"cache":{"read":4,"write":5}}},
		 "parts":[{"type":"tool","tool":"bash","callID":"call_1","state":{"status":"running"}}]}]`)
	got, err := client.Messages(t.Context(), "/w", "s", 5)
	if err != nil {
		t.Fatal(err)
	}
	want := []host.Message{
		{
			ID: "msg_1", Session: "s", Role: host.User, Agent: "build", Model: host.Model{Provider: "p", ID: "m", Variant: "high"},
			Created: time.UnixMilli(1000), Parts: []host.Part{{Type: "text", Text: "hello", Synthetic: true}},
		},
		{
			ID: "msg_2", Session: "s", Role: host.Assistant, Parent: "msg_1", Model: host.Model{Provider: "p", ID: "m"},
			Finish: "stop", Summary: true, Created: time.UnixMilli(2000), Completed: time.UnixMilli(3000),
			Error: &host.MessageError{Name: "APIError", Message: "no", Status: 429, Retryable: true, RetryAfter: 30 * time.Second},
			Usage: host.Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 0.25},
			Parts: []host.Part{{Type: "tool", Tool: "bash", Call: "call_1", Status: "running"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	_, err := New(&caller{}, closed).Session(t.Context(), "/w", "s")
	if !errors.Is(err, host.ErrWorkspaceClosed) {
		t.Errorf("closed workspace: %v", err)
	}
	_, err = New(&caller{err: answered{wire.ErrorData{Status: 404, Name: "NotFoundError"}}}, open).Session(t.Context(), "/w", "s")
	if !host.NotFound(err) {
		t.Errorf("404: %v", err)
	}
	_, err = New(&caller{err: errors.New("pipe broke")}, open).Session(t.Context(), "/w", "s")
	if e, ok := errors.AsType[*host.CallError](err); !ok || e.Status != 0 {
		t.Errorf("transport error: %v", err)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := New(&caller{hang: true}, open)
		start := time.Now()
		_, err := client.Session(t.Context(), "/w", "s")
		if e, ok := errors.AsType[*host.CallError](err); !ok || time.Since(start) != readDeadline {
			t.Errorf("after %s: %v (%v)", time.Since(start), err, e)
		}
		start = time.Now()
		if err := client.Prompt(t.Context(), "/w", host.Prompt{}); err == nil || time.Since(start) != writeDeadline {
			t.Errorf("prompt after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("stopped")
		cancel(why)
		if _, err := client.Session(ctx, "/w", "s"); !errors.Is(err, why) {
			t.Errorf("cancelled caller: %v, want its cause", err)
		}
	})
}

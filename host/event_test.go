package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseEvent(t *testing.T) {
	for _, c := range []struct {
		kind, properties string
		want             Event
	}{
		{EventSessionIdle, `{"sessionID":"s"}`, Event{Session: "s"}},
		{EventSessionStatus, `{"sessionID":"s","status":{"type":"busy"}}`, Event{Session: "s", Status: "busy"}},
		{EventSessionDeleted, `{"info":{"id":"s","title":"t"}}`, Event{Session: "s"}},
		{EventSessionDeleted, `{"sessionID":"s","info":{"id":"s"}}`, Event{Session: "s"}},
		{EventSessionError, `{"sessionID":"s","error":{"name":"MessageAbortedError","data":{"message":"Aborted"}}}`, Event{Session: "s", Error: &MessageError{Name: "MessageAbortedError", Message: "Aborted"}}},
		{EventSessionError, `{}`, Event{}},
		{EventMessage, `{"info":{"id":"msg_1","sessionID":"s","role":"user","time":{"created":5000}}}`, Event{Session: "s", MessageID: "msg_1", Role: User, Created: time.UnixMilli(5000)}},
		{EventPart, `{"part":{"id":"prt_1","messageID":"msg_1","sessionID":"s","type":"step-finish","reason":"stop"},"time":1}`, Event{Session: "s", MessageID: "msg_1", Part: "step-finish", Reason: "stop"}},
		{EventMessage, `{"sessionID":"s","info":{"id":"msg_2","role":"assistant","cost":0.25,"tokens":{"input":1,"output":2,"reasoning":3,"cache":{"read":4,"write":5}}}}`, Event{Session: "s", MessageID: "msg_2", Role: Assistant, Usage: Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 0.25}}},
		{EventSessionError, `{"sessionID":"s","error":{"name":"APIError","data":{"message":"slow down","statusCode":429,"isRetryable":true,"responseHeaders":{"retry-after-ms":"1500","retry-after":"60"}}}}`, Event{Session: "s", Error: &MessageError{Name: "APIError", Message: "slow down", Status: 429, Retryable: true, RetryAfter: 1500 * time.Millisecond}}},
		{EventPart, `{"part":{"type":"tool","tool":"bash","callID":"c","state":{"status":"pending","input":{}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "bash", Status: "pending"}}},
		{EventPart, `{"part":{"type":"tool","tool":"bash","callID":"c","state":{"status":"running","input":{"command": "ls"}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "bash", Status: "running", Input: `{"command":"ls"}`}}},
		{EventPart, `{"part":{"type":"tool","tool":"edit","callID":"c","state":{"status":"running","input":{"filePath":"/w/a"},"metadata":{"filediff":{"file":"/w/a"}}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "edit", Status: "running", Input: `{"filePath":"/w/a"}`}}},
		{EventPart, `{"part":{"type":"tool","tool":"edit","callID":"c","state":{"status":"completed","metadata":{"filediff":{"file":"/w/a"}}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "edit", Status: "completed", Files: []string{"/w/a"}}}},
		{EventPart, `{"part":{"type":"tool","tool":"write","callID":"c","state":{"status":"completed","metadata":{"filepath":"/w/b"}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "write", Status: "completed", Files: []string{"/w/b"}}}},
		{EventPart, `{"part":{"type":"tool","tool":"apply_patch","callID":"c","state":{"status":"completed","metadata":{"files":[{"filePath":"/w/a"},{"filePath":"/w/b","movePath":"/w/c"}]}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "apply_patch", Status: "completed", Files: []string{"/w/a", "/w/b", "/w/c"}}}},
		{EventPart, `{"part":{"type":"tool","tool":"other","callID":"c","state":{"status":"completed","metadata":{"files":["a"],"filepath":"/w/x"}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "other", Status: "completed"}}},
		{EventPart, `{"part":{"type":"tool","tool":"write","callID":"c","state":{"status":"completed","metadata":{"files":["a"]}}}}`, Event{Part: "tool", Call: ToolCall{ID: "c", Tool: "write", Status: "completed"}}},
		{EventPermission, `{"id":"per_1","sessionID":"s","permission":"bash","patterns":["rm *"],"metadata":{},"always":["rm *"]}`, Event{Session: "s", Question: Question{ID: "per_1", Permission: "bash", Patterns: []string{"rm *"}}}},
		{EventReplied, `{"sessionID":"s","requestID":"per_1","reply":"once"}`, Event{Session: "s", Question: Question{ID: "per_1"}}},
		{EventTodo, `{"sessionID":"s","todos":[]}`, Event{Session: "s", Todos: []Todo{}}},
		{EventTodo, `{"sessionID":"s","todos":[{"content":"a","status":"in_progress","priority":"high"}]}`, Event{Session: "s", Todos: []Todo{{Content: "a", Status: "in_progress"}}}},
		{EventSessionIdle, ``, Event{}},
	} {
		c.want.Type = c.kind
		got, err := ParseEvent(c.kind, []byte(c.properties))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s %s: err %v (-want +got):\n%s", c.kind, c.properties, err, diff)
		}
	}
	if _, err := ParseEvent(EventSessionIdle, []byte(`{"sessionID":5}`)); err == nil {
		t.Error("a session id that is a number was accepted")
	}
}

func TestRetryAfter(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		ms, after string
		want      time.Duration
	}{
		{"", "", 0},
		{"250", "", 250 * time.Millisecond},
		{"0.5", "", 500 * time.Microsecond},
		{"250", "60", 250 * time.Millisecond},
		{"soon", "60", time.Minute},
		{"", "1.5", 1500 * time.Millisecond},
		{"", "Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second},
		{"", "Fri, 02 Jan 2026 03:00:00 GMT", 0},
		{"", "Fri, 02 Jan 2099 03:00:00 GMT", 24 * time.Hour},
		{"", "soon", 0},
		{"", "-5", 0},
		{"NaN", "", 0},
		{"1e300", "", 24 * time.Hour},
		{"+Inf", "", 24 * time.Hour},
	} {
		if got := RetryAfter(c.ms, c.after, at); got != c.want {
			t.Errorf("RetryAfter(%q, %q) = %v, want %v", c.ms, c.after, got, c.want)
		}
	}
}

func TestMessageIDsDiffer(t *testing.T) {
	var ids MessageIDs
	seen := map[string]bool{}
	for range 10_000 {
		id := ids.Next()
		if len(id) != 30 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

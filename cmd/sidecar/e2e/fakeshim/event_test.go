package fakeshim

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// What the fake says must be what the sidecar reads.
func TestEventsAreReadAsTheyWereWritten(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	for _, e := range []host.Event{
		{Type: host.EventSessionIdle, Session: "ses"},
		{Type: host.EventSessionStatus, Session: "ses", Status: "busy"},
		{Type: host.EventSessionDeleted, Session: "ses"},
		{Type: host.EventSessionError, Session: "ses", Error: &host.MessageError{Name: "APIError", Message: "no", Status: 429, Retryable: true, RetryAfter: time.Second}},
		{Type: host.EventMessage, Session: "ses", MessageID: "msg", Role: host.User, Created: at},
		{Type: host.EventMessage, Session: "ses", MessageID: "msg", Role: host.Assistant, Created: at, Usage: host.Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 6}},
		{Type: host.EventPart, Session: "ses", MessageID: "msg", Part: "tool", Call: host.ToolCall{ID: "call", Tool: "apply_patch", Status: "completed", Input: `{"a":1}`, Files: []string{"/x"}}},
		{Type: host.EventPart, Session: "ses", MessageID: "msg", Part: "step-finish", Reason: "stop"},
		{Type: host.EventPermission, Session: "ses", Question: host.Question{ID: "q", Permission: "bash", Patterns: []string{"ls"}}},
		{Type: host.EventReplied, Session: "ses", Question: host.Question{ID: "q"}},
	} {
		raw, err := json.Marshal(properties(e))
		if err != nil {
			t.Fatal(err)
		}
		got, err := host.ParseEvent(e.Type, raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s: %s", e.Type, diff)
		}
	}
}

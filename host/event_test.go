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
		{EventPermission, `{"id":"per_1","sessionID":"s","permission":"bash","patterns":["rm *"],"metadata":{},"always":["rm *"]}`, Event{Session: "s", Question: Question{ID: "per_1", Permission: "bash", Patterns: []string{"rm *"}}}},
		{EventReplied, `{"sessionID":"s","requestID":"per_1","reply":"once"}`, Event{Session: "s", Question: Question{ID: "per_1"}}},
		{EventTodo, `{"sessionID":"s","todos":[]}`, Event{Session: "s"}},
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

package hosttest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each step reports its own usage, not the sum.
func testUsage(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	s.prompt(ctx, t, id, "@usage 100 20", `@call bash {"command":"true","description":"d"}`, "@usage 7 3", "@say done")
	messages, err := s.Messages(ctx, id, 2)
	if err != nil || len(messages) != 2 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	for i, want := range []int64{120, 10} {
		if got := messages[i].Info.Tokens; got.Input+got.Output != want {
			t.Errorf("step %d used %+v, want %d in all", i, got, want)
		}
	}
}

// What is sent into a busy session joins at the next step, and that step answers
// it, even if it wants no reply: the fake does as this test says.
func testJoining(ctx context.Context, t *testing.T, s serving) {
	for name, c := range map[string]struct {
		script  []string
		begun   string // the event after which the second message is sent
		noReply bool
		want    []string
	}{
		"during a call": {
			script: []string{`@call bash {"command":"sleep 1","description":"d"}`, "@say end"}, begun: `"running"`,
			want: []string{"first tool-calls", "second stop"},
		},
		"during a call, without a reply": {
			script: []string{`@call bash {"command":"sleep 1","description":"d"}`, "@say end"}, begun: `"running"`, noReply: true,
			want: []string{"first tool-calls", "second stop"},
		},
		"during the answer": {
			script: []string{"@stream 5 1s"}, begun: `"text":"`,
			want: []string{"first stop", "second stop"},
		},
		"during the answer, without a reply": {
			script: []string{"@stream 5 1s"}, begun: `"text":"`, noReply: true,
			want: []string{"first stop", "second stop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			id, after := s.session(ctx, t), s.events.Len()
			prefix := "msg_" + strings.NewReplacer(" ", "", ",", "").Replace(name)
			send := func(suffix string, noReply, synthetic bool, text string) {
				t.Helper()
				p := Prompt{MessageID: prefix + suffix, NoReply: noReply, Parts: []Part{{Type: "text", Text: text, Synthetic: synthetic}}}
				if err := s.PromptAsync(ctx, id, p); err != nil {
					t.Fatal(err)
				}
			}
			send("first", false, false, strings.Join(c.script, "\n"))
			if _, err := s.events.Wait(ctx, after, func(e Event) bool {
				return e.Type == "message.part.updated" && e.Session == id && !strings.Contains(string(e.Properties), prefix) && strings.Contains(string(e.Properties), c.begun)
			}); err != nil {
				t.Fatal(err)
			}
			send("second", c.noReply, true, "look here")
			if _, err := s.events.Wait(ctx, after, OfSession("session.idle", id)); err != nil {
				t.Fatal(err)
			}
			messages, err := s.Messages(ctx, id, 0)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range messages {
				if m.Info.Role == "assistant" {
					got = append(got, strings.TrimPrefix(m.Info.ParentID, prefix)+" "+m.Info.Finish)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

package fake

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prompt(t *testing.T, o *OpenCode, p host.Prompt) {
	t.Helper()
	if err := o.Prompt(t.Context(), "/w", p); err != nil {
		t.Fatal(err)
	}
}

// child creates a session below a main one.
func child(t *testing.T, o *OpenCode) string {
	t.Helper()
	s, err := o.CreateSession(t.Context(), "/w", host.NewSession{Parent: o.Open("/w")})
	if err != nil {
		t.Fatal(err)
	}
	return s.ID
}

// answers lists what the steps of a session answer, and how they ended.
func answers(o *OpenCode, id string) (list []string) {
	for _, m := range o.History(id) {
		if m.Role == host.Assistant {
			list = append(list, m.Parent+" "+m.Finish)
		}
	}
	return list
}

// As the real OpenCode does it, also with messages that want no reply.
func TestAMessageJoinsTheRunningTurn(t *testing.T) {
	for name, noReply := range map[string]bool{"prompt": false, "without a reply": true} {
		for when, want := range map[time.Duration][]string{
			time.Second:     {"msg_1 tool-calls", "msg_2 stop"},
			3 * time.Second: {"msg_1 tool-calls", "msg_1 stop", "msg_2 stop"},
		} {
			t.Run(name+" after "+when.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := New(func(p host.Prompt, _ host.Session) Reply {
						if p.MessageID == "msg_1" {
							return Reply{ToolFor: 2 * time.Second, After: 2 * time.Second, Text: "one"}
						}
						return Reply{Text: "two"}
					})
					defer o.Close()
					id := child(t, o)
					prompt(t, o, host.Prompt{Session: id, MessageID: "msg_1"})
					time.Sleep(when)
					prompt(t, o, host.Prompt{Session: id, MessageID: "msg_2", NoReply: noReply, Synthetic: true})
					time.Sleep(time.Minute)
					if diff := cmp.Diff(want, answers(o, id)); diff != "" {
						t.Errorf("steps (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

func TestIdleSessionsDoNotAnswerWhatWantsNoReply(t *testing.T) {
	o := New(func(host.Prompt, host.Session) Reply { return Reply{Text: "never"} })
	defer o.Close()
	id := child(t, o)
	prompt(t, o, host.Prompt{Session: id, MessageID: "msg_1", NoReply: true})
	if got := answers(o, id); len(got) != 0 {
		t.Errorf("steps %q", got)
	}
}

func TestCallsAndUsageAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		used := host.Usage{Input: 10, Output: 2, Cost: 0.5}
		o := New(func(host.Prompt, host.Session) Reply {
			return Reply{Usage: used, Text: "done", Calls: []host.ToolCall{
				{ID: "call_1", Tool: "bash", Input: `{"command":"ls"}`},
				{ID: "call_2", Tool: "edit", Input: `{"filePath":"a"}`, Files: []string{"/w/a"}},
			}}
		})
		defer o.Close()
		var calls []host.ToolCall
		var total host.Usage
		o.Emit = func(_ string, e host.Event) {
			switch {
			case e.Part == "tool":
				calls = append(calls, e.Call)
			case e.Type == host.EventMessage:
				total.Input += e.Usage.Input
			}
		}
		id := child(t, o)
		prompt(t, o, host.Prompt{Session: id, MessageID: "msg_1"})
		synctest.Wait()
		want := []host.ToolCall{
			{ID: "call_1", Tool: "bash", Status: "running", Input: `{"command":"ls"}`},
			{ID: "call_1", Tool: "bash", Status: "completed", Input: `{"command":"ls"}`},
			{ID: "call_2", Tool: "edit", Status: "running", Input: `{"filePath":"a"}`},
			{ID: "call_2", Tool: "edit", Status: "completed", Input: `{"filePath":"a"}`, Files: []string{"/w/a"}},
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if total.Input != 30 {
			t.Errorf("%d tokens told for three steps of 10", total.Input)
		}
		for _, m := range o.History(id)[1:] {
			if m.Usage != used {
				t.Errorf("usage %+v of %s", m.Usage, m.ID)
			}
		}
	})
}

func TestFailuresAndAbortsCloseTheMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &host.MessageError{Name: "APIError", Status: 429, Retryable: true, RetryAfter: time.Minute}
		o := New(func(p host.Prompt, _ host.Session) Reply {
			if p.MessageID == "msg_1" {
				return Reply{Error: slow}
			}
			return Reply{Calls: []host.ToolCall{{Tool: "read"}, {Tool: "bash"}}, Hang: true}
		})
		defer o.Close()
		id := child(t, o)
		prompt(t, o, host.Prompt{Session: id, MessageID: "msg_1"})
		synctest.Wait()
		prompt(t, o, host.Prompt{Session: id, MessageID: "msg_2"})
		synctest.Wait()
		if err := o.Abort(t.Context(), "/w", id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		history := o.History(id)
		failed, last := history[1], history[len(history)-1]
		if failed.Error != slow || failed.Finish != "" || failed.Completed.IsZero() {
			t.Errorf("failed message %+v", failed)
		}
		if !last.Error.Aborted() || last.Completed.IsZero() || last.Parts[0].Status != "error" || last.Parts[0].Tool != "bash" {
			t.Errorf("aborted message %+v", last)
		}
	})
}

func TestChildrenOfChildren(t *testing.T) {
	o := New(nil)
	defer o.Close()
	mother := child(t, o)
	s, err := o.CreateSession(t.Context(), "/w", host.NewSession{Parent: mother, Metadata: map[string]string{"task": "task_1"}})
	if err != nil {
		t.Fatal(err)
	}
	children, err := o.Children(t.Context(), "/w", mother)
	if diff := cmp.Diff([]host.Session{s}, children); diff != "" || err != nil {
		t.Errorf("children, err %v (-want +got):\n%s", err, diff)
	}
	var gone []string
	o.Emit = func(_ string, e host.Event) { gone = append(gone, e.Session) }
	o.Delete(mother)
	if !slices.Equal(gone, []string{s.ID, mother}) {
		t.Errorf("deleted %q", gone)
	}
	if _, err := o.Children(t.Context(), "/w", mother); !host.NotFound(err) {
		t.Errorf("children of a deleted session: %v", err)
	}
}

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

func TestParseStatements(t *testing.T) {
	text := `2 background tasks have ended.

[DONE] task_0000000a "read \"it\"" (agent explore, ran 1.2s, 4100 tokens, $0.03)
4 settings.
Two lines.

[ERROR] task_0000000b "b" (agent general, never ran)
no slot
[SPAWNED] task_0000000c "c" (agent general, queued for 0.0s), place 3 in the queue
[RUNNING] task_0000000d "d" (agent general, running for 1m5s) You will be told.
[DONE] task_xyz "no task" (agent a, ran 1s)`
	want := []statement{
		{"task_0000000a", `read "it"`, "explore", completed, "1.2s", "4 settings.\nTwo lines."},
		{"task_0000000b", "b", "general", failed, "", "no slot"},
		{"task_0000000c", "c", "general", queued, "", ""},
		{"task_0000000d", "d", "general", running, "", "[DONE] task_xyz \"no task\" (agent a, ran 1s)"},
	}
	if diff := cmp.Diff(want, parseStatements(text), cmp.AllowUnexported(statement{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got := ownWords(text); got != "2 background tasks have ended." {
		t.Errorf("own words %q", got)
	}
}

func user(text string) hosttest.Message {
	return hosttest.Message{Info: hosttest.MessageInfo{Role: "user"}, Parts: []hosttest.Part{{Type: "text", Text: text}}}
}

func call(tool, output string) hosttest.Message {
	part := hosttest.Part{Type: "tool", Tool: tool, State: &hosttest.ToolState{Status: "completed", Output: output}}
	return hosttest.Message{Info: hosttest.MessageInfo{Role: "assistant"}, Parts: []hosttest.Part{part}}
}

// says is a statement of the plugin's.
func says(label string, n int, span, body string) string {
	return fmt.Sprintf("[%s] task_%08d \"t%d\" (agent general, %s)%s\n", label, n, n, span, body)
}

// conversation is a mission of three tasks in which all is well.
func conversation() []hosttest.Message {
	return []hosttest.Message{
		user("Do three things."),
		call(toolBatch, "3 of 3 tasks launched.\n"+says("SPAWNED", 1, "queued for 0.0s", "")+says("SPAWNED", 2, "queued for 0.0s", "")+says("SPAWNED", 3, "queued for 0.0s", "")),
		call(toolCancel, says("CANCELLED", 3, "ran 2.0s", "\ncancelled with cancel_task")),
		user("A background task has ended.\n\n" + says("DONE", 1, "ran 1.0s", "\nresult 1")),
		call(toolResult, says("RUNNING", 2, "running for 2.0s", "")),
		user("A background task has ended.\n\n" + says("ERROR", 2, "ran 3.0s", "\nHTTP 400")),
		call(toolList, "3:\n"+says("CANCELLED", 3, "ran 2.0s", ": cancelled")+says("ERROR", 2, "ran 3.0s", ": HTTP 400")+says("DONE", 1, "ran 1.0s", "")),
		call(toolResult, says("DONE", 1, "ran 1.0s", "\nresult 1")),
	}
}

var (
	conversationSessions = map[string]state{"task_00000001": completed, "task_00000002": failed, "task_00000003": cancelled}
	conversationCounts   = map[state]int{completed: 1, failed: 1, cancelled: 1}
)

func TestLedger(t *testing.T) {
	l := readLedger(conversation())
	want := []*record{
		{id: "task_00000001", description: "t1", agent: "general", state: completed, ran: "1.0s", result: "result 1", told: 1, fetched: 1, listed: completed},
		{id: "task_00000002", description: "t2", agent: "general", state: failed, ran: "3.0s", result: "HTTP 400", told: 1, listed: failed},
		{id: "task_00000003", description: "t3", agent: "general", state: cancelled, ran: "2.0s", result: "cancelled with cancel_task", told: 1, listed: cancelled},
	}
	if diff := cmp.Diff(want, l.records, cmp.AllowUnexported(record{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := l.check(conversationSessions, conversationCounts); err != nil {
		t.Error(err)
	}
	if err := l.check(conversationSessions, nil); err != nil {
		t.Errorf("any outcome will do: %v", err)
	}
}

func TestCheckComplains(t *testing.T) {
	for name, tc := range map[string]struct {
		change func([]hosttest.Message) []hosttest.Message
		seen   map[string]state
		want   string
	}{
		"told twice": {
			change: func(m []hosttest.Message) []hosttest.Message { return append(m, m[3]) },
			want:   "told 2 times of the end of \"t1\"",
		},
		"never told": {
			change: func(m []hosttest.Message) []hosttest.Message { return append(m[:5:5], m[6]) },
			want:   "told 0 times of the end of \"t2\"",
		},
		"nothing delegated": {
			change: func(m []hosttest.Message) []hosttest.Message { return m[:1] },
			want:   "delegated nothing",
		},
		"other counts": {
			change: func(m []hosttest.Message) []hosttest.Message { return append(m[:2:2], m[3:]...) },
			want:   "1 completed, 1 error, 1 pending, but it should be 1 completed, 1 error, 1 cancelled",
		},
		"a false completion": {
			seen: map[string]state{"task_00000001": failed, "task_00000002": failed, "task_00000003": cancelled},
			want: "told that \"t1\" (task_00000001) is completed, its session is error",
		},
		"a completion that was missed": {
			seen: map[string]state{"task_00000001": completed, "task_00000002": completed, "task_00000003": cancelled},
			want: "told that \"t2\" (task_00000002) is error, its session is completed",
		},
		"a session that goes on": {
			seen: map[string]state{"task_00000002": failed, "task_00000003": cancelled},
			want: "its session is without an end",
		},
		"a list that contradicts": {
			change: func(m []hosttest.Message) []hosttest.Message {
				return append(m, call(toolList, says("TIMEOUT", 1, "ran 1.0s", "")))
			},
			want: "list_tasks says that \"t1\" (task_00000001) is timeout, the main agent was told completed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			messages, seen := conversation(), conversationSessions
			if tc.change != nil {
				messages = tc.change(messages)
			}
			if tc.seen != nil {
				seen = tc.seen
			}
			err := readLedger(messages).check(seen, conversationCounts)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

type dict = map[string]any

func event(kind, session string, properties dict) hosttest.Event {
	raw, err := json.Marshal(properties)
	if err != nil {
		panic(err)
	}
	return hosttest.Event{Type: kind, Session: session, Properties: raw, At: time.UnixMilli(9_000)}
}

func message(session, role, id string, more dict) hosttest.Event {
	info := dict{"id": id, "role": role, "time": dict{"created": 1_000}}
	maps.Copy(info, more)
	return event("message.updated", session, dict{"info": info})
}

func part(session, message string, p dict) hosttest.Event {
	p["messageID"] = message
	return event("message.part.updated", session, dict{"part": p})
}

func toolPart(session, tool, call, status string, state dict) hosttest.Event {
	state["status"] = status
	return part(session, "msg_a", dict{"id": "prt_" + call, "type": "tool", "tool": tool, "callID": call, "state": state})
}

func status(session, kind string) hosttest.Event {
	return event("session.status", session, dict{"status": dict{"type": kind}})
}

func created(session, parent, task, title, agent string, at int) hosttest.Event {
	return event("session.created", session, dict{"info": dict{
		"id": session, "parentID": parent, "title": title, "agent": agent,
		"metadata": dict{taskKey: task}, "time": dict{"created": at},
	}})
}

// story is what OpenCode sends during a mission of two tasks.
func story() []hosttest.Event {
	input := dict{"tasks": []dict{{"agent": "explore", "description": "one"}, {"agent": "general", "description": "two"}}}
	spawned := says("SPAWNED", 1, "queued for 0.0s", "") + says("SPAWNED", 2, "queued for 0.0s", "")
	spawned = strings.Replace(strings.Replace(spawned, "t1", "one", 1), "t2", "two", 1)
	spawned = strings.Replace(spawned, "agent general", "agent explore", 1)
	return []hosttest.Event{
		message("ses_main", "user", "msg_u", nil),
		part("ses_main", "msg_u", dict{"id": "prt_0", "type": "text", "text": "Do two things."}),
		status("ses_main", "busy"),
		created("ses_other", "", "", "not ours", "general", 1_000),
		// The second session comes before the call's own event.
		created("ses_2", "ses_main", "task_00000002", "two (@general, task_00000002)", "general", 2_500),
		toolPart("ses_main", toolBatch, "c1", "running", dict{"input": input, "time": dict{"start": 2_000}}),
		toolPart("ses_main", toolBatch, "c1", "running", dict{"input": input, "time": dict{"start": 2_000}}),
		toolPart("ses_main", toolBatch, "c1", "completed", dict{"output": spawned}),
		created("ses_1", "ses_main", "task_00000001", "one (@explore, task_00000001)", "explore", 2_600),
		status("ses_1", "busy"),
		toolPart("ses_1", "read", "c2", "running", dict{"input": dict{"filePath": "/a/b/config.json"}}),
		message("ses_1", "assistant", "msg_1", dict{"finish": "stop", "time": dict{"created": 2_700, "completed": 4_600}}),
		message("ses_2", "assistant", "msg_2", dict{"time": dict{"created": 2_700, "completed": 5_000},
			"error": dict{"name": "APIError", "data": dict{"message": "no\nluck", "statusCode": 400}}}),
		message("ses_main", "assistant", "msg_a", dict{"parentID": "msg_u", "finish": "stop", "time": dict{"created": 1_500, "completed": 5_100}}),
		status("ses_main", "idle"),
		message("ses_main", "user", "msg_w", dict{"time": dict{"created": 5_200}}),
		part("ses_main", "msg_w", dict{"id": "prt_w", "type": "text", "text": says("DONE", 1, "ran 2.0s", "\nfine") + says("ERROR", 2, "ran 2.5s", "\nno luck")}),
		status("ses_main", "busy"),
		// The first prompt's message changes once more.
		message("ses_main", "user", "msg_u", nil),
		part("ses_main", "msg_b", dict{"id": "prt_b", "type": "text", "text": "Both have ended."}),
		message("ses_main", "assistant", "msg_b", dict{"parentID": "msg_w", "finish": "stop", "time": dict{"created": 5_300, "completed": 5_900}}),
		status("ses_main", "idle"),
	}
}

func TestView(t *testing.T) {
	v := newView("ses_main")
	var log []string
	events := story()
	for i, e := range events {
		for _, c := range v.apply(e) {
			log = append(log, strings.TrimSpace(strings.Join([]string{string(c.state), c.name, c.text}, " ")))
		}
		if last := i == len(events)-1; v.settled() != last {
			t.Errorf("settled %v after event %d", v.settled(), i)
		}
	}
	want := []string{
		"running two started, agent general",
		"main agent delegate_tasks: 2 tasks",
		"pending one queued as task_00000001",
		"running one started, agent explore",
		"running one read: config.json",
		"completed one answered after 2.0s",
		"error two HTTP 400: no luck after 2.5s",
		"main agent woken with 2 results",
		"completed one main agent told: completed",
		"error two main agent told: error",
		"main agent says: Both have ended.",
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	at := time.UnixMilli
	rows := []*row{
		{id: "task_00000001", name: "one", agent: "explore", session: "ses_1", state: completed, phase: "answered", asked: at(2_000), began: at(2_600), ended: at(4_600), told: true, call: "c1"},
		{id: "task_00000002", name: "two", agent: "general", session: "ses_2", state: failed, phase: "HTTP 400: no luck", asked: at(2_000), began: at(2_500), ended: at(5_000), told: true, call: "c1"},
	}
	if diff := cmp.Diff(rows, v.rows, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestViewOfRefusedTasks(t *testing.T) {
	v := newView("ses_main")
	input := dict{"agent": "nobody", "description": "one"}
	v.apply(toolPart("ses_main", toolDelegate, "c1", "running", dict{"input": input, "time": dict{"start": 2_000}}))
	got := v.apply(toolPart("ses_main", toolDelegate, "c1", "error", dict{"input": input, "error": "there is no agent"}))
	if len(got) != 1 || got[0].text != "delegate_task failed: there is no agent" {
		t.Errorf("changes %+v", got)
	}
	if len(v.rows) != 1 || v.rows[0].state != refused {
		t.Errorf("rows %+v", v.rows)
	}
}

// quiet is a screen that shows nothing.
type quiet struct{ changes int }

func (q *quiet) title(string)                          {}
func (q *quiet) during(_ string, w func() error) error { return w() }
func (q *quiet) changed(_ *view, c []change)           { q.changes += len(c) }
func (q *quiet) every() time.Duration                  { return 0 }
func (q *quiet) draw(*view)                            {}
func (q *quiet) done()                                 {}
func (q *quiet) print(func(int, palette) []string)     {}
func (q *quiet) end()                                  {}

// A result that comes a second time right after the end must still be seen.
func TestWatchWaitsForCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan hosttest.Event)
		again := says("DONE", 1, "ran 2.0s", "\nfine")
		go func() {
			for _, e := range story() {
				events <- e
			}
			time.Sleep(calm / 2)
			events <- message("ses_main", "user", "msg_x", dict{"time": dict{"created": 6_000}})
			events <- part("ses_main", "msg_x", dict{"id": "prt_x", "type": "text", "text": again})
			time.Sleep(time.Minute)
			events <- message("ses_main", "assistant", "msg_y", dict{"parentID": "msg_x", "finish": "stop", "time": dict{"created": 6_100, "completed": 6_200}})
		}()
		start, screen := time.Now(), &quiet{}
		v, err := watch(t.Context(), events, "ses_main", screen, func(string) {})
		if err != nil || v.main.prompt != "msg_x" {
			t.Errorf("the last prompt is %s, %v", v.main.prompt, err)
		}
		if got, want := time.Since(start), calm/2+time.Minute+calm; got != want {
			t.Errorf("it took %s, want %s", got, want)
		}
		if screen.changes != 13 {
			t.Errorf("%d changes", screen.changes)
		}
	})
}

func TestWatchEndsWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan hosttest.Event, 3)
		reason := errors.New("out of time")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
		defer cancel()
		if _, err := watch(ctx, events, "ses_main", &quiet{}, func(string) {}); !errors.Is(err, reason) {
			t.Errorf("error %v", err)
		}
		var denied string
		events <- event("permission.asked", "ses_1", dict{"id": "per_1"})
		events <- event("session.error", "ses_main", dict{"error": dict{"name": "UnknownError", "data": dict{"message": "Model not found: a/b."}}})
		events <- status("ses_main", "idle")
		_, err := watch(t.Context(), events, "ses_main", &quiet{}, func(id string) { denied = id })
		if err == nil || !strings.Contains(err.Error(), "Model not found: a/b.") {
			t.Errorf("error %v", err)
		}
		if denied != "per_1" {
			t.Errorf("denied %q", denied)
		}
	})
}

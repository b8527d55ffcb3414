package e2e

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// limit bounds one test on a busy machine.
const limit = 60 * time.Second

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newRig(t *testing.T, options map[string]any, env ...string) *Rig {
	t.Helper()
	r, err := NewRig(deadline(t, limit), options, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", r.Log())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// served is a rig whose OpenCode serves.
type served struct {
	*testing.T
	*Rig
	*hosttest.Server
	events *hosttest.Events
}

func serve(t *testing.T, r *Rig) *served {
	t.Helper()
	ctx := deadline(t, limit)
	server, err := r.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	events, err := server.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		events.Close()
		if err := server.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return &served{t, r, server, events}
}

// in returns s for a subtest.
func (s *served) in(t *testing.T) *served {
	return &served{t, s.Rig, s.Server, s.events}
}

func (s *served) session() string {
	s.Helper()
	session, err := s.CreateSession(deadline(s.T, limit), hosttest.NewSession{Title: s.Name()})
	if err != nil {
		s.Fatal(err)
	}
	return session.ID
}

// prompt sends a script to a session and returns the tool calls of the turn.
func (s *served) prompt(session string, script ...string) []hosttest.Part {
	s.Helper()
	ctx := deadline(s.T, limit)
	answer, err := s.Prompt(ctx, session, hosttest.Text(script...))
	if err != nil {
		s.Fatal(err)
	}
	messages, err := s.Messages(ctx, session, 0)
	if err != nil {
		s.Fatal(err)
	}
	var calls []hosttest.Part
	for _, m := range messages {
		if m.Info.ParentID == answer.Info.ParentID {
			calls = append(calls, m.Calls()...)
		}
	}
	return calls
}

// told waits until the parent has the wake about n ended tasks and has answered
// it, and returns all of its wakes' texts.
func (s *served) told(session string, n int) string {
	s.Helper()
	var texts string
	_, err := s.WaitMessages(deadline(s.T, limit), session, func(all []hosttest.Message) bool {
		texts = ""
		answered := false
		for _, m := range all {
			if m.Info.Role == "user" && strings.Contains(m.Text(), "ended.") {
				texts += m.Text() + "\n"
				answered = slices.ContainsFunc(all, func(a hosttest.Message) bool {
					return a.Info.ParentID == m.Info.ID && a.Info.Finish == "stop"
				})
			}
		}
		return answered && len(ended.FindAllString(texts, -1)) >= n
	})
	if err != nil {
		s.Fatalf("the parent was not told of %d tasks: %v\nso far: %s", n, err, texts)
	}
	return texts
}

var (
	ended  = regexp.MustCompile(`(?m)^\[(DONE|ERROR|TIMEOUT|CANCELLED|WARNING)\] task_[0-9a-f]{8} `)
	taskID = regexp.MustCompile(`task_[0-9a-f]{8}`)
)

func (s *served) contains(what, text string, parts ...string) {
	s.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			s.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}

func TestServe(t *testing.T) {
	s := serve(t, newRig(t, nil))
	t.Run("nothing starts before it is needed", func(t *testing.T) {
		s := s.in(t)
		s.prompt(s.session(), "@say hello")
		if running, err := s.Sidecars(); err != nil || len(running) != 0 {
			t.Errorf("a turn without a tool of ours started %v (%v)", running, err)
		}
	})
	for name, test := range map[string]func(*served){
		"background": background, "synchronous": synchronous, "batch": batch, "cancel": cancel,
		"child failure": childFailure, "esc": esc, "abort of the parent": abortParent, "abort between two tries": abortRetry,
		"partial results and lists": partial, "bad arguments": badArguments, "deleted parent": deletedParent,
	} {
		t.Run(name, func(t *testing.T) { test(s.in(t)) })
	}
	t.Run("one sidecar for it all", func(t *testing.T) {
		if running, err := s.Sidecars(); err != nil || len(running) != 1 {
			t.Errorf("running: %v (%v), want one", running, err)
		}
	})
	t.Run("dispose", func(t *testing.T) { dispose(s.in(t)) })
}

func background(s *served) {
	session := s.session()
	calls := s.prompt(session, Delegate(true, "@wait 500ms", "@say the child's answer"), "@say launched")
	if len(calls) != 1 || calls[0].State.Status != "completed" {
		s.Fatalf("calls: %+v", calls)
	}
	s.contains("the tool's answer", calls[0].State.Output, "[SPAWNED] task_", "You will be told")
	s.contains("the wake", s.told(session, 1), "[DONE] "+taskID.FindString(calls[0].State.Output), "the child's answer")
	all, err := s.Messages(deadline(s.T, limit), session, 0)
	if err != nil {
		s.Fatal(err)
	}
	if agent := all[len(all)-1].Info.Agent; agent != "build" {
		s.Errorf("the wake runs as %q, want the parent's own agent", agent)
	}
}

func synchronous(s *served) {
	calls := s.prompt(s.session(), Delegate(false, "@wait 300ms", "@say forty-two"), "@say fine")
	s.contains("the result", calls[0].State.Output, "[DONE]", "forty-two")
}

func batch(s *served) {
	session := s.session()
	calls := s.prompt(session, Call("delegate_tasks", map[string]any{"tasks": []map[string]any{
		{"agent": "general", "description": "one", "prompt": "@wait 200ms\n@say first"},
		{"agent": "nobody", "description": "two", "prompt": "x"},
		{"agent": "explore", "description": "three", "prompt": "@wait 400ms\n@say third"},
	}}), "@say launched")
	s.contains("the batch's answer", calls[0].State.Output, "2 of 3 tasks launched", `tasks[1] "two" was not launched`, `no agent "nobody"`, "general")
	s.contains("the wakes", s.told(session, 2), "first", "third")
}

func cancel(s *served) {
	session := s.session()
	calls := s.prompt(session, Delegate(true, "@hang"), Call("cancel_task", map[string]any{"taskId": "{{task 1}}"}),
		Call("cancel_task", map[string]any{"taskId": "{{task 1}}"}), "@say done")
	s.contains("the cancel", calls[1].State.Output, "[CANCELLED]", "cancelled with cancel_task")
	s.contains("the second cancel", calls[2].State.Error, "already ended (cancelled)")
	children, err := s.Children(deadline(s.T, limit), session)
	if err != nil || len(children) != 1 {
		s.Fatalf("children: %v, %v", children, err)
	}
	busy, err := s.Status(deadline(s.T, limit))
	if _, still := busy[children[0].ID]; err != nil || still {
		s.Errorf("the cancelled task's session is still busy (%v)", err)
	}
}

func childFailure(s *served) {
	session := s.session()
	s.prompt(session, Delegate(true, "@fail 400 the provider says no"), "@say launched")
	s.contains("the wake", s.told(session, 1), "[ERROR]", "the provider says no")
}

// esc: the user stops a turn that waits for a synchronous task.
func esc(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session, Delegate(true, "@gate esc", "@say background goes on"), "@say launched")
	if err := s.PromptAsync(ctx, session, hosttest.Text(Delegate(false, "@tag esc", "@hang"), "@say never")); err != nil {
		s.Fatal(err)
	}
	if err := s.Model.WaitLoad(ctx, "esc", 1); err != nil {
		s.Fatal(err)
	}
	if err := s.Abort(ctx, session); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Tag == "esc" && r.Outcome == "gone" }); err != nil {
		s.Errorf("the synchronous child goes on after Esc: %v", err)
	}
	s.Model.Open("esc")
	calls := s.prompt(session, Call("list_tasks", nil), "@say ok")
	s.contains("the list", calls[0].State.Output, "[CANCELLED]")
	all, err := s.WaitMessages(ctx, session, func(all []hosttest.Message) bool {
		return slices.ContainsFunc(all, func(m hosttest.Message) bool {
			return m.Info.Role == "user" && strings.Contains(m.Text(), "background goes on")
		})
	})
	if err != nil {
		s.Errorf("the background task's result never came: %v\n%v", err, all)
	}
}

// abortParent: after the user's abort nothing starts a turn before the user does.
func abortParent(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session, Delegate(true, "@tag held", "@gate held", "@say the late result"), "@say launched")
	if err := s.PromptAsync(ctx, session, hosttest.Text("@tag long", "@hang")); err != nil {
		s.Fatal(err)
	}
	for _, tag := range []string{"held", "long"} {
		if err := s.Model.WaitLoad(ctx, tag, 1); err != nil {
			s.Fatal(err)
		}
	}
	if err := s.Abort(ctx, session); err != nil {
		s.Fatal(err)
	}
	if err := s.WaitIdle(ctx, session); err != nil {
		s.Fatal(err)
	}
	before := s.turns(session)
	after := s.events.Len()
	s.Model.Open("held")
	children, err := s.Children(ctx, session)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.events.Wait(ctx, after, hosttest.OfSession("session.idle", children[0].ID)); err != nil {
		s.Fatal(err)
	}
	// Another session's whole life: time in which a wake would have come.
	other := s.session()
	s.prompt(other, Delegate(true, "@wait 500ms", "@say elsewhere"), "@say launched")
	s.told(other, 1)
	if n := s.turns(session); n != before {
		s.Errorf("%d turns nobody asked for", n-before)
	}
	answer, err := s.Prompt(ctx, session, hosttest.Text("what came out of it?", "@say this came out of it"))
	if err != nil {
		s.Fatal(err)
	}
	request := s.lastRequest(session)
	s.contains("what the model read with the user's next message", strings.Join(request.Texts("user"), "\n"), "the late result", "what came out of it?")
	s.contains("the answer", answer.Text(), "this came out of it")
}

// abortRetry: a stop while the provider is tried again leaves no error and no event.
func abortRetry(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session, Delegate(true, "@gate retried", "@say the late result"), "@say launched")
	if err := s.PromptAsync(ctx, session, hosttest.Text("@fail 500 times=9 come back later")); err != nil {
		s.Fatal(err)
	}
	if _, err := s.events.Wait(ctx, 0, func(e hosttest.Event) bool {
		return e.Type == "session.status" && e.Session == session && strings.Contains(string(e.Properties), "retry")
	}); err != nil {
		s.Fatal(err)
	}
	if err := s.Abort(ctx, session); err != nil {
		s.Fatal(err)
	}
	if err := s.WaitIdle(ctx, session); err != nil {
		s.Fatal(err)
	}
	before := s.turns(session)
	s.Model.Open("retried")
	other := s.session()
	s.prompt(other, Delegate(true, "@wait 500ms", "@say elsewhere"), "@say launched")
	s.told(other, 1)
	if n := s.turns(session); n != before {
		s.Errorf("%d turns nobody asked for", n-before)
	}
	if _, err := s.Prompt(ctx, session, hosttest.Text("and now?", "@say now")); err != nil {
		s.Fatal(err)
	}
	s.contains("what the model read with the user's next message", strings.Join(s.lastRequest(session).Texts("user"), "\n"), "the late result", "and now?")
}

func (s *served) lastRequest(session string) hosttest.Request {
	var last hosttest.Request
	for _, r := range s.Model.Requests() {
		if r.Session == session {
			last = r
		}
	}
	return last
}

// turns counts the model requests of a session.
func (s *served) turns(session string) int {
	n := 0
	for _, r := range s.Model.Requests() {
		if r.Session == session {
			n++
		}
	}
	return n
}

func partial(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session, Delegate(true, "@text so far so good.", "@call glob {\"pattern\":\"*.nothing\"}", "@tag part", "@gate part", "@say end"), "@say launched")
	if err := s.Model.WaitLoad(ctx, "part", 1); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Tag == "part" && r.Step == 1 }); err != nil {
		s.Fatal(err)
	}
	calls := s.prompt(session, Call("list_tasks", map[string]any{"status": "running"}),
		Call("get_task_result", map[string]any{"taskId": "{{task 1}}"}), Call("list_agents", nil), "@say seen")
	s.contains("the list", calls[0].State.Output, "1 running", "[RUNNING] task_")
	s.contains("the partial result", calls[1].State.Output, "[RUNNING]", "so far so good.")
	s.contains("the agents", calls[2].State.Output, "general (subagent)", "explore (subagent)")
	s.Model.Open("part")
	s.contains("the wake", s.told(session, 1), "[DONE]", "end")
}

func badArguments(s *served) {
	calls := s.prompt(s.session(),
		Call("delegate_task", map[string]any{"agent": "general", "description": "d", "prompt": "p"}),
		Call("delegate_task", map[string]any{"agent": "general", "description": "d", "prompt": "p", "background": true, "mode": "rase"}),
		Call("delegate_task", map[string]any{"agent": "general", "description": "d", "prompt": "p", "background": true, "mode": "race"}),
		Call("delegate_task", map[string]any{"agent": "general", "description": "d", "prompt": "p", "background": true, "resume": "task_00000000"}),
		Call("get_task_result", map[string]any{"taskId": "task_00000000"}), "@say hm")
	for i, want := range []string{
		`"background" is missing`, `"mode" is "rase"; accepted values are normal, race, fractal`,
		`"groupID" is missing`, `no task "task_00000000"`, `no task "task_00000000"`,
	} {
		if calls[i].State.Status != "error" {
			s.Errorf("call %d was accepted: %s", i, calls[i].State.Output)
		}
		s.contains("the error", calls[i].State.Error, want)
	}
}

func deletedParent(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session, Delegate(true, "@tag orphan", "@hang"), "@say launched")
	if err := s.Model.WaitLoad(ctx, "orphan", 1); err != nil {
		s.Fatal(err)
	}
	if err := s.DeleteSession(ctx, session); err != nil {
		s.Fatal(err)
	}
	if _, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Tag == "orphan" && r.Outcome == "gone" }); err != nil {
		s.Errorf("the task of a deleted session goes on: %v", err)
	}
}

// dispose: OpenCode re-reads its configuration; the same sidecar goes on.
func dispose(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	id := s.leave(session, "reload")
	before, err := s.Sidecars()
	if err != nil || len(before) != 1 {
		s.Fatalf("sidecars: %v (%v), want one", before, err)
	}
	if err := s.Dispose(ctx); err != nil {
		s.Fatal(err)
	}
	s.prompt(s.session(), "@say loads the new instance")
	s.contains("the wake about the task that ran", s.told(session, 1), "[WARNING] "+id, "reloaded the workspace", "written by reload")
	s.resumed(session, id, "reload")
	calls := s.prompt(s.session(), Delegate(false, "@say again"), "@say ok")
	s.contains("the result after dispose", calls[0].State.Output, "again")
	now, err := s.Sidecars()
	if err != nil || len(now) != 1 || now[0].PID != before[0].PID {
		s.Errorf("before %v, now %v (%v): want the same sidecar", before, now, err)
	}
}

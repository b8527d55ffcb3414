package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// A task outlives the sidecar that started it: its session runs on in OpenCode,
// and the next sidecar takes it over and tells what became of it, once.
func TestTasksOutliveTheSidecar(t *testing.T) {
	s := serve(t, newRig(t, nil))
	ctx := deadline(t, limit)
	session, waiting := s.session(), s.session()
	held := func(result string) string { return "@tag held\n@gate held\n@say " + result }
	calls := s.prompt(session, Batch(held("result-1"), held("result-2"), held("result-3")), "@say launched")
	ids := taskID.FindAllString(calls[0].State.Output, -1)
	after := s.events.Len()
	if err := s.PromptAsync(ctx, waiting, hosttest.Text(Delegate(false, held("the late result")), "@say went on")); err != nil {
		t.Fatal(err)
	}
	if err := s.Model.WaitLoad(ctx, "held", 4); err != nil {
		t.Fatal(err)
	}
	s.kill(s.sidecar())
	s.Model.Open("held")
	if _, err := s.events.Wait(ctx, after, func(e hosttest.Event) bool {
		return e.Type == "message.part.updated" && e.Session == waiting && strings.Contains(string(e.Properties), "stopped unexpectedly")
	}); err != nil {
		t.Errorf("the call that waited for its task did not fail: %v", err)
	}
	s.contains("the wake after the failed call", s.told(waiting, 1), "[DONE]", "the late result")
	s.contains("the wakes", s.told(session, 3), "result-1", "result-2", "result-3")
	// Whatever would tell them again has done so before a further one is told.
	s.prompt(session, Delegate(true, "@say one more"), "@say launched")
	texts := s.told(session, 4)
	for _, id := range ids {
		if n := strings.Count(texts, "[DONE] "+id); n != 1 {
			t.Errorf("%s was told %d times:\n%s", id, n, texts)
		}
	}
	children, err := s.Children(ctx, session)
	if err != nil || len(children) != 4 {
		t.Fatalf("%d sessions of tasks (%v), want 4", len(children), err)
	}
	for _, child := range children {
		s.oneTurn(child.ID)
	}
	toasted := slices.ContainsFunc(s.events.All(), hosttest.OfType("tui.toast.show"))
	if !toasted {
		t.Error("no toast was shown")
	}
}

// oneTurn checks that a task's session has one prompt and one finished answer.
func (s *served) oneTurn(child string) {
	s.Helper()
	messages, err := s.Messages(deadline(s.T, limit), child, 0)
	if err != nil {
		s.Fatal(err)
	}
	prompts, answers := 0, 0
	for _, m := range messages {
		switch {
		case m.Info.Role == "user":
			prompts++
		case m.Info.Finish == "stop" && m.Info.Error == nil:
			answers++
		}
	}
	if prompts != 1 || answers != 1 {
		s.Errorf("session %s has %d prompts and %d answers, want one of each", child, prompts, answers)
	}
}

// kill ends a process at once.
func (s *served) kill(pid int) {
	s.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.Fatal(err)
	}
}

// ask plays one call in a session of its own and returns what it gave.
func (s *served) ask(tool string, args map[string]any) string {
	s.Helper()
	calls := s.prompt(s.session(), Call(tool, args), "@say seen")
	if len(calls) != 1 {
		s.Fatalf("%d calls of %s", len(calls), tool)
	}
	return calls[0].State.Output + calls[0].State.Error
}

// leave launches a task that has written something and never ends, and returns
// its id once its model waits. tag names it.
func (s *served) leave(session, tag string) string {
	s.Helper()
	calls := s.prompt(session, Delegate(true, "@tag "+tag, "@text written by "+tag, `@call glob {"pattern":"*.nothing"}`, "@hang"), "@say launched")
	if _, err := s.Model.Wait(deadline(s.T, limit), func(r hosttest.Request) bool { return r.Tag == tag && r.Step == 1 }); err != nil {
		s.Fatal(err)
	}
	return taskID.FindString(calls[0].State.Output)
}

// resumed gives an ended task a new prompt and checks that it goes on where it was.
func (s *served) resumed(session, id, tag string) {
	s.Helper()
	calls := s.prompt(session, DelegateWith(map[string]any{"resume": id, "background": false}, "@say "+tag+" went on"), "@say ok")
	s.contains("the resumed task", calls[0].State.Output+calls[0].State.Error, "[RESUMED & DONE] "+id, tag+" went on")
	page, err := s.Children(deadline(s.T, limit), session)
	if err != nil {
		s.Fatal(err)
	}
	for _, child := range page {
		if strings.Contains(child.Title, id) {
			s.contains("what the resumed task's model read", strings.Join(s.lastRequest(child.ID).Texts("assistant"), "\n"), "written by "+tag)
			return
		}
	}
	s.Errorf("no session of %s among %d", id, len(page))
}

// wait asks until a condition holds.
func (s *served) wait(what string, holds func() bool) {
	s.Helper()
	ctx := deadline(s.T, limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.Fatalf("it never came to that: %s", what)
		}
	}
}

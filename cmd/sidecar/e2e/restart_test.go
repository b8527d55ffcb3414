package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// OpenCode ends with tasks under way: what they have written stays, nobody pays
// for a turn that nobody asked for, and the work can go on.
func TestTasksOutliveOpenCode(t *testing.T) {
	r := newRig(t, nil)
	s := serve(t, r)
	session := s.session()
	left := s.leave(session, "left")
	// Several, so that they cannot all have been judged when the first list is asked for.
	hang := "@tag hangs\n@hang"
	calls := s.prompt(session, Batch(hang, hang, hang, hang, hang, hang),
		Delegate(true, "@gate done", "@say nobody was told of this"), "@say launched")
	ids := append(taskID.FindAllString(calls[0].State.Output, -1), left)
	done := taskID.FindString(calls[1].State.Output)
	// A busy session is not told.
	ctx := deadline(t, limit)
	if err := s.PromptAsync(ctx, session, hosttest.Text("@tag busy", "@hang")); err != nil {
		t.Fatal(err)
	}
	for tag, n := range map[string]int{"busy": 1, "hangs": 6} {
		if err := s.Model.WaitLoad(ctx, tag, n); err != nil {
			t.Fatal(err)
		}
	}
	s.Model.Open("done")
	s.wait("the second task is done", func() bool { return strings.Contains(s.ask("list_tasks", nil), "[DONE] "+done) })
	s.end(syscall.SIGKILL)
	before := s.turns(session)

	s = serve(t, r)
	const reason = "its OpenCode process ended while it ran"
	list := s.ask("list_tasks", nil)
	s.contains("the list in the next OpenCode", list, reason, "1 completed, 7 interrupted", "[DONE] "+done)
	for _, id := range ids {
		s.contains("the list in the next OpenCode", list, "[WARNING] "+id)
	}
	s.contains("the result of the interrupted task", s.ask("get_task_result", map[string]any{"taskId": left}), reason, "written by left")
	if n := s.turns(session); n != before {
		t.Errorf("%d turns in the old session that nobody asked for", n-before)
	}
	s.heard(session, append(ids, done)...)
	s.resumed(session, left, "left")

	later := s.leave(session, "later")
	s.end(syscall.SIGTERM)
	s = serve(t, r)
	s.contains("the list after an ordered end", s.ask("list_tasks", map[string]any{"status": "interrupted"}), "[WARNING] "+later, "while it ran")
	s.contains("the result after an ordered end", s.ask("get_task_result", map[string]any{"taskId": later}), "written by later")
	s.heard(session, later)
	s.resumed(session, later, "later")
}

// heard lets a person use an old session, and checks that one message of ours,
// about these tasks, goes with theirs: one turn answers both.
func (s *served) heard(session string, ids ...string) {
	s.Helper()
	ctx := deadline(s.T, limit)
	old, err := s.Messages(ctx, session, 0)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.Prompt(ctx, session, hosttest.Text("what happened?", "@say this happened")); err != nil {
		s.Fatal(err)
	}
	all, err := s.Messages(ctx, session, 0)
	if err != nil {
		s.Fatal(err)
	}
	var ours, theirs, answers []hosttest.Message
	for _, m := range all[len(old):] {
		switch {
		case m.Info.Role != "user":
			answers = append(answers, m)
		case len(m.Parts) > 0 && m.Parts[0].Synthetic:
			ours = append(ours, m)
		default:
			theirs = append(theirs, m)
		}
	}
	if len(ours) != 1 || len(theirs) != 1 || len(answers) != 1 {
		s.Fatalf("%d messages of ours, %d of the person and %d answers, want one of each", len(ours), len(theirs), len(answers))
	}
	s.contains("our message", ours[0].Text(), ids...)
	if n := len(taskID.FindAllString(ours[0].Text(), -1)); n != len(ids) {
		s.Errorf("our message names %d tasks, want %d:\n%s", n, len(ids), ours[0].Text())
	}
	s.contains("the answer", answers[0].Text(), "this happened")
	s.contains("what the model read", strings.Join(s.lastRequest(session).Texts("user"), "\n"), ids...)
}

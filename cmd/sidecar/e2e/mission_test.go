package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const todoPath = ".opencode/todo.md"

// todoCall is a call of update_todo.
func todoCall(action, task, status string) string {
	args := map[string]any{"action": action, "task": task}
	if status != "" {
		args["status"] = status
	}
	return Call("update_todo", args)
}

// plan writes a list of so many items, in one step.
func plan(items int) string {
	var calls []string
	for i := range items {
		call := todoCall("add", fmt.Sprintf("S%d: part %d", i+1, i+1), "")
		if i > 0 {
			call = "@also" + strings.TrimPrefix(call, "@call")
		}
		calls = append(calls, call)
	}
	return strings.Join(calls, "\n")
}

// workers delegates items to Worker, each of which marks its own.
func workers(numbers ...int) string {
	var tasks []map[string]any
	for _, n := range numbers {
		tasks = append(tasks, map[string]any{
			"agent": "Worker", "description": fmt.Sprintf("S%d", n),
			"prompt": fmt.Sprintf("@wait %dms\n%s\n@say part %d is built", 100+n*50, todoCall("update", fmt.Sprintf("S%d", n), "completed"), n),
		})
	}
	return Call("delegate_tasks", map[string]any{"tasks": tasks, "wake": "all"})
}

// wholeMission is a mission of five items, finished by workers over several
// continuations.
func wholeMission(more ...string) []string {
	return append([]string{
		plan(5), workers(1, 2), "@say launched the first two", "@say two are done",
		workers(3, 4), "@say launched two more", "@say four are done",
		workers(5), "@say launched the last", "@say five are done",
	}, more...)
}

func (s *served) slash(session, name string, arguments ...string) hosttest.Message {
	s.Helper()
	answer, err := s.Client.Command(deadline(s.T, limit), session, name, strings.Join(arguments, "\n"))
	if err != nil {
		all, _ := s.Messages(deadline(s.T, limit), session, 0)
		s.Fatalf("%v\n%s", err, transcriptOf(all))
	}
	return answer
}

// comesTo waits until the log tells that a mission has come to a phase, and
// returns what /status then says.
func (s *served) comesTo(session, phase string) string {
	s.Helper()
	s.wait("the mission is "+phase, func() bool {
		return strings.Contains(s.Log(), fmt.Sprintf(`"session":%q,"phase":%q`, session, phase))
	})
	s.slash(session, "status")
	all, err := s.Messages(deadline(s.T, limit), session, 0)
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range slices.Backward(all) {
		if m.Info.Role == "user" && strings.HasPrefix(m.Text(), "Mission: ") {
			return m.Text()
		}
	}
	s.Fatalf("/status left nothing:\n%s", transcriptOf(all))
	return ""
}

// said waits until an answer of the session holds a text.
func (s *served) said(session, text string) []hosttest.Message {
	s.Helper()
	all, err := s.WaitMessages(deadline(s.T, limit), session, func(all []hosttest.Message) bool {
		return slices.ContainsFunc(all, func(m hosttest.Message) bool {
			return m.Info.Role == "assistant" && strings.Contains(m.Text(), text)
		})
	})
	if err != nil {
		now, _ := s.Messages(deadline(s.T, limit), session, 0)
		s.Fatalf("nobody said %q: %v\n%s", text, err, transcriptOf(now))
	}
	return all
}

func transcriptOf(all []hosttest.Message) string {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "%s %s %s: %.300q", m.Info.Role, m.Info.Agent, m.Info.Finish, m.Text())
		for _, c := range m.Calls() {
			fmt.Fprintf(&b, " [%s %s %.200q]", c.Tool, c.State.Status, c.State.Output+c.State.Error)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// continued are the messages with which missions were gone on with.
func continued(all []hosttest.Message) (texts []string) {
	for _, m := range all {
		if m.Info.Role == "user" && strings.HasPrefix(m.Text(), "Mission, continuation ") {
			texts = append(texts, m.Text())
		}
	}
	return texts
}

func (r *Rig) todo(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir, todoPath))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var quick = map[string]any{"missionCountdown": "300ms"}

func TestMission(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, quick))
	session := s.session()
	s.slash(session, "task", append([]string{"Build all five parts."}, wholeMission()...)...)
	s.said(session, "five are done")
	text := s.comesTo(session, "done")
	s.contains("the status", text, "Mission: done (5 of 5 items of todo.md done)", "Build all five parts.")
	all, err := s.Messages(deadline(t, limit), session, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(continued(all)); n != 2 {
		t.Errorf("it was gone on with %d times, want 2\n%s", n, transcriptOf(all))
	}
	if got := s.todo(t); strings.Count(got, "- [x] S") != 5 {
		t.Errorf("todo.md: %s", got)
	}
	told := ""
	for _, q := range s.Model.Requests() {
		told += strings.Join(q.Texts("user"), "\n")
	}
	s.contains("what agents were told", told, "todo.md: 2 of 5 done, 3 pending", "(Worker) runs: S3")
	for i, m := range all {
		if strings.HasPrefix(m.Text(), "Mission: ") && m.Info.Role == "user" {
			break // what follows is asked for by /status, of whatever agent the session has
		}
		if m.Info.Agent != "Commander" {
			t.Errorf("message %d is %s's\n%s", i, m.Info.Agent, transcriptOf(all))
		}
	}
}

// `opencode run` ends at the first idle of its session; with a mission it ends when
// that is done.
func TestMissionInRun(t *testing.T) {
	r := newRig(t, nil)
	script := append([]string{"Build all five parts."}, wholeMission()...)
	res, err := r.RunAndWait(deadline(t, limit), strings.Join(script, "\n"), "--command", "task")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"two are done", "four are done", "five are done"} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("%q was not printed:\n%s\n%s", want, res.Stdout, res.Stderr)
		}
	}
	if got := r.todo(t); res.Code != 0 || strings.Count(got, "- [x] S") != 5 {
		t.Errorf("exit code %d, todo.md:\n%s", res.Code, got)
	}
	if log := r.Log(); !strings.Contains(log, `"phase":"done"`) {
		t.Errorf("the mission is not done:\n%s", log)
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
}

// A person edits the list in the middle as vim does, with a rename: the edit
// stays, agents see it, and the mission does not end before it is done too.
func TestAPersonEditsTheListOfAMission(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, quick))
	session := s.session()
	ctx := deadline(t, limit)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Client.Command(ctx, session, "task", strings.Join([]string{
			"Build it.", plan(2), workers(1, 2), "@gate edited\n@say launched", "@say two are done",
			todoCall("update", "by hand", "completed"), "@say what the user added is done",
		}, "\n"))
		ended <- err
	}()
	path := filepath.Join(s.Dir, todoPath)
	edit := func(change func(string) string) {
		t.Helper()
		text := change(s.todo(t))
		if err := os.Rename(path, path+"~"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path + "~"); err != nil {
			t.Fatal(err)
		}
	}
	s.wait("the workers have marked their items", func() bool {
		b, err := os.ReadFile(path)
		return err == nil && strings.Count(string(b), "- [x]") == 2
	})
	after := s.events.Len()
	edit(func(text string) string { return "<!-- my notes -->\r\n" + text })
	edit(func(text string) string { return text + "* [ ] one more, by hand" })
	for _, want := range []string{"todo.md was edited"} {
		if _, err := s.events.Wait(ctx, after, func(e hosttest.Event) bool {
			return e.Type == "tui.toast.show" && strings.Contains(string(e.Properties), want)
		}); err != nil {
			t.Errorf("no toast says %q: %v", want, err)
		}
	}
	s.Model.Open("edited")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.said(session, "what the user added is done")
	s.contains("the status", s.comesTo(session, "done"), "3 of 3 items of todo.md done")
	s.contains("todo.md", s.todo(t), "<!-- my notes -->\r\n", "* [x] one more, by hand")
	told := ""
	for _, q := range s.Model.Requests() {
		told += strings.Join(q.Texts("user"), "\n")
	}
	s.contains("what agents were told", told, "- [ ] one more, by hand")
}

// OpenCode's own todo list goes into todo.md, while its session has a mission.
func TestOpenCodesListJoinsTheMissions(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, quick))
	todos := func(status ...string) string {
		var list []map[string]any
		for i, st := range status {
			list = append(list, map[string]any{"content": fmt.Sprintf("step %d", i+1), "status": st, "priority": "high"})
		}
		return Call("todowrite", map[string]any{"todos": list})
	}
	session := s.session()
	s.prompt(session, Call("list_tasks", nil), todos("pending", "pending"), "@say no mission")
	if _, err := os.Stat(filepath.Join(s.Dir, todoPath)); err == nil {
		t.Errorf("todo.md was made without a mission:\n%s", s.todo(t))
	}
	s.slash(session, "task", "Do both steps.", todos("in_progress", "pending"), "@say one begun", todos("completed", "completed"), "@say both done")
	s.said(session, "both done")
	s.comesTo(session, "done")
	s.contains("todo.md", s.todo(t), "# Agent", "- [x] step 1", "- [x] step 2")
}

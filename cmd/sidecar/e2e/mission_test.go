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
		s.Fatal(err)
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
	if agents := agentsOf(all); !slices.Equal(agents, []string{"Commander", "build"}) { // build answers /status
		t.Errorf("agents %q", agents)
	}
}

func agentsOf(all []hosttest.Message) []string {
	var names []string
	for _, m := range all {
		if m.Info.Role == "assistant" {
			names = append(names, m.Info.Agent)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A person edits the list in the middle as vim does, with a rename: the edit
// stays, agents see it, and the mission does not end before it is done too.
func TestAPersonEditsTheListOfAMission(t *testing.T) {
	s := serve(t, newRig(t, quick))
	session := s.session()
	s.slash(session, "task", "Build it.",
		plan(2), workers(1, 2), "@tag held\n@gate edited\n@say launched", "@say two are done",
		todoCall("update", "sixth", "completed"), "@say the sixth is done")
}

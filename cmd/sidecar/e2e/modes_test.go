package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// The ways in which tasks can be asked for and are held in check. One OpenCode
// plays them all: the limits are such that a scenario meets only its own.
func TestModes(t *testing.T) {
	s := serve(t, newRig(t, map[string]any{
		"agentConcurrency": map[string]any{"explore": 1},
		"queueTimeout":     "8s",
		"maxTaskTokens":    10_000,
		"maxRepeatedCalls": 4,
		"fallbackModels":   map[string]any{"general": []string{"scripted/small"}},
		"toasts":           false,
	}))
	for name, test := range map[string]func(*served){
		"race": race, "fractal": fractal, "resume by session": resumeBySession, "send to a running task": sendToTask,
		"told when all have ended": wakeAll, "priority": priority, "queue timeout": queueTimeout,
		"token budget": tokenBudget, "repeated calls": repeatedCalls, "fallback model": fallbackModel,
		"two tasks edit one file": sameFile, "compaction": compaction,
		"command line": commandLine,
	} {
		t.Run(name, func(t *testing.T) { test(s.in(t)) })
	}
	if slices.ContainsFunc(s.events.All(), hosttest.OfType("tui.toast.show")) {
		t.Error("a toast was shown although toasts are off")
	}
}

// idle checks that no session of a parent's tasks is at work.
func (s *served) idle(parent string) []hosttest.Session {
	s.Helper()
	ctx := deadline(s.T, limit)
	children, err := s.Children(ctx, parent)
	if err != nil {
		s.Fatal(err)
	}
	busy, err := s.Status(ctx)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range children {
		if status, works := busy[c.ID]; works {
			s.Errorf("session %s (%s) is %s", c.ID, c.Title, status.Type)
		}
	}
	return children
}

func race(s *served) {
	session := s.session()
	s.prompt(session, BatchWith(map[string]any{"mode": "race"}, "@tag loser\n@hang", "@gate race\n@say the winner's answer", "@tag loser\n@hang"), "@say launched")
	if err := s.Model.WaitLoad(deadline(s.T, limit), "loser", 2); err != nil {
		s.Fatal(err)
	}
	s.Model.Open("race")
	texts := s.told(session, 3)
	s.contains("the wake", texts, "the winner's answer", "was first in their race")
	if done, cancelled := strings.Count(texts, "[DONE]"), strings.Count(texts, "[CANCELLED]"); done != 1 || cancelled != 2 {
		s.Errorf("%d done and %d cancelled, want 1 and 2:\n%s", done, cancelled, texts)
	}
	if n := len(s.idle(session)); n != 3 {
		s.Errorf("%d sessions, want 3", n)
	}
}

func fractal(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	s.prompt(session,
		DelegateWith(map[string]any{"mode": "fractal"}, "@tag child", Delegate(true, "@tag grandchild", "@wait 500ms", "@say the grandchild's answer"), "@say waits for it"),
		Delegate(true, "@tag plain", "@say plain"), "@say launched")
	s.contains("the wakes", s.told(session, 2), "the grandchild's answer", "plain")
	for tag, may := range map[string]bool{"child": true, "grandchild": false, "plain": false} {
		request, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Tag == tag && r.Step == 0 })
		if err != nil {
			s.Fatal(err)
		}
		for _, name := range []string{"delegate_task", "delegate_tasks"} {
			if _, offered := request.Tool(name); offered != may {
				s.Errorf("%s offered to the %s agent: %v, want %v", name, tag, offered, may)
			}
		}
	}
	s.idle(session)
}

func resumeBySession(s *served) {
	session := s.session()
	s.prompt(session, Delegate(false, "@say remember the word heron"), "@say ok")
	children := s.idle(session)
	if len(children) != 1 {
		s.Fatalf("%d sessions of tasks, want 1", len(children))
	}
	calls := s.prompt(session, DelegateWith(map[string]any{"resume": children[0].ID}, "@say it went on"), "@say ok")
	s.contains("the answer of the resuming call", calls[0].State.Output, "[RESUME] task_", "attempt 2")
	s.contains("the wake", s.told(session, 1), "[DONE]", "attempt 2", "it went on")
	s.contains("what its model read", strings.Join(s.lastRequest(children[0].ID).Texts("assistant"), "\n"), "the word heron")
}

func sendToTask(s *served) {
	session := s.session()
	calls := s.prompt(session, Delegate(true, "@tag steered", "@gate steered", `@call glob {"pattern":"*.nothing"}`, "@say the old answer"), "@say launched")
	if err := s.Model.WaitLoad(deadline(s.T, limit), "steered", 1); err != nil {
		s.Fatal(err)
	}
	id := taskID.FindString(calls[0].State.Output)
	sent := s.ask("send_to_task", map[string]any{"taskId": id, "message": "think again\n@say the new answer"})
	s.contains("the call's answer", sent, "[RUNNING] "+id, "has your message")
	s.Model.Open("steered")
	texts := s.told(session, 1)
	s.contains("the wake", texts, "[DONE] "+id, "the new answer")
	if strings.Contains(texts, "the old answer") {
		s.Errorf("the result is not the answer to the message:\n%s", texts)
	}
}

func wakeAll(s *served) {
	session := s.session()
	calls := s.prompt(session, BatchWith(map[string]any{"wake": "all", "groupID": "together"}, "@say the early one", "@gate together\n@say the late one"), "@say launched")
	early := taskID.FindString(calls[0].State.Output)
	s.wait("the early task has ended", func() bool { return strings.Contains(s.ask("list_tasks", nil), "[DONE] "+early) })
	before := s.turns(session)
	// Another session's whole life: time in which a wake would have come.
	other := s.session()
	s.prompt(other, Delegate(true, "@say elsewhere"), "@say launched")
	s.told(other, 1)
	if n := s.turns(session); n != before {
		s.Errorf("%d turns before all had ended", n-before)
	}
	s.Model.Open("together")
	s.contains("the wake", s.told(session, 2), "2 background tasks have ended", "the early one", "the late one")
}

func priority(s *served) {
	session := s.session()
	item := func(priority, script string) map[string]any {
		return map[string]any{"agent": "explore", "description": priority, "prompt": script, "priority": priority}
	}
	s.prompt(session, Call("delegate_tasks", map[string]any{"tasks": []map[string]any{
		item("normal", "@tag holds\n@gate holds\n@say first"), item("low", "@tag low\n@say low"), item("high", "@tag high\n@say high"),
	}}), "@say launched")
	if err := s.Model.WaitLoad(deadline(s.T, limit), "holds", 1); err != nil {
		s.Fatal(err)
	}
	s.Model.Open("holds")
	s.told(session, 3)
	var order []string
	for _, r := range s.Model.Requests() {
		if r.Tag == "low" || r.Tag == "high" {
			order = append(order, r.Tag)
		}
	}
	if !slices.Equal(order, []string{"high", "low"}) {
		s.Errorf("they ran in the order %v", order)
	}
}

func queueTimeout(s *served) {
	session := s.session()
	explore := map[string]any{"agent": "explore"}
	s.prompt(session, DelegateWith(explore, "@tag full", "@gate full", "@say had the slot"), DelegateWith(explore, "@tag queued", "@say never"), "@say launched")
	s.contains("the wake", s.told(session, 1), "[TIMEOUT]", "never ran")
	s.Model.Open("full")
	s.contains("the wakes", s.told(session, 2), "had the slot")
	if n := s.Model.Load("queued").Total; n != 0 {
		s.Errorf("the task that never got a slot asked its model %d times", n)
	}
}

func tokenBudget(s *served) {
	session := s.session()
	s.prompt(session, Delegate(true, "@usage 9000 2000", "@text a costly step", `@call glob {"pattern":"*.nothing"}`, "@tag costly", "@hang"), "@say launched")
	s.contains("the wake", s.told(session, 1), "[ERROR]", "it was stopped", "11000 tokens", "10000", "a costly step")
	s.idle(session)
}

func repeatedCalls(s *served) {
	session := s.session()
	script := []string{"@tag again"}
	for range 12 {
		script = append(script, `@call glob {"pattern":"*.nothing"}`)
	}
	s.prompt(session, Delegate(true, append(script, "@say never")...), "@say launched")
	s.contains("the wake", s.told(session, 1), "[ERROR]", "it was stopped", "the same call 4 times in a row", "glob")
	s.idle(session)
	if n := s.Model.Load("again").Total; n > 8 {
		s.Errorf("its model was asked %d times", n)
	}
}

// fallbackModel: a failure that OpenCode does not repeat, of a model that another
// one can stand in for.
func fallbackModel(s *served) {
	session := s.session()
	s.prompt(session, Delegate(true, "@tag fallback", "@fail 401 model=main the key is wrong", "@say the other model's answer"), "@say launched")
	s.contains("the wake", s.told(session, 1), "[DONE]", "attempt 2", "the other model's answer")
	var models []string
	for _, r := range s.Model.Requests() {
		if r.Tag == "fallback" {
			models = append(models, r.Model+" "+r.Outcome)
		}
	}
	if !slices.Equal(models, []string{"main fail 401", "small stop"}) {
		s.Errorf("the models' answers were %v", models)
	}
}

// sameFile: both parents learn that their tasks have overwritten each other.
func sameFile(s *served) {
	const name = "shared.txt"
	if err := s.Write(name, "one\ntwo\n"); err != nil {
		s.Fatal(err)
	}
	path := filepath.Join(s.Dir, name)
	edit := func(old, new string) []string {
		return []string{
			Call("read", map[string]any{"filePath": path}),
			Call("edit", map[string]any{"filePath": path, "oldString": old, "newString": new}),
		}
	}
	first, second := s.session(), s.session()
	calls := s.prompt(first, Delegate(true, append(edit("one", "1"), "@tag edited", "@gate edited", "@say edited one")...), "@say launched")
	a := taskID.FindString(calls[0].State.Output)
	if _, err := s.Model.Wait(deadline(s.T, limit), func(r hosttest.Request) bool { return r.Tag == "edited" && r.Step == 2 }); err != nil {
		s.Fatal(err)
	}
	calls = s.prompt(second, Delegate(true, append(edit("two", "2"), "@say edited two")...), "@say launched")
	b := taskID.FindString(calls[0].State.Output)
	const shared = " edited the same files at the same time: "
	s.contains("the second parent's wake", s.told(second, 1), "[DONE] "+b, "[WARNING] "+a+shared+path)
	s.contains("the list while the first still runs", s.ask("list_tasks", nil), "[WARNING] "+b+shared+path)
	s.Model.Open("edited")
	s.contains("the first parent's wake", s.told(first, 1), "[DONE] "+a, "[WARNING] "+b+shared+path)
}

// compaction: the summary must not lose tasks, running or unread.
func compaction(s *served) {
	ctx := deadline(s.T, limit)
	session := s.session()
	calls := s.prompt(session, Delegate(true, "@gate kept", "@say from before the summary"), Delegate(true, "@gate unread", "@say unread"), "@say launched")
	running, unread := taskID.FindString(calls[0].State.Output), taskID.FindString(calls[1].State.Output)
	// After the user's stop a result waits, unread, for the user.
	if err := s.PromptAsync(ctx, session, hosttest.Text("@tag stopped", "@hang")); err != nil {
		s.Fatal(err)
	}
	if err := s.Model.WaitLoad(ctx, "stopped", 1); err != nil {
		s.Fatal(err)
	}
	if err := s.Abort(ctx, session); err != nil {
		s.Fatal(err)
	}
	if err := s.WaitIdle(ctx, session); err != nil {
		s.Fatal(err)
	}
	s.Model.Open("unread")
	s.wait("the second task has ended", func() bool { return strings.Contains(s.ask("list_tasks", nil), "[DONE] "+unread) })
	model := map[string]any{"providerID": "scripted", "modelID": "main"}
	if err := s.Do(ctx, "POST", "/session/"+session+"/summarize", model, nil); err != nil {
		s.Fatal(err)
	}
	request, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Session == session && r.Kind == hosttest.Compaction })
	if err != nil {
		s.Fatal(err)
	}
	s.contains("what the summary is made of", request.Last("user"), "[RUNNING] "+running, "[DONE] "+unread)
	s.Model.Open("kept")
	s.contains("the wakes after the summary", s.told(session, 2), "from before the summary", "[DONE] "+unread)
}

// commandLine: people see and end the tasks of an OpenCode that runs.
func commandLine(s *served) {
	session := s.session()
	id := s.leave(session, "shown")
	s.contains("sidecar tasks", s.command(0, "tasks", "--state", "open"), id, "running", "general", "scripted work")
	s.contains("sidecar tasks show", s.command(0, "tasks", "show", id), id, "running", "@text written by shown")
	s.contains("sidecar tasks cancel", s.command(0, "tasks", "cancel", id), id, "cancelled")
	s.contains("the wake", s.told(session, 1), "[CANCELLED] "+id, "cancelled on the command line", "written by shown")
	s.contains("sidecar tasks show", s.command(0, "tasks", "show", id), "cancelled on the command line", "written by shown")
	s.contains("a second cancel", s.command(1, "tasks", "cancel", id), "already ended")
	s.idle(session)
}

// command runs the sidecar as a person does, and returns what it prints.
func (s *served) command(code int, args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(deadline(s.T, limit), filepath.Join(s.Checkout, "bin", "sidecar"), args...)
	cmd.Dir, cmd.Env = s.Dir, s.Env()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		s.Errorf("sidecar %s: %v, want exit code %d:\n%s", strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

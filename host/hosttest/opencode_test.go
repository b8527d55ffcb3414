package hosttest

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// realTimeout bounds one test with the real OpenCode on a busy machine.
const realTimeout = 90 * time.Second

func newProject(t *testing.T, m *Model, setup Setup) *Project {
	t.Helper()
	path, err := Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	setup.Binary, setup.ModelURL = path, m.URL()
	p, err := NewProject(t.Context(), setup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// serving is a server under test with the model behind it.
type serving struct {
	*Server
	model  *Model
	events *Events
}

// session creates a session with a title, so that none is asked for.
func (s serving) session(ctx context.Context, t *testing.T) string {
	t.Helper()
	session, err := s.CreateSession(ctx, NewSession{Title: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return session.ID
}

func (s serving) prompt(ctx context.Context, t *testing.T, session string, lines ...string) Message {
	t.Helper()
	m, err := s.Prompt(ctx, session, Text(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestServe(t *testing.T) {
	m := startModel(t)
	p := newProject(t, m, Setup{Files: map[string]string{"notes/a.txt": "alpha\n"}})
	ctx := deadline(t, realTimeout)
	server, err := p.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	events, err := server.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := serving{server, m, events}
	t.Logf("ready after %v", server.Ready)
	for _, test := range []struct {
		name string
		run  func(context.Context, *testing.T, serving)
	}{
		{"answer", testAnswer},
		{"built-in tools", testTools},
		{"failure", testFailure},
		{"retries", testRetries},
		{"abort", testAbort},
		{"task", testTask},
		{"message ids", testMessageIDs},
		{"text parts", testTextParts},
		{"agents", testPlanReminder},
		{"metadata", testMetadata},
		{"newest messages", testLimit},
		{"compaction", testCompaction},
		{"command", testCommand},
		{"compaction by a person", testManualCompaction},
		{"compaction by itself", testAutoCompaction},
		{"deletion", testDeletion},
		{"usage", testUsage},
		{"joining", testJoining},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(deadline(t, realTimeout), t, s) })
	}
	t.Run("dispose", func(t *testing.T) { testDispose(deadline(t, realTimeout), t, s) })
	t.Run("kill", func(t *testing.T) { testKill(deadline(t, realTimeout), t, s, p) })
	events.Close()
}

func testAnswer(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	after := s.events.Len()
	start := time.Now()
	got := s.prompt(ctx, t, id, "Hello", "@say hi there")
	t.Logf("the first prompt was answered after %v", time.Since(start))
	if got.Text() != "hi there" || got.Info.Finish != "stop" || got.Info.Time.Completed == 0 {
		t.Errorf("answer %+v", got)
	}
	if _, err := s.events.Wait(ctx, after, OfSession("session.idle", id)); err != nil {
		t.Error(err)
	}
	start = time.Now()
	if got := s.prompt(ctx, t, id, "no directive"); got.Text() != "Received: no directive" {
		t.Errorf("echo %q", got.Text())
	}
	t.Logf("and again after %v", time.Since(start))
}

func testTools(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	got := s.prompt(ctx, t, id,
		`@call bash {"command":"echo hi","description":"d"}`,
		`@also read {"filePath":"`+filepath.Join(s.directory, "notes/a.txt")+`"}`,
		`@say got {{result 1}}`)
	if want := "got hi"; strings.TrimSpace(got.Text()) != want {
		t.Errorf("answer %q, want %q", got.Text(), want)
	}
	messages, err := s.Messages(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) != 3 {
		t.Fatalf("%d messages, want a prompt and two steps: %+v", len(messages), messages)
	}
	calls := messages[1].Calls()
	if len(calls) != 2 || calls[0].State.Output != "hi\n" || !strings.Contains(calls[1].State.Output, "alpha") {
		t.Errorf("tool parts %+v", calls)
	}
	if messages[1].Info.Finish != "tool-calls" {
		t.Errorf("finish %q of the first step", messages[1].Info.Finish)
	}
}

func testFailure(ctx context.Context, t *testing.T, s serving) {
	got := s.prompt(ctx, t, s.session(ctx, t), "@fail 400 no such thing")
	e := got.Info.Error
	if e == nil || e.Name != "APIError" || e.Data.StatusCode != http.StatusBadRequest || e.Data.Message != "no such thing" {
		t.Errorf("error %+v", e)
	}
	if got := s.prompt(ctx, t, s.session(ctx, t), "@say cut\n@finish length"); got.Info.Finish != "length" || got.Text() != "cut" {
		t.Errorf("answer %+v", got)
	}
	if got := s.prompt(ctx, t, s.session(ctx, t), "@empty"); got.Info.Finish != "stop" || got.Text() != "" {
		t.Errorf("answer %+v", got)
	}
	_, err := s.Session(ctx, "ses_unknown")
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != http.StatusNotFound {
		t.Errorf("error %v for an unknown session", err)
	}
}

// OpenCode gives up after five retries of its own, and waits as long as the
// model says.
func testRetries(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	if got := s.prompt(ctx, t, id, "@fail 503 times=2 retry=5ms busy\n@say at last"); got.Text() != "at last" {
		t.Errorf("answer %+v", got)
	}
	got := s.prompt(ctx, t, id, "@tag broken\n@fail 500 retry=5ms broken")
	if e := got.Info.Error; e == nil || e.Data.StatusCode != http.StatusInternalServerError {
		t.Errorf("error %+v", e)
	}
	if n := s.model.Load("broken").Total; n != 6 {
		t.Errorf("%d requests, want one and five retries", n)
	}
}

func testAbort(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	if err := s.PromptAsync(ctx, id, Text("@text half", "@hang")); err != nil {
		t.Fatal(err)
	}
	hangs := func(r Request) bool { return r.Session == id }
	if _, err := s.model.Wait(ctx, hangs); err != nil {
		t.Fatal(err)
	}
	status, err := s.Status(ctx)
	if err != nil || status[id].Type != "busy" {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := s.Abort(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitIdle(ctx, id); err != nil {
		t.Error(err)
	}
	r, err := s.model.Wait(ctx, func(r Request) bool { return hangs(r) && !r.End.IsZero() })
	if err != nil || r.Outcome != "gone" {
		t.Errorf("the request ended with %q, %v", r.Outcome, err)
	}
	messages, err := s.WaitMessages(ctx, id, func(list []Message) bool {
		return len(list) == 2 && list[1].Info.Time.Completed > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := messages[1].Info.Error; e == nil || e.Name != "MessageAbortedError" {
		t.Errorf("error %+v", e)
	}
}

// A child session plays the directives of its own prompt.
func testTask(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	got := s.prompt(ctx, t, id,
		`@call task {"description":"d","subagent_type":"general","prompt":"Work.\n@tag child\n@call bash {\"command\":\"echo from child\",\"description\":\"d\"}\n@say child says {{result}}"}`,
		"@say parent got {{result}}")
	if !strings.Contains(got.Text(), "child says from child") {
		t.Errorf("answer %q", got.Text())
	}
	children, err := s.Children(ctx, id)
	if err != nil || len(children) != 1 || children[0].ParentID != id {
		t.Fatalf("children %+v, %v", children, err)
	}
	if n := s.model.Load("child").Total; n != 2 {
		t.Errorf("%d requests of the child, want 2", n)
	}
	r, err := s.model.Wait(ctx, func(r Request) bool { return r.Tag == "child" })
	if err != nil || r.Session != children[0].ID || r.Parent != id {
		t.Errorf("the child's request is of session %s with parent %s, %v", r.Session, r.Parent, err)
	}
}

// OpenCode takes any id that starts with msg, and the order of messages does
// not depend on it.
func testMessageIDs(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	for _, messageID := range []string{"msg_zzzzzzzzzzzz", "msg_000000000000", "msg_our-own_1"} {
		prompt := Text("@say to " + messageID)
		prompt.MessageID = messageID
		got, err := s.Prompt(ctx, id, prompt)
		if err != nil {
			t.Fatal(err)
		}
		if got.Info.ParentID != messageID || got.Text() != "to "+messageID {
			t.Errorf("answer %+v to %s", got, messageID)
		}
	}
	prompt := Text("x")
	prompt.MessageID = "own_1"
	err := s.PromptAsync(ctx, id, prompt)
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != http.StatusBadRequest {
		t.Errorf("error %v for an id without the prefix", err)
	}
}

// Every part of a prompt, synthetic ones included, reaches the model as a part
// of the same user message.
func testTextParts(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	got, err := s.Prompt(ctx, id, Prompt{Parts: []Part{
		{Type: "text", Text: "first"},
		{Type: "text", Text: "@say found it", Synthetic: true},
		{Type: "text", Text: "last"},
	}})
	if err != nil || got.Text() != "found it" {
		t.Errorf("answer %+v, %v", got, err)
	}
	r, err := s.model.Wait(ctx, func(r Request) bool { return r.Session == id })
	if err != nil || r.Last("user") != "first\n@say found it\nlast" {
		t.Errorf("the model got %q, %v", r.Last("user"), err)
	}
	// A note that starts no turn is a user message of its own.
	note := Text("a note")
	note.NoReply = true
	if _, err := s.Prompt(ctx, id, note); err != nil {
		t.Fatal(err)
	}
	if got := s.prompt(ctx, t, id, "@say second"); got.Text() != "second" {
		t.Errorf("answer %q", got.Text())
	}
	r, err = s.model.Wait(ctx, func(r Request) bool { return r.Session == id && r.Last("user") == "@say second" })
	if err != nil || !slices.Contains(r.Texts("user"), "a note") {
		t.Errorf("the model got %q, %v", r.Texts("user"), err)
	}
}

// The plan agent's reminder comes as one more part of the last user message.
func testPlanReminder(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	prompt := Text("@say planned")
	prompt.Agent = "plan"
	got, err := s.Prompt(ctx, id, prompt)
	if err != nil || got.Text() != "planned" || got.Info.Agent != "plan" {
		t.Errorf("answer %+v, %v", got, err)
	}
	r, err := s.model.Wait(ctx, func(r Request) bool { return r.Session == id })
	if err != nil || !strings.HasPrefix(r.Last("user"), "@say planned\n<system-reminder>") {
		t.Errorf("the model got %.80q, %v", r.Last("user"), err)
	}
}

func testMetadata(ctx context.Context, t *testing.T, s serving) {
	made, err := s.CreateSession(ctx, NewSession{Title: "m", Metadata: map[string]any{"task": "task_00000001"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Session(ctx, made.ID)
	if err != nil || string(got.Metadata) != `{"task":"task_00000001"}` {
		t.Errorf("metadata %s, %v", got.Metadata, err)
	}
	if err := s.DeleteSession(ctx, made.ID); err != nil {
		t.Error(err)
	}
	list, err := s.Sessions(ctx)
	if err != nil || slices.ContainsFunc(list, func(s Session) bool { return s.ID == made.ID }) {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

func testLimit(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	for _, text := range []string{"@say 1", "@say 2"} {
		s.prompt(ctx, t, id, text)
	}
	messages, err := s.Messages(ctx, id, 3)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, m := range messages {
		texts = append(texts, m.Text())
	}
	if diff := cmp.Diff([]string{"1", "@say 2", "2"}, texts); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func testCompaction(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	s.prompt(ctx, t, id, "@say a\n@call bash {}")
	if err := s.Do(ctx, http.MethodPost, sessionPath(id, "summarize"), ModelRef{provider, mainModel}, nil); err != nil {
		t.Fatal(err)
	}
	messages, err := s.Messages(ctx, id, 1)
	if err != nil || len(messages) != 1 || messages[0].Text() != summaryText {
		t.Errorf("newest message %+v, %v", messages, err)
	}
}

func testDispose(ctx context.Context, t *testing.T, s serving) {
	after := s.events.Len()
	if err := s.Dispose(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.events.Wait(ctx, after, OfType("server.instance.disposed")); err != nil {
		t.Error(err)
	}
	id := s.session(ctx, t)
	if _, err := s.events.Wait(ctx, after, OfSession("session.created", id)); err != nil {
		t.Errorf("the stream did not outlive the instance: %v", err)
	}
}

// A command that detaches itself outlives OpenCode and is found by its cookie.
func testKill(ctx context.Context, t *testing.T, s serving, p *Project) {
	s.prompt(ctx, t, s.session(ctx, t),
		`@call bash {"command":"setsid sleep 1000 >/dev/null 2>&1 &","description":"d"}`, "@say left one")
	sleeps := func(i ProcessInfo) bool { return strings.HasPrefix(i.Command, "sleep 1000") }
	child, err := p.Processes().WaitFor(ctx, sleeps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	result, err := s.Wait(ctx)
	if err != nil || result.Signal != syscall.SIGKILL || result.Code != -1 {
		t.Errorf("result %+v, %v", result, err)
	}
	if err := p.Processes().WaitGone(ctx, child.PID); err != nil {
		t.Errorf("more than the detached child is left: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 2*scanEvery)
	defer cancel()
	if err := p.Processes().WaitGone(short); err == nil || !strings.Contains(err.Error(), "sleep 1000") {
		t.Errorf("error %v does not name the child", err)
	}
	if err := p.Processes().KillAll(ctx); err != nil {
		t.Error(err)
	}
	if err := p.Processes().WaitGone(ctx); err != nil {
		t.Error(err)
	}
}

// probe is a plugin that writes down the options it was given.
const probe = `import fs from "node:fs"
export default { id: "probe", server: async (_, options) => {
	fs.writeFileSync(process.env.HOME + "/options.json", JSON.stringify(options))
	return {}
} }
`

func TestRun(t *testing.T) {
	m := startModel(t)
	p := newProject(t, m, Setup{
		Files:   map[string]string{"probe/probe.js": probe},
		Plugins: []Plugin{{Spec: "./probe/probe.js", Options: map[string]any{"n": 1}}},
	})
	ctx := deadline(t, realTimeout)
	got, err := p.RunAndWait(ctx, "Hello\n@call bash {\"command\":\"echo \\\"two words\\\"\",\"description\":\"d\"}\n@say the answer")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ran for %v", got.Duration)
	if got.Code != 0 || !strings.Contains(got.Stdout, "the answer") {
		t.Errorf("result %+v", got)
	}
	options, err := os.ReadFile(filepath.Join(p.Home, "options.json"))
	if err != nil || string(options) != `{"n":1}` {
		t.Errorf("the plugin got the options %s, %v", options, err)
	}
	// npm would have replaced the lock file that was written beforehand.
	lock, err := os.ReadFile(filepath.Join(p.Dir, ".opencode", "package-lock.json"))
	if err != nil || strings.Contains(string(lock), "resolved") {
		t.Errorf("OpenCode installed something: %s, %v", lock, err)
	}
	if m.Titles() != 1 {
		t.Errorf("%d titles were asked for, want 1", m.Titles())
	}
	if err := p.Processes().WaitGone(ctx); err != nil {
		t.Error(err)
	}

	t.Run("an argument arrives in quotes", func(t *testing.T) {
		process, err := p.Command("run", "-m", "scripted/main", "@say quoted \"like\" this")
		if err != nil {
			t.Fatal(err)
		}
		got, err := process.Wait(ctx)
		if err != nil || got.Code != 0 || !strings.Contains(got.Stdout, `quoted "like" this`) {
			t.Errorf("result %+v, %v", got, err)
		}
		last := m.Requests()[len(m.Requests())-1]
		if want := `"@say quoted \"like\" this"`; last.Last("user") != want {
			t.Errorf("the model got %q, want %q", last.Last("user"), want)
		}
	})

	t.Run("a failure", func(t *testing.T) {
		got, err := p.RunAndWait(ctx, "@fail 400 no luck")
		if err != nil || got.Code == 0 || !strings.Contains(got.Stdout+got.Stderr, "no luck") {
			t.Errorf("result %+v, %v", got, err)
		}
	})

	t.Run("a signal", func(t *testing.T) {
		process, err := p.Run("@call bash {\"command\":\"echo before\",\"description\":\"d\"}\n@tag stuck\n@hang")
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WaitLoad(ctx, "stuck", 1); err != nil {
			t.Fatal(err)
		}
		if err := process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		got, err := process.Wait(ctx)
		if err != nil || got.Code == 0 {
			t.Errorf("result %+v, %v", got, err)
		}
	})
}

func TestProjectKeepsTheCallersWorldOut(t *testing.T) {
	t.Setenv("OPENCODE_CONFIG_CONTENT", `{"model":"other/model"}`)
	t.Setenv("OPENAI_API_KEY", "secret")
	m := startModel(t)
	root := t.TempDir()
	p := newProject(t, m, Setup{
		Root:    root,
		Plugins: []Plugin{{Spec: "./a.js"}, {Spec: "./b.js", Options: map[string]any{"n": 1}}},
		Config:  map[string]any{"permission": map[string]any{"bash": "deny"}},
		Env:     []string{"EXTRA=1"},
	})
	env := p.Env()
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); name == "OPENCODE_CONFIG_CONTENT" || name == "OPENAI_API_KEY" {
			t.Errorf("%s leaks", name)
		}
	}
	for _, want := range []string{"EXTRA=1", "PWD=" + p.Dir, "HOME=" + p.Home} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %v", want, env)
		}
	}
	config, err := os.ReadFile(filepath.Join(p.Dir, "opencode.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"permission"`, `"./a.js"`, `"n": 1`, m.URL()} {
		if !strings.Contains(string(config), want) {
			t.Errorf("%s is missing in %s", want, config)
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("Close removed a root that it had not made: %v", err)
	}
}

func TestInstallSaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "opencode")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho 0.0.1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OPENCODE_BIN", path)
	_, err := Install(t.Context())
	if !errors.Is(err, ErrNoOpenCode) || !strings.Contains(err.Error(), `it is version "0.0.1"`) {
		t.Errorf("error %v", err)
	}
	t.Setenv("OPENCODE_BIN", "")
	dir := t.TempDir()
	t.Chdir(dir)
	if _, err := Install(t.Context()); !errors.Is(err, ErrNoOpenCode) {
		t.Errorf("error %v outside of a checkout", err)
	}
	if err := os.Mkdir("shim", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("shim/package.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context()); !errors.Is(err, ErrNoOpenCode) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("error %v without node_modules", err)
	}
}

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/crew"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// write puts files into the project before OpenCode starts; the keys are paths.
func (r *Rig) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := r.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *served) agents() map[string]hosttest.Agent {
	s.Helper()
	list, err := s.Agents(deadline(s.T, limit))
	if err != nil {
		s.Fatal(err)
	}
	named := map[string]hosttest.Agent{}
	for _, a := range list {
		named[a.Name] = a
	}
	return named
}

func (s *served) commands() map[string]hosttest.Command {
	s.Helper()
	list, err := s.Commands(deadline(s.T, limit))
	if err != nil {
		s.Fatal(err)
	}
	named := map[string]hosttest.Command{}
	for _, c := range list {
		named[c.Name] = c
	}
	return named
}

// raw returns what OpenCode lists under a name, without the project's own paths.
func (s *served) raw(path, name string) string {
	s.Helper()
	var list []json.RawMessage
	if err := s.Do(deadline(s.T, limit), "GET", path, nil, &list); err != nil {
		s.Fatal(err)
	}
	for _, one := range list {
		var named struct{ Name string }
		if err := json.Unmarshal(one, &named); err != nil {
			s.Fatal(err)
		}
		if named.Name == name {
			return strings.ReplaceAll(string(one), s.Root, "")
		}
	}
	s.Fatalf("%s does not list %s", path, name)
	return ""
}

func TestCrewIsAddedToOpenCode(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "record")
	s := serve(t, newRig(t, nil, "OPENCODE_SIDECAR_RECORD="+record))
	agents, commands := s.agents(), s.commands()
	for _, want := range crew.Agents() {
		got := agents[want.Name]
		got = hosttest.Agent{Name: got.Name, Description: got.Description, Mode: got.Mode, Hidden: got.Hidden, Color: got.Color, Prompt: got.Prompt}
		if diff := cmp.Diff(hosttest.Agent{Name: want.Name, Description: want.Description, Mode: want.Mode, Hidden: want.Hidden, Color: want.Color, Prompt: want.Prompt}, got); diff != "" {
			t.Error(diff)
		}
		rules := map[string]hosttest.Rule{
			"Commander": {Permission: "question", Pattern: "*", Action: "allow"},
			"Planner":   {Permission: "edit", Pattern: ".opencode/*", Action: "allow"},
			"Reviewer":  {Permission: "edit", Pattern: ".opencode/*", Action: "allow"},
		}
		if rule, some := rules[want.Name]; some && !slices.Contains(agents[want.Name].Permission, rule) {
			t.Errorf("%s has the rules %v, want %v", want.Name, agents[want.Name].Permission, rule)
		}
	}
	for _, want := range crew.Commands() {
		if diff := cmp.Diff(hosttest.Command{Name: want.Name, Description: want.Description, Agent: want.Agent, Template: want.Template, Source: "command"}, commands[want.Name]); diff != "" {
			t.Error(diff)
		}
	}
	for name, mode := range map[string]string{"build": "primary", "plan": "primary", "general": "subagent", "explore": "subagent"} {
		if a := agents[name]; a.Mode != mode || !a.Native {
			t.Errorf("%s has become %+v", name, a)
		}
	}
	var config map[string]any
	if err := s.Do(deadline(t, limit), "GET", "/config", nil, &config); err != nil {
		t.Error(err)
	}
	session := s.session()
	answer, err := s.Prompt(deadline(t, limit), session, hosttest.Text("@say hello"))
	if err != nil || answer.Info.Agent != "build" {
		t.Errorf("a plain prompt is answered by %q (%v), want the default agent build", answer.Info.Agent, err)
	}
	crossed := func(name string) int {
		b, _ := os.ReadFile(record)
		return strings.Count(string(b), `"command":"`+name+`"`)
	}
	if running, err := s.Sidecars(); err != nil || len(running) != 0 || crossed("task") != 0 {
		t.Errorf("before any command the sidecars are %v (%v)", running, err)
	}
	s.mission(session)
	if n := crossed("task"); n != 1 {
		t.Errorf("/task came %d times to the sidecar", n)
	}
	// OpenCode reads its configuration again.
	if err := s.Dispose(deadline(t, limit)); err != nil {
		t.Fatal(err)
	}
	s.mission(s.session())
	if n := crossed("task"); n != 2 {
		t.Errorf("after a reload /task came %d times to the sidecar", n-1)
	}
}

// mission begins a mission of several lines and checks who hears of it.
func (s *served) mission(session string) {
	s.Helper()
	answer, err := s.Client.Command(deadline(s.T, limit), session, "task", "make it \"better\"\n@say on my way\n  and faster")
	if err != nil || answer.Info.Agent != "Commander" || answer.Text() != "on my way" {
		s.Fatalf("%q of %s, %v", answer.Text(), answer.Info.Agent, err)
	}
	request := s.lastRequest(session)
	s.contains("what the model was told", strings.Join(request.Texts("user"), "\n"), "Take the mission below to its end", "make it \"better\"\n@say on my way\n  and faster")
	s.contains("the system prompt", strings.Join(request.Texts("system"), "\n"), crew.Agents()[0].Prompt)
}

// What a project has of its own is the same as without the plugin, to the byte.
func TestCrewLeavesTheUsersOwnAsItIs(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		".opencode/command/stop.md": "---\ndescription: my own\nagent: plan\n---\nStop the server of $1\n\n$ARGUMENTS\n",
		".opencode/agent/Worker.md": "---\ndescription: my own worker\nmode: primary\ncolor: \"#123456\"\npermission:\n  bash: ask\n---\nI work for nobody but you.\n",
		".opencode/opencode.json": `{"default_agent": "plan", "agent": {
			"Reviewer": {"model": "scripted/small", "temperature": 0.25, "permission": {"bash": "deny"}},
			"build": {"temperature": 0.5}, "Planner": {"disable": true}}}`,
	}
	r := newRig(t, nil)
	bare, err := NewRigWith(deadline(t, limit), r.Checkout, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bare.Close(); err != nil {
			t.Error(err)
		}
	})
	r.write(t, files)
	bare.write(t, files)
	s, without := serve(t, r), serve(t, bare)
	for _, one := range [][2]string{{"/command", "stop"}, {"/agent", "Worker"}, {"/agent", "build"}, {"/agent", "plan"}} {
		if diff := cmp.Diff(without.raw(one[0], one[1]), s.raw(one[0], one[1])); diff != "" {
			t.Errorf("%s %s has changed:\n%s", one[0], one[1], diff)
		}
	}
	agents := s.agents()
	ours, theirs := crew.Agents()[3], agents["Reviewer"]
	if theirs.Prompt != ours.Prompt || theirs.Mode != ours.Mode || !theirs.Hidden || theirs.Temperature != 0.25 ||
		theirs.Model == nil || theirs.Model.ModelID != "small" ||
		!slices.Contains(theirs.Permission, hosttest.Rule{Permission: "bash", Pattern: "*", Action: "deny"}) ||
		!slices.Contains(theirs.Permission, hosttest.Rule{Permission: "edit", Pattern: "*", Action: "deny"}) {
		t.Errorf("the override made %+v", theirs)
	}
	if _, there := agents["Planner"]; there {
		t.Error("a disabled agent is back")
	}
	session := s.session()
	answer, err := s.Client.Command(deadline(t, limit), session, "stop", "port 80\n@say mine")
	if err != nil || answer.Text() != "mine" || answer.Info.Agent != "plan" {
		t.Errorf("the own command answers %q as %s, %v", answer.Text(), answer.Info.Agent, err)
	}
	s.contains("what the model was told", strings.Join(s.lastRequest(session).Texts("user"), "\n"), "Stop the server of port")
	if running, err := s.Sidecars(); err != nil || len(running) != 0 {
		t.Errorf("a command of the user's own started %v (%v)", running, err)
	}
	if answer, err = s.Prompt(deadline(t, limit), session, hosttest.Text("@say hello")); err != nil || answer.Info.Agent != "plan" {
		t.Errorf("the default agent is %q, want the user's (%v)", answer.Info.Agent, err)
	}
}

func TestCrewOfAgentsJSONRunsAsItself(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.write(t, map[string]string{".opencode/agents.json": `{
		"archivist": {"id": "archivist", "description": "knows old things", "systemPrompt": "You are the archivist of this house.",
			"color": "#00ff00", "thinking": true, "budgetTokens": 2000, "maxTokens": 999, "canWrite": false, "canBash": false},
		"broken": {"id": "broken", "description": "d", "systemPrompt": "s", "mode": "weird", "canWrite": true, "canBash": true}}`})
	s := serve(t, r)
	session := s.session()
	calls := s.prompt(session, DelegateWith(map[string]any{"agent": "archivist", "background": false}, "@say found it"), Call("list_agents", nil), "@say fine")
	s.contains("the result", calls[0].State.Output, "[DONE]", "found it")
	s.contains("the agents", calls[1].State.Output, "archivist (subagent)", "knows old things", "Worker (subagent)")
	children, err := s.Children(deadline(t, limit), session)
	if err != nil || len(children) != 1 || children[0].Agent != "archivist" {
		t.Fatalf("children: %+v, %v", children, err)
	}
	request := s.lastRequest(children[0].ID)
	s.contains("the child's system prompt", strings.Join(request.Texts("system"), "\n"), "You are the archivist of this house.")
	for _, tool := range request.Tools {
		if slices.Contains([]string{"edit", "write", "apply_patch", "bash"}, tool.Name) {
			t.Errorf("the archivist is offered %s", tool.Name)
		}
	}
	agents := s.agents()
	want := map[string]any{"thinking": map[string]any{"type": "enabled", "budgetTokens": 2000.0}}
	if a := agents["archivist"]; a.Color != "#00ff00" || !cmp.Equal(want, a.Options) {
		t.Errorf("the archivist is %+v", a)
	}
	if a, there := agents["broken"]; there {
		t.Errorf("a wrong entry has become %+v", a)
	}
	logs, err := filepath.Glob(filepath.Join(r.DataDir, "opencode", "log", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("OpenCode's logs: %q, %v", logs, err)
	}
	s.wait("the user is told what is wrong", func() bool {
		var all strings.Builder
		for _, log := range logs {
			b, _ := os.ReadFile(log)
			all.Write(b)
		}
		return strings.Contains(all.String(), "broken") && strings.Contains(all.String(), "mode must be primary or subagent") && strings.Contains(all.String(), "maxTokens of the agent")
	})
}

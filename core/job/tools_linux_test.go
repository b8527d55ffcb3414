package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// desk is an engine with the tools on it, and plays OpenCode's permission rules:
// it denies what deny says.
type desk struct {
	*rig
	project string
	deny    func(host.Ask) error
	asked   []host.Ask
	tools   *tool.Registry
}

func (d *desk) Ask(_ context.Context, callID string, q host.Ask) error {
	if callID != "call_1" {
		d.Errorf("asked for the call %q", callID)
	}
	d.asked = append(d.asked, q)
	return d.deny(q)
}

func newDesk(t *testing.T, o Options) *desk {
	t.Helper()
	d := &desk{rig: with(t, o), deny: func(host.Ask) error { return nil }}
	project, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d.project = project
	lookup := func(id string) (workspace.Workspace, error) {
		switch id {
		case "wrk_1":
			return workspace.Workspace{Directory: d.project, Worktree: d.project}, nil
		case "wrk_2":
			return workspace.Workspace{Directory: "/elsewhere", Worktree: "/elsewhere"}, nil
		}
		return workspace.Workspace{}, workspace.ErrNotOpen
	}
	if d.tools, err = tool.NewRegistry(Tools(d.Engine, lookup, d, "/home/me")...); err != nil {
		t.Fatal(err)
	}
	return d
}

// call plays a call; arguments are JSON, in which {id} is an id.
func (d *desk) call(name, arguments string) (tool.Result, error) {
	d.Helper()
	return d.tools.Call(d.Context(), name, tool.Call{Workspace: "wrk_1", SessionID: "ses_1", CallID: "call_1"}, json.RawMessage(arguments))
}

// says is what a call that succeeds says, and the id that it is about.
func (d *desk) says(name, arguments string) (said, id string) {
	d.Helper()
	r, err := d.call(name, arguments)
	if err != nil {
		d.Fatalf("%s: %v", name, err)
	}
	id, _ = r.Metadata["taskId"].(string)
	return r.Output, id
}

// fails is the error of a call that does not succeed.
func (d *desk) fails(name, arguments string) string {
	d.Helper()
	r, err := d.call(name, arguments)
	if err == nil {
		d.Fatalf("%s(%s) gave %q", name, arguments, r.Output)
	}
	return err.Error()
}

func (d *desk) holds(text string, parts ...string) {
	d.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			d.Errorf("it lacks %q:\n%s", p, text)
		}
	}
}

func TestACommandFromItsStartToItsEnd(t *testing.T) {
	d := newDesk(t, Options{})
	said, id := d.says("run_background", `{"command":"echo one; echo two >&2; read x; echo got $x; exit 4","label":"talk","interactive":true,"waitFor":"one"}`)
	d.holds(said, "[RUNNING] "+id+" talk: `echo one;", "A line on stdout matches: one", "<stdout>\none\n</stdout>", "Cursor ")
	j, err := d.Get(id)
	if err != nil || j.Session != "ses_1" || j.Worktree != d.project || j.Directory != d.project {
		t.Errorf("%+v, %v", j, err)
	}
	said, _ = d.says("check_background", `{"taskId":"`+id+`","waitFor":"two","stream":"stderr"}`)
	d.holds(said, "A line on stderr matches: two")
	if strings.Contains(said, "<stdout>") {
		t.Errorf("only stderr was asked for:\n%s", said)
	}
	said, _ = d.says("write_background", `{"taskId":"`+id+`","input":"it\n"}`)
	d.holds(said, "Wrote 3 bytes.")
	r, err := d.call("check_background", `{"taskId":"`+id+`","cursor":"4.4","waitMs":10000}`)
	if err != nil {
		t.Fatal(err)
	}
	d.holds(r.Output, "[ERROR] "+id, "exit code 4 after ", "<stdout>\ngot it\n</stdout>")
	want := map[string]any{"taskId": id, "status": "error", "exitCode": 4, "cursor": "11.4"}
	if diff := cmp.Diff(want, maps.Clone(r.Metadata)); diff != "" {
		t.Error(diff)
	}
	said, _ = d.says("check_background", `{"taskId":"`+id+`","cursor":"11.4"}`)
	d.holds(said, "It has printed nothing new.")
	d.holds(d.fails("write_background", `{"taskId":"`+id+`","input":"more"}`), "the command has ended")
	said, _ = d.says("kill_background", `{"taskId":"`+id+`"}`)
	d.holds(said, "It had ended already.")
}

func TestWaitingForWhatDoesNotCome(t *testing.T) {
	d := newDesk(t, Options{})
	said, id := d.says("run_background", `{"command":"echo here; exec sleep 300","timeout":0,"waitFor":"never","waitMs":50}`)
	d.holds(said, "No line matched within 50ms; it goes on.", "here")
	if j, err := d.Get(id); err != nil || j.Timeout != NoTimeout {
		t.Errorf("timeout %v, %v", j.Timeout, err)
	}
	said, _ = d.says("check_background", `{"taskId":"`+id+`","waitMs":10}`)
	d.holds(said, "It has not ended within 10ms and goes on.")
	said, _ = d.says("kill_background", `{"taskId":"`+id+`"}`)
	d.holds(said, "[KILLED] "+id, "None of its processes is left.")
	said, _ = d.says("run_background", `{"command":"true","waitFor":"never"}`)
	d.holds(said, "[DONE]", "It has ended, and no line matched.", "It has printed nothing.")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the user pressed Esc"))
	_, err := d.tools.Call(ctx, "run_background", tool.Call{Workspace: "wrk_1", CallID: "call_1"}, json.RawMessage(`{"command":"exec sleep 300","waitMs":10000}`))
	if err == nil || !strings.Contains(err.Error(), "Esc") {
		t.Errorf("a cancelled wait: %v", err)
	}
}

// A terminal's size can be set, at the start and later.
func TestATerminalsSize(t *testing.T) {
	d := newDesk(t, Options{})
	_, id := d.says("run_background", `{"command":"stty size; read x; stty size","pty":true,"rows":30,"cols":90,"waitFor":"30 90"}`)
	said, _ := d.says("write_background", `{"taskId":"`+id+`","rows":40,"cols":120,"input":"\n"}`)
	d.holds(said, "40 rows and 120 columns", "Wrote 1 bytes")
	said, _ = d.says("check_background", `{"taskId":"`+id+`","waitMs":10000}`)
	d.holds(said, "[DONE]", "40 120")
}

func TestTheListOfAProject(t *testing.T) {
	d := newDesk(t, Options{Settings: Settings{Limit: 1}})
	said, _ := d.says("list_background", `{}`)
	d.holds(said, "no background commands.")
	_, running := d.says("run_background", `{"command":"exec sleep 300","label":"first"}`)
	said, waiting := d.says("run_background", `{"command":"true"}`)
	d.holds(said, "[PENDING] "+waiting, "number 1 in the queue", "It starts when another one has ended.")
	said, _ = d.says("list_background", `{"status":"running"}`)
	d.holds(said, "[PENDING] "+waiting, "[RUNNING] "+running+" first", "1 pending, 1 running.")
	r, err := d.tools.Call(t.Context(), "list_background", tool.Call{Workspace: "wrk_2"}, nil)
	if err != nil || !strings.Contains(r.Output, "no background commands") {
		t.Errorf("another project sees %q, %v", r.Output, err)
	}
	for _, name := range []string{"check_background", "kill_background"} {
		_, err := d.tools.Call(t.Context(), name, tool.Call{Workspace: "wrk_2"}, json.RawMessage(`{"taskId":"`+running+`"}`))
		if bad, ok := errors.AsType[*tool.ArgumentError](err); !ok || bad.Field != "taskId" {
			t.Errorf("%s from another project: %v", name, err)
		}
	}
}

// What is asked before a command runs, and that nothing runs when it is denied.
func TestEveryCommandIsAskedFor(t *testing.T) {
	d := newDesk(t, Options{})
	mark := filepath.Join(d.project, "mark")
	no := &host.CallError{Call: "tool.ask", Name: "PermissionDeniedError", Message: "denied by a rule"}
	d.deny = func(q host.Ask) error {
		for _, p := range q.Patterns {
			if strings.HasPrefix(p, "touch ") || q.Permission == "external_directory" {
				return no
			}
		}
		return nil
	}
	for _, line := range []string{"touch mark", "echo a && touch mark", "x=$(touch mark)", "{ touch mark; } | cat", "cp mark /etc/mark; touch mark"} {
		raw, _ := json.Marshal(map[string]any{"command": line, "waitMs": 5000})
		d.holds(d.fails("run_background", string(raw)), "the user's rules do not allow", "nothing was done")
	}
	d.holds(d.fails("run_background", `{"command":"true","cwd":"/"}`), "do not allow reaching outside of the project")
	link := filepath.Join(d.project, "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	d.holds(d.fails("run_background", `{"command":"true","cwd":"link"}`), "do not allow reaching outside of the project")
	if _, err := os.Stat(mark); err == nil {
		t.Error("a denied command has run")
	}
	if all := d.List(t.Context()); len(all) != 0 {
		t.Errorf("there are %v", all)
	}
	d.asked = nil
	_, id := d.says("run_background", `{"command":"git status --short; cat","interactive":true}`)
	want := []host.Ask{{
		Permission: "bash", Patterns: []string{"git status --short", "cat"}, Always: []string{"git status *", "cat *"},
		Metadata: map[string]any{"command": "git status --short; cat", "cwd": d.project, "background": true},
	}}
	if diff := cmp.Diff(want, d.asked); diff != "" {
		t.Error(diff)
	}
	d.deny = func(host.Ask) error { return no }
	d.holds(d.fails("write_background", `{"taskId":"`+id+`","input":"x"}`), "do not allow this command")
	d.deny = func(host.Ask) error { return errors.New("the pipe broke") }
	if err := d.fails("run_background", `{"command":"true"}`); !strings.Contains(err, "could not be asked") {
		t.Error(err)
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	d := newDesk(t, Options{})
	_, id := d.says("run_background", `{"command":"cat"}`)
	d.says("check_background", `{"taskId":"`+id+`","waitMs":10000}`)
	for _, test := range []struct{ tool, arguments, want string }{
		{"run_background", `{"command":"  "}`, "command"},
		{"run_background", `{"command":"true","timeout":-1}`, "timeout"},
		{"run_background", `{"command":"true","cwd":"nowhere"}`, "cwd"},
		{"run_background", `{"command":"true","env":{"A=B":"c"}}`, "env"},
		{"run_background", fmt.Sprintf(`{"command":"true","env":{"A":%q}}`, strings.Repeat("x", 200<<10)), "env"},
		{"run_background", `{"command":"true","rows":3}`, "rows"},
		{"run_background", `{"command":"true","pty":true,"rows":-3}`, "rows"},
		{"run_background", `{"command":"true","waitFor":"("}`, "waitFor"},
		{"run_background", `{"command":"true","waitMs":-1}`, "waitMs"},
		{"run_background", `{"command":"true","label":"a\nb"}`, "label"},
		{"check_background", `{"taskId":"job_00000000"}`, "taskId"},
		{"check_background", `{"taskId":"` + id + `","cursor":"x"}`, "cursor"},
		{"check_background", `{"taskId":"` + id + `","cursor":"9.9"}`, "cursor"},
		{"check_background", `{"taskId":"` + id + `","filter":"("}`, "filter"},
		{"check_background", `{"taskId":"` + id + `","waitFor":"["}`, "waitFor"},
		{"check_background", `{"taskId":"` + id + `","tailLines":0.5}`, "tailLines"},
		{"write_background", `{"taskId":"` + id + `"}`, "input"},
		{"write_background", `{"taskId":"` + id + `","rows":4}`, "rows"},
		{"kill_background", `{}`, "taskId"},
	} {
		_, err := d.call(test.tool, test.arguments)
		if bad, ok := errors.AsType[*tool.ArgumentError](err); !ok || bad.Field != test.want {
			t.Errorf("%s(%.80s): %v, want one about %s", test.tool, test.arguments, err, test.want)
		}
	}
	if all := d.List(t.Context()); len(all) != 1 {
		t.Errorf("%d commands were started", len(all))
	}
}

// Of an end that its session has read nobody need be told.
func TestAnEndThatWasReadIsKnown(t *testing.T) {
	var seen, told []string
	d := newDesk(t, Options{
		Ended: func(_ context.Context, j Job) { told = append(told, j.ID) },
		Seen: func(_ context.Context, j Job) {
			if len(told) == 0 || told[len(told)-1] != j.ID {
				t.Errorf("%s was seen before anybody was told: %v", j.ID, told)
			}
			seen = append(seen, j.ID)
		},
	})
	_, waited := d.says("run_background", `{"command":"true","notify":true,"waitMs":10000}`)
	_, quiet := d.says("run_background", `{"command":"true","waitMs":10000}`)
	_, checked := d.says("run_background", `{"command":"read x","notify":true,"interactive":true}`)
	d.says("check_background", `{"taskId":"`+checked+`"}`)
	d.says("write_background", `{"taskId":"`+checked+`","input":"x\n"}`)
	arguments := json.RawMessage(`{"taskId":"` + checked + `","waitMs":10000}`)
	if _, err := d.tools.Call(t.Context(), "check_background", tool.Call{Workspace: "wrk_1", SessionID: "ses_2"}, arguments); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{waited}, seen); diff != "" {
		t.Errorf("quiet is %s: %s", quiet, diff)
	}
	d.says("check_background", string(arguments))
	if diff := cmp.Diff([]string{waited, checked}, seen); diff != "" {
		t.Error(diff)
	}
}

// What runs code without a command in it is asked for all the same.
func TestNothingRunsUnasked(t *testing.T) {
	for _, line := range []string{
		`x='a[$(touch pwn)]'; y=$((x))`, `[ -v 'a[$(touch pwn)]' ]`, `declare -i z='a[$(touch pwn)]'`, `[[ 'a[$(touch pwn)]' -eq 1 ]]`,
		`[[ a == @($(touch pwn)|b) ]]`, `case a in @($(touch pwn))) ;; esac`, `x=$(<.env); declare -p x`, `cd .`, `x='a[$(touch pwn)]'; unset "$x"`,
	} {
		d := newDesk(t, Options{Shell: []string{"/bin/bash", "-O", "extglob", "-c"}})
		d.deny = func(host.Ask) error {
			return &host.CallError{Call: "tool.ask", Name: "PermissionDeniedError", Message: "no"}
		}
		raw, err := json.Marshal(map[string]any{"command": line, "waitMs": 5000})
		if err != nil {
			t.Fatal(err)
		}
		d.holds(d.fails("run_background", string(raw)), "nothing was done")
		if _, err := os.Stat(filepath.Join(d.project, "pwn")); err == nil {
			t.Errorf("%s has run", line)
		}
	}
}

// Variables and input can make another command of the one that is allowed.
func TestVariablesAndInputAreAskedFor(t *testing.T) {
	d := newDesk(t, Options{})
	d.says("run_background", `{"command":"ls -l | cat","env":{"PATH":"./bin:/bin","A":"b c"},"waitMs":5000}`)
	d.says("run_background", `{"command":"sh","stdin":"touch x; cat /etc/hostname\n","waitMs":5000}`)
	_, id := d.says("run_background", `{"command":"cat","stdin":"touch x","interactive":true}`)
	d.says("write_background", `{"taskId":"`+id+`","input":"rm y\n","eof":true}`)
	var patterns [][]string
	for _, q := range d.asked {
		patterns = append(patterns, q.Patterns)
	}
	want := [][]string{
		{"A='b c' PATH=./bin:/bin ls -l", "A='b c' PATH=./bin:/bin cat"},
		{"/etc/*"}, {"sh", "touch x", "cat /etc/hostname"}, {"cat"}, {"cat"},
	}
	if diff := cmp.Diff(want, patterns); diff != "" {
		t.Error(diff)
	}
	if got := d.asked[len(d.asked)-1].Metadata["input"]; got != "rm y\n" {
		t.Errorf("of what is typed is shown: %v", got)
	}
	if got := d.asked[0].Metadata["env"]; !cmp.Equal(got, map[string]string{"PATH": "./bin:/bin", "A": "b c"}) {
		t.Errorf("of the variables is shown: %v", got)
	}
	d.holds(d.fails("run_background", `{"command":"ls","env":{"BASH_FUNC_ls%%":"() { touch pwn; }"}}`), "env", "is not the name of a variable")
}

package todo

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// asker plays OpenCode's permission rules.
type asker struct {
	answer error
	asked  []host.Ask
	calls  []string
	during func()
}

func (a *asker) Ask(_ context.Context, callID string, q host.Ask) error {
	a.asked, a.calls = append(a.asked, q), append(a.calls, callID)
	if a.during != nil {
		a.during()
	}
	return a.answer
}

// desk is a worktree with the tool on it.
type desk struct {
	*worktree
	sync  *Sync
	asker *asker
	tools *tool.Registry
}

func newDesk(t *testing.T, content string) *desk {
	t.Helper()
	d := &desk{worktree: newWorktree(t, content), asker: &asker{}}
	d.sync = NewSync(SyncOptions{State: d.state, Host: &screen{}, Log: zerolog.Nop()})
	t.Cleanup(func() { d.must(d.sync.Stop(context.WithoutCancel(t.Context()))) })
	d.sync.Open(d.dir, d.dir, false)
	lookup := func(id string) (workspace.Workspace, error) {
		switch id {
		case "wrk_1":
			return workspace.Workspace{Directory: d.dir, Worktree: d.dir}, nil
		case "wrk_2":
			return workspace.Workspace{Directory: "/elsewhere", Worktree: "/elsewhere"}, nil
		}
		return workspace.Workspace{}, workspace.ErrNotOpen
	}
	var err error
	d.tools, err = tool.NewRegistry(Tools(d.sync, lookup, d.asker)...)
	d.must(err)
	return d
}

// call calls update_todo with arguments as JSON, in which ' stands for ".
func (d *desk) call(args string) (tool.Result, error) {
	return d.tools.Call(d.t.Context(), "update_todo",
		tool.Call{Workspace: "wrk_1", SessionID: "ses_1", CallID: "call_1", Agent: "build"}, json.RawMessage(strings.ReplaceAll(args, "'", `"`)))
}

const plan = `# Plan

## M1: Parser
- [ ] S1.1: Write the parser | size:M
  - [x] read the grammar
- [/] S1.2: Write its tests
* [x] S1.3: Write its docs
`

func TestUpdateTodo(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		doc, want  string // plan and doc unless set
		said       string
	}{
		{
			name: "by id", args: `{'action':'update','task':'S1.1','status':'completed'}`,
			want: strings.Replace(plan, "[ ] S1.1", "[x] S1.1", 1),
			said: "\"S1.1: Write the parser | size:M\" (line 4): pending → completed.\n3 of 4 done, 1 open. Version ",
		},
		{
			name: "by a part of its text", args: `{'action':'update','task':' the   GRAMMAR','status':'pending'}`,
			want: strings.Replace(plan, "[x] read", "[ ] read", 1), said: "\"read the grammar\" (line 5): completed → pending.\n1 of 4 done, 3 open.",
		},
		{
			name: "a word of the seed", args: `{'action':'update','task':'S1.1','status':'progress'}`,
			want: strings.Replace(plan, "[ ] S1.1", "[/] S1.1", 1), said: "pending → in_progress",
		},
		{
			name: "a word of OpenCode", args: `{'action':'update','task':'S1.1','status':'in_progress'}`,
			want: strings.Replace(plan, "[ ] S1.1", "[/] S1.1", 1), said: "pending → in_progress",
		},
		{
			name: "failed", args: `{'action':'update','task':'S1.2','status':'failed'}`,
			want: strings.Replace(plan, "[/] S1.2", "[-] S1.2", 1), said: "in_progress → cancelled.\n2 of 4 done, 1 cancelled, 1 open.",
		},
		{
			name: "cancelled", args: `{'action':'update','task':'S1.2','status':'cancelled'}`,
			want: strings.Replace(plan, "[/] S1.2", "[-] S1.2", 1), said: "in_progress → cancelled",
		},
		{
			name: "the last one", doc: "- [ ] a\n", args: `{'action':'update','task':'a','status':'completed'}`,
			want: "- [x] a\n", said: "1 of 1 done. Version ",
		},
		{
			name: "done already", args: `{'action':'update','task':'S1.3','status':'completed'}`,
			said: "\"S1.3: Write its docs\" (line 7) is completed already; nothing was changed.\n2 of 4 done, 2 open. Version ",
		},
		{
			name: "with a version", doc: "- [ ] a\n", args: `{'action':'update','task':'a','status':'completed','version':'` + string(mustVersion("- [ ] a\n"))[:12] + `'}`,
			want: "- [x] a\n", said: "pending → completed",
		},
		{
			name: "with all of a version", doc: "- [ ] a\n", args: `{'action':'update','task':'a','status':'completed','version':'` + strings.ToUpper(string(mustVersion("- [ ] a\n"))) + `'}`,
			want: "- [x] a\n", said: "pending → completed",
		},
		{
			name: "an item", args: `{'action':'add','task':'S1.4: Fuzz it'}`,
			want: plan + "* [ ] S1.4: Fuzz it\n", said: "Added \"S1.4: Fuzz it\", pending.\n2 of 5 done, 3 open. Version ",
		},
		{
			name: "an item as a line", args: `{'action':'add','task':'- [ ] S1.4:  Fuzz it\n'}`,
			want: plan + "* [ ] S1.4: Fuzz it\n", said: "Added",
		},
		{
			name: "an item at the end of the list, under its heading", doc: "## A\n- [ ] a\n\n## Notes\ntext\n", args: `{'action':'add','task':'b'}`,
			want: "## A\n- [ ] a\n- [ ] b\n\n## Notes\ntext\n", said: "Added",
		},
		{
			name: "an item that is being worked on", doc: "- [ ] a\n", args: `{'action':'add','task':'b','status':'progress'}`,
			want: "- [ ] a\n- [/] b\n", said: "Added \"b\", in_progress.",
		},
		{
			name: "the first item of a text", doc: "notes\n", args: `{'action':'add','task':'a'}`, want: "notes\n\n- [ ] a\n", said: "0 of 1 done, 1 open",
		},
		{name: "the first item of an empty file", doc: "", args: `{'action':'add','task':'a'}`, want: "- [ ] a\n", said: "Added"},
		{name: "the first item", doc: "-", args: `{'action':'add','task':'a'}`, want: "- [ ] a\n", said: "Added \"a\", pending.\n0 of 1 done, 1 open."},
		{
			name: "a subtask", args: `{'action':'add','task':'S1.1','subtask':'write it down'}`,
			want: strings.Replace(plan, "grammar\n", "grammar\n  - [ ] write it down\n", 1),
			said: "Added \"write it down\", pending, below \"S1.1: Write the parser | size:M\" (line 4), which is pending.\n2 of 5 done, 3 open.",
		},
		{
			name: "a subtask of what was done", args: `{'action':'add','task':'S1.3','subtask':'translate them'}`,
			want: plan + "  * [ ] translate them\n", said: "which is completed.",
		},
		{
			name: "a subtask of a text that others have", doc: "- [ ] a\n  - [ ] test\n- [ ] b\n", args: `{'action':'add','task':'b','subtask':'test'}`,
			want: "- [ ] a\n  - [ ] test\n- [ ] b\n  - [ ] test\n", said: "Added",
		},
		{
			name: "an item that is there", args: `{'action':'add','task':'S1.1:  Write the parser | size:L','status':'completed'}`,
			said: "\"S1.1: Write the parser | size:M\" (line 4) is there already, and is pending; nothing was added.\n2 of 4 done, 2 open. Version ",
		},
		{
			name: "an item that is there, nested", args: `{'action':'add','task':'read the grammar'}`,
			said: "\"read the grammar\" (line 5) is there already, and is completed; nothing was added.",
		},
		{
			name: "a subtask that is there", args: `{'action':'add','task':'S1.1','subtask':'read the grammar'}`,
			said: "is there already, and is completed; nothing was added.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.doc == "" && tt.want != "- [ ] a\n" {
				tt.doc = plan
			}
			same := tt.want == ""
			if same {
				tt.want = tt.doc
			}
			d := newDesk(t, tt.doc)
			got, err := d.call(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, d.content()); diff != "" {
				t.Errorf("the file (-want +got):\n%s", diff)
			}
			if !strings.Contains(got.Output, tt.said) {
				t.Errorf("said %q, want %q", got.Output, tt.said)
			}
			doc := d.read()
			if !strings.HasSuffix(got.Output, "Version "+doc.Version.Short()+".") || got.Metadata["version"] != doc.Version.Short() || got.Metadata["total"] != doc.Len() {
				t.Errorf("said %q with %v of version %s", got.Output, got.Metadata, doc.Version.Short())
			}
			if asked := len(d.asker.asked); asked != map[bool]int{true: 0, false: 1}[same] {
				t.Errorf("asked %d times", asked)
			}
			if !same {
				if h := d.history(); len(h) != 1 || h[0].Actor != "build" || !strings.Contains(tt.args, h[0].Kind) {
					t.Errorf("the history is %+v", h)
				}
			}
			if d.sync.trees[d.dir].watcher == nil {
				t.Error("the list is not watched")
			}
		})
	}
}

func mustVersion(content string) Version {
	doc, err := Parse([]byte(content))
	if err != nil {
		panic(err)
	}
	return doc.Version
}

func TestUpdateTodoRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, args, doc string
		want            []string
	}{
		{"no action", `{'task':'a'}`, plan, []string{`update_todo: "action" is missing`}},
		{"another action", `{'action':'delete','task':'a'}`, plan, []string{`"action" is "delete"; accepted values are update, add`}},
		{"no task", `{'action':'add'}`, plan, []string{`"task" is missing`}},
		{"an empty task", `{'action':'add','task':''}`, plan, []string{`"task"`}},
		{"a field of its own", `{'action':'add','task':'a','priority':'high'}`, plan, []string{`"priority"`}},
		{"no status", `{'action':'update','task':'S1.1'}`, plan, []string{`update_todo: "status" is missing`, "pending, progress, completed or failed"}},
		{"another status", `{'action':'update','task':'S1.1','status':'finished'}`, plan, []string{`"status"`, "completed"}},
		{"an update of a subtask", `{'action':'update','task':'S1.1','status':'completed','subtask':'x'}`, plan, []string{`update_todo: "subtask" goes with the action add`}},
		{"no version", `{'action':'update','task':'S1.1','status':'completed','version':'latest'}`, plan, []string{`update_todo: "version" is "latest"`, "12 hexadecimal digits"}},
		{"half a version", `{'action':'update','task':'S1.1','status':'completed','version':'abc'}`, plan, []string{`"version" is "abc"`}},
		{"several lines", `{'action':'add','task':'a\n\nb\r\nc'}`, plan, []string{`update_todo: "task" has 3 lines`, "once for each item"}},
		{"several lines below", `{'action':'add','task':'S1.1','subtask':'a\nb'}`, plan, []string{`update_todo: "subtask" has 2 lines`}},
		{"no text", `{'action':'add','task':' - [ ] '}`, plan, []string{`"task" holds no text`}},
		{"a long text", `{'action':'add','task':'` + strings.Repeat("é", 501) + `'}`, plan, []string{`"task" is 501 characters long`, "500 at most"}},
		{"unknown", `{'action':'update','task':'S9','status':'completed'}`, plan, []string{`no item of todo.md matches "S9"`, "line 4: [ ] S1.1: Write the parser"}},
		{"ambiguous", `{'action':'update','task':'write','status':'completed'}`, plan, []string{`3 items of todo.md match "write"`, "line 4", "line 6", "line 7"}},
		{"unknown above", `{'action':'add','task':'S9','subtask':'x'}`, plan, []string{`no item of todo.md matches "S9"`}},
		{"blank above", `{'action':'add','task':' ','subtask':'x'}`, plan, []string{`no item of todo.md matches ""`}},
		{"an update without a file", `{'action':'update','task':'a','status':'completed'}`, "-", []string{"there is no .opencode/todo.md", "action add"}},
		{"a subtask without a file", `{'action':'add','task':'a','subtask':'b'}`, "-", []string{"there is no .opencode/todo.md", "without subtask"}},
		{"a version of a file that went", `{'action':'add','task':'a','version':'0123456789ab'}`, "-", []string{"there is no .opencode/todo.md", "and version"}},
		{"binary", `{'action':'add','task':'a'}`, "a\x00", []string{"reading .opencode/todo.md", "NUL", "; only the user can put that right"}},
		{"no place", `{'action':'add','task':'a','subtask':'b'}`, strings.Repeat("- ", maxDepth/2) + "[ ] a\n", []string{"would change what other lines of the file mean; nothing was written"}},
		{
			"a version that nobody knows", `{'action':'update','task':'S1.3','status':'pending','version':'0123456789ab'}`, plan,
			[]string{"changed since version 0123456789ab", "it is version " + mustVersion(plan).Short() + " now", "nothing was written. It stands at 2 of 4 done, 2 open; \"S1.3: Write its docs\" (line 7) is completed. If", mustVersion(plan).Short()},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t, tt.doc)
			_, err := d.call(tt.args)
			if err == nil {
				t.Fatalf("the file is now %q", d.content())
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("said %q, want %q", err, want)
				}
			}
			if strings.Contains(err.Error(), d.dir) {
				t.Errorf("a path of the machine in %q", err)
			}
			if tt.doc == "-" {
				if _, err := os.Stat(d.path(".opencode")); !os.IsNotExist(err) {
					t.Error("a folder was made")
				}
			} else if d.content() != tt.doc || len(d.names()) != 1 {
				t.Errorf("the file is now %q", d.content())
			}
			if len(d.asker.asked) > 0 {
				t.Error("asked for nothing")
			}
		})
	}
}

func TestUpdateTodoTellsWhatChanged(t *testing.T) {
	d := newDesk(t, "- [ ] a\n- [ ] b\n")
	version := d.read().Version.Short()
	_, err := d.sync.Read(d.dir)
	d.must(err)
	d.write("- [x] a\n- [ ] b\n- [ ] c\n")
	_, err = d.call(`{'action':'update','task':'a','status':'progress','version':'` + version + `'}`)
	want := ".opencode/todo.md changed since version " + version + "; it is version " + d.read().Version.Short() +
		` now: line 1 was "- [ ] a" and is "- [x] a"; line 3 is new: "- [ ] c"; nothing was written. It stands at 1 of 3 done, 2 open; "a" (line 1) is completed.` +
		" If the change is still right, make it with version " + d.read().Version.Short()
	if !errors.Is(err, ErrConflict) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	got, err := d.call(`{'action':'update','task':'b','status':'completed','version':'` + d.read().Version.Short() + `'}`)
	if err != nil || !strings.Contains(got.Output, "2 of 3 done, 1 open") {
		t.Errorf("%q, %v", got.Output, err)
	}
}

// The user sees what is about to be written, and thinks for as long as they like.
func TestUpdateTodoAsks(t *testing.T) {
	d := newDesk(t, "- [ ] a\n- [ ] b\n")
	d.asker.during = func() { d.write("- [ ] new\n- [ ] a\n- [ ] b\n") }
	got, err := d.call(`{'action':'update','task':'a','status':'completed'}`)
	if err != nil || d.content() != "- [ ] new\n- [x] a\n- [ ] b\n" || !strings.Contains(got.Output, "(line 2)") {
		t.Errorf("%q, %q, %v", d.content(), got.Output, err)
	}
	path := d.path(Path)
	want := []host.Ask{{
		Permission: "edit", Patterns: []string{".opencode/todo.md"}, Always: []string{".opencode/todo.md"},
		Metadata: map[string]any{
			"filepath": path,
			"diff":     "--- " + path + "\n+++ " + path + "\n@@ -1,2 +1,2 @@\n-- [ ] a\n+- [x] a\n - [ ] b\n",
		},
	}}
	if diff := cmp.Diff(want, d.asker.asked); diff != "" || !slices.Equal(d.asker.calls, []string{"call_1"}) {
		t.Errorf("asked for %v (-want +got):\n%s", d.asker.calls, diff)
	}

	// What became of the file meanwhile counts.
	d.asker.during = func() { d.must(os.Remove(d.path(Path))) }
	if _, err := d.call(`{'action':'update','task':'a','status':'pending'}`); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "action add") {
		t.Errorf("%v", err)
	}
	d.write("- [ ] a\n")
	version := d.read().Version.Short()
	d.asker.during = func() { d.write("- [ ] a\n- [ ] b\n") }
	if _, err := d.call(`{'action':'update','task':'a','status':'completed','version':'` + version + `'}`); !errors.Is(err, ErrConflict) {
		t.Errorf("%v", err)
	}
	d.asker.during = func() { d.must(os.Remove(d.path(Path))) }
	if _, err := d.call(`{'action':'add','task':'c'}`); err != nil || d.content() != "- [ ] c\n" {
		t.Errorf("%v", err)
	}
	d.asker.during = func() { d.write("- [ ] made\n") }
	d.must(os.Remove(d.path(Path)))
	if _, err := d.call(`{'action':'add','task':'c'}`); err != nil || d.content() != "- [ ] made\n- [ ] c\n" {
		t.Errorf("%v", err)
	}
}

func TestUpdateTodoIsNotAllowed(t *testing.T) {
	for _, content := range []string{"- [ ] a\n", "-"} {
		d := newDesk(t, content)
		d.asker.answer = &host.CallError{Call: "host/tool.ask", Name: "PermissionDeniedError", Message: "a rule"}
		_, err := d.call(`{'action':'add','task':'b'}`)
		if err == nil || !host.NotAllowed(err) || !strings.HasPrefix(err.Error(), "the user's rules do not allow editing .opencode/todo.md, so nothing was written: ") || !strings.Contains(err.Error(), "a rule") {
			t.Errorf("%v", err)
		}
		d.asker.answer = &host.CallError{Call: "host/tool.ask", Message: "the tool call is over"}
		if _, err = d.call(`{'action':'add','task':'b'}`); err == nil || host.NotAllowed(err) || !strings.Contains(err.Error(), "could not be asked, so nothing was written") {
			t.Errorf("%v", err)
		}
		d.asker.answer = context.Canceled
		if _, err = d.call(`{'action':'add','task':'b'}`); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if content == "-" {
			if _, err := os.Stat(d.path(".opencode")); !os.IsNotExist(err) {
				t.Error("a folder was made")
			}
		} else if d.content() != content || len(d.names()) != 1 {
			t.Errorf("%q, %q", d.content(), d.names())
		}
	}
}

func TestUpdateTodoElsewhere(t *testing.T) {
	d := newDesk(t, "- [ ] a\n")
	for id, want := range map[string]error{"wrk_2": ErrNotOpen, "wrk_3": workspace.ErrNotOpen} {
		_, err := d.tools.Call(t.Context(), "update_todo", tool.Call{Workspace: id}, json.RawMessage(`{"action":"add","task":"b"}`))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	d.must(d.sync.Stop(t.Context()))
	if _, err := d.call(`{'action':'add','task':'b'}`); !errors.Is(err, ErrStopped) || d.content() != "- [ ] a\n" {
		t.Errorf("after the end: %v", err)
	}
}

func TestUpdateTodoSchema(t *testing.T) {
	d := newDesk(t, "-")
	definition := d.tools.Definitions()[0]
	var schema struct {
		Properties           map[string]struct{ Enum []string }
		Required             []string
		AdditionalProperties *bool
	}
	d.must(json.Unmarshal(definition.Schema, &schema))
	if got := slices.Sorted(maps.Keys(schema.Properties)); definition.Name != "update_todo" || !slices.Equal(got, []string{"action", "status", "subtask", "task", "version"}) {
		t.Errorf("%s takes %q", definition.Name, got)
	}
	slices.Sort(schema.Required)
	if !slices.Equal(schema.Required, []string{"action", "task"}) || schema.AdditionalProperties == nil || *schema.AdditionalProperties {
		t.Errorf("the schema is %s", definition.Schema)
	}
	if !slices.Equal(schema.Properties["action"].Enum, []string{"update", "add"}) || len(schema.Properties["status"].Enum) != 6 {
		t.Errorf("the schema is %s", definition.Schema)
	}
	for _, word := range schema.Properties["status"].Enum {
		if _, ok := ParseState(word); !ok {
			t.Errorf("%q is no state", word)
		}
	}
}

func TestPatch(t *testing.T) {
	const from = "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
	for _, tt := range []struct{ before, after, want string }{
		{from, from, ""},
		{from, strings.Replace(from, "5\n", "five\n", 1), "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"},
		{from, from + "10\n", "@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+10\n"},
		{from, "0\n" + from, "@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n"},
		{from, from[2:], "@@ -1,4 +1,3 @@\n-1\n 2\n 3\n 4\n"},
		{"", "a\n", "@@ -0,0 +1,1 @@\n+a\n"},
		{"a\n", "", "@@ -1,1 +0,0 @@\n-a\n"},
		{"a", "a\nb", "@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n\\ No newline at end of file\n"},
		{"a\r\nb\r\n", "a\r\nc\r\n", "@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\r\n"},
	} {
		want := tt.want
		if want != "" {
			want = "--- f\n+++ f\n" + want
		}
		if got := patch("f", tt.before, tt.after); got != want {
			t.Errorf("%q to %q:\n%s\nwant\n%s", tt.before, tt.after, got, want)
		}
	}
}

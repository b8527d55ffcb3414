package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// desk is a console with a worktree and a database of its own.
type desk struct {
	*testing.T
	console
	path, worktree string
	store          *sqlitestore.Store // of another process, as it were
}

// sit returns a desk, without a database if tasks are nil. The task with owner
// "alive" has a living one.
func sit(t *testing.T, tasks []task.Task) *desk {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, path: filepath.Join(root, "state", "tasks.db"), worktree: filepath.Join(root, "project")}
	sub := filepath.Join(d.worktree, "deep", "down")
	if err := errors.Join(os.MkdirAll(sub, 0o755), os.Mkdir(filepath.Join(d.worktree, ".git"), 0o755)); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"OPENCODE_SIDECAR_STORE": d.path, "NO_COLOR": "1"}
	d.console = console{
		in: strings.NewReader(""), dir: sub, now: func() time.Time { return noon },
		env: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
	}
	if tasks == nil {
		return d
	}
	d.store = d.opened(d.path)
	release, err := d.store.Claim("alive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	for _, tk := range tasks {
		if tk.Worktree == "" {
			tk.Worktree, tk.Directory = d.worktree, d.worktree
		}
		if err := d.store.Create(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *desk) opened(path string) *sqlitestore.Store {
	d.Helper()
	store, _, err := sqlitestore.Open(sqlitestore.Options{Path: path, Log: zerolog.Nop()})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { _ = store.Close() })
	return store
}

// run runs a command and returns its code, standard output and error output,
// with PROJECT in place of the worktree.
func (d *desk) run(ctx context.Context, command func(context.Context, []string, *console) int, args ...string) (int, string, string) {
	d.Helper()
	c := d.console
	var out, errs bytes.Buffer
	if c.out == nil {
		c.out = &out
	}
	c.err = &errs
	code := command(ctx, args, &c)
	return code, strings.ReplaceAll(out.String(), d.worktree, "PROJECT"), strings.ReplaceAll(errs.String(), d.worktree, "PROJECT")
}

// want runs a command and compares all that it says.
func (d *desk) want(command func(context.Context, []string, *console) int, args []string, code int, out, errs string) {
	d.Helper()
	gotCode, gotOut, gotErr := d.run(d.Context(), command, args...)
	if diff := cmp.Diff([]any{code, strings.TrimLeft(out, "\n"), errs}, []any{gotCode, gotOut, gotErr}); diff != "" {
		d.Errorf("%q (-want +got):\n%s", args, diff)
	}
}

func (d *desk) get(id task.ID) task.Task {
	d.Helper()
	t, err := d.store.Get(d.Context(), id)
	if err != nil {
		d.Fatal(err)
	}
	return t
}

// someTasks are one of each kind, oldest first.
func someTasks() []task.Task {
	at := func(ago time.Duration) time.Time { return noon.Add(-ago) }
	base := func(id task.ID, state task.State, created time.Duration) task.Task {
		return task.Task{
			ID: id, Owner: "alive", Parent: "ses_p", Root: "ses_p", Session: "ses_" + string(id), Agent: "general",
			Description: "look at " + string(id), Prompt: "the prompt of " + string(id), Background: true, Depth: 1,
			Attempt: 1, State: state, Created: at(created),
		}
	}
	done := base("task_00000001", task.Completed, 50*time.Hour)
	done.Started, done.Ended, done.Result, done.Told = at(50*time.Hour), at(49*time.Hour), "all is well", true
	done.Usage = task.Usage{Input: 11_000, Output: 900, Reasoning: 400, Cost: 0.034}
	failed := base("task_00000002", task.Failed, 3*time.Hour)
	failed.Started, failed.Ended, failed.Error, failed.Attempt = at(2*time.Hour), at(2*time.Hour-90*time.Second), "the provider is overloaded", 2
	failed.Model, failed.Group, failed.Parent = host.Model{Provider: "p", ID: "m"}, "g", "ses_q"
	failed.Past = []task.Attempt{{State: task.Failed, Model: host.Model{Provider: "p", ID: "old"}, Result: "half", Error: "429", Started: at(3 * time.Hour), Ended: at(3*time.Hour - time.Minute)}}
	failed.Description = "evil \x1b[31mred\n\u202etxet 漢字"
	running := base("task_00000003", task.Running, 10*time.Minute)
	running.Started, running.Usage.Input = at(5*time.Minute), 800
	lost := base("task_00000004", task.Running, 9*time.Minute)
	lost.Started, lost.Owner = at(9*time.Minute), "dead"
	waiting := base("task_00000005", task.Pending, 30*time.Second)
	waiting.Description = "a description that is much too long for the narrow terminal of this test"
	elsewhere := base("task_00000006", task.Cancelled, 20*time.Second)
	elsewhere.Worktree, elsewhere.Directory, elsewhere.Ended = "/other", "/other", at(10*time.Second)
	return []task.Task{done, failed, running, lost, waiting, elsewhere}
}

func TestTasksList(t *testing.T) {
	d := sit(t, someTasks())
	d.want(tasksCommand, nil, 0, `
ID             STATE      AGENT    AGE  RAN     TOKENS  COST   DESCRIPTION
task_00000005  pending    general  30s  -       -       -      a description that is much too long for the narrow terminal of this test
task_00000004  abandoned  general  9m   ?       -       -      look at task_00000004
task_00000003  running    general  10m  5m0s    800     -      look at task_00000003
task_00000002  error      general  3h   1m30s   -       -      evil �[31mred �txet 漢字
task_00000001  completed  general  2d   1h0m0s  12.3k   $0.03  look at task_00000001

5 tasks: 1 pending, 2 running, 1 completed, 1 error; 13.1k tokens, $0.03
abandoned: its OpenCode has ended. How it ended is settled when OpenCode next opens its worktree or, if that is gone, by `+"`sidecar tasks cancel ID`"+`.
`, "")
	wide := strings.Repeat(" ", max(len(d.worktree)-len("/other"), 0))
	_, out, _ := d.run(t.Context(), tasksCommand, "list", "--all", "--state", "ended", "--limit=2")
	want := "ID             STATE      AGENT    AGE  RAN    TOKENS  COST  WORKTREE" + wide[2:] + "  DESCRIPTION\n" +
		"task_00000006  cancelled  general  20s  -      -       -     /other" + wide + "  look at task_00000006\n" +
		"task_00000002  error      general  3h   1m30s  -       -     PROJECT  evil \ufffd[31mred \ufffdtxet 漢字\n" +
		"\n3 tasks: 1 completed, 1 error, 1 cancelled; the newest 2 are shown\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("--all (-want +got):\n%s", diff)
	}
	d.want(tasksCommand, []string{"--group", "none"}, 0, "No such tasks in PROJECT. `sidecar tasks --all` lists those of all worktrees.\n", "")
	d.want(tasksCommand, []string{"--worktree", "/nowhere"}, 0, "No tasks yet in /nowhere. `sidecar tasks --all` lists those of all worktrees.\n", "")
	d.width = 80
	_, out, _ = d.run(t.Context(), tasksCommand, "list", "--state=pending,error")
	lines := strings.Split(out, "\n")
	if lines[1] != "task_00000005  pending  general  30s  -      -       -     a description that i…" || len([]rune(lines[1])) != 80 {
		t.Errorf("in 80 columns:\n%s", out)
	}
}

func TestTasksListColours(t *testing.T) {
	d := sit(t, someTasks())
	d.width, d.env = 80, func(k string) (string, bool) {
		return map[string]string{"OPENCODE_SIDECAR_STORE": d.path, "TERM": "xterm"}[k], true
	}
	_, out, _ := d.run(t.Context(), tasksCommand, "--state", "completed")
	if !strings.Contains(out, "\x1b[32mcompleted\x1b[0m  general") {
		t.Errorf("no colours in %q", out)
	}
}

func TestTasksListAsJSON(t *testing.T) {
	d := sit(t, someTasks())
	_, out, _ := d.run(t.Context(), tasksCommand, "--json", "--state", "open")
	var got struct {
		Worktree string
		Tasks    []map[string]any
		Totals   map[string]int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	alive := map[any]any{}
	for _, tk := range got.Tasks {
		alive[tk["id"]] = tk["ownerAlive"]
	}
	want := map[any]any{"task_00000003": true, "task_00000004": false, "task_00000005": true}
	if diff := cmp.Diff(want, alive); diff != "" || got.Worktree != "PROJECT" || got.Totals["running"] != 2 {
		t.Errorf("%s(-want +got):\n%s", out, diff)
	}
}

func TestTasksShow(t *testing.T) {
	zone := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = zone })
	d := sit(t, someTasks())
	d.want(tasksCommand, []string{"show", "task_00000002"}, 0, `
task_00000002  error
evil �[31mred �txet 漢字

agent      general
model      p/m
group      g
worktree   PROJECT
parent     ses_q
root       ses_p
session    ses_task_00000002
created    2026-11-23 09:00:00 (3h ago)
started    2026-11-23 10:00:00 (2h ago)
ended      2026-11-23 10:01:30 (1h ago)
ran        1m30s
attempt    2
error      the provider is overloaded
attempt 1  error after 1m0s, p/old, 429

Result of attempt 1
half

Prompt
the prompt of task_00000002
`, "")
	_, out, _ := d.run(t.Context(), tasksCommand, "show", "--json", "task_00000001")
	var got taskJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Prompt == "" || got.Result != "all is well" || got.Usage.Total != 12_300 {
		t.Errorf("%v: %s", err, out)
	}
	_, out, _ = d.run(t.Context(), tasksCommand, "show", "task_00000004")
	if !strings.HasPrefix(out, "task_00000004  abandoned (was running; its OpenCode has ended)\n") {
		t.Error(out)
	}
}

func TestTasksMisused(t *testing.T) {
	d := sit(t, someTasks())
	for _, tc := range []struct {
		args string
		code int
		errs string
	}{
		{"shwo", 2, "sidecar tasks: there is no command \"shwo\"; did you mean show?\n"},
		{"task_00000001", 2, "sidecar tasks: task_00000001 is a task, not a command; `sidecar tasks show task_00000001` shows it\n"},
		{"list --stat open", 2, "sidecar tasks list: there is no flag --stat; did you mean --state?\n"},
		{"list --state runing", 2, "sidecar tasks list: there is no state \"runing\"; did you mean running?\n"},
		{"list --limit 0", 2, "sidecar tasks list: invalid value \"0\" for flag -limit: accepted is a whole number from 1 to 10000\n"},
		{"list --all --worktree .", 2, "sidecar tasks list: --all and --worktree exclude each other; leave one out\n"},
		{"show", 2, "sidecar tasks show: say which task, as in `sidecar tasks show task_1a2b3c4d`; `sidecar tasks` lists them\n"},
		{"show task_0000000", 1, "sidecar tasks show: there is no task \"task_0000000\"; did you mean task_00000001?\n"},
		{"show x", 1, "sidecar tasks show: there is no task \"x\"; `sidecar tasks --all` lists them\n"},
		{"cancel", 2, "sidecar tasks cancel: say which tasks, as in `sidecar tasks cancel task_1a2b3c4d`; `sidecar tasks --state open` lists them\n"},
		{"cancel task_00000001", 1, "sidecar tasks cancel: task_00000001 has already ended (completed)\n"},
	} {
		d.want(tasksCommand, strings.Fields(tc.args), tc.code, "", tc.errs)
	}
	for _, args := range []string{"--help", "help", "list --help", "show -h", "cancel --help", "follow --help"} {
		d.want(tasksCommand, strings.Fields(args), 0, tasksUsage, "")
	}
}

func TestTasksWithoutADatabase(t *testing.T) {
	d := sit(t, nil)
	d.want(tasksCommand, nil, 0, "No tasks yet in PROJECT. `sidecar tasks --all` lists those of all worktrees.\n", "")
	d.want(tasksCommand, []string{"follow", "--all"}, 0, "No tasks yet on this machine.\n", "")
	d.want(tasksCommand, []string{"show", "task_00000001"}, 1, "", "sidecar tasks show: there is no task \"task_00000001\": no task was ever stored on this machine\n")
	d.want(forgetCommand, []string{"--all", "--yes"}, 0, "No tasks yet, so there is nothing to forget.\n", "")
	if _, err := os.Stat(filepath.Dir(d.path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder for a database was created: %v", err)
	}
}

func leftToOpenCode(id string) string {
	return id + " does not run any more: its OpenCode has ended. How it ended is settled from its session when OpenCode next opens PROJECT, or lists its tasks there.\n"
}

func TestTasksCancelOfADeadOwnersTask(t *testing.T) {
	d := sit(t, someTasks())
	// Its session may hold an answer, which OpenCode alone can read.
	d.want(tasksCommand, []string{"cancel", "task_00000004"}, 0, leftToOpenCode("task_00000004"), "")
	if got, want := d.get("task_00000004"), someTasks()[3]; got.State != want.State || got.Stop != "" || !got.Ended.IsZero() {
		t.Errorf("stored is %+v", got)
	}
	// Nobody will ever open a folder that is gone.
	if err := os.RemoveAll(d.worktree); err != nil {
		t.Fatal(err)
	}
	d.want(tasksCommand, []string{"cancel", "task_00000004"}, 0,
		"task_00000004 has ended as interrupted: its OpenCode process ended while it was open, and its folder is gone; cancelled on the command line.\n", "")
	if got := d.get("task_00000004"); got.State != task.Interrupted || !got.Ended.Equal(noon) || got.Stop != "" || got.Told {
		t.Errorf("stored is %+v", got)
	}
}

func TestTasksCancelThatNobodyHears(t *testing.T) {
	d := sit(t, someTasks())
	d.want(tasksCommand, []string{"cancel", "--wait", "0s", "task_00000005"}, 0, "task_00000005 was asked to stop.\n", "")
	d.want(tasksCommand, []string{"cancel", "task_00000003", "--wait=20ms"}, 1, "task_00000003 has not ended within 20ms; the request to stop it stands.\n", "")
	for _, id := range []task.ID{"task_00000003", "task_00000005"} {
		if got := d.get(id); got.Stop != stopReason || got.State.Terminal() {
			t.Errorf("stored is %+v", got)
		}
	}
	if _, err := d.store.Update(t.Context(), "task_00000003", d.get("task_00000003").Fence(), func(t *task.Task) { t.Stop = "" }); err != nil {
		t.Fatal(err)
	}
	ctx, ctrlC := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for d.get("task_00000003").Stop == "" && t.Context().Err() == nil {
			<-time.After(time.Millisecond)
		}
		ctrlC()
	})
	code, out, _ := d.run(ctx, tasksCommand, "cancel", "task_00000003")
	if want := "task_00000003 was not waited for any longer; the request to stop it stands.\n"; out != want || code != 1 {
		t.Errorf("after Ctrl-C: code %d, %q", code, out)
	}
}

// lines is a writer that hands over lines.
type lines struct {
	*io.PipeWriter
	read *bufio.Scanner
}

func newLines() lines {
	r, w := io.Pipe()
	return lines{w, bufio.NewScanner(r)}
}

func TestTasksFollow(t *testing.T) {
	d := sit(t, someTasks())
	out := newLines()
	d.out = out
	code := make(chan int, 1)
	go func() {
		got, _, _ := d.run(t.Context(), tasksCommand, "follow")
		out.Close()
		code <- got
	}()
	next := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if !out.read.Scan() || !strings.HasSuffix(out.read.Text(), w) {
				t.Fatalf("got %q, want %q", out.read.Text(), w)
			}
		}
	}
	step := func(id task.ID, change func(*task.Task)) {
		t.Helper()
		if _, err := d.store.Update(t.Context(), id, d.get(id).Fence(), change); err != nil {
			t.Fatal(err)
		}
	}
	next("task_00000003  running      look at task_00000003",
		"task_00000004  abandoned    look at task_00000004 (its OpenCode has ended)",
		"task_00000005  pending      a description that is much too long for the narrow terminal of this test")
	step("task_00000005", func(t *task.Task) { t.State, t.Started, t.Description = task.Running, noon, "short" })
	next("task_00000005  running      short")
	step("task_00000005", func(t *task.Task) {
		t.State, t.Ended, t.Error, t.Usage = task.Failed, noon.Add(time.Minute), "no answer", task.Usage{Input: 1500, Cost: 1.5}
	})
	next("task_00000005  error        short (ran 1m0s, 1.5k tokens, $1.50): no answer")
	step("task_00000003", func(t *task.Task) { t.State, t.Ended = task.Completed, noon })
	next("task_00000003  completed    look at task_00000003 (ran 5m0s, 800 tokens)")
	if out.read.Scan() || <-code != 0 {
		t.Errorf("all have ended, but: %q", out.read.Text())
	}
	d.out = nil
	d.want(tasksCommand, []string{"follow", "--worktree", "/other"}, 0, "No open tasks in /other.\n", "")
}

func TestTasksFollowEndsWithCtrlC(t *testing.T) {
	d := sit(t, someTasks())
	ctx, ctrlC := context.WithCancel(t.Context())
	defer ctrlC()
	out := newLines()
	d.out = out
	type end struct {
		code int
		errs string
	}
	ended := make(chan end, 1)
	go func() {
		code, _, errs := d.run(ctx, tasksCommand, "follow", "task_00000003")
		out.Close()
		ended <- end{code, errs}
	}()
	if !out.read.Scan() {
		t.Fatal("nothing was printed")
	}
	ctrlC()
	if more := out.read.Scan(); more || <-ended != (end{}) {
		t.Errorf("after Ctrl-C: %q, or an error", out.read.Text())
	}
}

// ownTasks names the database of which TestOwner is to own a task.
const ownTasks = "TASKS_TEST_OWN"

// TestOwner is the other process of TestTasksCancelAcrossProcesses: the owner
// of a task, which ends it when it is asked to. Else it has nothing to do.
func TestOwner(t *testing.T) {
	path := os.Getenv(ownTasks)
	if path == "" {
		return
	}
	store, _, err := sqlitestore.Open(sqlitestore.Options{Path: path, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Claim("another"); err != nil { // until it is killed
		t.Fatal(err)
	}
	changes := watch(path, slowLook)
	defer changes.close()
	fmt.Println("ready")
	for range changes.c {
		page, err := store.List(t.Context(), task.Query{Owner: "another", Stop: true, States: []task.State{task.Running}, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for _, tk := range page.Tasks {
			if _, err := store.Update(t.Context(), tk.ID, tk.Fence(), func(t *task.Task) {
				t.State, t.Error, t.Ended = task.Cancelled, t.Stop, time.Now()
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTasksCancelAcrossProcesses(t *testing.T) {
	one, two := someTasks()[2], someTasks()[2]
	one.Owner, two.Owner, two.ID = "another", "another", "task_0000000a"
	two.State, two.Started = task.Pending, time.Time{} // that process does not listen for it
	d := sit(t, []task.Task{one, two})
	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwner$", "-test.timeout=60s")
	owner.Env = append(os.Environ(), ownTasks+"="+d.path)
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { _ = owner.Process.Kill(); _ = owner.Wait() })
	defer kill()
	said := bufio.NewScanner(out)
	if !said.Scan() || said.Text() != "ready" {
		t.Fatalf("the owner says %q", said.Text())
	}
	// Whether it says meanwhile that it waits depends on the machine.
	if code, heard, errs := d.run(t.Context(), tasksCommand, "cancel", string(one.ID)); code != 0 || heard != "task_00000003 is cancelled.\n" {
		t.Errorf("code %d, %q, %q", code, heard, errs)
	}
	if got := d.get(one.ID); got.Error != stopReason {
		t.Errorf("stored is %+v", got)
	}
	// The owner dies while it is waited for.
	var wg sync.WaitGroup
	asked, over := context.WithCancel(t.Context())
	wg.Go(func() {
		for asked.Err() == nil && d.get(two.ID).Stop == "" {
			<-time.After(time.Millisecond)
		}
		kill()
	})
	code, heard, errs := d.run(t.Context(), tasksCommand, "cancel", string(two.ID), "--wait", "30s")
	over()
	wg.Wait()
	if want := leftToOpenCode("task_0000000a"); code != 0 || heard != want {
		t.Errorf("code %d, %q, %q", code, heard, errs)
	}
	if d.get(two.ID).Stop == "" {
		t.Error("it was not asked to stop")
	}
}

func TestStatesAreParsed(t *testing.T) {
	got, err := parseStates("open, completed,pending")
	if want := []task.State{task.Completed, task.Pending, task.Running}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

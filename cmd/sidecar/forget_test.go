package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

// remembers returns which of the tasks of someTasks still have a prompt, and
// which are there at all, each by the last digit of its id.
func (d *desk) remembers() (prompts, records string) {
	d.Helper()
	for _, t := range someTasks() {
		stored, err := d.store.Get(d.Context(), t.ID)
		if errors.Is(err, task.ErrNotFound) {
			continue
		} else if err != nil {
			d.Fatal(err)
		}
		digit := string(t.ID[len(t.ID)-1:])
		records += digit
		if stored.Prompt == t.Prompt {
			prompts += digit
		} else if stored.Prompt != sqlitestore.Erased || strings.Contains(stored.Result, "well") || stored.Error != "" || stored.Note != "" ||
			len(stored.Past) > 0 && stored.Past[0].Result != sqlitestore.Erased {
			d.Errorf("of %s is left %+v", t.ID, stored)
		}
	}
	return prompts, records
}

func TestForget(t *testing.T) {
	const left = " 3 open tasks are left as they are; `sidecar tasks cancel` stops tasks.\n"
	for _, tc := range []struct {
		args, out        string
		prompts, records string
	}{
		{"--all", "Erased the prompts and results of 3 tasks." + left, "345", "123456"},
		{"--all --records", "Deleted 3 tasks." + left, "345", "345"},
		{"--task task_00000002", "Erased the prompts and results of 1 task.\n", "13456", "123456"},
		{"--task task_00000002 --records", "Deleted 1 task.\n", "13456", "13456"},
		{"--task task_00000003", "No ended tasks match, so nothing was forgotten. 1 open task is left as it is; `sidecar tasks cancel` stops tasks.\n", "123456", "123456"},
		{"--task task_00000001 --session ses_q", "No ended tasks match, so nothing was forgotten.\n", "123456", "123456"},
		{"--session ses_q", "Erased the prompts and results of 1 task.\n", "13456", "123456"},
		{"--worktree /other", "Erased the prompts and results of 1 task.\n", "12345", "123456"},
		{"--worktree . --records", "Deleted 2 tasks." + left, "3456", "3456"},
		{"--older-than 1h", "Erased the prompts and results of 2 tasks." + left, "3456", "123456"},
		{"--older-than 2d --records", "Deleted 1 task." + left, "23456", "23456"},
		{"--older-than 1h --session ses_q", "Erased the prompts and results of 1 task.\n", "13456", "123456"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			d := sit(t, someTasks())
			d.want(forgetCommand, append(strings.Fields(tc.args), "--yes"), 0, tc.out, "")
			if prompts, records := d.remembers(); prompts != tc.prompts || records != tc.records {
				t.Errorf("prompts of %s, want %s; records of %s, want %s", prompts, tc.prompts, records, tc.records)
			}
		})
	}
}

func TestForgetAsksFirst(t *testing.T) {
	d := sit(t, someTasks())
	d.want(forgetCommand, []string{"--session=ses_q"}, 2, "", "sidecar forget: not on a terminal, so nobody can confirm; add --yes to forget 1 task\n")
	const question = "Erase the prompts and results of 1 ended task? Their records stay. [y/N] "
	d.asks = true
	for _, answer := range []string{"", "\n", "no\n", "what\n"} {
		d.in = strings.NewReader(answer)
		d.want(forgetCommand, []string{"--session=ses_q"}, 1, question+"Nothing was forgotten.\n", "")
	}
	if prompts, _ := d.remembers(); prompts != "123456" {
		t.Errorf("only prompts of %s are left", prompts)
	}
	d.in = strings.NewReader("Yes\n")
	d.want(forgetCommand, []string{"--session=ses_q"}, 0, question+"Erased the prompts and results of 1 task.\n", "")
}

func TestForgetIsGoneFromTheFile(t *testing.T) {
	d := sit(t, someTasks())
	d.want(forgetCommand, []string{"--task", "task_00000001", "--yes"}, 0, "Erased the prompts and results of 1 task.\n", "")
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(d.path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "the prompt of task_00000001") {
			t.Errorf("the prompt is still in the database%s", suffix)
		}
	}
}

// keeps stores records of other rooms: two missions that are over, one that is
// not, and something of a room that this command does not know.
func (d *desk) keeps() {
	d.Helper()
	for _, r := range []record.Record{
		{Kind: "mission", Key: "ses_p", Worktree: d.worktree},
		{Kind: "mission", Key: "ses_q", Worktree: "/other"},
		{Kind: "mission", Key: "ses_open", Worktree: d.worktree, Open: true},
		{Kind: "loop", Key: "ses_q", Worktree: d.worktree},
	} {
		r.Body = []byte(`"the goal of ` + r.Kind + " " + r.Key + `"`)
		if _, err := d.store.Records().Put(d.Context(), r); err != nil {
			d.Fatal(err)
		}
	}
}

func (d *desk) kept() (names string) {
	d.Helper()
	all, err := d.store.Records().List(d.Context(), record.Query{})
	if err != nil {
		d.Fatal(err)
	}
	for _, r := range slices.Backward(all) {
		names += " " + r.Kind + " " + r.Key
	}
	return names
}

func TestForgetTakesRecordsOfOtherRoomsAlong(t *testing.T) {
	const all, left = " mission ses_p mission ses_q mission ses_open loop ses_q", "; `sidecar tasks cancel` stops tasks.\n"
	for _, tc := range []struct {
		args, out string
		tasks     bool
		kept      string
	}{
		{"--all", "Erased the prompts and results of 3 tasks, and deleted 2 missions and 1 other record. 3 open tasks and 1 open mission are left as they are" + left, true, " mission ses_open"},
		{"--all --records", "Deleted 3 tasks, 2 missions and 1 other record. 3 open tasks and 1 open mission are left as they are" + left, true, " mission ses_open"},
		{"--all", "Erased the prompts and results of 0 tasks, and deleted 2 missions and 1 other record. 1 open mission is left as it is.\n", false, " mission ses_open"},
		{"--session ses_p", "Erased the prompts and results of 0 tasks, and deleted 1 mission.\n", false, " mission ses_q mission ses_open loop ses_q"},
		{"--session ses_q --worktree .", "Erased the prompts and results of 1 task, and deleted 1 other record.\n", true, " mission ses_p mission ses_q mission ses_open"},
		{"--session ses_open", "No ended tasks match, so nothing was forgotten. 1 open mission is left as it is.\n", true, all},
		{"--worktree /other", "Erased the prompts and results of 1 task, and deleted 1 mission.\n", true, " mission ses_p mission ses_open loop ses_q"},
		{"--older-than 1h --session ses_p", "No ended tasks match, so nothing was forgotten.\n", false, all},
		{"--task task_00000002", "Erased the prompts and results of 1 task.\n", true, all},
	} {
		t.Run(tc.args, func(t *testing.T) {
			tasks := []task.Task{}
			if tc.tasks {
				tasks = someTasks()
			}
			d := sit(t, tasks)
			d.keeps()
			d.now = time.Now // which the records go by
			if strings.Contains(tc.args, "session ses_p") {
				d.now = func() time.Time { return time.Now().Add(time.Minute) }
			}
			d.want(forgetCommand, append(strings.Fields(tc.args), "--yes"), 0, tc.out, "")
			if got := d.kept(); got != tc.kept {
				t.Errorf("kept are%s, want%s", got, tc.kept)
			}
		})
	}
}

func TestForgetAsksForRecordsOfOtherRoomsToo(t *testing.T) {
	d := sit(t, []task.Task{})
	d.keeps()
	d.now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	args := []string{"--older-than", "1d", "--worktree", "."}
	d.want(forgetCommand, args, 2, "", "sidecar forget: not on a terminal, so nobody can confirm; add --yes to forget 0 tasks, 1 mission and 1 other record\n")
	d.asks = true
	const question = "Erase the prompts and results of 0 ended tasks, and delete 1 mission and 1 other record? Their records stay. 1 open mission is left as it is. [y/N] "
	d.in = strings.NewReader("n\n")
	d.want(forgetCommand, args, 1, question+"Nothing was forgotten.\n", "")
	d.in = strings.NewReader("y\n")
	d.want(forgetCommand, append(args, "--records"), 0, "Delete 0 ended tasks, 1 mission and 1 other record altogether? 1 open mission is left as it is. [y/N] "+
		"Deleted 0 tasks, 1 mission and 1 other record. 1 open mission is left as it is.\n", "")
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(d.path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"mission ses_p": false, "mission ses_q": true, "loop ses_q": false} {
			if suffix == "" && strings.Contains(string(raw), "the goal of "+name) != want {
				t.Errorf("of %s the database has something: %v, want %v", name, !want, want)
			}
		}
	}
}

// What was set aside holds prompts too, also when nothing of it could be saved.
func TestForgetAllDeletesWhatWasSetAside(t *testing.T) {
	d := sit(t, []task.Task{})
	aside := []string{d.path + ".damaged-20261123T120000.000", d.path + ".damaged-20261123T120000.000-wal"}
	for _, file := range aside {
		if err := os.WriteFile(file, []byte("a prompt"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.want(forgetCommand, []string{"--older-than=1h", "--yes"}, 0, "No ended tasks match, so nothing was forgotten.\n", "")
	d.want(forgetCommand, []string{"--all"}, 2, "", "sidecar forget: not on a terminal, so nobody can confirm; add --yes to forget 0 tasks and 2 files of a damaged database\n")
	if kept, err := d.store.SetAside(); err != nil || !slices.Equal(kept, aside) {
		t.Errorf("kept are %q, %v", kept, err)
	}
	d.want(forgetCommand, []string{"--all", "--yes"}, 0, "Erased the prompts and results of 0 tasks, and deleted 2 files of a damaged database.\n", "")
	if kept, err := d.store.SetAside(); err != nil || len(kept) > 0 {
		t.Errorf("kept are %q, %v", kept, err)
	}
	d.want(forgetCommand, []string{"--all", "--yes"}, 0, "No ended tasks match, so nothing was forgotten.\n", "")
}

func TestForgetMisused(t *testing.T) {
	d := sit(t, someTasks())
	for args, errs := range map[string]string{
		"":                  "say what to forget: --task, --session, --worktree or --older-than; or --all",
		"--all --task x":    "--all forgets everything; leave it or the other filters out",
		"--record --all":    "there is no flag --record; did you mean --records?",
		"--session= --yes":  "--session is empty; give it a value or leave it out",
		"--older-than soon": `invalid value "soon" for flag -older-than: accepted is an age such as 720h or 30d`,
		"--older-than -1h":  `invalid value "-1h" for flag -older-than: accepted is an age such as 720h or 30d`,
		"--older-than 0d":   `invalid value "0d" for flag -older-than: accepted is an age such as 720h or 30d`,
		"task_00000001":     `"task_00000001" is not expected; did you mean --task task_00000001?`,
	} {
		code, out, got := d.run(t.Context(), forgetCommand, strings.Fields(args)...)
		if got != "sidecar forget: "+errs+"\n" || code != 2 || out != "" {
			t.Errorf("%q: code %d, %q, want %q", args, code, got, errs)
		}
	}
	d.want(forgetCommand, []string{"--task", "x", "--yes"}, 1, "", "sidecar forget: there is no task \"x\"; `sidecar tasks --all` lists them\n")
	d.want(forgetCommand, []string{"--help"}, 0, forgetUsage, "")
	if prompts, _ := d.remembers(); prompts != "123456" {
		t.Errorf("only prompts of %s are left", prompts)
	}
}

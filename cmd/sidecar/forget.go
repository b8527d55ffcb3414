package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/mission"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

const forgetUsage = `sidecar forget erases the prompts and results of ended tasks, of their earlier attempts too, and what
their errors and notes say, from the task database of this machine. Their descriptions stay.

Usage:
  sidecar forget [--task ID] [--session SES] [--worktree DIR] [--older-than AGE] [--records] [--yes]
  sidecar forget --all [--records] [--yes]

  --task ID          this task
  --session SES      the tasks that this session asked for
  --worktree DIR     the tasks of the worktree that DIR belongs to; . for this one
  --older-than AGE   tasks that ended longer ago than this, as in 720h or 30d
  --all              all tasks, and the files of damaged databases that were set aside
  --records          delete the tasks altogether; without, their descriptions and the records of when
                     they ran, where and what they used stay
  --yes              do not ask

Filters narrow each other. Open tasks are left as they are. Missions that are over, of the same
session, worktree or age, are deleted with or without --records; open ones are left. Sessions in OpenCode, files below
.opencode/archive, the log and, except with --all, damaged databases that were set aside are not
touched. What is erased is overwritten in the database; copies that you or your backups have made of
it are not.
`

// forgetCommand serves `sidecar forget`.
func forgetCommand(ctx context.Context, args []string, c *console) int {
	const command = "forget"
	set := flags()
	var f forgetting
	set.StringVar(&f.id, "task", "", "")
	set.StringVar(&f.query.Parent, "session", "", "")
	dir := set.String("worktree", "", "")
	yes := set.Bool("yes", false, "")
	set.BoolVar(&f.all, "all", false, "")
	set.BoolVar(&f.records, "records", false, "")
	set.Func("older-than", "", f.parseAge)
	rest, code, ok := c.parse(command, forgetUsage, set, args)
	if !ok {
		return code
	}
	filters := 0
	empty := ""
	set.Visit(func(g *flag.Flag) {
		switch g.Name {
		case "task", "session", "worktree":
			if g.Value.String() == "" { // an unset variable in a script must not widen what is erased
				empty = g.Name
			}
			filters++
		case "older-than":
			filters++
		}
	})
	switch {
	case len(rest) > 0 && strings.HasPrefix(rest[0], "task_"):
		return c.misused(command, fmt.Sprintf("%q is not expected; did you mean --task %s?", rest[0], rest[0]))
	case len(rest) > 0:
		return c.misused(command, fmt.Sprintf("%q is not expected; `sidecar forget --help` shows what is", rest[0]))
	case empty != "":
		return c.misused(command, "--"+empty+" is empty; give it a value or leave it out")
	case f.all && filters > 0:
		return c.misused(command, "--all forgets everything; leave it or the other filters out")
	case !f.all && filters == 0:
		return c.misused(command, "say what to forget: --task, --session, --worktree or --older-than; or --all")
	}
	if *dir != "" {
		f.query.Worktree = c.worktree(*dir)
	}
	store, err := c.open() //nolint:contextcheck // opening is short and cannot be stopped half-way
	if err != nil {
		return c.failed(command, err)
	}
	if store == nil && f.id == "" {
		fmt.Fprintln(c.out, "No tasks yet, so there is nothing to forget.")
		return 0
	}
	if store != nil {
		defer func() { _ = store.Close() }()
	}
	f.c, f.store = c, store
	code, err = f.run(ctx, *yes)
	if err != nil {
		return c.failed(command, err)
	}
	return code
}

// forgetting is one run of the command.
type forgetting struct {
	c       *console
	store   *sqlitestore.Store
	id      string
	query   task.Query
	older   time.Duration // 0 for any age
	records bool
	all     bool
	aside   int // files of damaged databases, which go with all
}

// parseAge reads a duration, which may be in days.
func (f *forgetting) parseAge(s string) (err error) {
	if days, found := strings.CutSuffix(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		if f.older = time.Duration(n) * 24 * time.Hour; err == nil && n > 0 {
			return nil
		}
	} else if f.older, err = time.ParseDuration(s); err == nil && f.older > 0 {
		return nil
	}
	return errors.New("accepted is an age such as 720h or 30d")
}

// run asks, erases and says how many.
func (f *forgetting) run(ctx context.Context, yes bool) (code int, err error) {
	chosen, open, err := f.choose(ctx)
	if err != nil {
		return 0, err
	}
	var others, openOthers map[string]int
	if f.id == "" {
		if others, openOthers, err = f.store.CountRecords(ctx, f.chosenRecords()); err != nil {
			return 0, err
		}
	}
	left := leftAlone(open, openOthers)
	if f.all {
		aside, err := f.store.SetAside()
		if err != nil {
			return 0, err
		}
		f.aside = len(aside)
	}
	if len(chosen) == 0 && len(others) == 0 && f.aside == 0 {
		fmt.Fprintln(f.c.out, "No ended tasks match, so nothing was forgotten."+left)
		return 0, nil
	}
	if !yes {
		if !f.c.asks {
			all := append([]string{count(len(chosen), "task")}, f.besides(others)...)
			return f.c.misused("forget", "not on a terminal, so nobody can confirm; add --yes to forget "+enumerate(all)), nil
		}
		question := f.say("Erase", "delete", count(len(chosen), "ended task"), others) + "? Their records stay."
		if f.records {
			question = f.say("Erase", "delete", count(len(chosen), "ended task"), others) + " altogether?"
		}
		if !f.c.confirm(ctx, question+left) {
			fmt.Fprintln(f.c.out, "Nothing was forgotten.")
			return 1, nil
		}
	}
	n, err := f.forget(ctx, chosen)
	var gone map[string]int
	if err == nil && len(others) > 0 {
		gone, err = f.store.ForgetRecords(ctx, f.chosenRecords())
	}
	if n > 0 || len(gone) > 0 || err == nil {
		fmt.Fprintln(f.c.out, f.say("Erased", "deleted", count(n, "task"), gone)+"."+left)
	}
	return 0, err
}

// say is what is done to so many tasks, and to what goes besides.
func (f *forgetting) say(erase, remove, tasks string, others map[string]int) string {
	besides := f.besides(others)
	switch {
	case f.records:
		return strings.ToUpper(remove[:1]) + remove[1:] + " " + enumerate(append([]string{tasks}, besides...))
	case len(besides) == 0:
		return erase + " the prompts and results of " + tasks
	}
	return erase + " the prompts and results of " + tasks + ", and " + remove + " " + enumerate(besides)
}

// besides names what is deleted with the tasks: how many records of each kind,
// and the files that were set aside.
func (f *forgetting) besides(others map[string]int) []string {
	things := countRecords(others, "")
	if f.aside > 0 {
		things = append(things, count(f.aside, "file")+" of a damaged database")
	}
	return things
}

// countRecords names how many records there are of each kind that users know.
func countRecords(byKind map[string]int, adjective string) (things []string) {
	others := 0
	for kind, n := range byKind {
		if kind != mission.Kind {
			others += n
		}
	}
	if n := byKind[mission.Kind]; n > 0 {
		things = append(things, count(n, adjective+"mission"))
	}
	if others > 0 {
		things = append(things, count(others, "other "+adjective+"record"))
	}
	return things
}

// leftAlone says what is open and therefore stays; "" if nothing is.
func leftAlone(tasks int, others map[string]int) string {
	things, hint := countRecords(others, "open "), ""
	n := tasks
	for _, of := range others {
		n += of
	}
	if tasks > 0 {
		things = append([]string{count(tasks, "open task")}, things...)
		hint = "; `sidecar tasks cancel` stops tasks"
	}
	switch n {
	case 0:
		return ""
	case 1:
		return " " + things[0] + " is left as it is" + hint + "."
	}
	return " " + enumerate(things) + " are left as they are" + hint + "."
}

// enumerate joins things as a sentence does.
func enumerate(things []string) string {
	last := len(things) - 1
	if last < 1 {
		return strings.Join(things, "")
	}
	return strings.Join(things[:last], ", ") + " and " + things[last]
}

// chosenRecords are the records of other rooms that go with the tasks: those of
// the same session, worktree or age.
func (f *forgetting) chosenRecords() sqlitestore.Chosen {
	c := sqlitestore.Chosen{Key: f.query.Parent, Worktree: f.query.Worktree}
	if f.older > 0 {
		c.Before = f.c.now().Add(-f.older)
	}
	return c
}

// choose returns the ended tasks that match, and how many open ones do.
func (f *forgetting) choose(ctx context.Context) (chosen []task.Task, open int, err error) {
	var tasks []task.Task
	if f.id != "" {
		t, err := find(ctx, f.store, f.id)
		if err != nil {
			return nil, 0, err
		}
		if f.query.Matches(&t) {
			tasks = append(tasks, t)
		}
	} else {
		q := f.query
		q.Limit = 1 << 30
		page, err := f.store.List(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		tasks = page.Tasks
	}
	for _, t := range tasks {
		switch {
		case !t.State.Terminal():
			open++
		case f.older == 0 || f.c.now().Sub(t.Ended) > f.older:
			chosen = append(chosen, t)
		}
	}
	return chosen, open, nil
}

// forget erases or deletes, and returns how many tasks that were. What the store
// can select itself, it forgets whole, with what it has set aside as damaged;
// other choices are named to it one by one.
func (f *forgetting) forget(ctx context.Context, chosen []task.Task) (int, error) {
	if f.id == "" && f.older == 0 {
		return f.store.Forget(ctx, f.query, f.records)
	}
	// The store deletes by query, which knows groups but no ids: a group of
	// their own, which nobody else can have, selects them.
	marker := "forget " + string(task.NewID())
	n := 0
	for _, t := range chosen {
		_, err := f.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) {
			if f.records {
				t.Group = marker
				return
			}
			erase(t)
		})
		if errors.Is(err, task.ErrStale) || errors.Is(err, task.ErrNotFound) {
			continue // resumed or deleted meanwhile
		}
		if err != nil {
			return n, err
		}
		n++
	}
	if f.records {
		return f.store.Forget(ctx, task.Query{Group: marker}, true)
	}
	// Only then is it gone from the database's log too.
	return n, f.store.Checkpoint(ctx)
}

// erase takes out of a task what Forget takes out.
func erase(t *task.Task) {
	for _, text := range []*string{&t.Prompt, &t.Result} {
		if *text != "" {
			*text = sqlitestore.Erased
		}
	}
	t.Error, t.Note = "", ""
	for i := range t.Past {
		t.Past[i].Error = ""
		if t.Past[i].Result != "" {
			t.Past[i].Result = sqlitestore.Erased
		}
	}
}

// confirm asks a question and waits for the answer, or for ctx to end; the
// goroutine that reads ends with the process then.
func (c *console) confirm(ctx context.Context, question string) bool {
	fmt.Fprint(c.out, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(c.in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = ""
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		return a == "y" || a == "yes"
	case <-ctx.Done():
		fmt.Fprintln(c.out)
		return false
	}
}

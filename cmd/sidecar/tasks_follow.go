package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

// freshLimit is how many of the newest tasks a look reads besides the open ones,
// for those that begin and end between two looks.
const freshLimit = 200

// followCommand serves `sidecar tasks follow`.
func followCommand(ctx context.Context, args []string, c *console) int {
	const command = "tasks follow"
	set := flags()
	var from place
	from.flags(set)
	ids, code, ok := c.parse(command, tasksUsage, set, args)
	if !ok {
		return code
	}
	worktree, err := from.worktree(c)
	if err != nil {
		return c.misused(command, err.Error())
	}
	store, err := c.open() //nolint:contextcheck // opening is short and cannot be stopped half-way
	if err != nil {
		return c.failed(command, err)
	}
	f := &following{c: c, store: store, worktree: worktree, begun: c.now(), shown: map[task.ID]taskJSON{}}
	for _, id := range ids {
		t, err := find(ctx, store, id)
		if err != nil {
			return c.failed(command, err)
		}
		if !slices.Contains(f.ids, t.ID) {
			f.ids = append(f.ids, t.ID)
		}
	}
	if store == nil {
		fmt.Fprintln(c.out, "No tasks yet "+where(worktree)+".")
		return 0
	}
	defer func() { _ = store.Close() }()
	// Watching begins before the first look, so that no change is lost between.
	changes := c.changes(slowLook)
	defer changes.close()
	for {
		open, err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			return 0
		case err != nil:
			return c.failed(command, err)
		case len(f.shown) == 0:
			fmt.Fprintln(c.out, "No open tasks "+where(worktree)+".")
			return 0
		case open == 0:
			return 0
		}
		select {
		case <-changes.c:
		case <-ctx.Done():
			return 0
		}
	}
}

// following is one run of the command.
type following struct {
	c        *console
	store    *sqlitestore.Store
	worktree string
	begun    time.Time
	ids      []task.ID // only these, unless empty
	shown    map[task.ID]taskJSON
}

// look prints what has changed and returns how many tasks may change again.
func (f *following) look(ctx context.Context) (open int, err error) {
	tasks, err := f.tasks(ctx)
	if err != nil {
		return 0, err
	}
	seen := known{}
	for _, t := range tasks {
		now := jsonOf(t, seen.alive(f.store, t))
		was, known := f.shown[t.ID]
		if !t.State.Terminal() && now.OwnerAlive {
			open++
		}
		if !known || was.shown() != now.shown() || was.Attempt != now.Attempt {
			f.print(now)
		}
		f.shown[t.ID] = now
	}
	return open, nil
}

// tasks reads the tasks that are followed, oldest first.
func (f *following) tasks(ctx context.Context) ([]task.Task, error) {
	var tasks []task.Task
	listed := map[task.ID]bool{}
	add := func(t task.Task) {
		if !listed[t.ID] {
			listed[t.ID] = true
			tasks = append(tasks, t)
		}
	}
	ids := slices.Clone(f.ids)
	if len(ids) == 0 {
		open, err := f.store.List(ctx, task.Query{Worktree: f.worktree, States: []task.State{task.Pending, task.Running}, Limit: maxListed})
		if err != nil {
			return nil, err
		}
		fresh, err := f.store.List(ctx, task.Query{Worktree: f.worktree, Limit: freshLimit})
		if err != nil {
			return nil, err
		}
		for _, t := range fresh.Tasks {
			if t.Created.After(f.begun) {
				add(t)
			}
		}
		for _, t := range open.Tasks {
			add(t)
		}
		for id, was := range f.shown {
			if !was.State.Terminal() {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range ids {
		if listed[id] {
			continue
		}
		t, err := f.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		add(t)
	}
	slices.SortStableFunc(tasks, func(a, b task.Task) int { return a.Created.Compare(b.Created) })
	return tasks, nil
}

// print writes a line about a change.
func (f *following) print(t taskJSON) {
	line := fmt.Sprintf("%s  %s  %s  %s", f.c.now().Local().Format(time.TimeOnly), t.ID,
		f.c.colour(stateColour(t.shown()), fmt.Sprintf("%-11s", t.shown())), oneLine(t.Description))
	var more []string
	if t.Attempt > 1 {
		more = append(more, fmt.Sprintf("attempt %d", t.Attempt))
	}
	if t.State.Terminal() {
		if ran := t.ran(f.c.now()); ran != "-" {
			more = append(more, "ran "+ran)
		}
		if t.Usage.Total > 0 {
			more = append(more, tokens(t.Usage.Total)+" tokens")
		}
		if t.Usage.Cost > 0 {
			more = append(more, cost(t.Usage.Cost))
		}
	}
	if t.shown() == abandoned {
		more = append(more, "its OpenCode has ended")
	}
	if len(more) > 0 {
		line += " (" + strings.Join(more, ", ") + ")"
	}
	if t.State.Terminal() && t.Error != "" {
		line += ": " + oneLine(t.Error)
	}
	fmt.Fprintln(f.c.out, line)
}

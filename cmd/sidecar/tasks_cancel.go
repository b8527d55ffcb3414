package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

const (
	stopReason = "cancelled on the command line"
	deadReason = "its OpenCode process ended while it was open, and its folder is gone; " + stopReason
	// patience is how long cancel is silent.
	patience = 2 * time.Second
)

// cancelCommand serves `sidecar tasks cancel`.
func cancelCommand(ctx context.Context, args []string, c *console) int {
	const command = "tasks cancel"
	set := flags()
	wait := set.Duration("wait", 15*time.Second, "")
	ids, code, ok := c.parse(command, tasksUsage, set, args)
	if !ok {
		return code
	}
	if len(ids) == 0 {
		return c.misused(command, "say which tasks, as in `sidecar tasks cancel task_1a2b3c4d`; `sidecar tasks --state open` lists them")
	}
	store, err := c.open() //nolint:contextcheck // opening is short and cannot be stopped half-way
	if err != nil {
		return c.failed(command, err)
	}
	if store != nil {
		defer func() { _ = store.Close() }()
	}
	x := &cancelling{c: c, store: store, open: map[task.ID]task.Task{}}
	for _, id := range ids {
		if t, err := find(ctx, store, id); err != nil {
			x.fail(err)
		} else if t.State.Terminal() {
			x.fail(fmt.Errorf("%s has already ended (%s)", t.ID, t.State))
		} else if err := x.ask(ctx, t); err != nil {
			x.fail(err)
		}
	}
	if *wait > 0 && len(x.open) > 0 {
		x.wait(ctx, *wait)
	}
	x.rest(ctx, *wait)
	return x.code
}

// cancelling is one run of the command.
type cancelling struct {
	c     *console
	store *sqlitestore.Store
	order []task.ID
	open  map[task.ID]task.Task // that were asked to stop
	code  int
}

func (x *cancelling) fail(err error) { x.code = x.c.failed("tasks cancel", err) }

// ask asks the owner of a task to stop it. With a dead owner nothing runs any
// more, and only the session of the task, which OpenCode has, tells whether it
// was answered: the next sidecar of its worktree judges that. Where there will be
// none the task is ended here.
func (x *cancelling) ask(ctx context.Context, t task.Task) error {
	ctx = context.WithoutCancel(ctx) // short, and one that is broken off may have been stored
	if !alive(x.store, t.Owner) {
		if !deserted(t) {
			delete(x.open, t.ID)
			fmt.Fprintf(x.c.out, "%s does not run any more: its OpenCode has ended. How it ended is settled from its session when OpenCode next opens %s, or lists its tasks there.\n", t.ID, plain(t.Worktree))
			return nil
		}
		taken, err := x.inherit(ctx, t)
		if taken || err != nil {
			return err
		}
	}
	for {
		next, err := x.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) { t.Stop = cmp.Or(t.Stop, stopReason) })
		switch {
		case errors.Is(err, task.ErrStale) && next.State.Terminal():
			x.ended(next)
			return nil
		case errors.Is(err, task.ErrStale):
			t = next
		case err != nil:
			return fmt.Errorf("%s could not be asked to stop: %w", t.ID, err)
		default:
			if _, known := x.open[t.ID]; !known {
				x.order = append(x.order, t.ID)
			}
			x.open[t.ID] = next
			return nil
		}
	}
}

// deserted reports whether no sidecar will ever look after a task: they do that
// by worktree.
func deserted(t task.Task) bool {
	if t.Worktree == "" {
		return true
	}
	_, err := os.Stat(t.Worktree)
	return errors.Is(err, fs.ErrNotExist)
}

// inherit ends a task whose owner is dead. It is not taken if the owner came
// back, or somebody else judges its tasks just now.
func (x *cancelling) inherit(ctx context.Context, t task.Task) (taken bool, err error) {
	release, err := x.store.Claim(t.Owner) //nolint:contextcheck // takes 50 ms at most
	if errors.Is(err, sqlitestore.ErrOwned) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("%s could not be ended: %w", t.ID, err)
	}
	defer release()
	for {
		next, err := x.store.Update(ctx, t.ID, t.Fence(), func(t *task.Task) {
			t.State, t.Error, t.Ended = task.Interrupted, deadReason, x.c.now()
			t.Stop, t.Uncertain = "", false
		})
		switch {
		case err == nil || errors.Is(err, task.ErrStale) && next.State.Terminal():
			x.ended(next)
			return true, nil
		case !errors.Is(err, task.ErrStale):
			return false, fmt.Errorf("%s could not be ended: %w", t.ID, err)
		}
		t = next
	}
}

// ended says what came of a task.
func (x *cancelling) ended(t task.Task) {
	delete(x.open, t.ID)
	if t.State == task.Cancelled {
		fmt.Fprintf(x.c.out, "%s is cancelled.\n", t.ID)
		return
	}
	text := fmt.Sprintf("%s has ended as %s", t.ID, t.State)
	if t.Error != "" {
		text += ": " + strings.TrimSuffix(oneLine(t.Error), ".")
	}
	fmt.Fprintln(x.c.out, text+".")
}

// wait looks at the tasks until all have ended, ctx ends or the time is over.
func (x *cancelling) wait(ctx context.Context, limit time.Duration) {
	changes := x.c.changes(quickLook)
	defer changes.close()
	over := time.NewTimer(limit)
	defer over.Stop()
	slow := time.NewTimer(patience)
	defer slow.Stop()
	for {
		for _, id := range x.order {
			if t, waiting := x.open[id]; waiting {
				x.look(ctx, t)
			}
		}
		if len(x.open) == 0 {
			return
		}
		select {
		case <-changes.c:
		case <-slow.C:
			fmt.Fprintf(x.c.err, "Waiting for OpenCode to stop %s. Ctrl-C ends the waiting, not the request.\n", count(len(x.open), "task"))
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look takes note of how an open task stands now.
func (x *cancelling) look(ctx context.Context, t task.Task) {
	now, err := x.store.Get(ctx, t.ID)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		delete(x.open, t.ID)
		x.fail(err)
	case now.State.Terminal():
		x.ended(now)
	case !alive(x.store, now.Owner) || now.Stop == "":
		// Its OpenCode has just ended, or a new attempt has begun.
		if err := x.ask(ctx, now); err != nil {
			delete(x.open, t.ID)
			x.fail(err)
		}
	}
}

// rest says what did not end while it was waited for.
func (x *cancelling) rest(ctx context.Context, limit time.Duration) {
	for _, id := range x.order {
		if _, open := x.open[id]; !open {
			continue
		}
		switch {
		case limit <= 0:
			fmt.Fprintf(x.c.out, "%s was asked to stop.\n", id)
			continue
		case ctx.Err() != nil:
			fmt.Fprintf(x.c.out, "%s was not waited for any longer; the request to stop it stands.\n", id)
		default:
			fmt.Fprintf(x.c.out, "%s has not ended within %s; the request to stop it stands.\n", id, limit)
		}
		x.code = 1
	}
}

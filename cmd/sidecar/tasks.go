package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool/spell"
)

const tasksUsage = `sidecar tasks shows and stops the background tasks of this machine.

Usage:
  sidecar tasks [list] [--all | --worktree DIR] [--state STATES] [--group NAME] [--limit N] [--json]
        the newest tasks of this worktree
  sidecar tasks show ID [--json]
        everything about a task, with its prompt, its result and its earlier attempts
  sidecar tasks cancel ID... [--wait 15s]
        stop tasks, whichever OpenCode runs them
  sidecar tasks follow [ID...] [--all | --worktree DIR]
        print each change of state until all tasks have ended

  --all            tasks of all worktrees, not only of the one of the current directory
  --worktree DIR   tasks of the worktree that DIR belongs to
  --state STATES   only these states, with commas between them: pending, running, completed,
                   error, timeout, cancelled, interrupted; or open, or ended
  --group NAME     only tasks of this group
  --limit N        how many tasks are listed, 1 to 10000 (20)
  --wait DURATION  how long to wait for the tasks to stop (15s); 0s only asks them to
  --json           print JSON

The exit code is 0 if all went well, 1 if something could not be done, 2 if the command was not understood.
`

// tasksCommand serves `sidecar tasks`.
func tasksCommand(ctx context.Context, args []string, c *console) int {
	name := "list"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	names := []string{"list", "show", "cancel", "follow", "help"}
	switch name {
	case "list":
		return listCommand(ctx, args, c)
	case "show":
		return showCommand(ctx, args, c)
	case "cancel":
		return cancelCommand(ctx, args, c)
	case "follow":
		return followCommand(ctx, args, c)
	case "help":
		fmt.Fprint(c.out, tasksUsage)
		return 0
	}
	if strings.HasPrefix(name, "task_") {
		return c.misused("tasks", fmt.Sprintf("%s is a task, not a command; `sidecar tasks show %s` shows it", plain(name), plain(name)))
	}
	return c.misused("tasks", fmt.Sprintf("there is no command %q%s", name, meant("", name, names)))
}

// meant suggests what a mistyped name may have stood for.
func meant(prefix, name string, names []string) string {
	if near, ok := spell.Nearest(name, names); ok {
		return "; did you mean " + prefix + near + "?"
	}
	return fmt.Sprintf("; accepted is %s%s", prefix, strings.Join(names, ", "+prefix))
}

// misused tells what was not understood; failed what could not be done.
func (c *console) misused(command, sentence string) int {
	fmt.Fprintf(c.err, "sidecar %s: %s\n", command, sentence)
	return 2
}

func (c *console) failed(command string, err error) int {
	fmt.Fprintf(c.err, "sidecar %s: %v\n", command, err)
	return 1
}

// flags returns an empty set of flags for a command.
func flags() *flag.FlagSet {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard) // misused says it in our words
	return set
}

// parse reads flags, which may stand before and after the other arguments, and
// returns those. With ok false the command has ended with the code.
func (c *console) parse(command, usage string, set *flag.FlagSet, args []string) (rest []string, code int, ok bool) {
	for {
		err := set.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(c.out, usage)
			return nil, 0, false
		case err != nil:
			return nil, c.misused(command, c.wrongFlag(set, err)), false
		}
		if set.NArg() == 0 {
			return rest, 0, true
		}
		rest, args = append(rest, set.Arg(0)), set.Args()[1:]
	}
}

// wrongFlag words what the flag package says.
func (c *console) wrongFlag(set *flag.FlagSet, err error) string {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err.Error()
	}
	var names []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return "there is no flag --" + strings.TrimPrefix(name, "-") + meant("--", name, names)
}

// place is the choice of a worktree that several commands have.
type place struct {
	all bool
	dir string
}

func (p *place) flags(set *flag.FlagSet) {
	set.BoolVar(&p.all, "all", false, "")
	set.StringVar(&p.dir, "worktree", "", "")
}

// worktree returns the worktree, "" for all of them.
func (p *place) worktree(c *console) (string, error) {
	switch {
	case p.all && p.dir != "":
		return "", errors.New("--all and --worktree exclude each other; leave one out")
	case p.all:
		return "", nil
	case p.dir != "":
		return c.worktree(p.dir), nil
	}
	return c.worktree("."), nil
}

// where names a worktree in a sentence.
func where(worktree string) string {
	if worktree == "" {
		return "on this machine"
	}
	return "in " + worktree
}

// parseStates reads the value of --state.
func parseStates(s string) ([]task.State, error) {
	if s == "" {
		return nil, nil
	}
	var states []task.State
	names := []string{"open", "ended"}
	for _, state := range task.States() {
		names = append(names, string(state))
	}
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "open":
			states = append(states, task.Pending, task.Running)
		case name == "ended":
			states = append(states, slices.DeleteFunc(task.States(), func(s task.State) bool { return !s.Terminal() })...)
		case slices.Contains(names, name):
			states = append(states, task.State(name))
		default:
			return nil, fmt.Errorf("there is no state %q%s", name, meant("", name, names))
		}
	}
	slices.Sort(states)
	return slices.Compact(states), nil
}

// find reads a task by the id that somebody typed.
func find(ctx context.Context, store *sqlitestore.Store, id string) (task.Task, error) {
	if store == nil {
		return task.Task{}, fmt.Errorf("there is no task %q: no task was ever stored on this machine", id)
	}
	t, err := store.Get(ctx, task.ID(id))
	if err == nil || !errors.Is(err, task.ErrNotFound) {
		return t, err
	}
	page, listErr := store.List(ctx, task.Query{Limit: 200})
	if listErr == nil {
		var ids []string
		for _, known := range page.Tasks {
			ids = append(ids, string(known.ID))
		}
		if near, ok := spell.Nearest(id, ids); ok {
			return task.Task{}, fmt.Errorf("there is no task %q; did you mean %s?", id, near)
		}
	}
	return task.Task{}, fmt.Errorf("there is no task %q; `sidecar tasks --all` lists them", id)
}

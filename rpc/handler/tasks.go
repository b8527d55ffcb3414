package handler

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// The most and the usual number of tasks in one list.
const (
	maxList     = 500
	defaultList = 50
)

func registerTasks(r *rpc.Router, d Deps) {
	rpc.Handle(r, wire.TaskLaunch, func(ctx context.Context, p wire.TaskLaunchParams) (wire.Task, error) {
		w, err := d.Sidecar.Lookup(p.Workspace)
		if err != nil {
			return wire.Task{}, err
		}
		if p.Prompt == "" {
			return wire.Task{}, rpc.InvalidParams("prompt", "prompt is missing; it is the instruction for the agent")
		}
		spec := delegate.Spec{
			Directory: w.Directory, Worktree: w.Worktree, Parent: p.ParentSession, Agent: p.Agent,
			Description: p.Description, Prompt: p.Prompt, Group: p.Group, Background: true,
		}
		for _, word := range []struct {
			field, value string
			accepted     []string
			set          func(string)
		}{
			{"mode", p.Mode, []string{"normal", "race", "fractal"}, func(v string) { spec.Mode = task.Mode(v) }},
			{"priority", p.Priority, []string{"normal", "high", "low"}, func(v string) { spec.Priority = task.Priority(v) }},
			{"wake", p.Wake, []string{"each", "all", "none"}, func(v string) { spec.Wake = task.Wake(v) }},
		} {
			switch at := slices.Index(word.accepted, word.value); {
			case at > 0: // the first is the zero value
				word.set(word.value)
			case at < 0 && word.value != "":
				return wire.Task{}, rpc.InvalidParams(word.field, "%s is %q; accepted are %s", word.field, word.value, strings.Join(word.accepted, ", "))
			}
		}
		var t task.Task
		if p.Resume != "" {
			t, err = d.Tasks.Resume(ctx, p.Resume, spec)
		} else {
			t, err = d.Tasks.Launch(ctx, spec)
		}
		return taskOf(delegate.View{Task: t}), err
	})
	rpc.Handle(r, wire.TaskGet, func(ctx context.Context, p wire.TaskGetParams) (wire.Task, error) {
		v, err := d.Tasks.Get(ctx, task.ID(p.ID))
		return taskOf(v), err
	})
	rpc.Handle(r, wire.TaskList, func(ctx context.Context, p wire.TaskListParams) (wire.TaskListResult, error) {
		q := task.Query{Parent: p.ParentSession, Limit: p.Limit}
		if p.Limit == 0 {
			q.Limit = defaultList
		}
		if q.Limit < 0 || q.Limit > maxList {
			return wire.TaskListResult{}, rpc.InvalidParams("limit", "limit is %d; accepted are 1 to %d", p.Limit, maxList)
		}
		if p.State != "" {
			q.States = []task.State{task.State(p.State)}
		}
		if p.Workspace != "" {
			w, err := d.Sidecar.Lookup(p.Workspace)
			if err != nil {
				return wire.TaskListResult{}, err
			}
			q.Worktree = w.Worktree
		}
		page, err := d.Tasks.List(ctx, q)
		if err != nil {
			return wire.TaskListResult{}, err
		}
		res := wire.TaskListResult{Tasks: make([]wire.Task, 0, len(page.Tasks)), Totals: map[string]int{}}
		for _, t := range page.Tasks {
			v := delegate.View{Task: t, Standing: d.Tasks.Standing(&t)}
			res.Tasks = append(res.Tasks, taskOf(v))
		}
		for state, n := range page.Totals {
			res.Totals[string(state)] = n
		}
		return res, nil
	})
	rpc.Handle(r, wire.TaskCancel, func(ctx context.Context, p wire.TaskGetParams) (wire.Task, error) {
		t, err := d.Tasks.Cancel(ctx, task.ID(p.ID), "cancelled by task/cancel")
		return taskOf(delegate.View{Task: t}), err
	})
	rpc.Handle(r, wire.TaskWait, func(ctx context.Context, p wire.TaskWaitParams) (wire.Task, error) {
		if p.TimeoutMS < 0 {
			return wire.Task{}, rpc.InvalidParams("timeoutMs", "timeoutMs is %d; accepted are 0 (no limit) and more", p.TimeoutMS)
		}
		rpc.Yield(ctx)
		t, err := d.Tasks.Wait(ctx, task.ID(p.ID), time.Duration(p.TimeoutMS)*time.Millisecond)
		return taskOf(delegate.View{Task: t}), err
	})
}

func taskOf(v delegate.View) wire.Task {
	t := wire.Task{
		ID: string(v.ID), Description: v.Description, Agent: v.Agent, State: string(v.State), Uncertain: v.Uncertain,
		Attempt: v.Attempt, Depth: v.Depth, Background: v.Background, Group: v.Group, ParentSession: v.Parent,
		Session: v.Session, Position: v.Position, Asks: v.Asks,
		Created: millis(v.Created), Started: millis(v.Started), Ended: millis(v.Ended),
		Result: v.Result, Error: v.Error, Note: v.Note, Elsewhere: v.Elsewhere, Told: v.Told,
		Mode: string(v.Mode), Priority: string(v.Priority), Wake: string(v.Wake), Model: v.Model.String(),
		Tokens: v.Usage.Tokens(), Cost: v.Usage.Cost,
	}
	if t.Result == "" {
		t.Result = v.Partial
	}
	return t
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

// The names of the tools, which the seed's users know.
const (
	nameDelegate      = "delegate_task"
	nameDelegateBatch = "delegate_tasks"
)

// maxBatch is how many tasks one call of delegate_tasks takes.
const maxBatch = 50

// listLimit is how many tasks list_tasks shows.
const listLimit = 50

type taskArgs struct {
	Agent       string `json:"agent" jsonschema:"the agent that does the work; list_agents names them"`
	Description string `json:"description" jsonschema:"the name of the task in three to six words"`
	Prompt      string `json:"prompt" jsonschema:"the whole instruction; the agent sees nothing else of this conversation"`
	Background  bool   `json:"background" jsonschema:"true to go on at once and be told when the task has ended, false to wait for the result"`
	Resume      string `json:"resume,omitempty" jsonschema:"the id of an ended task or of its session: its agent goes on there, with all that it knows, and prompt is its next instruction"`
	Mode        string `json:"mode,omitempty" jsonschema:"race: of the tasks with this groupID the first that completes ends the others; fractal: the agent may delegate further"`
	GroupID     string `json:"groupID,omitempty" jsonschema:"a name of your choice for tasks that belong together"`
	Priority    string `json:"priority,omitempty" jsonschema:"which tasks get a free slot first"`
	Wake        string `json:"wake,omitempty" jsonschema:"when you are told: each when this task has ended, all when all of its group have, none never"`
}

type batchItem struct {
	Agent       string `json:"agent" jsonschema:"the agent that does the work; list_agents names them"`
	Description string `json:"description" jsonschema:"the name of the task in three to six words"`
	Prompt      string `json:"prompt" jsonschema:"the whole instruction; the agent sees nothing else of this conversation"`
	Priority    string `json:"priority,omitempty" jsonschema:"which tasks get a free slot first"`
}

type batchArgs struct {
	Tasks   []batchItem `json:"tasks" jsonschema:"the tasks, which run in parallel"`
	GroupID string      `json:"groupID,omitempty" jsonschema:"a name of your choice for these tasks"`
	Mode    string      `json:"mode,omitempty" jsonschema:"race: the first that completes ends the others; fractal: the agents may delegate further"`
	Wake    string      `json:"wake,omitempty" jsonschema:"when you are told: each when one has ended, all when all have, none never"`
}

type sendArgs struct {
	TaskID  string `json:"taskId" jsonschema:"the id of the task, task_ and 8 hex digits"`
	Message string `json:"message" jsonschema:"what its agent should know or do from now on"`
}

type idArgs struct {
	TaskID string `json:"taskId" jsonschema:"the id of the task, task_ and 8 hex digits"`
}

type listArgs struct {
	Status  string `json:"status,omitempty" jsonschema:"show only tasks in this state; running includes pending"`
	GroupID string `json:"groupID,omitempty" jsonschema:"show only tasks of this group"`
}

type noArgs struct{}

// toolset is the tools over an engine.
type toolset struct {
	engine *Engine
	lookup func(workspaceID string) (workspace.Workspace, error)
}

// Tools are the tools with which models delegate. lookup maps the workspace id
// of a call to its workspace.
func Tools(e *Engine, lookup func(string) (workspace.Workspace, error)) []tool.Tool {
	s := toolset{e, lookup}
	return []tool.Tool{
		tool.New(nameDelegate,
			"Delegates one piece of work to another agent, in a session of its own. In the background several run in parallel and you are told when one has ended; otherwise the result is returned here.",
			s.delegate, modes(), wakes(), tool.Enum("priority", priorities()...), tool.Length("prompt", 1, 0), tool.Length("agent", 1, 0)),
		tool.New(nameDelegateBatch,
			"Delegates several independent pieces of work at once, in the background. Returns an id for each, or why that one was refused. You are told when they end.",
			s.delegateBatch, modes(), wakes(), tool.Enum("tasks[].priority", priorities()...), tool.Length("tasks", 1, maxBatch), tool.Length("tasks[].prompt", 1, 0), tool.Length("tasks[].agent", 1, 0)),
		tool.New("get_task_result",
			"Returns the result of a task, or what a running one has written so far.",
			s.result),
		tool.New("list_tasks",
			fmt.Sprintf("Lists the newest %d tasks of this worktree, with totals for each state and the place of waiting ones in the queue.", listLimit),
			s.list, tool.Enum("status", append([]string{"all"}, stateNames()...)...)),
		tool.New("cancel_task",
			"Stops a waiting or running task and confirms that its session has stopped.",
			s.cancel),
		tool.New("send_to_task",
			"Sends a running task a further message, which its agent reads at its next step. The result is then its answer to that.",
			s.send, tool.Length("message", 1, 0)),
		tool.New("list_agents",
			"Lists the agents that work can be delegated to.",
			s.agents),
	}
}

func stateNames() []string {
	var names []string
	for _, s := range task.States() {
		names = append(names, string(s))
	}
	return names
}

func (s toolset) where(c tool.Call) (workspace.Workspace, error) {
	return s.lookup(c.Workspace)
}

func modes() tool.Option { return tool.Enum("mode", "normal", "race", "fractal") }

func wakes() tool.Option { return tool.Enum("wake", "each", "all", "none") }

func priorities() []string { return []string{"high", "normal", "low"} }

// spec is what a call asks for, apart from the single task.
func (s toolset) spec(c tool.Call, mode, wake, group string) (Spec, error) {
	w, err := s.where(c)
	if err != nil {
		return Spec{}, err
	}
	out := Spec{
		Directory: w.Directory, Worktree: w.Worktree, Parent: c.SessionID, ParentAgent: c.Agent, Message: c.MessageID,
		Group: group, Background: true,
	}
	if mode != "normal" {
		out.Mode = task.Mode(mode)
	}
	if out.Wake = task.Wake(wake); wake == "each" || wake == "" && out.Mode != task.Race {
		out.Wake = task.WakeEach
	} else if wake == "" {
		out.Wake = task.WakeAll // of a race one result is wanted
	}
	return out, nil
}

func rank(priority string) task.Priority {
	if priority == "normal" {
		return task.NormalPriority
	}
	return task.Priority(priority)
}

func (s toolset) delegate(ctx context.Context, c tool.Call, a taskArgs) (tool.Result, error) {
	switch race := a.Mode == string(task.Race); {
	case race && a.Resume != "":
		return tool.Result{}, &tool.ArgumentError{Field: "mode", Problem: "cannot be race with resume: the race of that task is over"}
	case race && a.GroupID == "":
		return tool.Result{}, &tool.ArgumentError{Field: "groupID", Problem: "is missing; the tasks of a race share one"}
	}
	spec, err := s.spec(c, a.Mode, a.Wake, a.GroupID)
	if err != nil {
		return tool.Result{}, err
	}
	spec.Agent, spec.Description, spec.Prompt, spec.Priority, spec.Background = a.Agent, a.Description, a.Prompt, rank(a.Priority), a.Background
	var t task.Task
	switch {
	case a.Background && a.Resume == "":
		t, err = s.engine.Launch(ctx, spec)
	case a.Background:
		t, err = s.engine.Resume(ctx, a.Resume, spec)
	case a.Resume == "":
		t, err = s.engine.Delegate(ctx, spec)
	default:
		t, err = s.engine.DelegateResume(ctx, a.Resume, spec)
	}
	if err != nil {
		return tool.Result{}, s.explain(a.Resume, err)
	}
	out := tool.Result{Title: t.Description, Metadata: metadata(t)}
	switch {
	case a.Background:
		out.Output = heading(t) + " " + promise(spec.Wake) + "; go on with other work, or end your turn if there is none."
	case t.State.Terminal():
		out.Output = report(t, digestAll)
	default:
		out.Output = fmt.Sprintf("%s It takes longer than %s, so it goes on in the background and you will be told when it has ended.",
			heading(t), s.engine.config(spec.Directory).SyncWait)
	}
	if a.Resume != "" {
		out.Output = strings.Replace(strings.Replace(out.Output, "[SPAWNED]", "[RESUME]", 1), "[DONE]", "[RESUMED & DONE]", 1)
	}
	return out, nil
}

// promise says when a background task is told of.
func promise(w task.Wake) string {
	switch w {
	case task.WakeAll:
		return "You will be told when all of its group have ended"
	case task.WakeNone:
		return "You will not be told when it has ended: ask get_task_result"
	}
	return "You will be told when it has ended"
}

func (s toolset) delegateBatch(ctx context.Context, c tool.Call, a batchArgs) (tool.Result, error) {
	if a.Mode == string(task.Race) && a.GroupID == "" {
		a.GroupID = "race " + strings.TrimPrefix(string(task.NewID()), "task_")
	}
	if a.Wake == string(task.WakeAll) && a.GroupID == "" { // all of these, and no others
		a.GroupID = "batch " + strings.TrimPrefix(string(task.NewID()), "task_")
	}
	spec, err := s.spec(c, a.Mode, a.Wake, a.GroupID)
	if err != nil {
		return tool.Result{}, err
	}
	var lines, ids []string
	for i, item := range a.Tasks { // in the order of the call, which is that of the queue
		spec.Agent, spec.Description, spec.Prompt, spec.Priority = item.Agent, item.Description, item.Prompt, rank(item.Priority)
		t, err := s.engine.Launch(ctx, spec)
		if err != nil {
			lines = append(lines, fmt.Sprintf("[ERROR] tasks[%d] %q was not launched: %v", i, item.Description, err))
			continue
		}
		ids = append(ids, string(t.ID))
		lines = append(lines, heading(t))
	}
	if len(ids) == 0 {
		return tool.Result{}, fmt.Errorf("%w: no task was launched\n%s", ErrRefused, strings.Join(lines, "\n"))
	}
	told := "You will be told when they have ended."
	if spec.Wake == task.WakeNone {
		told = "You will not be told when they have ended: ask get_task_result."
	}
	return tool.Result{
		Title:    fmt.Sprintf("%d tasks", len(ids)),
		Output:   fmt.Sprintf("%d of %d tasks launched. %s\n%s", len(ids), len(a.Tasks), told, strings.Join(lines, "\n")),
		Metadata: map[string]any{"taskIds": ids, "failed": len(a.Tasks) - len(ids)},
	}, nil
}

func (s toolset) send(ctx context.Context, c tool.Call, a sendArgs) (tool.Result, error) {
	if err := s.within(ctx, c, a.TaskID); err != nil {
		return tool.Result{}, err
	}
	t, err := s.engine.Send(ctx, task.ID(a.TaskID), a.Message)
	if err != nil {
		return tool.Result{}, s.explain(a.TaskID, err)
	}
	return tool.Result{Title: t.Description, Output: heading(t) + " It has your message.", Metadata: metadata(t)}, nil
}

func (s toolset) result(ctx context.Context, c tool.Call, a idArgs) (tool.Result, error) {
	if err := s.within(ctx, c, a.TaskID); err != nil {
		return tool.Result{}, err
	}
	v, err := s.engine.Get(ctx, task.ID(a.TaskID))
	if err != nil {
		return tool.Result{}, s.explain(a.TaskID, err)
	}
	out := tool.Result{Title: v.Description, Metadata: metadata(v.Task)}
	if v.State.Terminal() {
		out.Output = report(v.Task, 1<<30)
		if v.Parent == c.SessionID {
			s.engine.settle(ctx, []tiding{ended{v.Task}})
		}
		return out, nil
	}
	out.Output = heading(v.Task) + standing(&v.Task, v.Standing)
	if v.Partial != "" {
		out.Output += "\nIts output so far:\n" + v.Partial
	}
	return out, nil
}

func (s toolset) list(ctx context.Context, c tool.Call, a listArgs) (tool.Result, error) {
	w, err := s.where(c)
	if err != nil {
		return tool.Result{}, err
	}
	q := task.Query{Worktree: w.Worktree, Group: a.GroupID, Limit: listLimit}
	switch a.Status {
	case "", "all":
	case string(task.Running):
		q.States = []task.State{task.Pending, task.Running}
	default:
		q.States = []task.State{task.State(a.Status)}
	}
	page, err := s.engine.List(ctx, q)
	if err != nil {
		return tool.Result{}, err
	}
	b := make([]byte, 0, 128*(len(page.Tasks)+1))
	all := 0
	for _, state := range task.States() {
		if n := page.Totals[state]; n > 0 {
			if all > 0 {
				b = append(b, ", "...)
			}
			b = fmt.Appendf(b, "%d %s", n, state)
			all += n
		}
	}
	if all == 0 {
		return tool.Result{Title: "0 tasks", Output: "No tasks."}, nil
	}
	if all > len(page.Tasks) {
		b = fmt.Appendf(b, "; the newest %d:", len(page.Tasks))
	} else {
		b = append(b, ':')
	}
	for i := range page.Tasks {
		t := &page.Tasks[i]
		b = appendHeading(append(b, '\n'), t)
		if !t.State.Terminal() {
			b = append(b, standing(t, s.engine.Standing(t))...)
		}
		if t.Error != "" {
			b = append(append(b, ": "...), firstLine(t.Error, 120)...)
		}
	}
	return tool.Result{Title: fmt.Sprintf("%d tasks", all), Output: string(b)}, nil
}

// standing adds what the state alone does not say.
func standing(t *task.Task, s Standing) string {
	var out string
	switch {
	case s.Elsewhere:
		out = ", in another OpenCode process"
	case s.Asks != "":
		out = ", waits for the user's permission: " + s.Asks
	case s.Breaker != "":
		out = fmt.Sprintf(", place %d in the queue: %s fails, the next try is in %s", s.Position, s.Breaker, span(time.Until(s.Until)))
	case s.Memory:
		out = fmt.Sprintf(", place %d in the queue: the machine is short of memory", s.Position)
	case s.Position > 0:
		out = fmt.Sprintf(", place %d in the queue", s.Position)
	case t.State == task.Pending && !s.Until.IsZero():
		out = ", tries again in " + span(time.Until(s.Until))
	case s.Waits > 0:
		out = fmt.Sprintf(", waits for %d tasks of its own", s.Waits)
	case t.Uncertain:
		out = ", uncertain: OpenCode shows neither work nor an answer"
	}
	if s.Shares != "" {
		out += "\n" + s.Shares
	}
	return out
}

func span(d time.Duration) string { return string(appendSpan(nil, max(d, 0))) }

func (s toolset) cancel(ctx context.Context, c tool.Call, a idArgs) (tool.Result, error) {
	if err := s.within(ctx, c, a.TaskID); err != nil {
		return tool.Result{}, err
	}
	t, err := s.engine.Cancel(ctx, task.ID(a.TaskID), "cancelled with cancel_task")
	if err != nil {
		return tool.Result{}, s.explain(a.TaskID, err)
	}
	out := report(t, digestEach)
	if !t.State.Terminal() {
		out += "\nIt was asked to stop, which is not confirmed yet: list_tasks shows when it has."
	} else if t.Parent == c.SessionID {
		s.engine.settle(ctx, []tiding{ended{t}})
	}
	return tool.Result{Title: t.Description, Output: out, Metadata: metadata(t)}, nil
}

func (s toolset) agents(ctx context.Context, c tool.Call, _ noArgs) (tool.Result, error) {
	w, err := s.where(c)
	if err != nil {
		return tool.Result{}, err
	}
	agents, err := s.engine.Agents(ctx, w.Directory)
	if err != nil {
		return tool.Result{}, err
	}
	var lines []string
	for _, a := range agents {
		line := a.Name + " (" + a.Mode + ")"
		if a.Description != "" {
			line += ": " + firstLine(a.Description, 300)
		}
		lines = append(lines, line)
	}
	return tool.Result{Title: fmt.Sprintf("%d agents", len(agents)), Output: strings.Join(lines, "\n")}, nil
}

// within refuses tasks of other worktrees: a model sees only those of its own.
func (s toolset) within(ctx context.Context, c tool.Call, id string) error {
	w, err := s.where(c)
	if err != nil {
		return err
	}
	t, err := s.engine.store.Get(ctx, task.ID(id))
	if err == nil && t.Worktree != w.Worktree {
		err = task.ErrNotFound
	}
	if err != nil {
		return s.explain(id, err)
	}
	return nil
}

func (s toolset) explain(id string, err error) error {
	if errors.Is(err, task.ErrNotFound) {
		return fmt.Errorf("there is no task %q; list_tasks shows those of this worktree: %w", id, err)
	}
	return err
}

func metadata(t task.Task) map[string]any {
	return map[string]any{"taskId": string(t.ID), "state": string(t.State), "sessionId": t.Session, "agent": t.Agent}
}

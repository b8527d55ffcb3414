package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Spec is what to launch.
type Spec struct {
	Directory string
	Worktree  string
	// Parent is the session that asks, Message the assistant message in which it
	// does ("" outside a tool call): the child uses that message's model unless
	// its agent has one of its own.
	Parent, Message string
	ParentAgent     string // the agent that asks
	Agent           string
	Description     string
	Prompt          string
	Group           string
	Mode            task.Mode
	Priority        task.Priority
	Wake            task.Wake
	// Background tasks wake the parent when they end.
	Background bool
	// id is chosen by the engine for a task that takes the place of one that has
	// just ended, model the one to use if its agent has none.
	id    task.ID
	model host.Model
}

// Launch stores a task and queues it for a slot. When it returns without an
// error the task exists. It fails with ErrStopping, an error that wraps
// ErrRefused, or an *AgentError.
func (e *Engine) Launch(ctx context.Context, s Spec) (task.Task, error) {
	settings, asker, err := e.reserve(s)
	if err != nil {
		return task.Task{}, err
	}
	t, err := e.launch(ctx, s, asker, settings)
	if err != nil {
		e.unreserve(s.Parent, t.Root)
		return task.Task{}, err
	}
	return t, e.admit(ctx, t, asker)
}

// admit queues a stored task. If the caller has given up meanwhile nobody knows
// of the task, so it is ended.
func (e *Engine) admit(ctx context.Context, t task.Task, asker *run) error {
	if err := e.queue(ctx, t, asker); err != nil || ctx.Err() == nil {
		return err
	}
	e.mu.Lock()
	r := e.runs[t.ID]
	if r != nil {
		r.background, r.orphan = false, true // the call's own error tells
	}
	e.mu.Unlock()
	if r != nil {
		e.end(ctx, r, &ending{state: task.Cancelled, reason: "the call that asked for it was stopped"})
	}
	return context.Cause(ctx)
}

// reserve counts a task against its parent before anything is asked or stored,
// so that launches at the same time cannot exceed the cap together. asker is the
// task that asks, nil if it is a person's session.
func (e *Engine) reserve(s Spec) (_ Settings, asker *run, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	settings := e.configLocked(s.Directory)
	if s.id != "" { // the one whose place it takes counts still
		settings.MaxOpen++
		settings.MaxTree++
	}
	p := e.parents[s.Parent]
	asker = e.bySession[s.Parent]
	switch {
	case e.stopped:
		return settings, nil, ErrStopping
	case asker != nil && (asker.finishing || asker.decided || asker.ending != nil):
		return settings, nil, fmt.Errorf("%w: the task that asks for it is ending", ErrRefused)
	case asker != nil && asker.mode != task.Fractal:
		return settings, nil, fmt.Errorf("%w: an agent that was delegated to delegates further in fractal mode only", ErrRefused)
	case p != nil && p.open >= settings.MaxOpen:
		return settings, nil, fmt.Errorf("%w: this session has %d open tasks, the most that maxTasksPerSession allows; wait for some to end or cancel them", ErrRefused, p.open)
	}
	e.parentLocked(s.Parent, s.Directory).open++
	return settings, asker, nil
}

// allowed refuses to delegate from where a session stands in its tree.
func allowed(from origin, asker *run, s Spec, settings Settings) error {
	switch {
	case from.depth >= settings.Terminal:
		return fmt.Errorf("%w: this agent is %d levels deep, and from terminalDepth (%d) on none delegates further", ErrRefused, from.depth, settings.Terminal)
	case from.depth+1 > settings.MaxDepth:
		return fmt.Errorf("%w: this session is %d levels deep already, maxDepth is %d", ErrRefused, from.depth, settings.MaxDepth)
	case from.depth > 0 && asker == nil && s.Background:
		return fmt.Errorf("%w: the session of a subagent is over when its turn is, so nobody could be told of a background task; delegate without background and wait", ErrRefused)
	}
	return nil
}

// unreserve takes reserve back, and join if the tree is known.
func (e *Engine) unreserve(session, root string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaveLocked(root)
	p := e.parents[session]
	p.open--
	e.dropParentLocked(p)
}

// launch checks a task against OpenCode and stores it. The Root of the task that
// it returns is set once the task counts against its tree, with an error too.
func (e *Engine) launch(ctx context.Context, s Spec, asker *run, settings Settings) (task.Task, error) {
	// Each call waits its turn in OpenCode's event loop, so they wait together.
	var (
		ask      sync.WaitGroup
		agent    host.Agent
		from     origin
		asked    host.Model
		noAgent  error
		noOrigin error
	)
	noAgent = errBug
	ask.Go(func() { e.guard("launch", func() { agent, noAgent = e.agent(ctx, s.Directory, s.Agent) }) })
	ask.Go(func() { e.guard("launch", func() { asked = e.modelOf(ctx, s) }) })
	from, noOrigin = e.originOf(ctx, s.Directory, s.Parent)
	ask.Wait()
	if err := cmp.Or(noAgent, noOrigin); err != nil {
		return task.Task{}, err
	}
	if err := allowed(from, asker, s, settings); err != nil {
		return task.Task{}, err
	}
	if err := e.undecided(ctx, s); err != nil {
		return task.Task{}, err
	}
	if err := e.join(ctx, from.root, settings); err != nil {
		return task.Task{}, err
	}
	e.mu.Lock()
	p := e.parents[s.Parent]
	p.depth = from.depth
	if s.ParentAgent != "" {
		p.agent = s.ParentAgent
	}
	if asked.ID != "" {
		p.model = asked
	}
	owner := e.owner
	e.mu.Unlock()
	model := agent.Model
	if model.ID == "" {
		model = asked
	}
	if model.ID == "" {
		model = s.model
	}
	t := task.Task{
		Directory: s.Directory, Worktree: s.Worktree, Owner: owner, Parent: s.Parent, Root: from.root,
		Agent: agent.Name, Model: e.healthy(settings, agent.Name, model), Description: s.Description, Prompt: s.Prompt, Group: s.Group,
		Mode: s.Mode, Priority: s.Priority, Wake: s.Wake,
		Background: s.Background, Depth: from.depth + 1, Attempt: 1, State: task.Pending, Created: time.Now(),
	}
	if t.Description == "" {
		t.Description = firstLine(s.Prompt, 60)
	}
	for try := 0; ; try++ {
		if t.ID = s.id; t.ID == "" {
			t.ID = task.NewID()
		}
		// Not stopped half-way: it could be stored and nobody would know.
		err := e.store.Create(context.WithoutCancel(ctx), t)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, task.ErrExists) || s.id != "" || try == 8 {
			return task.Task{Root: t.Root}, fmt.Errorf("%w: the task could not be stored: %w", ErrRefused, err)
		}
	}
}

// queue puts a stored task, which is reserved and has joined its tree, in line
// for its slot.
func (e *Engine) queue(ctx context.Context, t task.Task, asker *run) error {
	r := newRun(t)
	e.mu.Lock()
	e.enrolLocked(r)
	// While we asked OpenCode: who ends all tasks, or those of one, may have looked already.
	stopped := e.stopped
	orphan := asker != nil && (asker.finishing || e.bySession[t.Parent] != asker)
	r.orphan = orphan
	e.mu.Unlock()
	if orphan {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: task.Cancelled, reason: "the task that asked for it ended"})
		return fmt.Errorf("%w: the task that asked for it ended", ErrRefused)
	}
	if stopped {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: task.Interrupted, reason: ErrStopping.Error()})
		return ErrStopping
	}
	if err := e.submit(ctx, r); err != nil {
		return ErrStopping
	}
	e.rejudge(ctx, r)
	return nil
}

// enrolLocked makes a run known.
func (e *Engine) enrolLocked(r *run) {
	e.runs[r.id] = r
	if p := e.parentLocked(r.parent, r.directory); r.wake == task.WakeAll {
		p.gathers(r.group, 1)
	}
	poke(e.watch)
}

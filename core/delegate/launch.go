package delegate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
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
	// Background tasks wake the parent when they end.
	Background bool
}

// origin is what a session's place in the tree of sessions tells.
type origin struct {
	depth   int         // 0 for a session that a person opened
	rules   []host.Rule // the permissions of the session itself
	at      time.Time   // when they were read
	message string      // the newest assistant message that asked for tasks
	model   host.Model  // and its model
}

// rulesFor is how long the permissions of a session are believed.
const rulesFor = 5 * time.Second

// maxLineage bounds the cache of origins; beyond it the cache starts anew.
const maxLineage = 10_000

// Launch stores a task and queues it for a slot. When it returns without an
// error the task exists. It fails with ErrStopping, an error that wraps
// ErrRefused, or an *AgentError.
func (e *Engine) Launch(ctx context.Context, s Spec) (task.Task, error) {
	settings, err := e.reserve(s)
	if err != nil {
		return task.Task{}, err
	}
	t, err := e.launch(ctx, s, settings)
	if err != nil {
		e.mu.Lock()
		p := e.parents[s.Parent]
		if p.open--; p.open == 0 && len(p.outbox) == 0 && p.held.IsZero() && !p.serving {
			delete(e.parents, s.Parent)
		}
		e.mu.Unlock()
		return task.Task{}, err
	}
	return t, e.queue(ctx, t)
}

// reserve counts a task against its parent before anything is asked or stored,
// so that launches at the same time cannot exceed the cap together.
func (e *Engine) reserve(s Spec) (Settings, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	settings := e.configLocked(s.Directory)
	switch p := e.parents[s.Parent]; {
	case e.stopped:
		return settings, ErrStopping
	case e.bySession[s.Parent] != nil:
		return settings, fmt.Errorf("%w: agents that were delegated to cannot delegate further", ErrRefused)
	case p != nil && p.open >= settings.MaxOpen:
		return settings, fmt.Errorf("%w: this session has %d open tasks, the most that maxTasksPerSession allows; wait for some to end or cancel them", ErrRefused, p.open)
	}
	e.parentLocked(s.Parent, s.Directory).open++
	return settings, nil
}

// launch checks a task against OpenCode and stores it.
func (e *Engine) launch(ctx context.Context, s Spec, settings Settings) (task.Task, error) {
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
	if from.depth+1 > settings.MaxDepth {
		return task.Task{}, fmt.Errorf("%w: this session is %d levels deep already, maxDepth is %d", ErrRefused, from.depth, settings.MaxDepth)
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
	e.mu.Unlock()
	model := agent.Model
	if model.ID == "" {
		model = asked
	}
	t := task.Task{
		Directory: s.Directory, Worktree: s.Worktree, Parent: s.Parent,
		Agent: agent.Name, Model: model, Description: s.Description, Prompt: s.Prompt, Group: s.Group,
		Background: s.Background, Depth: from.depth + 1, Attempt: 1, State: task.Pending, Created: time.Now(),
	}
	if t.Description == "" {
		t.Description = firstLine(s.Prompt, 60)
	}
	for try := 0; ; try++ {
		t.ID = task.NewID()
		err := e.store.Create(ctx, t)
		if err == nil {
			break
		}
		if !errors.Is(err, task.ErrExists) || try == 8 {
			return task.Task{}, fmt.Errorf("the task could not be stored: %w", err)
		}
	}
	return t, nil
}

// queue puts a stored task in line for its slot.
func (e *Engine) queue(ctx context.Context, t task.Task) error {
	r := &run{
		id: t.ID, directory: t.Directory, parent: t.Parent, background: t.Background,
		hints: make(chan struct{}, 1), done: make(chan struct{}),
	}
	e.mu.Lock()
	e.runs[t.ID] = r
	stopped := e.stopped // while we asked OpenCode: Stop may have looked already
	e.mu.Unlock()
	if stopped {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: task.Interrupted, reason: ErrStopping.Error()})
		return ErrStopping
	}
	ticket, err := e.limits.Submit(limit.Request{
		Keys:    keys(t),
		Owner:   string(t.ID),
		Granted: func(lease *limit.Lease) { e.granted(r, lease) },
		Expired: func() {
			e.end(context.WithoutCancel(ctx), r, &ending{state: task.Timeout, reason: "its lease was not renewed for 10 minutes"})
			<-r.done
		},
	})
	if err != nil {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: task.Interrupted, reason: err.Error()})
		return ErrStopping
	}
	e.mu.Lock()
	r.ticket = ticket
	why := r.ending
	e.mu.Unlock()
	// Somebody may have asked for the end before the ticket was there to withdraw.
	if why != nil && ticket.Withdraw() {
		e.finish(context.WithoutCancel(ctx), r, outcome{state: why.state, reason: why.reason})
	}
	return nil
}

func (e *Engine) granted(r *run, lease *limit.Lease) {
	e.mu.Lock()
	r.lease = lease
	e.ready = append(e.ready, r)
	e.mu.Unlock()
	poke(e.signal)
}

func keys(t task.Task) []limit.Key {
	k := []limit.Key{{}, limit.ForAgent(t.Agent)}
	if t.Model.ID != "" {
		k = append(k, limit.ForProvider(t.Model.Provider), limit.ForModel(t.Model.Provider, t.Model.ID))
	}
	return k
}

// AgentError names an agent that does not exist, and those that do.
type AgentError struct {
	Name  string
	Known []string
}

func (e *AgentError) Error() string {
	return fmt.Sprintf("there is no agent %q; the agents are %s", e.Name, strings.Join(e.Known, ", "))
}

type agentList struct {
	agents []host.Agent
	at     time.Time
}

// agentsFor is how long a list of agents is believed: they change only when
// OpenCode re-reads its configuration.
const agentsFor = 30 * time.Second

// Agents lists the agents that tasks can be delegated to, by name.
func (e *Engine) Agents(ctx context.Context, directory string) ([]host.Agent, error) {
	e.mu.Lock()
	list := e.agents[directory]
	e.mu.Unlock()
	if time.Since(list.at) < agentsFor {
		return list.agents, nil
	}
	all, err := e.host.Agents(ctx, directory)
	if err != nil {
		return nil, err
	}
	agents := slices.DeleteFunc(all, func(a host.Agent) bool {
		return a.Hidden && a.Mode == "primary" // OpenCode's own: title, summary, compaction
	})
	slices.SortFunc(agents, func(a, b host.Agent) int { return strings.Compare(a.Name, b.Name) })
	e.mu.Lock()
	e.agents[directory] = agentList{agents, time.Now()}
	e.mu.Unlock()
	return agents, nil
}

// agent finds an agent by its exact name, or by the only one that differs in case.
func (e *Engine) agent(ctx context.Context, directory, name string) (host.Agent, error) {
	agents, err := e.Agents(ctx, directory)
	if err != nil {
		return host.Agent{}, err
	}
	var found []host.Agent
	var known []string
	for _, a := range agents {
		if a.Name == name {
			return a, nil
		}
		if strings.EqualFold(a.Name, name) {
			found = append(found, a)
		}
		known = append(known, a.Name)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return host.Agent{}, &AgentError{name, known}
}

// originOf walks up from a session to the one that a person opened. The depth of
// a session never changes, its permissions can.
func (e *Engine) originOf(ctx context.Context, directory, session string) (origin, error) {
	e.mu.Lock()
	o := e.lineage[session]
	e.mu.Unlock()
	known := !o.at.IsZero() // modelOf may have made the entry
	if known && time.Since(o.at) < rulesFor {
		return o, nil
	}
	for id, depth := session, 0; ; depth++ {
		s, err := e.host.Session(ctx, directory, id)
		if err != nil {
			return origin{}, err
		}
		if depth == 0 {
			o.rules, o.at = s.Permission, time.Now()
		}
		if known {
			break
		}
		if o.depth = depth; s.Parent == "" {
			break
		}
		if depth > 32 { // OpenCode cannot make such a tree; a lie must not hang us
			return origin{}, fmt.Errorf("%w: session %s has no end of parents", ErrRefused, session)
		}
		id = s.Parent
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.lineage) >= maxLineage {
		clear(e.lineage)
	}
	o.message, o.model = e.lineage[session].message, e.lineage[session].model
	e.lineage[session] = o
	return o, nil
}

// modelOf returns the model of the message in which the parent asks, so that a
// child does not fall back to OpenCode's default model. Not knowing it is no error.
func (e *Engine) modelOf(ctx context.Context, s Spec) host.Model {
	if s.Message == "" {
		return host.Model{}
	}
	e.mu.Lock()
	o := e.lineage[s.Parent]
	e.mu.Unlock()
	if o.message == s.Message {
		return o.model
	}
	messages, err := e.host.Messages(ctx, s.Directory, s.Parent, 4)
	if err != nil {
		return host.Model{}
	}
	var model host.Model
	for _, m := range messages {
		if m.ID == s.Message {
			model = m.Model
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	o = e.lineage[s.Parent]
	o.message, o.model = s.Message, model
	e.lineage[s.Parent] = o
	return model
}

// childRules are the permissions of a child session: what is denied to the
// parent stays denied, a child cannot delegate further, by our tools or by
// OpenCode's own, and it cannot ask a person who does not look at it.
func (e *Engine) childRules(ctx context.Context, r *run) ([]host.Rule, error) {
	from, err := e.originOf(ctx, r.directory, r.parent)
	if err != nil {
		return nil, err
	}
	var rules []host.Rule
	for _, rule := range from.rules {
		if rule.Action == "deny" || rule.Permission == "external_directory" {
			rules = append(rules, rule)
		}
	}
	for _, name := range []string{"task", "todowrite", "question", nameDelegate, nameDelegateBatch} {
		rules = append(rules, host.Rule{Permission: name, Pattern: "*", Action: "deny"})
	}
	return rules, nil
}

// firstLine returns the first line of s, cut to about max bytes at a rune.
func firstLine(s string, max int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return clip(s, max)
}

// clip cuts s to at most max bytes at a rune boundary and marks the cut.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	cut := 0
	for i := range s {
		if i > max-len("…") {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}

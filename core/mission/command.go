package mission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// stopLimit is how long /stop waits for the session's running turn to be aborted,
// within the 100 ms that it may take in all.
const stopLimit = 70 * time.Millisecond

// only ends a text that an agent is to pass on.
const only = " Pass this on in one sentence and do nothing else."

// Command carries out one of our commands in a session, inside the hook that comes
// before its message is stored. It returns what the message is to say in place of
// the command's own text, "" to leave that as it is. With an error nothing was
// done.
func (d *Driver) Command(ctx context.Context, directory, session, name, arguments string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hookLimit)
	defer cancel()
	if name != "task" {
		d.setAside(session, name != "plan")
	}
	switch name {
	case "task":
		return d.begin(ctx, directory, session, strings.TrimSpace(arguments))
	case "stop", "cancel":
		return d.halt(ctx, directory, session, name == "cancel")
	case "plan":
		return "", d.plan(ctx, directory, session)
	case "status":
		return d.status(ctx, directory, session)
	case "agents":
		return d.agents(ctx, directory)
	}
	return "", nil
}

// begin starts a mission, or takes one up again that has no new objective.
func (d *Driver) begin(ctx context.Context, directory, session, objective string) (string, error) {
	of, err := d.host.Session(ctx, directory, session)
	if err != nil {
		return "", err
	}
	if of.Parent != "" {
		return "A mission was not started: this is the session of a task, and missions belong to the session that you opened yourself." + only, nil
	}
	known, err := d.look(ctx, directory, session)
	if err != nil {
		return "", err
	}
	if known.elsewhere {
		return "A mission was not started: another OpenCode process drives one in this session; /stop ends that." + only, nil
	}
	d.mu.Lock()
	worktree := d.places[directory].worktree
	d.mu.Unlock()
	again := objective == ""
	if again && known.none() {
		if g, err := d.readGate(worktree); err != nil || !g.open() {
			return "/task was called without words, and there is neither a mission to take up again nor an open item in .opencode/todo.md. Ask in one sentence what the mission is, and do nothing else.", nil
		}
		known.state.Objective = "Finish what is open in .opencode/todo.md." // as after /plan
	}
	fresh := State{
		Session: session, Directory: directory, Objective: clip(objective, objectiveLimit), Phase: Active, Started: time.Now(),
		Counted: time.Now(),
		Todos:   known.state.Todos, // what OpenCode's list of the session said is known, whatever the mission
	}
	if again {
		fresh.Objective = known.state.Objective
	}
	if fresh.Before, err = d.tasks.Spent(ctx, session); err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("what the tasks of a session have used is not readable")
	}
	m := known.m
	d.mu.Lock()
	if m == nil {
		m = newMission(fresh, worktree)
		if known.stored != nil {
			m.version = known.stored.Version
		}
		d.missions[session] = m
	}
	m.state, m.span, m.calls = fresh, newSpending(), map[string]string{}
	m.stirred++
	m.escaped, m.heard, m.tries, m.doubt, m.latest = false, "", 0, time.Time{}, nil
	m.awaited = time.Now()
	d.nudgeLocked(m)
	d.mu.Unlock()
	d.todos.Watch(worktree)
	if err := d.keep(ctx, m); err != nil {
		d.toast(ctx, m, "warning", 10*time.Second, "It has begun, but is not stored yet: "+err.Error())
	}
	d.log.Info().Str("session", session).Bool("again", again).Msg("mission begins")
	if again {
		return fmt.Sprintf("Go on with the mission. Its objective:\n\n%s\n\nLook at .opencode/todo.md first: what is open there is what is left.", fresh.Objective), nil
	}
	return "", nil
}

// halt ends a mission, and the running turn with it; cancelled, its tasks too.
func (d *Driver) halt(ctx context.Context, directory, session string, tasks bool) (string, error) {
	known, err := d.look(ctx, directory, session)
	holds := d.tasks.Unsettled(session)
	var said []string
	switch {
	case err != nil:
		said = append(said, err.Error()+".")
	case known.elsewhere:
		said = append(said, d.haltElsewhere(ctx, known))
	case known.m == nil || known.state.Phase.Over():
		said = append(said, "There was no mission to stop.")
		known.m = nil
	default:
		d.mu.Lock() // holds from here on, whatever the store says
		known.m.stirred++
		known.m.state.Phase, known.m.state.Reason, known.m.state.Held = Stopped, "you stopped it", holds
		d.mu.Unlock()
		said = append(said, fmt.Sprintf("The mission was stopped after %s.", count(known.state.Iteration, "continuation")))
		if g, err := d.readGate(known.m.worktree); err == nil && g.driven() {
			said[0] = fmt.Sprintf("The mission was stopped after %s, with %s.", count(known.state.Iteration, "continuation"), g)
		}
	}
	cancelled := 0
	if tasks {
		if cancelled = d.tasks.CancelOf(session, "you cancelled the mission"); cancelled > 0 {
			said = append(said, were(cancelled, "background task")+" cancelled.")
		}
	} else if open := d.tasks.OpenOf(session); len(open) > 0 {
		said = append(said, goes(len(open), "background task")+" on, and what comes of that is told with your next message; /cancel ends them too.")
	}
	if holds {
		d.tasks.Hold(session, directory)
	}
	if err := d.interrupt(ctx, directory, session); err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("the running turn could not be stopped")
		said = append(said, "Its running turn could not be stopped: press Esc.")
	}
	if known.m != nil {
		if err := d.keep(ctx, known.m); err != nil {
			said = append(said, "That could not be stored yet.")
		}
		d.log.Info().Str("session", session).Str("phase", string(Stopped)).Str("reason", "you stopped it").Msg("mission")
	}
	return strings.Join(said, " ") + only, nil
}

// haltElsewhere ends a mission that another OpenCode process drives, which sees
// that before it sends anything further.
func (d *Driver) haltElsewhere(ctx context.Context, known standing) string {
	d.mu.Lock()
	owner := d.owner
	d.mu.Unlock()
	s, r := known.state, *known.stored
	s.Phase, s.Reason, s.Halted = Stopped, "you stopped it", owner
	body, err := s.encode()
	if err == nil {
		r.Body, r.Open = body, false
		_, err = d.store.Put(ctx, r)
	}
	if errors.Is(err, record.ErrStale) {
		return "The mission was not stopped: another OpenCode process drives it, and has just changed it; try again."
	}
	if err != nil {
		return fmt.Sprintf("The mission, which another OpenCode process drives, could not be stopped: %v.", err)
	}
	return "The mission, which another OpenCode process drives, was stopped: it sends nothing further."
}

// interrupt aborts what a session does just now, so that the command is all that
// it goes on with.
func (d *Driver) interrupt(ctx context.Context, directory, session string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	return d.host.Abort(ctx, directory, session)
}

// plan pauses an active mission: what is planned now is not to be carried out.
func (d *Driver) plan(ctx context.Context, directory, session string) error {
	known, err := d.look(ctx, directory, session)
	if err != nil || known.m == nil {
		return err
	}
	d.mu.Lock()
	active := known.m.state.Phase == Active
	if active {
		known.m.stirred++
		known.m.state.Phase, known.m.state.Reason = Paused, "you asked for a plan"
		known.m.paused = time.Now()
	}
	d.mu.Unlock()
	if active {
		_ = d.keep(ctx, known.m) // which logs, and tries again
	}
	return nil
}

// status tells a person how the mission stands.
func (d *Driver) status(ctx context.Context, directory, session string) (string, error) {
	known, err := d.look(ctx, directory, session)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	at := d.places[directory]
	d.mu.Unlock()
	var b strings.Builder
	if s := known.state; known.none() {
		b.WriteString("No mission was started in this session; /task starts one.\n")
	} else {
		fmt.Fprintf(&b, "Mission: %s", s.Phase)
		if s.Reason != "" {
			fmt.Fprintf(&b, " (%s)", s.Reason)
		}
		if known.elsewhere {
			b.WriteString(", driven by another OpenCode process")
		}
		fmt.Fprintf(&b, "\nObjective: %s\nContinuations: %d of at most %d\n", clip(todo.Normalize(s.Objective), 300), s.Iteration, at.settings.Iterations)
	}
	if known.m != nil {
		spent := d.see(ctx, known.m).tasks
		d.mu.Lock()
		used := known.m.usedWith(spent)
		d.mu.Unlock()
		if used != (task.Usage{}) {
			fmt.Fprintf(&b, "Used: %d tokens, $%.4g\n", used.Tokens(), used.Cost)
		}
	}
	if g, err := d.readGate(at.worktree); err != nil {
		fmt.Fprintf(&b, "%v\n", err)
	} else if text := d.summary(g.list, session); text != "" {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	for _, t := range d.tasks.OpenOf(session) {
		fmt.Fprintf(&b, "\n%s", line(t))
	}
	return strings.TrimRight(b.String(), "\n") + "\n\n(Pass this on briefly and do nothing else.)", nil
}

// agents lists those that work can be delegated to.
func (d *Driver) agents(ctx context.Context, directory string) (string, error) {
	agents, err := d.tasks.Agents(ctx, directory)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("Agents that work can be delegated to:\n")
	for _, a := range agents {
		fmt.Fprintf(&b, "- %s", a.Name)
		if a.Description != "" {
			fmt.Fprintf(&b, ": %s", clip(a.Description, 200))
		}
		b.WriteString("\n")
	}
	return b.String() + "\n(Pass this on as it is and do nothing else.)", nil
}

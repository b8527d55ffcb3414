package mission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// stopLimit is how long /stop waits for the session's running turn to be aborted,
// within the 100 ms that it may take in all.
const stopLimit = 80 * time.Millisecond

// Command carries out one of our commands in a session, inside the hook that comes
// before its message is stored. It returns what the message is to say in place of
// the command's own text, "" to leave that as it is.
func (d *Driver) Command(ctx context.Context, directory, session, name, arguments string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hookLimit)
	defer cancel()
	if name != "task" {
		d.mu.Lock()
		maps.DeleteFunc(d.asides, func(_ string, at time.Time) bool { return time.Since(at) > asideFor })
		d.asides[session] = time.Now()
		d.mu.Unlock()
	}
	switch name {
	case "task":
		return d.begin(ctx, directory, session, strings.TrimSpace(arguments))
	case "stop", "cancel":
		return d.halt(ctx, directory, session, name == "cancel")
	case "status":
		return d.status(ctx, directory, session)
	case "agents":
		return d.crew(ctx, directory)
	}
	return "", nil
}

// known returns the mission of a session: in memory, or as it is stored. Its
// version is 0 if there is none.
func (d *Driver) known(ctx context.Context, directory, session string) (m *mission, stored State, version int64, err error) {
	d.mu.Lock()
	m = d.missions[session]
	d.mu.Unlock()
	if m != nil {
		return m, State{}, 0, nil
	}
	if m = d.inherit(ctx, directory, session); m != nil {
		return m, State{}, 0, nil
	}
	r, err := d.store.Get(ctx, Kind, session)
	if errors.Is(err, record.ErrNotFound) {
		return nil, State{}, 0, nil
	}
	if err != nil {
		return nil, State{}, 0, err
	}
	stored, err = decode(r.Body)
	return nil, stored, r.Version, err
}

// begin starts a mission, or takes one up again that has no new objective.
func (d *Driver) begin(ctx context.Context, directory, session, objective string) (string, error) {
	s, err := d.host.Session(ctx, directory, session)
	if err != nil {
		return "", err
	}
	if s.Parent != "" {
		return "A mission was not started: this is the session of a task, and missions belong to the session that you opened yourself. Pass this on in one sentence and do nothing else.", nil
	}
	old, stored, version, err := d.known(ctx, directory, session)
	if err != nil {
		return "", err
	}
	again := objective == ""
	if again && old == nil && version == 0 {
		d.mu.Lock()
		worktree := d.places[directory].worktree
		d.mu.Unlock()
		if g, err := d.gate(worktree); err != nil || !g.open() {
			return "/task was called without words, and there is neither a mission to take up again nor an open item in .opencode/todo.md. Ask in one sentence what the mission is, and do nothing else.", nil
		}
		stored.Objective = "Finish what is open in .opencode/todo.md." // as after /plan
	}
	if again && old == nil && version > 0 && stored.Phase == Active {
		return "This session's mission is driven by another OpenCode process. Pass this on in one sentence and do nothing else.", nil
	}
	fresh := State{Session: session, Directory: directory, Objective: clip(objective, objectiveLimit), Phase: Active, Started: time.Now()}
	if fresh.Before, err = d.tasks.Spent(ctx, session); err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("what the tasks of a session have used is not readable")
	}
	d.mu.Lock()
	m := old
	if m == nil {
		m = newMission(fresh, d.places[directory].worktree)
		m.version = version
		d.missions[session] = m
	} else {
		stored = m.State
	}
	fresh.Todos = stored.Todos // what OpenCode's list of the session said is known, whatever the mission
	if again {
		fresh.Objective = stored.Objective
	}
	m.stirred++
	m.asked = time.Now()
	m.spend.fold()
	m.calls, m.tries = map[string]string{}, 0
	d.mu.Unlock()
	d.todos.Watch(m.worktree)
	err = d.save(ctx, m, func(s *State) { *s = fresh })
	d.mu.Lock()
	d.nudgeLocked(m)
	d.mu.Unlock()
	d.log.Info().Str("session", session).Bool("again", again).Msg("mission begins")
	if again {
		return fmt.Sprintf("Go on with the mission. Its objective:\n\n%s\n\nLook at .opencode/todo.md first: what is open there is what is left.", fresh.Objective), err
	}
	return "", err
}

// halt ends a mission, and the running turn with it; cancelled, its tasks too.
func (d *Driver) halt(ctx context.Context, directory, session string, tasks bool) (string, error) {
	m, _, _, err := d.known(ctx, directory, session)
	reason := "you stopped it"
	said := "There was no mission to stop."
	if m != nil {
		d.mu.Lock()
		m.stirred++
		m.Phase = Stopped // holds from here on, whatever the store says
		n := m.Iteration
		d.mu.Unlock()
		err = d.save(ctx, m, func(s *State) { s.Phase, s.Reason = Stopped, reason })
		d.log.Info().Str("session", session).Str("phase", string(Stopped)).Str("reason", reason).Msg("mission")
		said = fmt.Sprintf("The mission was stopped after %s.", count(n, "continuation"))
		if g, gateErr := d.gate(m.worktree); gateErr == nil && g.driven() {
			said = fmt.Sprintf("The mission was stopped after %s, with %s.", count(n, "continuation"), g)
		}
	}
	cancelled := 0
	if tasks {
		if cancelled = d.tasks.CancelOf(session, "you cancelled the mission"); cancelled > 0 {
			said += fmt.Sprintf(" %s cancelled.", were(cancelled, "background task"))
		}
	} else if open := d.tasks.OpenOf(session); len(open) > 0 {
		said += fmt.Sprintf(" %s on; /cancel ends them too.", goes(len(open), "background task"))
	}
	if m != nil || cancelled > 0 {
		d.interrupt(ctx, directory, session)
	}
	return said + " Pass this on in one sentence and do nothing else.", err
}

// interrupt aborts what a session does just now, so that the command is all that
// it goes on with.
func (d *Driver) interrupt(ctx context.Context, directory, session string) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	statuses, err := d.host.Statuses(ctx, directory)
	if _, busy := statuses[session]; err == nil && busy {
		err = d.host.Abort(ctx, directory, session)
	}
	if err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("the running turn could not be stopped")
	}
}

// status tells a person how the mission stands.
func (d *Driver) status(ctx context.Context, directory, session string) (string, error) {
	m, stored, version, err := d.known(ctx, directory, session)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	at := d.places[directory]
	s := stored
	if m != nil {
		s, version = m.State, max(m.version, 1)
	}
	d.mu.Unlock()
	var b strings.Builder
	if version == 0 {
		b.WriteString("No mission was started in this session; /task starts one.\n")
	} else {
		fmt.Fprintf(&b, "Mission: %s", s.Phase)
		if s.Reason != "" {
			fmt.Fprintf(&b, " (%s)", s.Reason)
		}
		fmt.Fprintf(&b, "\nObjective: %s\nContinuations: %d of at most %d", clip(todo.Normalize(s.Objective), 300), s.Iteration, at.settings.Iterations)
		if m != nil {
			if u := d.used(ctx, m); u != (task.Usage{}) {
				fmt.Fprintf(&b, "\nUsed: %d tokens, $%.4g", u.Tokens(), u.Cost)
			}
		}
		b.WriteString("\n")
	}
	if g, err := d.gate(at.worktree); err != nil {
		fmt.Fprintf(&b, "%v\n", err)
	} else if text := d.summary(g.list, session); text != "" {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	for _, t := range d.tasks.OpenOf(session) {
		fmt.Fprintf(&b, "\n%s", line(t))
	}
	return strings.TrimRight(b.String(), "\n") + "\n\n(Pass this on briefly and do nothing else.)", nil
}

// crew lists the agents.
func (d *Driver) crew(ctx context.Context, directory string) (string, error) {
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

package mission

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Event takes a hint from OpenCode. It never blocks and calls nobody.
func (d *Driver) Event(directory string, ev host.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.missions[ev.Session]
	if m == nil {
		return
	}
	switch ev.Type {
	case host.EventSessionIdle:
		d.nudgeLocked(m)
	case host.EventSessionError:
		m.escaped = m.escaped || ev.Error.Aborted()
		d.nudgeLocked(m)
	case host.EventSessionStatus:
		if ev.Status != "idle" && !d.headless { // there it is told between two steps as well
			m.stirred++
		}
		d.nudgeLocked(m)
	case host.EventSessionDeleted:
		d.dropLocked(m)
		d.errandLocked(func(ctx context.Context) {
			if err := d.store.Delete(ctx, Kind, m.session); err != nil {
				d.log.Warn().Err(err).Str("session", m.session).Msg("mission of a deleted session not deleted")
			}
		})
	case host.EventMessage:
		d.messageLocked(m, ev)
	case host.EventPart:
		if ev.Call.ID != "" && ev.Call.Input != "" && len(m.calls) < callsKept {
			m.calls[ev.Call.ID] = ev.Call.Tool + " " + ev.Call.Input
		}
		if ev.Part == "step-finish" && ev.Reason != "tool-calls" && ev.Reason != "unknown" {
			m.ending = ev.MessageID
			d.nudgeLocked(m)
		}
	case host.EventTodo:
		first := m.todos == nil
		m.todos = todosOf(ev.Todos)
		if first {
			d.errandLocked(func(ctx context.Context) { d.merge(ctx, m) })
		}
	}
}

// messageLocked counts what an assistant's message has used. A person's message
// that no hook told of has a paused mission go on all the same.
func (d *Driver) messageLocked(m *mission, ev host.Event) {
	if ev.Role == host.Assistant {
		m.span.note(ev.MessageID, ev.Created, ev.Usage)
		return
	}
	missed := m.state.Phase == Paused && ev.Created.After(m.paused) && ev.MessageID != m.heard && ev.MessageID != m.state.Prompt
	if missed && time.Since(d.asides[m.session].at) > asideFor {
		d.errandLocked(func(ctx context.Context) { d.UserSpoke(ctx, m.directory, m.session, ev.MessageID) })
	}
}

// callsKept is how many calls of a turn are told apart: more are progress anyway.
const callsKept = 500

func todosOf(list []host.Todo) []todo.Todo {
	todos := make([]todo.Todo, 0, len(list))
	for _, t := range list {
		state, ok := todo.ParseState(t.Status)
		if !ok {
			continue // one that OpenCode has and we do not know changes nothing
		}
		todos = append(todos, todo.Todo{Content: t.Content, State: state})
	}
	return todos
}

// merge brings OpenCode's own todo list into todo.md, the newest if it changed
// meanwhile.
func (d *Driver) merge(ctx context.Context, m *mission) {
	for {
		d.mu.Lock()
		todos, base := m.todos, slices.Clone(m.state.Todos)
		d.mu.Unlock()
		merged, err := d.todos.Merge(ctx, m.worktree, base, todos, todo.MergeOptions{AddNew: true}, true)
		if err != nil {
			d.log.Warn().Err(err).Str("session", m.session).Msg("OpenCode's todo list not merged into todo.md")
		} else {
			_ = d.save(ctx, m, func(s *State) { s.Todos = merged })
		}
		d.mu.Lock()
		if same := slices.Equal(m.todos, todos); same || err != nil {
			m.todos = nil
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
	}
}

// asideFor is how long after one of our commands its message comes.
const asideFor = 5 * time.Second

// hookLimit is below the shim's deadline for a hook.
const hookLimit = 800 * time.Millisecond

// UserSpoke is called when a message is about to be stored in a session. A
// person's word ends a countdown, and has a paused mission go on when its turn is
// over; one that another process has left is taken over by it. It is false for a
// message that only carries our answer to a command, so that no person has spoken.
func (d *Driver) UserSpoke(ctx context.Context, directory, session, messageID string) (spoke bool) {
	if d.tasks.Ours(session, messageID) {
		return true // the tasks know better
	}
	d.mu.Lock()
	command := d.asides[session]
	answers := time.Since(command.at) < asideFor
	spoke = !answers || !command.silent
	delete(d.asides, session)
	m := d.missions[session]
	ours := m != nil && m.state.Prompt == messageID
	stopped := d.stopped
	d.mu.Unlock()
	if ours || stopped {
		return spoke
	}
	if m == nil {
		ctx, cancel := context.WithTimeout(ctx, hookLimit)
		defer cancel()
		s, err := d.look(ctx, directory, session)
		if err != nil {
			d.log.Warn().Err(err).Str("session", session).Msg("mission not readable")
		}
		if m = s.m; m == nil {
			return spoke
		}
	}
	d.mu.Lock()
	m.stirred++
	m.escaped = false
	m.awaited = time.Now()
	resumes := false
	if !answers {
		m.heard = messageID
		resumes = m.state.Phase == Paused
	}
	if resumes {
		m.state.resume()
		m.tries = 0
	}
	d.nudgeLocked(m)
	d.mu.Unlock()
	if resumes {
		_ = d.keep(ctx, m) // which logs, and tries again
	}
	return spoke
}

// resume makes a paused mission active.
func (s *State) resume() {
	s.Phase, s.Reason, s.Idle, s.Failures, s.Unseen = Active, "", 0, 0, false
}

// setAside notes that the next message of a session is that of a command.
func (d *Driver) setAside(session string, silent bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.asides, func(_ string, a aside) bool { return time.Since(a.at) > asideFor })
	d.asides[session] = aside{time.Now(), silent}
}

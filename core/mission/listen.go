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
	if ev.Type == host.EventSessionDeleted {
		d.deletedLocked(ev.Session)
		return
	}
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

// deletedLocked forgets the mission of a session that is gone, also one that only
// the store knows.
func (d *Driver) deletedLocked(session string) {
	if m := d.missions[session]; m != nil {
		d.dropLocked(m)
	}
	d.errandLocked(func(ctx context.Context) {
		if err := d.store.Delete(ctx, Kind, session); err != nil {
			d.log.Warn().Err(err).Str("session", session).Msg("mission of a deleted session not deleted")
		}
	})
}

// messageLocked counts what an assistant's message has used. A person's message
// that no hook told of has a paused mission go on all the same.
func (d *Driver) messageLocked(m *mission, ev host.Event) {
	if ev.Role == host.Assistant {
		m.span.note(ev.MessageID, ev.Created, ev.Usage)
		return
	}
	known := slices.Contains(m.hooked, ev.MessageID) || slices.Contains(d.sent, ev.MessageID)
	missed := m.state.Phase == Paused && ev.Created.After(m.paused) && !known
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
		return false
	}
	d.mu.Lock()
	m := d.missions[session]
	if slices.Contains(d.sent, messageID) || m != nil && m.state.Prompt == messageID {
		d.mu.Unlock()
		return false
	}
	command := d.asides[session]
	answers := time.Since(command.at) < asideFor
	spoke = !answers || !command.silent
	delete(d.asides, session)
	stopped := d.stopped
	d.mu.Unlock()
	if stopped {
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
			if s.state.Held && !answers {
				d.release(ctx, s)
			}
			return spoke
		}
	}
	d.mu.Lock()
	m.stirred++
	m.awaited = time.Now()
	m.hooked = append(m.hooked, messageID)
	m.hooked = m.hooked[max(0, len(m.hooked)-hookedKept):]
	resumes := false
	if !answers {
		m.escaped, m.state.Held = false, false
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

// hookedKept is how many messages are known to have had their hook.
const hookedKept = 16

// release notes that the person who stopped a mission has spoken since.
func (d *Driver) release(ctx context.Context, s standing) {
	r := *s.stored
	s.state.Held = false
	body, err := s.state.encode()
	if err == nil {
		r.Body = body
		_, err = d.store.Put(ctx, r)
	}
	if err != nil {
		d.log.Warn().Err(err).Str("session", r.Key).Msg("that a person has spoken again is not stored")
	}
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

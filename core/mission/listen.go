package mission

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
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
	case host.EventSessionIdle, host.EventSessionError:
		d.nudgeLocked(m)
	case host.EventSessionStatus:
		if ev.Status != "idle" {
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
		if ev.Role == host.Assistant {
			m.spend.note(ev.MessageID, ev.Usage)
		}
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
		todos, base := m.todos, slices.Clone(m.Todos)
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
// over; one that another process has left is taken over by it.
func (d *Driver) UserSpoke(ctx context.Context, directory, session, messageID, agent string) {
	if d.tasks.Ours(session, messageID) {
		return
	}
	d.mu.Lock()
	m := d.missions[session]
	if m != nil && m.Prompt == messageID || d.stopped {
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	if m == nil {
		ctx, cancel := context.WithTimeout(ctx, hookLimit)
		defer cancel()
		if m = d.inherit(ctx, directory, session); m == nil {
			return
		}
	}
	d.mu.Lock()
	m.stirred++
	m.asked = time.Now()
	if agent != "" {
		m.agent = agent
	}
	aside := time.Since(d.asides[session]) < asideFor
	delete(d.asides, session)
	resumes := m.Phase == Paused && !aside
	d.mu.Unlock()
	if resumes {
		_ = d.save(context.WithoutCancel(ctx), m, func(s *State) {
			s.Phase, s.Reason, s.Idle, s.Failures = Active, "", 0, 0
		})
	}
	d.mu.Lock()
	d.nudgeLocked(m)
	d.mu.Unlock()
}

// inherit takes over the stored mission of a session, if there is one that is not
// over and no other process looks after.
func (d *Driver) inherit(ctx context.Context, directory, session string) *mission {
	r, err := d.store.Get(ctx, Kind, session)
	if errors.Is(err, record.ErrNotFound) || err == nil && !r.Open {
		return nil
	}
	if err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("mission not readable")
		return nil
	}
	d.mu.Lock()
	owner := d.owner
	d.mu.Unlock()
	if r.Owner != owner && d.lives(r.Owner) {
		return nil
	}
	s, err := decode(r.Body)
	if err != nil {
		d.log.Warn().Err(err).Str("session", session).Msg("mission not taken over")
		return nil
	}
	s.Directory = directory // it may have been opened through another folder of the worktree
	if s.Phase == Active {
		s.Phase, s.Reason = Paused, "OpenCode was closed" // until it is ours
	}
	m := d.adopt(r, s)
	if m == nil {
		return nil
	}
	if err := d.save(ctx, m, func(*State) {}); err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.missions[session] // nil if another process was faster
	}
	return m
}

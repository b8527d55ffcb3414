package delegate

import (
	"context"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// The caps of the pool are the seed's.
const (
	poolPerAgent = 5
	poolReuses   = 10
	poolIdle     = 5 * time.Minute
)

// pool is the sessions of completed tasks that a later task of the same parent,
// agent and mode may take over, with everything that was said in them. It is off
// unless asked for. The engine's mu guards it.
type pool struct {
	spare map[poolKey][]spare
	used  map[string]int // how often a session was taken over
}

type poolKey struct {
	parent, agent string
	mode          task.Mode
}

type spare struct {
	session string
	last    string // its task's prompt: nobody has spoken in it since
	since   time.Time
}

// keep offers the session of a task that has completed.
func (e *Engine) keep(t task.Task) {
	if t.Session == "" || t.State != task.Completed || !e.config(t.Directory).Pool {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := poolKey{t.Parent, t.Agent, t.Mode}
	e.pool.expire()
	if e.pool.used[t.Session] >= poolReuses || len(e.pool.spare[key]) >= poolPerAgent || e.parents[t.Parent] == nil {
		delete(e.pool.used, t.Session)
		return
	}
	if e.pool.spare == nil {
		e.pool.spare, e.pool.used = map[poolKey][]spare{}, map[string]int{}
	}
	e.pool.spare[key] = append(e.pool.spare[key], spare{t.Session, t.MessageID, time.Now()})
}

// expire forgets sessions that nobody has taken for too long. They stay in
// OpenCode, as those of all tasks do.
func (p *pool) expire() {
	for key, all := range p.spare {
		all = slices.DeleteFunc(all, func(s spare) bool {
			old := time.Since(s.since) > poolIdle
			if old {
				delete(p.used, s.session)
			}
			return old
		})
		if len(all) == 0 {
			delete(p.spare, key)
		} else {
			p.spare[key] = all
		}
	}
}

// forget takes a session out of the pool.
func (p *pool) forget(session string) {
	for key, all := range p.spare {
		p.spare[key] = slices.DeleteFunc(all, func(s spare) bool { return s.session == session })
	}
	delete(p.used, session)
}

// pooled takes a session for a task, "" if there is none that is fit: idle, and
// with nothing in it but what our task left.
func (e *Engine) pooled(ctx context.Context, t task.Task) string {
	if !e.config(t.Directory).Pool {
		return ""
	}
	key := poolKey{t.Parent, t.Agent, t.Mode}
	for {
		e.mu.Lock()
		e.pool.expire()
		all := e.pool.spare[key]
		if len(all) == 0 {
			e.mu.Unlock()
			return ""
		}
		s := all[len(all)-1]
		e.pool.spare[key] = all[:len(all)-1]
		taken := e.bySession[s.session] != nil // resumed meanwhile
		e.pool.used[s.session]++
		e.mu.Unlock()
		if !taken && e.untouched(ctx, t.Directory, s) {
			return s.session
		}
	}
}

// untouched reports whether a session is idle and its last message answers its
// last task.
func (e *Engine) untouched(ctx context.Context, directory string, s spare) bool {
	statuses, err := e.host.Statuses(ctx, directory)
	if _, busy := statuses[s.session]; err != nil || busy {
		return false
	}
	messages, err := e.read(ctx, directory, s.session, s.last)
	if err != nil || len(messages) == 0 {
		return false
	}
	ours := false
	for _, m := range messages {
		if ours && byPerson(m) {
			return false
		}
		ours = ours || m.ID == s.last
	}
	return ours
}

package delegate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A task may ask for permission, for several calls at a time. OpenCode shows the
// questions to whoever looks at its sessions; where nobody does, a call would
// wait for ever, and its slot with it. So a question that stays open is refused.

// question is one that a run waits for.
type question struct {
	host.Question
	session string // the task's, or that of an agent which it has called
	since   time.Time
}

// stray is a question of a session that is no task's own.
type stray struct {
	directory, session string
	question           host.Question
}

// maxUp bounds the way from a session up to that of its task.
const maxUp = 8

// trace finds the task above a session that asks, and has it wait.
func (e *Engine) trace(ctx context.Context, s stray) {
	for id, up := s.session, 0; up < maxUp; up++ {
		e.mu.Lock()
		if r := e.bySession[id]; r != nil {
			r.asked(s.session, s.question)
			e.warnLocked(r, s.question)
			e.mu.Unlock()
			return
		}
		e.mu.Unlock()
		session, err := e.host.Session(ctx, s.directory, id)
		if err != nil || session.Parent == "" {
			return
		}
		id = session.Parent
	}
}

// asked notes that a run asks, answered that somebody has replied. Both want the
// engine's mu.
func (r *run) asked(session string, q host.Question) {
	r.answered(q) // the event may come twice
	r.questions = append(r.questions, question{q, session, time.Now()})
	r.hint()
}

func (r *run) answered(q host.Question) {
	r.questions = slices.DeleteFunc(r.questions, func(open question) bool { return open.ID == q.ID })
}

// ask finds out what a session waits for, where the events may have been lost.
func (e *Engine) ask(ctx context.Context, r *run, session string) {
	all, err := e.host.Questions(ctx, r.directory)
	if err != nil {
		e.log.Debug().Err(err).Str("task", string(r.id)).Msg("open questions not readable")
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, q := range all[session] {
		if !slices.ContainsFunc(r.questions, func(open question) bool { return open.ID == q.ID }) {
			r.asked(session, q)
		}
	}
}

// refuseLate refuses a run's questions that have waited for limit, and returns
// how long the next one may still wait; zero if there is none.
func (e *Engine) refuseLate(ctx context.Context, r *run, limit time.Duration) time.Duration {
	for {
		e.mu.Lock()
		if len(r.questions) == 0 {
			e.mu.Unlock()
			return 0
		}
		q := r.questions[0]
		e.mu.Unlock()
		if rest := limit - time.Since(q.since); rest > 0 {
			return rest
		}
		err := e.host.ReplyPermission(ctx, r.directory, q.session, q.ID, "reject")
		if err != nil && !host.NotFound(err) { // not found: answered, and the event was lost
			e.log.Warn().Err(err).Str("task", string(r.id)).Msg("a question for permission could not be refused")
			return time.Second
		}
		e.mu.Lock()
		r.answered(q.Question)
		if err == nil {
			r.refusal = fmt.Sprintf("nobody answered its question for permission (%s) within %s, so it was refused", q.Question, limit)
		}
		e.mu.Unlock()
	}
}

package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A task may ask for permission. OpenCode shows the question to whoever looks at
// its sessions; where nobody does, the call would wait for ever, and its slot
// with it. So a question that stays open is refused.

// question is one that a run waits for.
type question struct {
	host.Question
	since time.Time
}

// asked notes that a run asks, answered that somebody has replied. Both want the
// engine's mu.
func (r *run) asked(q host.Question) {
	r.question = &question{q, time.Now()}
	r.hint()
}

func (r *run) answered(q host.Question) {
	if r.question != nil && r.question.ID == q.ID {
		r.question = nil
		r.hint()
	}
}

// refuseLate refuses a run's question once it has waited for limit, and returns
// how long it may still wait; zero if there is none.
func (e *Engine) refuseLate(ctx context.Context, r *run, session string, limit time.Duration) time.Duration {
	e.mu.Lock()
	q := r.question
	e.mu.Unlock()
	if q == nil {
		return 0
	}
	if rest := limit - time.Since(q.since); rest > 0 {
		return rest
	}
	if err := e.host.ReplyPermission(ctx, r.directory, session, q.ID, "reject"); err != nil {
		e.log.Warn().Err(err).Str("task", string(r.id)).Msg("a question for permission could not be refused")
		return time.Second
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.question == q {
		r.question = nil
	}
	r.refusal = fmt.Sprintf("nobody answered its question for permission (%s) within %s, so it was refused", q.Question, limit)
	return 0
}

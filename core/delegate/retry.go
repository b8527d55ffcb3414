package delegate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// OpenCode itself repeats a step that a provider fails, up to five times and with
// growing delays. What comes here has failed all of them, so the tries of ours are
// few and far apart, and each is an attempt of its own in the same session.

const (
	retryFirst, retryLast = 2 * time.Second, 30 * time.Second
	// maxAfter is how long a provider may ask us to wait.
	maxAfter = time.Hour
)

// failure is what kind of failure an error is, judged by its type and status and
// never by its words.
type failure struct {
	retry    bool          // the same may work a little later
	other    bool          // another model may work
	provider bool          // the provider is at fault
	after    time.Duration // what the provider asked for
}

// classify judges what failed. Aborts and everything unknown are final.
func classify(err error) failure {
	if e, ok := errors.AsType[*host.MessageError](err); ok {
		switch {
		case e.Aborted():
			return failure{}
		case e.Name == "ProviderAuthError", e.Name == "ProviderModelNotFoundError":
			return failure{other: true}
		case e.Name != "APIError" && !e.Retryable:
			return failure{}
		}
		f := byStatus(e.Status)
		if e.Status == 0 || e.Retryable {
			f = failure{retry: true, other: true, provider: true}
		}
		f.after = e.RetryAfter
		return f
	}
	if e, ok := errors.AsType[*host.CallError](err); ok {
		return failure{retry: e.Status == 0 || e.Status >= 500}
	}
	return failure{}
}

// byStatus judges a provider's answer.
func byStatus(status int) failure {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500:
		return failure{retry: true, other: true, provider: true}
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden, status == http.StatusNotFound:
		return failure{other: true} // of the key, the account or the model: another one may work
	}
	return failure{}
}

// backoff is how long to wait before the nth further try.
func backoff(n int, f failure) time.Duration {
	d := min(retryFirst<<min(n-1, 10), retryLast)
	return max(d+rand.N(d/4), f.after)
}

// again follows a failed attempt with another one if that may help, and reports
// whether it does. The slot is given back meanwhile.
func (e *Engine) again(ctx context.Context, r *run, out outcome) bool {
	if out.state != task.Failed || out.err == nil {
		return false
	}
	f := classify(out.err)
	var t task.Task
	err := e.insist(ctx, r.id, func() (err error) { t, err = e.store.Get(ctx, r.id); return err })
	if err != nil || !f.retry && !f.other {
		return false
	}
	settings := e.config(r.directory)
	if settings.Task.exceeded(t.Usage) != "" {
		return false
	}
	model, switched := t.Model, false
	if f.other {
		model, switched = settings.next(t)
	}
	if t.Retries+1 >= settings.Attempts || !switched && (!f.retry || f.after > maxAfter) {
		return false
	}
	delay := backoff(t.Retries+1, f)
	if switched {
		delay = 0 // it is not that one which asked us to wait
	}
	e.mu.Lock()
	session, unwanted := r.session, e.stopped || r.ending != nil
	usage := r.before.Plus(r.total)
	e.mu.Unlock()
	if unwanted {
		return false
	}
	if out.stop && session != "" { // a prompt may arrive late
		if err := e.stopSession(ctx, r.directory, session, t.MessageID, settleLimit); err != nil {
			return false
		}
	}
	now := time.Now()
	t, err = e.persist(ctx, r.id, func(t *task.Task) {
		t.Past = append(slices.Clip(t.Past), t.Over(out.state, out.text, out.reason, now))
		t.Attempt, t.State, t.Retries = t.Attempt+1, task.Pending, t.Retries+1
		t.Model, t.MessageID, t.NotBefore, t.Uncertain, t.Usage = model, "", now.Add(delay), false, usage
	})
	if err != nil {
		return false
	}
	e.log.Info().Str("task", string(r.id)).Str("reason", out.reason).Dur("in", delay).Str("model", model.String()).Msg("another attempt follows")
	e.mu.Lock()
	lease := r.lease
	r.rest(t)
	why := r.ending // since we looked
	if why == nil {
		r.timer = time.AfterFunc(delay, func() { e.resubmit(ctx, r) })
	}
	e.mu.Unlock()
	if lease != nil {
		lease.Report(reportOf(out))
		lease.Release()
	}
	if why != nil {
		e.finish(ctx, r, outcome{state: why.state, reason: why.reason})
	}
	return true
}

// rest makes a run ready for its next attempt.
func (r *run) rest(t task.Task) {
	r.lease, r.ticket, r.cancel, r.timer = nil, nil, nil, nil
	r.messageID, r.failure, r.questions, r.refusal = "", nil, nil, "" // the session stays: it may have tasks of its own
	r.shown, r.closed, r.suspended, r.decided, r.rested = false, false, false, false, 0
	r.model = t.Model
	r.seen, r.call, r.repeats = nil, "", 0
}

func (e *Engine) resubmit(ctx context.Context, r *run) {
	e.mu.Lock()
	r.timer = nil
	e.mu.Unlock()
	_ = e.submit(ctx, r) // an error has ended it
}

// continued is what an attempt says to a session that it finds: a resumed task
// has a prompt of its own, one that is tried again needs but a word, unless the
// earlier attempt has not even brought its prompt across.
func (e *Engine) continued(ctx context.Context, t task.Task) string {
	if t.Retries == 0 || len(t.Past) == 0 {
		return t.Prompt
	}
	last := t.Past[len(t.Past)-1]
	if found, err := e.lookup(ctx, t.Directory, t.Session, last.MessageID); err != nil || !found {
		return t.Prompt
	}
	return fmt.Sprintf("The last turn ended in an error (%s). Go on with the task where it stopped; what is done need not be done again.", last.Error)
}

// chain are the models that tasks of an agent may go on with.
func (s Settings) chain(agent string) []string {
	if models, ok := s.Fallback[agent]; ok {
		return models
	}
	return s.Fallback["*"]
}

// next returns the first model of the agent's chain that this task has not had
// since it was last asked for; the one it has, and false, if there is none.
func (s Settings) next(t task.Task) (host.Model, bool) {
	had := map[string]bool{t.Model.String(): true}
	for _, past := range t.Past[max(0, len(t.Past)-t.Retries):] {
		had[past.Model.String()] = true
	}
	for _, name := range s.chain(t.Agent) {
		if !had[name] {
			return modelNamed(name), true
		}
	}
	return t.Model, false
}

// healthy returns model, or the first of the agent's chain that is not known to
// fail while model is.
func (e *Engine) healthy(s Settings, agent string, model host.Model) host.Model {
	open := func(m host.Model) bool {
		return e.limits.Open(limit.ForProvider(m.Provider), limit.ForModel(m.Provider, m.ID))
	}
	chain := s.chain(agent)
	if model.ID == "" || len(chain) == 0 || !open(model) {
		return model
	}
	for _, name := range chain {
		if m := modelNamed(name); !open(m) {
			return m
		}
	}
	return model
}

// modelNamed reads provider/model; a model's own name may hold slashes.
func modelNamed(name string) host.Model {
	provider, id, _ := strings.Cut(name, "/")
	return host.Model{Provider: provider, ID: id}
}

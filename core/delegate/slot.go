package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A run holds its slot from admission to the end of its attempt. The exception is
// a task in fractal mode while it does nothing but wait for tasks of its own: it
// gives the slot back and takes another one, ahead of the line, before it goes
// on. Otherwise a few of them would hold all slots and wait for ever for children
// that need one.

// submit puts a run in line for a slot. An error means that the run has ended,
// because the limiter is closed.
func (e *Engine) submit(ctx context.Context, r *run) error {
	ctx = context.WithoutCancel(ctx) // it waits longer than whoever asked
	e.mu.Lock()
	if wait := e.configLocked(r.directory).Queue; wait > 0 && !r.adopted {
		why := &ending{state: task.Timeout, reason: fmt.Sprintf("it waited for a slot for longer than %s", wait)}
		r.overdue = time.AfterFunc(wait, func() { e.condemn(why, r) })
	}
	request := e.requestLocked(ctx, r)
	e.mu.Unlock()
	request.Granted = func(lease *limit.Lease) { e.granted(r, lease) }
	ticket, err := e.limits.Submit(request)
	if err != nil {
		e.finish(ctx, r, outcome{state: task.Interrupted, reason: err.Error()})
		return err
	}
	e.mu.Lock()
	r.ticket = ticket
	why := r.ending
	e.mu.Unlock()
	// Somebody may have asked for the end before the ticket was there to withdraw.
	if why != nil && ticket.Withdraw() {
		e.finish(ctx, r, outcome{state: why.state, reason: why.reason, stop: r.adopted, until: why.until})
	}
	return nil
}

// requestLocked is what a run asks the limiter for.
func (e *Engine) requestLocked(ctx context.Context, r *run) limit.Request {
	request := limit.Request{
		Keys: keys(r.agent, r.model), Owner: string(r.id), Priority: priority(r.priority),
		Expired: func() {
			e.end(ctx, r, &ending{state: task.Timeout, reason: "its lease was not renewed for 10 minutes"})
			<-r.done
		},
	}
	if r.adopted { // it had its slot already
		request.Priority = limit.High
	}
	return request
}

func (e *Engine) granted(r *run, lease *limit.Lease) {
	e.mu.Lock()
	r.lease = lease
	if r.overdue != nil {
		r.overdue.Stop()
	}
	e.ready = append(e.ready, r)
	e.mu.Unlock()
	poke(e.signal)
}

func keys(agent string, model host.Model) []limit.Key {
	k := []limit.Key{{}, limit.ForAgent(agent)}
	if model.ID != "" {
		k = append(k, limit.ForProvider(model.Provider), limit.ForModel(model.Provider, model.ID))
	}
	return k
}

func priority(p task.Priority) limit.Priority {
	switch p {
	case task.High:
		return limit.High
	case task.Low:
		return limit.Low
	}
	return limit.Normal
}

// suspendLocked gives the slot of a run back that waits for tasks of its own.
// The caller releases the lease that it returns, which may be nil.
func (e *Engine) suspendLocked(r *run) *limit.Lease {
	lease := r.lease
	r.lease = nil
	if lease != nil && !r.suspended {
		r.suspended, r.resting = true, time.Now()
	}
	return lease
}

// regain takes a slot again for a run that gave its own back. An error is ctx's,
// or that the limiter is closed.
func (e *Engine) regain(ctx context.Context, r *run) error {
	e.mu.Lock()
	for r.regaining != nil { // two in line would wait for each other's slot
		other := r.regaining
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		e.mu.Lock()
	}
	if !r.suspended || r.finishing {
		e.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	r.regaining = done
	request := e.requestLocked(context.WithoutCancel(ctx), r)
	e.mu.Unlock()
	request.Priority = limit.High
	lease, err := e.limits.Acquire(ctx, request)
	e.mu.Lock()
	r.regaining = nil
	ended := r.finishing || !r.suspended
	if err == nil && !ended {
		r.lease = lease
		r.wakenLocked()
	}
	e.mu.Unlock()
	close(done)
	if err == nil && ended {
		lease.Release()
	}
	return err
}

func (e *Engine) renew(r *run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.lease != nil {
		r.lease.Renew()
	}
}

// wakenLocked ends the time in which a run had no slot.
func (r *run) wakenLocked() {
	if r.suspended {
		r.suspended = false
		r.rested += time.Since(r.resting)
	}
}

// restedLocked is how long a run has had no slot because it waited for its own tasks.
func (r *run) restedLocked() time.Duration {
	if r.suspended {
		return r.rested + time.Since(r.resting)
	}
	return r.rested
}

// block is called when a session waits in a tool call for a task of its own; the
// func that it returns when it goes on.
func (e *Engine) block(session string) (unblock func(context.Context)) {
	e.mu.Lock()
	r := e.bySession[session]
	if r == nil {
		e.mu.Unlock()
		return func(context.Context) {}
	}
	r.blocked++
	lease := e.suspendLocked(r)
	e.mu.Unlock()
	if lease != nil {
		lease.Release()
	}
	return func(ctx context.Context) {
		e.mu.Lock()
		r.blocked--
		last := r.blocked == 0
		e.mu.Unlock()
		if last {
			if err := e.regain(ctx, r); err != nil {
				e.log.Debug().Err(err).Str("task", string(r.id)).Msg("goes on without a slot")
			}
		}
	}
}

// condemn has Run end runs, all at once, so that the store can commit the ends of
// those that wait together. It does not wait.
func (e *Engine) condemn(why *ending, runs ...*run) {
	e.mu.Lock()
	for _, r := range runs {
		e.ending = append(e.ending, doomed{r, why})
	}
	e.mu.Unlock()
	poke(e.signal)
}

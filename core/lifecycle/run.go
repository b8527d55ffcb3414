package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// maxGrace and graceShare bound the time between the end of a handler's
	// ctx and its being abandoned.
	maxGrace   = 50 * time.Millisecond
	graceShare = 10
	// refuseFloor is what the refuse hooks get even from a budget of nothing:
	// they only flip switches, and without them the rest means little.
	refuseFloor = 10 * time.Millisecond
)

// run is the one shutdown. It ends by itself: every wait in it has a deadline.
func (m *Manager) run(ctx context.Context) {
	m.refuse()
	for batch := m.take(); len(batch) > 0; batch = m.take() {
		reports := m.phase(ctx, batch)
		m.mu.Lock()
		m.report.Handlers = append(m.report.Handlers, reports...)
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.report.Took = time.Since(m.report.Started)
	m.report.Complete = true
	m.mu.Unlock()
	close(m.done)
}

// refuse runs the hooks. They have no ctx to obey, so a stuck one is abandoned,
// and with it those behind it.
func (m *Manager) refuse() {
	m.mu.Lock()
	hooks := m.hooks
	m.hooks = nil
	m.mu.Unlock()
	if len(hooks) == 0 {
		return
	}
	ended := make(chan error, 1)
	go func() {
		var errs []error
		for _, h := range hooks {
			errs = append(errs, runHook(h.fn))
		}
		ended <- errors.Join(errs...)
	}()
	now := time.Now()
	_, hard := m.slot(now)
	timer := time.NewTimer(max(hard.Sub(now), refuseFloor))
	defer timer.Stop()
	var err error
	select {
	case err = <-ended:
	case <-timer.C:
		err = fmt.Errorf("refuse hooks: %w", ErrAbandoned)
	}
	m.mu.Lock()
	m.report.RefuseErr = err
	m.mu.Unlock()
}

func runHook(fn func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	fn()
	return nil
}

// take removes and returns the handlers of the next phase. Taking them phase by
// phase, not all at the start, lets an owner who ends meanwhile unregister.
func (m *Manager) take() []*handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.handlers) && m.handlers[n].priority == m.handlers[0].priority {
		n++
	}
	batch := m.handlers[:n:n]
	m.handlers = m.handlers[n:]
	return batch
}

// slot returns when the contexts of a phase that starts, or goes on, at now end
// and when the phase does. See the package comment for the rule.
func (m *Manager) slot(now time.Time) (soft, hard time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	later, last := 0, -1
	for _, h := range m.handlers {
		if h.priority != last {
			later, last = later+1, h.priority
		}
	}
	left := max(0, m.deadline.Sub(now))
	kept := min(m.reserve, left/time.Duration(later+1))
	span := min(m.limit, left-kept*time.Duration(later))
	hard = now.Add(span)
	return hard.Add(-min(maxGrace, span/graceShare)), hard
}

// phase runs the handlers of one priority together and returns when all have
// ended or its time is up.
func (m *Manager) phase(parent context.Context, batch []*handler) []HandlerReport {
	reports := make([]HandlerReport, len(batch))
	for i, h := range batch {
		reports[i] = HandlerReport{Name: h.name, Priority: h.priority, Outcome: OutcomeSkipped, Err: errSkipped}
	}
	start := time.Now()
	soft, hard := m.slot(start)
	if !hard.After(start) {
		return reports
	}

	ctx, cancel := context.WithDeadline(parent, soft)
	defer cancel()
	ended := make(chan result, len(batch)) // room for all: an abandoned one can still end
	for i, h := range batch {
		reports[i].Outcome, reports[i].Err = OutcomeTimeout, ErrAbandoned
		go func() { runHandler(ctx, i, h.fn, ended) }()
	}
	returned := make([]bool, len(batch))
	note := func(r result) {
		returned[r.index] = true
		reports[r.index].Took, reports[r.index].Outcome, reports[r.index].Err = r.took, r.outcome, r.err
	}

	timer := time.NewTimer(time.Until(hard))
	defer timer.Stop()
	// early ends ctx when a hurried caller moves its end forward; until then it
	// stands at the end of the phase, where nobody minds.
	early := time.AfterFunc(time.Until(hard), cancel)
	defer early.Stop()
	for pending := len(batch); pending > 0; {
		select {
		case r := <-ended:
			note(r)
			pending--
		case <-m.shorter:
			now := time.Now()
			if s, h := m.slot(now); h.Before(hard) {
				hard = h
				timer.Reset(h.Sub(now))
				early.Reset(s.Sub(now))
			}
		case <-timer.C:
			// One that ended at this very moment has ended.
			for len(ended) > 0 {
				note(<-ended)
			}
			for i := range reports {
				if !returned[i] {
					reports[i].Took = time.Since(start)
				}
			}
			return reports
		}
	}
	return reports
}

type result struct {
	index   int
	took    time.Duration
	outcome Outcome
	err     error
}

// runHandler runs fn and sends how it ended, whatever way that is.
func runHandler(ctx context.Context, index int, fn func(context.Context) error, ended chan<- result) {
	start := time.Now()
	r := result{index: index, outcome: OutcomeError, err: errGoexit}
	defer func() {
		if v := recover(); v != nil {
			r.outcome, r.err = OutcomePanic, &PanicError{Value: v, Stack: debug.Stack()}
		}
		r.took = time.Since(start)
		ended <- r
	}()
	r.outcome, r.err = judge(ctx, fn(ctx))
}

// judge names the outcome of a handler that returned err. An error that only
// passes on the end of ctx is the timeout it tells of.
func judge(ctx context.Context, err error) (Outcome, error) {
	switch {
	case err == nil:
		return OutcomeOK, nil
	case ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return OutcomeTimeout, err
	default:
		return OutcomeError, err
	}
}

package job

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Refuse makes every further Start fail with ErrStopping.
func (e *Engine) Refuse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
}

// Stop refuses new commands and ends the open ones as Interrupted, daemons that
// they have left included. It returns when nothing is left of them; when the
// deadline of ctx is near they are killed without more grace. The error wraps
// proc.ErrSurvivors, or is the cause of ctx.
func (e *Engine) Stop(ctx context.Context) error {
	e.Refuse()
	err := e.EndAll(ctx, Interrupted, func(Job) bool { return true })
	if _, orphans := e.o.Keeper.EndOrphans(ctx, 0); orphans != nil {
		err = errors.Join(err, orphans)
	}
	return err
}

// EndAll ends the commands that which chooses, those that have ended but left
// processes behind included, in the state Killed or Interrupted, and returns when
// Ended has returned for them. See Stop.
func (e *Engine) EndAll(ctx context.Context, as State, which func(Job) bool) error {
	e.mu.Lock()
	var chosen []*run
	for _, r := range e.runs {
		if which(e.lookLocked(r)) {
			chosen = append(chosen, r)
		}
	}
	e.mu.Unlock()
	grace := e.o.Grace
	if deadline, ok := ctx.Deadline(); ok {
		grace = max(0, min(grace, time.Until(deadline)/2))
	}
	errs := make([]error, len(chosen))
	var wg sync.WaitGroup
	for i, r := range chosen {
		wg.Go(func() {
			if errs[i] = e.end(ctx, r, as, "", grace); errs[i] != nil {
				return
			}
			select {
			case <-r.told:
			case <-ctx.Done():
				errs[i] = context.Cause(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// SessionDeleted ends, in the state Killed, the commands that a session has
// launched: there is nobody left who could. It does not wait for that.
func (e *Engine) SessionDeleted(session string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || !e.begun {
		return
	}
	for _, r := range e.runs {
		if r.spec.Session != session {
			continue
		}
		e.running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), e.o.Grace+2*endLimit)
			defer cancel()
			if err := e.end(ctx, r, Killed, session, e.o.Grace); err != nil {
				e.o.Log.Warn().Err(err).Str("job", r.id).Msg("a command of a deleted session is not ended")
			}
		})
	}
}

// Kill ends a command that runs or waits, or what one that has ended left behind, on
// behalf of a session, and returns it as it is then. Its state stays what it is if it has ended by
// itself. The error is a FieldError that wraps ErrUnknown, wraps proc.ErrSurvivors,
// or is the cause of ctx.
func (e *Engine) Kill(ctx context.Context, id, session string) (Job, error) {
	r, err := e.find(id)
	if err != nil {
		return Job{}, err
	}
	err = e.end(ctx, r, Killed, session, e.o.Grace)
	return e.look(r), err
}

// end ends one run and waits for it.
func (e *Engine) end(ctx context.Context, r *run, as State, by string, grace time.Duration) error {
	e.mu.Lock()
	at := slices.Index(e.queue, r)
	if at >= 0 {
		e.queue = slices.Delete(e.queue, at, at+1)
		r.condemn(as, by, 0)
		e.running.Go(func() { // nobody else will
			r.abandon(context.WithoutCancel(ctx), as)
		})
	}
	e.mu.Unlock()
	if at < 0 {
		r.condemn(as, by, grace)
	}
	select {
	case <-r.done:
		return r.clear(ctx, grace)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

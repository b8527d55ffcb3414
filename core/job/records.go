package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// Kind is the kind of the records that commands have as long as anything of them
// has to be looked after.
const Kind = "job"

// maxRecorded is how many bytes of a command its record holds.
const maxRecorded = 8 << 10

// Store keeps the records of commands; a record.Store is one.
type Store interface {
	Put(ctx context.Context, r record.Record) (record.Record, error)
	List(ctx context.Context, q record.Query) ([]record.Record, error)
	Delete(ctx context.Context, kind, key string) error
}

// forgetful is a Store that keeps nothing.
type forgetful struct{}

func (forgetful) Put(_ context.Context, r record.Record) (record.Record, error) { return r, nil }
func (forgetful) List(context.Context, record.Query) ([]record.Record, error)   { return nil, nil }
func (forgetful) Delete(context.Context, string, string) error                  { return nil }

// saved is the body of a record. Names are never changed or reused, only added.
// The environment is not in it: it may hold secrets.
type saved struct {
	Job     Job       `json:"job"`
	Mark    proc.Mark `json:"mark"`
	Sidecar string    `json:"sidecar"` // the Identity of the process that runs it
	// Told says that Ended has returned: the record is only there for who is left.
	Told bool `json:"told,omitempty"`
}

// record stores the run as it is.
func (r *run) record(ctx context.Context) error {
	r.mu.Lock()
	s := saved{Job: r.job, Mark: r.engine.o.Keeper.Mark(r.cookie), Sidecar: r.engine.self, Told: r.heard}
	if r.tree != nil {
		s.Mark = r.tree.Mark()
	}
	version, owner := r.version, r.owner
	r.mu.Unlock()
	s.Job.Command = cutAt(s.Job.Command, maxRecorded)
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	now, err := r.engine.o.Store.Put(ctx, record.Record{
		Kind: Kind, Key: r.id, Worktree: s.Job.Worktree, Owner: owner, Open: true, Body: body, Version: version,
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version = now.Version
	return nil
}

// cutAt returns what of s fits into n bytes, in whole characters.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-partRune([]byte(s[:n]))]
}

// erase removes the record of a run of which nothing is left. It reports whether
// it is gone.
func (r *run) erase(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	if err := r.engine.o.Store.Delete(ctx, Kind, r.id); err != nil {
		r.engine.o.Log.Warn().Err(err).Str("job", r.id).Msg("a background command's record is not removed")
		return false
	}
	return true
}

// Recover ends what dead sidecars have left running. Commands of our own owner,
// whose earlier sidecar has died, are listed again, with the output that was
// spilled, as Interrupted if they had not ended, and Ended is called for those for
// which it has not returned yet. Serve comes before, no command of ours needs to.
// Those of other owners are only ended, once their owner is dead. What cannot be
// ended stays recorded and is tried again by the next call. It returns how many
// commands it has dealt with.
func (e *Engine) Recover(ctx context.Context) (int, error) {
	all, err := e.o.Store.List(ctx, record.Query{Kind: Kind, Open: true})
	if err != nil {
		return 0, fmt.Errorf("look for background commands of dead sidecars: %w", err)
	}
	e.mu.Lock()
	owner := e.owner
	e.mu.Unlock()
	var marks []proc.Mark
	var own []saved
	var dead []record.Record
	var errs []error
	for _, rec := range all {
		var s saved
		if err := json.Unmarshal(rec.Body, &s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", rec, err))
			continue
		}
		if s.Sidecar == e.self || proc.Lives(s.Sidecar) || rec.Owner != owner && e.lives(rec.Owner) {
			continue
		}
		marks, dead = append(marks, s.Mark), append(dead, rec)
		if s.Job.ID = rec.Key; rec.Owner == owner {
			own = append(own, s)
		}
	}
	if len(marks) == 0 {
		return 0, errors.Join(errs...)
	}
	_, sweepErr := e.o.Keeper.Sweep(ctx, marks, min(e.o.Grace, storeLimit))
	if sweepErr != nil {
		errs = append(errs, sweepErr)
	}
	for _, s := range own {
		e.revive(ctx, s, sweepErr)
	}
	for _, rec := range dead {
		if sweepErr != nil {
			continue
		}
		if err := e.o.Store.Delete(ctx, Kind, rec.Key); err != nil {
			errs = append(errs, err)
		}
	}
	return len(dead), errors.Join(errs...)
}

// lives reports whether another owner lives, or may.
func (e *Engine) lives(owner string) bool {
	if e.o.Owners == nil {
		return false
	}
	alive, err := e.o.Owners.Alive(owner)
	return alive || err != nil
}

// revive lists a command of an earlier sidecar among those that have ended.
func (e *Engine) revive(ctx context.Context, s saved, problem error) {
	r := e.newRun(Spec{})
	r.id, r.job, r.isOver, r.closed = s.Job.ID, s.Job, true, true
	r.job.Left = 0
	if !r.job.State.Terminal() {
		r.job.State, r.job.Ended = Interrupted, record.Now()
		r.job.Problem = "the sidecar that ran it died"
	}
	if problem != nil {
		r.job.Problem = problem.Error()
	}
	if r.job.Spill != "" {
		for i, s := range streams {
			if out, err := recall(r.job.Spill, s, r.size); err == nil { // a terminal has no stderr
				r.out[i] = out
			}
		}
	}
	close(r.done)
	close(r.told)
	e.mu.Lock()
	known := e.runs[r.id] != nil
	if !known {
		e.runs[r.id] = r
		e.retireLocked(r)
	}
	e.mu.Unlock()
	if !known && !s.Told {
		e.tell(ctx, r.snapshot())
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

const (
	// claimLimit is how long a sidecar waits for its predecessor to let go of
	// their owner's lock, claimAgain the time between two tries.
	claimLimit, claimAgain = 2 * time.Second, 20 * time.Millisecond
	// inheritLimit bounds taking over what predecessors left under other names,
	// maxParts how many names are looked at, maxInherited how many tasks of each.
	inheritLimit = 5 * time.Second
	maxParts     = 4
	maxInherited = 100_000
)

// own makes this process the owner of the tasks of an OpenCode process, and
// returns the owner's name: the identity of that process. So its tasks count as
// owned while it runs, also between the death of a sidecar and the start of the
// next, which finds them by that name. A sidecar that was killed a moment ago may
// still be dying; beside one that does not let go (or a second one, where OpenCode
// has loaded the plugin twice) we go by the name of a part of that process, which
// lives as long. A process that cannot be identified is owned in the name of this
// one. respawned says that there was a sidecar before: what it left under another
// of these names becomes ours.
func (s *tasksStore) own(pid int, respawned bool) string {
	process, err := proc.Identity(pid)
	if err != nil {
		s.log.Warn().Err(err).Msg("the host cannot be identified: tasks of an earlier sidecar are not found")
		if process, err = proc.Identity(os.Getpid()); err != nil {
			process = fmt.Sprintf("%d-%d", pid, time.Now().UnixNano()) // lives as long as its lock is held
		}
	}
	if s.shared == nil {
		return process
	}
	owner := s.claim(process)
	if respawned {
		ctx, cancel := context.WithTimeout(context.Background(), inheritLimit)
		defer cancel()
		for n := 1; n <= maxParts; n++ {
			if from := proc.Part(process, n); from != owner {
				s.inherit(ctx, from, owner)
			}
		}
	}
	return owner
}

// claim claims the first part of a process that is free, and returns its name.
func (s *tasksStore) claim(process string) string {
	start := time.Now()
	for n := 1; ; {
		owner := proc.Part(process, n)
		release, err := s.shared.Claim(owner)
		switch {
		case err == nil:
			s.mu.Lock()
			s.release = release
			s.mu.Unlock()
			return owner
		case !errors.Is(err, sqlitestore.ErrOwned):
			s.log.Error().Err(err).Str("owner", owner).Msg("the tasks of this OpenCode process cannot be claimed")
			return owner // the process that it names proves it alive
		case time.Since(start) < s.patience:
			<-time.After(claimAgain) // what another process does has no condition
		default:
			s.log.Warn().Str("owner", owner).Msg("another sidecar owns the tasks of this OpenCode process")
			n++
		}
	}
}

// inherit makes the open and the untold tasks of one owner another's, and the open
// records beside them, unless a sidecar looks after them.
func (s *tasksStore) inherit(ctx context.Context, from, to string) {
	if alive, err := s.shared.Alive(from); alive || err != nil {
		return
	}
	open := task.Query{Owner: from, States: []task.State{task.Pending, task.Running}, Limit: maxInherited}
	untold := task.Query{Owner: from, Untold: true, Limit: maxInherited}
	for _, q := range []task.Query{open, untold} {
		page, err := s.shared.List(ctx, q)
		if err != nil {
			s.log.Error().Err(err).Str("owner", from).Msg("tasks of an earlier sidecar not readable")
			return
		}
		if len(page.Tasks) == 0 {
			continue
		}
		release, err := s.shared.Claim(from) //nolint:contextcheck // takes 50 ms at most
		if err != nil {
			return // its next sidecar was faster
		}
		for _, t := range page.Tasks {
			if _, err := s.shared.Update(ctx, t.ID, t.Fence(), func(t *task.Task) { t.Owner = to }); err != nil {
				s.log.Error().Err(err).Str("task", string(t.ID)).Msg("a task of an earlier sidecar could not be taken over")
			}
		}
		release()
	}
	s.inheritRecords(ctx, from, to)
}

func (s *tasksStore) inheritRecords(ctx context.Context, from, to string) {
	open, err := s.others.List(ctx, record.Query{Owner: from, Open: true})
	for _, r := range open {
		r.Owner = to
		_, put := s.others.Put(ctx, r)
		err = errors.Join(err, put)
	}
	if err != nil {
		s.log.Error().Err(err).Str("owner", from).Msg("what an earlier sidecar looked after could not be taken over")
	}
}

// owners implements delegate.Owners.
type owners struct{ *sqlitestore.Store }

// Alive reports whether an owner lives: its sidecar holds the lock or, if it has
// just died and the next one is on its way, the OpenCode process still runs.
func (o owners) Alive(owner string) (bool, error) {
	alive, err := o.Store.Alive(owner)
	return alive || proc.Lives(owner), err
}

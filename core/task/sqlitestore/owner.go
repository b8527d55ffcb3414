package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// maxOwner keeps the names of lock files within what file systems take.
const maxOwner = 80

// claimWait is how long Claim waits for a process that is being killed to let
// go: its locks may outlive its pipes by a moment.
const claimWait = 50 * time.Millisecond

// Claim makes this process the living proof of an owner until release is called
// or the process ends, however it does; a process that is merely suspended goes
// on to own. ErrOwned, after 50 ms, if another process has the claim, or this
// one has already: the caller may try again.
//
// Who wants to end the tasks of an owner that DeadOwners lists claims it first:
// then its owner cannot come back meanwhile.
func (s *Store) Claim(owner string) (release func(), err error) {
	if owner == "" || len(owner) > maxOwner {
		return nil, fmt.Errorf("claiming owner %q: its length must be 1 to %d", owner, maxOwner)
	}
	for start := time.Now(); ; pause(time.Millisecond) {
		var lock *flock.Flock
		err := s.locked(context.Background(), func() (err error) {
			if err := os.MkdirAll(s.owners, 0o700); err != nil {
				return err
			}
			lock, err = tryOwner(s.ownerLock(owner))
			return err
		})
		if err == nil && lock == nil && time.Since(start) < claimWait {
			continue
		}
		if err == nil && lock == nil {
			err = ErrOwned
		}
		if err != nil {
			return nil, fmt.Errorf("claiming owner %q: %w", owner, err)
		}
		s.hold(lock)
		return sync.OnceFunc(func() { s.drop(lock) }), nil
	}
}

// Alive reports whether some process, which may be this one, claims the owner.
// It costs microseconds: one attempt at one lock, which disturbs nobody.
func (s *Store) Alive(owner string) (bool, error) {
	if owner == "" || len(owner) > maxOwner {
		return false, nil // nobody can claim it
	}
	alive, err := probe(s.ownerLock(owner))
	if err != nil {
		return false, fmt.Errorf("looking for owner %q: %w", owner, err)
	}
	return alive, nil
}

// probe reports whether somebody holds an owner's lock alone. It shares the lock
// for a moment, as others who look may do at the same time; Claim waits for them.
func probe(path string) (held bool, err error) {
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	defer release(lock)
	free, err := lock.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return !free && err == nil, err
}

// DeadOwners lists the owners of open tasks whom no process claims. Tasks
// without an owner are not judged. A sidecar that was killed and is about to be
// started again by the same host shows up here until it has claimed again.
func (s *Store) DeadOwners(ctx context.Context) (dead []string, err error) {
	var owners []string
	err = s.reading(ctx, func(ctx context.Context, d *database) error {
		rows, err := d.query(ctx, "SELECT DISTINCT owner FROM tasks INDEXED BY open_tasks WHERE "+openStates+" AND owner <> ''")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		owners = nil
		for rows.Next() {
			var owner string
			if err := rows.Scan(&owner); err != nil {
				return err
			}
			owners = append(owners, owner)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	err = s.locked(ctx, func() error {
		alive, err := s.sweep()
		for _, owner := range owners {
			if !alive[s.ownerLock(owner)] {
				dead = append(dead, owner)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for dead owners: %w", err)
	}
	return dead, nil
}

// sweep returns the owners' locks that are held, and removes what dead ones have
// left. The caller holds the file lock, so nobody claims meanwhile.
func (s *Store) sweep() (held map[string]bool, err error) {
	entries, err := os.ReadDir(s.owners)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	held = map[string]bool{}
	for _, entry := range entries {
		path := filepath.Join(s.owners, entry.Name())
		alive, probeErr := probe(path)
		if probeErr != nil {
			return nil, probeErr
		}
		if alive {
			held[path] = true
		} else {
			_ = os.Remove(path)
		}
	}
	return held, err
}

func (s *Store) ownerLock(owner string) string {
	return filepath.Join(s.owners, url.QueryEscape(owner)+".lock")
}

// tryOwner takes an owner's lock; nil if somebody has it. A lock on a file that
// its holder removed just then is none.
func tryOwner(path string) (*flock.Flock, error) {
	for {
		lock := newLock(path)
		ok, err := lock.TryLock()
		if err != nil || !ok {
			release(lock)
			return nil, err
		}
		mine, err := lock.Stat()
		if err == nil {
			if named, statErr := os.Stat(path); statErr == nil && os.SameFile(mine, named) {
				return lock, nil
			}
		}
		release(lock)
		if err != nil {
			return nil, err
		}
	}
}

// hold keeps a claim's lock until drop.
func (s *Store) hold(lock *flock.Flock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims == nil {
		s.claims = map[*flock.Flock]struct{}{}
	}
	s.claims[lock] = struct{}{}
}

// drop removes the lock's file while it is held, then gives it up.
func (s *Store) drop(lock *flock.Flock) {
	s.mu.Lock()
	delete(s.claims, lock)
	s.mu.Unlock()
	_ = os.Remove(lock.Path()) // Windows refuses; the file then stays, unlocked
	release(lock)
}

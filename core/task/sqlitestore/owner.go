package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// maxOwner keeps the names of lock files within what file systems take.
const maxOwner = 80

// Claim makes this process the living proof of an owner until release is called
// or the process ends, however it does; a process that is merely suspended goes
// on to own. ErrOwned if another process has the claim, or this one has already.
//
// Who wants to end the tasks of an owner that DeadOwners lists claims it first:
// then its owner cannot come back meanwhile.
func (s *Store) Claim(owner string) (release func(), err error) {
	if owner == "" || len(owner) > maxOwner {
		return nil, fmt.Errorf("claiming owner %q: its length must be 1 to %d", owner, maxOwner)
	}
	var lock *flock.Flock
	err = s.locked(context.Background(), func() (err error) {
		if err := os.MkdirAll(s.owners, 0o700); err != nil {
			return err
		}
		lock, err = tryOwner(s.ownerLock(owner))
		return err
	})
	if err == nil && lock == nil {
		err = ErrOwned
	}
	if err != nil {
		return nil, fmt.Errorf("claiming owner %q: %w", owner, err)
	}
	return func() { dropOwner(lock) }, nil
}

// DeadOwners lists the owners of open tasks whom no process claims. Tasks
// without an owner are not judged. A sidecar that was killed and is about to be
// started again by the same host shows up here until it has claimed again.
func (s *Store) DeadOwners(ctx context.Context) (dead []string, err error) {
	var owners []string
	err = s.reading(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT DISTINCT owner FROM tasks INDEXED BY open_tasks WHERE "+openStates+" AND owner <> ''")
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
		lock, lockErr := tryOwner(path)
		switch {
		case lockErr != nil:
			return nil, lockErr
		case lock == nil:
			held[path] = true
		default:
			dropOwner(lock)
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

// dropOwner removes the lock's file while it is held, then gives it up.
func dropOwner(lock *flock.Flock) {
	_ = os.Remove(lock.Path()) // Windows refuses; the file then stays, unlocked
	release(lock)
}

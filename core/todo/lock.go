package todo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	// lockWait is how long an edit waits for others, if its context sets no end.
	lockWait = 10 * time.Second
	// lockRetry is how long it waits before it tries again.
	lockRetry = 2 * time.Millisecond
)

// Exclusive calls do while nobody edits the file or notes an edit in its history, in
// this process or another. The errors are those of do, and of a turn that does not
// come before ctx ends or, without a deadline, for 10 seconds.
func (f *File) Exclusive(ctx context.Context, do func() error) error {
	at, unlock, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	defer unlock()
	return do()
}

// lock takes turns with all who edit the file, in this process and in others.
// The lock is a file by the name of the todo file's path in the folder for the
// state, since nobody wants to find it in the project; it is never removed.
func (f *File) lock(ctx context.Context, at *target) (unlock func(), err error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, lockWait, fmt.Errorf("others have been editing it for %s", lockWait))
		defer cancel()
	}
	select {
	case f.editing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to edit %s: %w", Path, context.Cause(ctx))
	}
	defer func() {
		if err != nil {
			<-f.editing
		}
	}()
	if err := os.MkdirAll(f.locks, 0o700); err != nil {
		return nil, fmt.Errorf("the lock for %s: %w", Path, err)
	}
	sum := sha256.Sum256([]byte(filepath.Join(at.directory, at.name)))
	mutex := flock.New(filepath.Join(f.locks, hex.EncodeToString(sum[:16])+".lock"), flock.SetPermissions(0o600))
	for {
		switch held, err := mutex.TryLock(); {
		case err != nil:
			return nil, fmt.Errorf("the lock for %s: %w", Path, err)
		case held:
			return func() {
				if err := mutex.Close(); err != nil {
					f.warn(fmt.Errorf("the lock for %s: %w", Path, err))
				}
				<-f.editing
			}, nil
		}
		retry := time.NewTimer(lockRetry + rand.N(lockRetry))
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, fmt.Errorf("waiting to edit %s: %w", Path, context.Cause(ctx))
		}
	}
}

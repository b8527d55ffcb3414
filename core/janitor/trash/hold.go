package trash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockSuffix = ".lock"
	// holdWait is how long restoring waits for another process.
	holdWait = 10 * time.Second
	// holdRetry is how long it waits before it tries again.
	holdRetry = 5 * time.Millisecond
)

// hold is the right to change a batch, which one of all processes has at a time.
//
// The lock is a file beside the batch, for a folder with an open file in it can
// neither be renamed nor removed on Windows. It is made after its batch and
// removed after it, and the name of a batch never comes back; so whoever gets a
// lock looks whether the batch is there, and if it is, holds the only lock that
// there is.
type hold struct {
	root  *os.Root
	batch string
	lock  *flock.Flock
}

// tryHold returns nil, without an error, if somebody else has it.
func (t *Trash) tryHold(root *os.Root, batch string) (*hold, error) {
	lock := flock.New(filepath.Join(t.folder, batch+lockSuffix), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, nil
	}
	return &hold{root: root, batch: batch, lock: lock}, nil
}

// waitHold waits for it; ErrBusy after a while.
func (t *Trash) waitHold(ctx context.Context, root *os.Root, batch string) (*hold, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, holdWait, ErrBusy)
	defer cancel()
	for {
		h, err := t.tryHold(root, batch)
		if h != nil || err != nil {
			return h, err
		}
		retry := time.NewTimer(holdRetry + rand.N(holdRetry))
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// release lets go of the batch, and removes the lock of one that is gone.
func (h *hold) release() {
	_ = h.lock.Close()
	if _, err := h.root.Lstat(h.batch); errors.Is(err, fs.ErrNotExist) {
		_ = h.root.Remove(h.batch + lockSuffix)
	}
}

// deleting is how the names of batches begin that are being deleted.
const deleting = "deleting-"

// destroy deletes a batch that the caller holds.
func destroy(ctx context.Context, root *os.Root, batch string) error {
	if err := discard(root, batch); err != nil {
		return err
	}
	return scrap(ctx, root, deleting+batch)
}

// discard makes a batch that the caller holds no batch any more, all at once. If
// the process ends before scrap has removed the rest, Expire does.
func discard(root *os.Root, batch string) error {
	if err := root.Rename(batch, deleting+batch); err != nil {
		return fmt.Errorf("deleting the batch %s: %w", batch, err)
	}
	return nil
}

// scrap removes what discard has left, file by file so that ctx can end it.
func scrap(ctx context.Context, root *os.Root, name string) error {
	in, err := enter(root, name, false)
	if err != nil {
		return ignoreGone(err)
	}
	err = errors.Join(ignoreGone(empty(ctx, in)), in.Close())
	if err == nil {
		err = ignoreGone(root.RemoveAll(name)) // with whatever else is in it
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func empty(ctx context.Context, in *os.Root) error {
	folder, err := in.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	for {
		names, err := folder.Readdirnames(1000)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			_ = in.Remove(name) // RemoveAll says what is wrong, if something stays
		}
		if len(names) == 0 || err != nil {
			return endOfFolder(err)
		}
	}
}

// ignoreGone is nil for what another process has removed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

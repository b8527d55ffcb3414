package trash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Expire deletes the batches that were taken before a time, those that are damaged
// too, and returns how many items were in them. A batch that somebody works on is
// left for the next time, as are those beyond 10,000. It also removes what a
// deletion left that was cut short. When ctx ends it stops between two files, and
// the error is why; otherwise it goes on after an error and returns all of them.
func (t *Trash) Expire(ctx context.Context, before time.Time) (items int, err error) {
	items, err = t.expire(ctx, before)
	if err != nil {
		err = fmt.Errorf("expiring the trash: %w", err)
	}
	return items, err
}

func (t *Trash) expire(ctx context.Context, before time.Time) (items int, err error) {
	root, err := t.open()
	if root == nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	var failed []error
	unfinished, err := list(root, maxBatches, func(name string) bool {
		batch, ok := strings.CutPrefix(name, deleting)
		return ok && isBatch(batch)
	})
	if err != nil {
		return 0, err
	}
	for _, name := range unfinished {
		failed = append(failed, scrap(ctx, root, name))
	}
	old, err := list(root, maxBatches, func(name string) bool {
		at, ok := takenAt(name)
		return ok && at.Before(before)
	})
	failed = append(failed, err)
	for _, name := range old {
		if ctx.Err() != nil {
			break
		}
		n, err := t.expireOne(ctx, root, name)
		items += n
		failed = append(failed, err)
	}
	failed = append(failed, t.sweep(root))
	if ctx.Err() != nil {
		return items, context.Cause(ctx)
	}
	return items, errors.Join(failed...)
}

func (t *Trash) expireOne(ctx context.Context, root *os.Root, batch string) (items int, err error) {
	held, err := t.tryHold(root, batch)
	if held == nil {
		return 0, err
	}
	defer held.release()
	s, _ := summarize(root, batch)
	if _, err := root.Lstat(batch); err != nil {
		return 0, ignoreGone(err) // somebody else has done it
	}
	if err := discard(root, batch); err != nil {
		return 0, err
	}
	return s.Items, scrap(ctx, root, deleting+batch)
}

// sweep removes the locks of batches that are gone, which those leave who are
// killed, or who asked for the lock of a batch that was being deleted.
func (t *Trash) sweep(root *os.Root) error {
	locks, err := list(root, maxBatches, func(name string) bool {
		batch, ok := strings.CutSuffix(name, lockSuffix)
		return ok && isBatch(batch)
	})
	for _, lock := range locks {
		if _, err := root.Lstat(strings.TrimSuffix(lock, lockSuffix)); errors.Is(err, fs.ErrNotExist) {
			_ = root.Remove(lock)
		}
	}
	return err
}

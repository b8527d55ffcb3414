package trash

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Restored tells what restoring did.
type Restored struct {
	// Batch and Folder are what was restored; empty if nothing was found.
	Batch  string `json:"batch"`
	Folder string `json:"folder"`
	// Items are back.
	Items []Item `json:"items"`
	// Already were there, byte for byte. They are not in the trash any more.
	Already []Item `json:"already"`
	// Left stay in the trash.
	Left []Left `json:"left"`
}

// Left is an item that stays in the trash.
type Left struct {
	Item
	// Reason says why, in one sentence.
	Reason string `json:"reason"`
}

// Restore puts a batch that was taken out of a folder back into it, or the newest
// one if batch is empty. It never replaces anything: what has a file, or whatever
// else, in its place stays in the trash, unless the two are the same. Folders that
// are missing are made; none is looked for behind a symbolic link. A file comes
// back whole and under its name at once, with its permissions and time, and is on
// the disk before it leaves the trash. A batch of which nothing is left is
// deleted.
//
// The error is ErrNotFound, ErrBusy after 10 s, ErrDamaged if nothing or not all
// can be read, what ended ctx, or says that the trash cannot be written; what was
// done until then is told with it. Restoring again goes on where it ended.
func (t *Trash) Restore(ctx context.Context, into *os.Root, folder, batch string) (Restored, error) {
	done, err := t.restore(ctx, into, clean(folder), batch)
	if err != nil {
		err = fmt.Errorf("restoring %s: %w", folder, err)
	}
	return done, err
}

func (t *Trash) restore(ctx context.Context, into *os.Root, folder, batch string) (done Restored, err error) {
	root, err := t.open()
	if err != nil {
		return done, err
	}
	if root == nil {
		return done, ErrNotFound
	}
	defer func() { _ = root.Close() }()
	if batch == "" {
		if batch, err = newest(root, folder); err != nil {
			return done, err
		}
	}
	if !isBatch(batch) {
		return done, fmt.Errorf("%q: %w", batch, ErrNotFound)
	}
	if _, err := root.Lstat(batch); err != nil { // before a lock is made for nothing
		return done, notFound(err)
	}
	held, err := t.waitHold(ctx, root, batch)
	if err != nil {
		return done, err
	}
	defer held.release()
	in, err := enter(root, batch, false)
	if err != nil {
		return done, notFound(err)
	}
	left, err := restoreFrom(ctx, in, into, folder, batch, &done)
	if err := errors.Join(err, in.Close()); err != nil {
		return done, err
	}
	if !left {
		return done, destroy(context.WithoutCancel(ctx), root, batch)
	}
	return done, nil
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// newest returns the newest batch of a folder that has something to restore.
func newest(root *os.Root, folder string) (string, error) {
	names, err := list(root, maxBatches, isBatch)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if s, ok := summarize(root, name); ok && s.Folder == folder && s.Items > 0 {
			return name, nil
		}
	}
	return "", ErrNotFound
}

// restoreFrom restores what is in a batch, and reports whether anything is left.
func restoreFrom(ctx context.Context, in, into *os.Root, folder, batch string, done *Restored) (left bool, err error) {
	x, err := load(in)
	if err != nil {
		return true, err
	}
	if x.folder != folder {
		return true, fmt.Errorf("%s is of another folder, %q: %w", batch, x.folder, ErrNotFound)
	}
	done.Batch, done.Folder = batch, folder
	marks, err := appendTo(in, goneName, 0) // first of all: without marks nothing may leave the trash
	if err != nil {
		return true, fmt.Errorf("the trash: %w", err)
	}
	defer func() { err = errors.Join(err, marks.close()) }()
	r := restorer{in: in, into: into, batch: batch}
	for _, e := range x.live() {
		if ctx.Err() != nil {
			return true, context.Cause(ctx)
		}
		already, err := r.restore(e)
		if err != nil {
			done.Left = append(done.Left, Left{e.item(x), problem(err)})
			continue
		}
		if already {
			done.Already = append(done.Already, e.item(x))
		} else {
			done.Items = append(done.Items, e.item(x))
		}
		if err := forget(in, marks, e); err != nil {
			return true, fmt.Errorf("%q is back, but the trash cannot note it: %w", e.Path, err)
		}
	}
	if len(done.Left) > 0 || x.damage != nil {
		return true, x.damage
	}
	// One copy without a line is that of a file which nobody touched. More are none
	// of ours: the index has lost lines.
	n, err := strays(in, x.numbers)
	if err == nil && n > 1 {
		err = fmt.Errorf("%w: it has %d copies that its index does not name", ErrDamaged, n)
	}
	return err != nil, err
}

// forget marks what is back, and removes its copy. A full disk may take no mark
// until the copy is gone; that is the one time it goes first. Whoever is killed in
// between leaves a line without a copy, for a file that is found to be there.
func forget(in *os.Root, marks *appender, e entry) error {
	err := marks.mark(e.N, restored)
	if err != nil && marks.broken == nil {
		if removeErr := in.Remove(e.copyName()); removeErr == nil {
			err = marks.mark(e.N, restored)
		}
	}
	if err == nil {
		_ = in.Remove(e.copyName()) // if it stays, it goes with the batch
	}
	return err
}

// restorer restores the files of one batch.
type restorer struct {
	in, into *os.Root
	batch    string
}

// restore brings a file back, or reports that it is there already. When it returns
// nil, the file is on the disk of the project.
func (r restorer) restore(e entry) (already bool, err error) {
	copied, info, copyErr := openPlain(r.in, e.copyName())
	if copyErr == nil {
		defer func() { _ = copied.Close() }()
		if info.Size() != e.Size {
			copyErr = fmt.Errorf("it has %d bytes instead of %d", info.Size(), e.Size)
		}
	}
	if copyErr != nil {
		copyErr = fmt.Errorf("its copy in the trash is damaged: %w", copyErr)
	}
	parent, base, err := openParent(r.into, e.Path, copyErr == nil)
	if err != nil {
		if copyErr != nil && errors.Is(err, fs.ErrNotExist) {
			err = copyErr
		}
		return false, err
	}
	defer func() { _ = parent.Close() }()
	there, err := r.compare(parent, base, e)
	switch {
	case err != nil:
		return false, err
	case !there && copyErr != nil:
		return false, copyErr
	case !there:
		err = r.put(copied, parent, base, e)
	}
	if err != nil {
		return false, err
	}
	r.tidy(parent, e)
	return there, syncFolder(parent)
}

// compare reports whether a file is in its place, and is an error if something
// else is.
func (r restorer) compare(parent *os.Root, base string, e entry) (there bool, err error) {
	if _, err := parent.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	same, err := holds(parent, base, e)
	if err != nil {
		return false, fmt.Errorf("something is in its place: %w", err)
	}
	if !same {
		return false, errors.New("another file is in its place")
	}
	return true, nil
}

// holds reports whether a file has the content of e, and has it on the disk.
func holds(parent *os.Root, base string, e entry) (bool, error) {
	file, info, err := openPlain(parent, base)
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	if info.Size() != e.Size {
		return false, nil
	}
	s, n, err := digest(io.Discard, file, e.Size)
	if err != nil || n != e.Size || hex.EncodeToString(s[:]) != e.Sum {
		return false, err
	}
	return true, syncRead(file)
}

// put writes a copy under a name of ours, and then gives it its own.
func (r restorer) put(copied *os.File, parent *os.Root, base string, e entry) error {
	temporary := restoredName(r.batch, e.N)
	_ = parent.Remove(temporary) // of a process that was killed: whoever holds the batch is alone
	err := write(copied, parent, temporary, e)
	if err == nil {
		err = place(parent, temporary, base)
		if errors.Is(err, fs.ErrExist) {
			err = errors.New("another file is in its place")
		}
	}
	if err != nil {
		_ = parent.Remove(temporary)
	}
	return err
}

func write(copied *os.File, parent *os.Root, name string, e entry) error {
	file, err := parent.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s, n, err := digest(file, copied, e.Size)
	if err == nil && (n != e.Size || hex.EncodeToString(s[:]) != e.Sum) {
		err = errors.New("its copy in the trash is damaged: it is not what was taken")
	}
	if err == nil {
		err = file.Chmod(e.Mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return parent.Chtimes(name, e.Time, e.Time) // once it is closed, which may count as a change
}

// tidy removes what a process that was killed left beside a file that is there:
// half of a restored one, and the original under its other name, if that is still
// what was taken.
func (r restorer) tidy(parent *os.Root, e entry) {
	_ = parent.Remove(restoredName(r.batch, e.N))
	aside := takenName(r.batch, e.N)
	if same, err := holds(parent, aside, e); err == nil && same {
		_ = parent.Remove(aside)
	}
}

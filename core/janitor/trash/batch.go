package trash

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxWhy is how many bytes of a reason are kept.
const maxWhy = 1000

// Batch is what one cleaning takes out of one folder. It is for one goroutine at a
// time.
type Batch struct {
	trash  *Trash
	folder string
	at     time.Time
	closed bool

	// The rest is there once something is taken.
	root  *os.Root // the trash
	held  *hold
	in    *os.Root // the batch
	index *appender
	marks *appender
	last  int // the number that was given last
	items int // taken
}

// Begin starts a batch for a folder, whose absolute path names it, taken at a time.
// Nothing is written before the first Take. The caller closes the batch.
func (t *Trash) Begin(folder string, at time.Time) *Batch {
	return &Batch{trash: t, folder: clean(folder), at: at}
}

// Take moves a file into the trash. Its name is a slash path relative to from,
// which is the folder that Begin was told; seen is what Lstat said about it when
// the caller judged it; why is kept for people, its first 1000 bytes.
//
// When Take returns nil, the copy and its line in the index are on the disk and
// the file is gone from the project; the folder that it was in stays, even if it
// is empty. When it returns an error, the file is where it was: ErrNotPlain for
// what is never taken, ErrChanged if it is not what was seen or changed meanwhile,
// ErrTooLarge if the index is full, otherwise what the system said, such as that
// the disk is full. One exception: if somebody makes another file of that name
// while one that changed is being put back, the error tells under which name it
// is in the same folder. After an error the batch goes on.
func (b *Batch) Take(from *os.Root, name string, seen fs.FileInfo, why string) error {
	if err := b.take(from, name, seen, why); err != nil {
		return fmt.Errorf("taking %q: %w", name, err)
	}
	return nil
}

func (b *Batch) take(from *os.Root, name string, seen fs.FileInfo, why string) error {
	if b.closed {
		return fmt.Errorf("the batch: %w", fs.ErrClosed)
	}
	if !filepath.IsAbs(b.folder) {
		return fmt.Errorf("its folder %q is no absolute path", b.folder)
	}
	if err := checkName(name); err != nil {
		return err
	}
	parent, base, err := openParent(from, name, false)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	file, now, err := openPlain(parent, base)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := unchanged(seen, now); err != nil {
		return err
	}
	e := entry{
		N: b.last + 1, Path: name, Raw: raw(name), Size: now.Size(), Mode: now.Mode().Perm(), Time: now.ModTime().UTC(),
		Sum: hex.EncodeToString(make([]byte, sha256.Size)), Why: clip(why),
	}
	if line, err := encode(e); err != nil { // before anything is written: the sum has this length
		return err
	} else if b.index != nil && b.index.size+int64(len(line)) > maxIndex {
		return fmt.Errorf("%w: it has %d bytes already", ErrTooLarge, b.index.size)
	}
	if err := b.open(); err != nil {
		return fmt.Errorf("the trash: %w", err)
	}
	b.last = e.N
	if err := b.copy(&e, file); err != nil {
		return err
	}
	again, err := parent.Lstat(base)
	if err == nil {
		err = unchanged(seen, again)
	}
	if err == nil {
		err = b.note(e)
	}
	if err != nil {
		_ = b.in.Remove(e.copyName())
		return err
	}
	_ = file.Close() // some systems neither rename nor remove what is open
	lost, err := away(parent, base, takenName(b.held.batch, e.N), seen)
	if err != nil && !lost {
		return errors.Join(err, b.drop(e.N))
	}
	b.items++
	return err
}

// copy makes the copy durable, and proves that it is what was read. On an error
// there is none.
func (b *Batch) copy(e *entry, file *os.File) (err error) {
	target, err := b.in.OpenFile(e.copyName(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the trash: %w", err)
	}
	defer func() {
		if err = errors.Join(err, target.Close()); err != nil {
			_ = b.in.Remove(e.copyName())
		}
	}()
	read, n, err := digest(target, file, e.Size)
	if err != nil {
		return fmt.Errorf("copying it to the trash: %w", err)
	}
	if n != e.Size {
		return fmt.Errorf("%w while it was copied", ErrChanged)
	}
	if err := target.Sync(); err != nil {
		return fmt.Errorf("copying it to the trash: %w", err)
	}
	if _, err := target.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("the trash: %w", err)
	}
	written, n, err := digest(io.Discard, target, e.Size)
	if err != nil {
		return fmt.Errorf("reading the copy back: %w", err)
	}
	if n != e.Size || written != read {
		return errors.New("its copy in the trash is not what was written")
	}
	e.Sum = hex.EncodeToString(read[:])
	return syncFolder(b.in)
}

func (b *Batch) note(e entry) error {
	line, err := encode(e)
	if err != nil {
		return err
	}
	if err := b.index.add(line); err != nil {
		return fmt.Errorf("noting it in the index of the trash: %w", err)
	}
	return nil
}

// drop takes back what note said: the file is still there.
func (b *Batch) drop(n int) error {
	if err := b.marks.mark(n, kept); err != nil {
		b.items++ // a copy too many does no harm: restoring sees what is there
		return fmt.Errorf("its copy stays in the trash: %w", err)
	}
	_ = b.in.Remove(strconv.Itoa(n))
	return nil
}

func (a *appender) mark(n int, how string) error {
	line, err := encode(mark{N: n, How: how})
	if err != nil {
		return err
	}
	return a.add(line)
}

// away removes a file from a folder if it is what was seen. Between a last look and
// a removal by name somebody could put another file there, as editors do when
// they save; so the file gets a name that only we know, and is looked at and
// removed under that. What is not what was seen goes back, over nothing; lost
// says that it could not, as the name was taken again.
func away(parent *os.Root, base, aside string, seen fs.FileInfo) (lost bool, err error) {
	if err := parent.Rename(base, aside); err != nil {
		return false, err
	}
	now, err := parent.Lstat(aside)
	if err == nil {
		err = unchanged(seen, now)
	}
	if err == nil {
		err = parent.Remove(aside)
	}
	if err == nil {
		return false, nil
	}
	if backErr := place(parent, aside, base); backErr != nil {
		return true, fmt.Errorf("%w; it is called %s now, since it could not be put back: %w", err, aside, backErr)
	}
	return false, err
}

// open makes the batch in the trash, unless there is one.
func (b *Batch) open() (err error) {
	if b.index != nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.leave(true))
		}
	}()
	if b.root, err = b.trash.create(); err != nil {
		return err
	}
	name := batchName(b.at, rand.Text()[:tokenLength])
	if !isBatch(name) {
		return fmt.Errorf("%s is no time for a batch", b.at)
	}
	line, err := encode(header{Format: format, Folder: b.folder, Raw: raw(b.folder), Taken: b.at.UTC()})
	if err != nil {
		return err
	}
	if err := b.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	if b.held, err = b.trash.tryHold(b.root, name); b.held == nil {
		_ = b.root.Remove(name)
		if err == nil {
			err = ErrBusy // somebody was faster who expires whatever there is
		}
		return err
	}
	if b.in, err = enter(b.root, name, false); err != nil {
		return err
	}
	// Made now, for restoring needs it, on a disk that may be full by then.
	if b.marks, err = appendTo(b.in, goneName, os.O_EXCL); err != nil {
		return err
	}
	index, err := appendTo(b.in, indexName, os.O_EXCL)
	if err != nil {
		return err
	}
	b.index = index
	if err := index.add(line); err != nil {
		return err
	}
	return syncFolder(b.root)
}

// Close ends the batch. What was taken is on the disk already; a batch that took
// nothing leaves nothing behind. It may be called more than once, and others may
// restore the batch afterwards.
func (b *Batch) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if err := b.leave(b.items == 0); err != nil {
		return fmt.Errorf("closing the batch: %w", err)
	}
	return nil
}

// leave lets go of everything, and deletes the batch if nothing is in it.
func (b *Batch) leave(empty bool) error {
	var err error
	if b.index != nil {
		err = b.index.close()
	}
	if b.marks != nil {
		err = errors.Join(err, b.marks.close())
	}
	if b.in != nil {
		err = errors.Join(err, b.in.Close())
	}
	if b.held != nil {
		if empty {
			err = errors.Join(err, ignoreGone(destroy(context.Background(), b.root, b.held.batch)))
		}
		b.held.release()
	}
	if b.root != nil {
		err = errors.Join(err, b.root.Close())
	}
	b.index, b.marks, b.in, b.held, b.root, b.last = nil, nil, nil, nil, nil, 0
	return err
}

func clip(why string) string {
	why = strings.ToValidUTF8(why, "\ufffd")
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "")
	}
	return why
}

// What a file is called for a moment, in the folder that it is in, while it is
// taken and while it is restored.
const (
	takenPrefix    = ".sidecar-taken-"
	restoredPrefix = ".sidecar-restored-"
)

func takenName(batch string, n int) string {
	return takenPrefix + tokenOf(batch) + "-" + strconv.Itoa(n)
}
func restoredName(batch string, n int) string {
	return restoredPrefix + tokenOf(batch) + "-" + strconv.Itoa(n)
}

// IsLeftover reports whether a slash path is one of those names under which a file
// is known for a moment only, while it is taken or restored; it stays if the
// process is killed just then. Restoring its batch removes it. Its content may be
// the user's, and part of it: who wants it gone takes it, like any other file.
func IsLeftover(name string) bool {
	base := name[strings.LastIndexByte(name, '/')+1:]
	rest, ok := strings.CutPrefix(base, takenPrefix)
	if !ok {
		if rest, ok = strings.CutPrefix(base, restoredPrefix); !ok {
			return false
		}
	}
	token, number, _ := strings.Cut(rest, "-")
	n, err := strconv.Atoi(number)
	return isToken(token) && err == nil && n > 0 && strconv.Itoa(n) == number
}

package todo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	// ErrMissing is an edit of a file that is not there. It is an fs.ErrNotExist.
	ErrMissing = fmt.Errorf("there is no %s: %w", Path, fs.ErrNotExist)
	// ErrConflict is an edit that expected another version; see ConflictError.
	ErrConflict = errors.New("the todo file changed")
)

// ConflictError is an edit that was not made since the file is not what the
// edit was meant for. It is an ErrConflict.
type ConflictError struct {
	// Expected and Actual are the versions.
	Expected, Actual Version
	// Known says that the expected version is known, so that Changes tell
	// what has become of it.
	Known   bool
	Changes []LineChange
	// More is how many changes are left out.
	More int
}

// Error tells what changed.
func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s changed since version %s; it is version %s now", Path, e.Expected.Short(), e.Actual.Short())
	if !e.Known {
		return b.String()
	}
	for i, c := range e.Changes {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + c.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more lines", e.More)
	}
	return b.String()
}

// Is makes the error an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Edit says who edits, for the history, and what for.
type Edit struct {
	// Actor is who: an agent's name, a command.
	Actor string
	// Kind is what: update, add, merge.
	Kind string
	// Expect, unless empty, is the version that the edit is meant for, in full
	// or as shown.
	Expect Version
}

// attempts is how often an edit starts over when somebody who does not lock,
// such as a person's editor, writes the file in between.
const attempts = 5

// stale is how old a temporary file is that nobody writes any more.
const stale = 10 * time.Minute

// Edit replaces the file's content by what change makes of it, all at once: no
// reader sees half of it, and an edit that fails leaves the file alone. Edits of
// all processes take turns; change gets what is in the file at its turn, and it
// may be called again if the file changed meanwhile. What it returns may equal
// what is there; then nothing is written. The file keeps its mode, and stays a
// symbolic link within the worktree if it is one.
//
// The edit is noted in the history file. The error is change's own, ErrMissing,
// a *ConflictError, one of Read's, or says what the system refused. Without a
// deadline in ctx it waits for others for 10 s.
func (f *File) Edit(ctx context.Context, e Edit, change func(*Document) ([]byte, error)) (*Document, error) {
	at, unlock, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = at.Close() }()
	defer unlock()
	f.swept.Do(func() { sweep(at) })
	for range attempts {
		before, after, err := f.attempt(at, e, change)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil || before == after {
			return after, err
		}
		f.note(at, e, before, after)
		return after, nil
	}
	return nil, fmt.Errorf("editing %s: it changed %d times while it was being edited", Path, attempts)
}

// errMoved is a file that changed between reading and replacing it.
var errMoved = errors.New("it changed meanwhile")

// begin opens the worktree and waits for the turn.
func (f *File) begin(ctx context.Context) (*target, func(), error) {
	at, err := f.open()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, ErrMissing
		}
		return nil, nil, fmt.Errorf("editing %s: %w", Path, err)
	}
	unlock, err := f.lock(ctx, at)
	if err != nil {
		_ = at.Close()
		return nil, nil, err
	}
	return at, unlock, nil
}

func (f *File) attempt(at *target, e Edit, change func(*Document) ([]byte, error)) (before, after *Document, err error) {
	f.mu.Lock()
	before, seen, err := f.load(at, true)
	f.mu.Unlock()
	switch {
	case err != nil:
		return nil, nil, err
	case before.Missing:
		return nil, nil, ErrMissing
	case e.Expect != "" && !before.Version.Is(e.Expect):
		return nil, nil, f.conflict(e.Expect, before)
	}
	content, err := change(before)
	if err != nil {
		return nil, nil, err
	}
	if string(content) == before.text {
		return before, before, nil
	}
	after = before.grown.Swap(nil)
	if after == nil || after.text != string(content) {
		if after, err = Parse(content); err != nil {
			return nil, nil, fmt.Errorf("editing %s: what it would become cannot be read back: %w", Path, err)
		}
	}
	if err := f.replace(at, seen, before, after); err != nil {
		if errors.Is(err, errMoved) {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("editing %s: %w; it is as it was", Path, err)
	}
	return before, after, nil
}

func (f *File) conflict(expected Version, now *Document) error {
	e := &ConflictError{Expected: expected, Actual: now.Version}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, doc := range f.recent {
		if doc.Version.Is(expected) {
			e.Known = true
			e.Changes, e.More = diffLines(doc.text, now.text)
		}
	}
	return e
}

// replace puts a new file in the place of the one that was read.
func (f *File) replace(at *target, read stamp, before, after *Document) error {
	// Renaming asks for no right to write the file itself, but a file that is
	// read-only is meant to be.
	if file, err := at.OpenFile(at.name, os.O_WRONLY, 0); err != nil {
		return err
	} else if err := file.Close(); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(at.name), temporaryPrefix+rand.Text()[:8]+temporarySuffix)
	err := writeFile(at, temporary, []byte(after.text), read.info)
	if err == nil {
		err = f.swap(at, temporary, read, before, after)
	}
	if err != nil {
		_ = at.Remove(temporary)
		return err
	}
	if folder, err := at.Open(filepath.Dir(at.name)); err == nil {
		_ = folder.Sync() // not every system can; then the rename comes to the disk with the next journal
		folder.Close()
	}
	return nil
}

// swap renames, and lets whoever watches know what they will see, both at once.
func (f *File) swap(at *target, temporary string, read stamp, before, after *Document) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := at.Stat(at.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !read.same(now) {
		return errMoved
	}
	written, err := at.Stat(temporary)
	if err != nil {
		return err
	}
	if err := at.Rename(temporary, at.name); err != nil {
		return err
	}
	f.remember(after, stamp{info: written, at: time.Now()})
	if f.seen == stateKey(before, nil) { // else somebody else's change is still to be told
		f.seen = stateKey(after, nil)
	}
	return nil
}

const (
	temporaryPrefix = ".todo.md.sidecar-"
	temporarySuffix = ".tmp"
)

// writeFile writes a new file to the disk, with the mode and the owner of another.
func writeFile(at *target, name string, content []byte, like fs.FileInfo) error {
	file, err := at.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, like.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(like.Mode().Perm()) // which the umask may have narrowed
	}
	if err == nil {
		keepOwner(file, like)
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// sweep removes what an edit left behind whose process was killed.
func sweep(at *target) {
	folder, err := at.Open(filepath.Dir(at.name))
	if err != nil {
		return
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, temporaryPrefix) || !strings.HasSuffix(name, temporarySuffix) {
			continue
		}
		name = filepath.Join(filepath.Dir(at.name), name)
		if info, err := at.Lstat(name); err == nil && time.Since(info.ModTime()) > stale {
			_ = at.Remove(name)
		}
	}
}

// Create makes the file, and its folder, with a first content. It is for when a
// list was asked for: nobody gets a todo file uninvited. The error is an
// fs.ErrExist if there is one.
func (f *File) Create(ctx context.Context, e Edit, content []byte) (*Document, error) {
	doc, err := Parse(content)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", Path, err)
	}
	at, unlock, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = at.Close() }()
	defer unlock()
	if err := f.create(at, doc); err != nil {
		return nil, fmt.Errorf("creating %s: %w", Path, err)
	}
	f.note(at, e, missing(), doc)
	return doc, nil
}

func (f *File) create(at *target, doc *Document) error {
	if err := at.MkdirAll(filepath.Dir(at.name), 0o755); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := at.OpenFile(at.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = bytes.NewBufferString(doc.text).WriteTo(file)
	if err == nil {
		err = file.Sync()
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr, file.Close()); err != nil {
		return errors.Join(err, at.Remove(at.name))
	}
	f.remember(doc, stamp{info: info, at: time.Now()})
	if f.seen == stateKey(missing(), nil) {
		f.seen = stateKey(doc, nil)
	}
	return nil
}

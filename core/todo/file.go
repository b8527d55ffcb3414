package todo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Path is where the file lies in a worktree.
const Path = ".opencode/todo.md"

// racy is how long after its last change a file's size and time are not trusted
// to tell one content from another: clocks of file systems are coarse, and a
// mark that changes leaves the size alone.
const racy = 2 * time.Second

// recentDocuments is how many documents a File keeps to tell what changed.
const recentDocuments = 4

// ErrOutside is a todo.md, or a folder above it, that is a symbolic link to
// something outside of the worktree. It is neither read nor written.
var ErrOutside = errors.New("a symbolic link leads out of the worktree")

// ErrNotRegular is a todo.md that is a folder, a pipe or a device.
var ErrNotRegular = errors.New("it is not a regular file")

// File is the todo file of one worktree. It may be used by many goroutines.
type File struct {
	directory string
	locks     string
	warn      func(error)
	editing   chan struct{} // holds one token: edits of one File take turns
	swept     sync.Once

	mu     sync.Mutex
	cached *Document
	stamp  stamp
	recent []*Document // newest last
	seen   string      // the state that whoever watches knows of
}

// stamp is what tells whether a file is worth another look.
type stamp struct {
	info fs.FileInfo
	at   time.Time // of the look
}

// unchanged reports whether the file is surely what it was.
func (s stamp) unchanged(now fs.FileInfo) bool {
	return s.same(now) && s.at.Sub(now.ModTime()) > racy
}

func (s stamp) same(now fs.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, now) && s.info.Size() == now.Size() && s.info.ModTime().Equal(now.ModTime())
}

// NewFile returns the todo file of the worktree in a directory, an absolute
// path. Edits lock a file in the folder state, which is made when it is needed
// and has to be the same for all processes that edit. warn, which may be nil, is
// told what went wrong besides an edit that was made. Nothing is read or
// written yet.
func NewFile(directory, state string, warn func(error)) *File {
	if warn == nil {
		warn = func(error) {}
	}
	return &File{directory: directory, locks: filepath.Join(state, "todo-locks"), warn: warn, editing: make(chan struct{}, 1)}
}

// Read returns what is in the file now. It looks at the file each time, and
// parses it only when it may have changed. A file that is not there is a
// document that is Missing, not an error. Errors say what is wrong with the
// file: they wrap ErrOutside, ErrNotRegular, ErrBinary, a *TooLargeError, or what
// the system said (fs.ErrPermission).
func (f *File) Read() (*Document, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read(false)
}

// read reads with f.mu held; fresh trusts no stamp.
func (f *File) read(fresh bool) (*Document, error) {
	at, err := f.open()
	if errors.Is(err, fs.ErrNotExist) {
		return missing(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", Path, err)
	}
	defer func() { _ = at.Close() }()
	doc, _, err := f.load(at, fresh)
	return doc, err
}

// target is the real todo.md in an open worktree.
type target struct {
	*os.Root
	name      string // without symbolic links
	directory string // of the worktree, without symbolic links
}

// root opens the worktree.
func (f *File) root() (*target, error) {
	directory, err := filepath.EvalSymlinks(f.directory)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, err
	}
	return &target{Root: root, directory: directory}, nil
}

// open opens the worktree and finds the real todo.md, which need not be there.
func (f *File) open() (*target, error) {
	at, err := f.root()
	if err != nil {
		return nil, err
	}
	at.name, _, err = resolve(at.Root, []string{at.directory, f.directory}, Path)
	if err != nil {
		_ = at.Close()
		return nil, err
	}
	return at, nil
}

// load reads with f.mu held. The stamp is that of the content read.
func (f *File) load(at *target, fresh bool) (*Document, stamp, error) {
	doc, seen, err := f.try(at, fresh)
	if errors.Is(err, fs.ErrNotExist) {
		return missing(), stamp{}, nil
	}
	if err != nil {
		return nil, stamp{}, fmt.Errorf("reading %s: %w", Path, err)
	}
	return doc, seen, nil
}

func (f *File) try(at *target, fresh bool) (*Document, stamp, error) {
	info, err := at.Stat(at.name) // before it is opened: opening a pipe would wait
	if err != nil {
		return nil, stamp{}, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, stamp{}, ErrNotRegular
	case info.Size() > MaxSize:
		return nil, stamp{}, &TooLargeError{Size: info.Size(), Limit: MaxSize}
	case !fresh && f.stamp.unchanged(info):
		return f.cached, f.stamp, nil
	}
	file, err := at.Open(at.name)
	if err != nil {
		return nil, stamp{}, err
	}
	defer file.Close()
	seen := stamp{at: time.Now()}
	if seen.info, err = file.Stat(); err != nil {
		return nil, stamp{}, err
	}
	var content bytes.Buffer // with room for all of it and for seeing that there is no more
	content.Grow(int(min(seen.info.Size(), MaxSize)) + bytes.MinRead)
	if _, err := content.ReadFrom(io.LimitReader(file, MaxSize+1)); err != nil {
		return nil, stamp{}, err
	}
	doc := f.cached
	if doc == nil || doc.text != content.String() {
		if doc, err = Parse(content.Bytes()); err != nil {
			return nil, stamp{}, err
		}
	}
	f.remember(doc, seen)
	return doc, seen, nil
}

func (f *File) remember(doc *Document, seen stamp) {
	f.cached, f.stamp = doc, seen
	if n := len(f.recent); n > 0 && f.recent[n-1] == doc {
		return
	}
	f.recent = append(f.recent, doc)
	if extra := len(f.recent) - recentDocuments; extra > 0 {
		f.recent = slices.Delete(f.recent, 0, extra)
	}
}

// look reads the file and reports whether it is in another state than whoever
// watches knows of; from then on they do.
func (f *File) look() (doc *Document, changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	doc, err = f.read(false)
	state := stateKey(doc, err)
	changed = f.seen != state
	f.seen = state
	return doc, changed, err
}

// take reads the file and counts what it holds as known to whoever watches,
// unless something is wrong with it.
func (f *File) take() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if doc, err := f.read(false); warningOf(doc, err) == nil {
		f.seen = stateKey(doc, nil)
	}
}

// last is the document that was read last, or that of a missing file.
func (f *File) last() *Document {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cached == nil {
		return missing()
	}
	return f.cached
}

func stateKey(doc *Document, err error) string {
	switch {
	case err != nil:
		return "error " + err.Error()
	case doc.Missing:
		return "missing"
	default:
		return "version " + string(doc.Version)
	}
}

package todo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

var (
	// ErrNotOpen is wrapped by what is asked of a worktree that is not open.
	ErrNotOpen = errors.New("the worktree is not open")
	// ErrStopped is wrapped by what is asked of a Sync after Stop.
	ErrStopped = errors.New("the todo lists are closed: the sidecar is shutting down")
)

// Host is what a Sync asks of OpenCode. A call may hang until its context ends.
type Host interface {
	// Toast shows a toast to whoever looks at a directory.
	Toast(ctx context.Context, directory string, t host.Toast) error
}

// SyncOptions are what a Sync works with.
type SyncOptions struct {
	// State is the folder for locks, which all processes of the user share.
	State string
	// Host shows toasts.
	Host Host
	// Log is told of warnings.
	Log zerolog.Logger
	// Watch sets the times of the watchers.
	Watch WatchOptions
}

// Sync keeps the todo files of the worktrees that OpenCode has open: it reads
// and edits them, and tells people when somebody changed one of them by hand.
// Directories and worktrees are absolute paths, each with one name. It may be
// used by many goroutines.
type Sync struct {
	host     Host
	log      zerolog.Logger
	state    string
	watch    WatchOptions
	notifier func() (notifier, error)

	mu          sync.Mutex // never held while a file is read or the host is called
	stopped     bool
	trees       map[string]*tree
	directories map[string]*tree
	watched     map[string]bool // worktrees that somebody worked with, open or not
	running     sync.WaitGroup  // what goes on in the background; nothing is added once stopped
}

// tree is an open worktree.
type tree struct {
	sync     *Sync
	worktree string
	file     *File
	toasts   map[string]bool // by open directory, guarded by Sync.mu

	mu      sync.Mutex // for starting and closing; Sync.mu is not taken under it
	watcher *Watcher   // nil before Watch
	closed  bool
	limited atomic.Bool // the system refused to watch

	told told // belongs to the watcher's goroutine
}

// NewSync returns a Sync without worktrees. It starts nothing.
func NewSync(o SyncOptions) *Sync {
	return &Sync{
		host: o.Host, log: o.Log, state: o.State, watch: o.Watch, notifier: newSystemNotifier,
		trees: map[string]*tree{}, directories: map[string]*tree{}, watched: map[string]bool{},
	}
}

// Open takes in a directory of a worktree; toasts says whether people want to
// see any there. Several directories can be of one worktree, and one that is
// open already only gets its settings anew. It touches no file, and starts
// nothing unless the worktree was watched when it was open before: then it is
// watched again, in the background.
func (s *Sync) Open(directory, worktree string, toasts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	if was := s.directories[directory]; was != nil && was.worktree != worktree { // say, git init
		if s.dropLocked(directory) {
			s.running.Go(was.close)
		}
	}
	t := s.trees[worktree]
	if t == nil {
		t = s.newTree(worktree)
		s.trees[worktree] = t
		if s.watched[worktree] {
			s.running.Go(t.watch)
		}
	}
	t.toasts[directory] = toasts
	s.directories[directory] = t
}

func (s *Sync) newTree(worktree string) *tree {
	t := &tree{sync: s, worktree: worktree, toasts: map[string]bool{}}
	t.file = NewFile(worktree, s.state, func(err error) {
		s.log.Warn().Err(err).Str("worktree", worktree).Msg("todo list")
	})
	return t
}

// Close takes a directory out. If it was the last one of its worktree, the
// watcher is closed and waited for, and a call of the host that hangs is
// cancelled. Closing what is not open does nothing.
func (s *Sync) Close(directory string) {
	ended := make(chan struct{})
	s.mu.Lock()
	if t := s.directories[directory]; t != nil && s.dropLocked(directory) {
		s.running.Go(func() { // so that Stop waits for it, too
			defer close(ended)
			t.close()
		})
	} else {
		close(ended)
	}
	s.mu.Unlock()
	<-ended
}

// dropLocked forgets a directory and reports whether its worktree went with it,
// which is then to be closed.
func (s *Sync) dropLocked(directory string) (last bool) {
	t := s.directories[directory]
	delete(s.directories, directory)
	delete(t.toasts, directory)
	if len(t.toasts) > 0 {
		return false
	}
	delete(s.trees, t.worktree)
	return true
}

// Stop closes everything and waits for what it started, until ctx ends; the
// error is then the context's. It may be called again, and is then waited for
// as well. Edits that are being made come to their end on their callers'
// goroutines.
func (s *Sync) Stop(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		for _, t := range s.trees {
			s.running.Go(t.close)
		}
		s.trees, s.directories, s.watched = nil, nil, nil
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with what it waits for
		defer close(ended)
		s.running.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the todo lists: %w", context.Cause(ctx))
	}
}

// tree returns an open worktree.
func (s *Sync) tree(worktree string) (*tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, ErrStopped
	}
	if t := s.trees[worktree]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("the todo list of %s: %w", worktree, ErrNotOpen)
}

// Watch has people told of changes from here on: somebody works with the list.
// Before that nothing is watched, since most worktrees never have one. It may be
// called each time; once the worktree is watched, it costs next to nothing. It
// does nothing for a worktree that is not open.
func (s *Sync) Watch(worktree string) {
	s.mu.Lock()
	t := s.trees[worktree]
	if t != nil {
		s.watched[worktree] = true
	}
	s.mu.Unlock()
	if t != nil {
		t.watch()
	}
}

func (t *tree) watch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
	case t.watcher == nil:
		t.watcher = NewWatcher(t.file, t.tell, t.sync.watch)
		t.watcher.notifier = t.sync.notifier
		t.watcher.Start()
	case t.limited.Load(): // the system may have room by now, and the file is looked at
		t.watcher.Look()
	}
}

func (t *tree) watching() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watcher != nil
}

// close ends the watcher and waits for it.
func (t *tree) close() {
	t.mu.Lock()
	t.closed = true
	watcher := t.watcher
	t.mu.Unlock()
	if watcher != nil {
		watcher.Close()
	}
}

// Touched tells that a tool of an agent changed files, absolute paths, in a
// directory. If the todo file is one of them, what it holds now is not told to
// people: they see in the conversation what agents do. Only what is changed
// after that is, and what is wrong with the file.
func (s *Sync) Touched(directory string, files []string) {
	s.mu.Lock()
	t := s.directories[directory]
	s.mu.Unlock()
	if t != nil && t.watching() && t.isIn(files) {
		t.file.take()
	}
}

// isIn reports whether the todo file is one of files, under whatever name.
func (t *tree) isIn(files []string) bool {
	name := filepath.Join(t.worktree, filepath.FromSlash(Path))
	if slices.ContainsFunc(files, func(f string) bool { return filepath.Clean(f) == name }) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && slices.ContainsFunc(files, func(f string) bool {
		other, err := os.Stat(f)
		return err == nil && os.SameFile(info, other)
	})
}

// audience lists the open directories whose people want toasts.
func (t *tree) audience() []string {
	t.sync.mu.Lock()
	defer t.sync.mu.Unlock()
	var list []string
	for _, directory := range slices.Sorted(maps.Keys(t.toasts)) {
		if t.toasts[directory] {
			list = append(list, directory)
		}
	}
	return list
}

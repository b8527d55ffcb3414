// Package workspace knows which directories OpenCode has open. The shim opens
// one workspace per call of the plugin function, so one directory can be open
// several times, under several ids, and OpenCode closes and re-opens directories
// whenever it re-reads its configuration.
package workspace

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// Linger is how long a closed workspace waits for being re-opened before it is
// gone for good.
const Linger = 10 * time.Second

// Workspace is a directory that OpenCode opened.
type Workspace struct {
	Directory string
	Worktree  string
}

// Registry maps the shim's workspace ids to directories and back.
type Registry struct {
	gone  func(Workspace)
	empty func()

	mu      sync.Mutex
	stopped bool
	byID    map[string]*entry
	byDir   map[string]*entry
}

type entry struct {
	Workspace
	ids    []string // open ids, newest last
	linger *time.Timer
}

// New returns an empty registry. gone is called once a directory has been
// closed for Linger, and empty after it when no other is left; both run on a
// goroutine of their own, and not after Stop.
func New(gone func(Workspace), empty func()) *Registry {
	return &Registry{gone: gone, empty: empty, byID: map[string]*entry{}, byDir: map[string]*entry{}}
}

// Open registers id for a directory and reports whether the directory was known.
func (r *Registry) Open(id string, w Workspace) (reattached bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil {
		if e.Directory == w.Directory { // its first answer was lost
			return true, nil
		}
		return false, fmt.Errorf("workspace %q is open already, for another directory", id)
	}
	e := r.byDir[w.Directory]
	reattached = e != nil
	if e == nil {
		e = &entry{Workspace: w}
		r.byDir[w.Directory] = e
	}
	if e.linger != nil {
		e.linger.Stop()
		e.linger = nil
	}
	e.ids = append(e.ids, id)
	r.byID[id] = e
	return reattached, nil
}

// Close takes an id back. Closing an unknown id does nothing: dispose can come
// twice. The directory is gone after Linger unless it is opened again.
func (r *Registry) Close(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[id]
	if e == nil {
		return
	}
	delete(r.byID, id)
	for i, open := range e.ids {
		if open == id {
			e.ids = append(e.ids[:i], e.ids[i+1:]...)
			break
		}
	}
	if len(e.ids) > 0 || r.stopped {
		return
	}
	e.linger = time.AfterFunc(Linger, func() { r.expire(e) })
}

func (r *Registry) expire(e *entry) {
	r.mu.Lock()
	if r.stopped || len(e.ids) > 0 || r.byDir[e.Directory] != e {
		r.mu.Unlock()
		return
	}
	delete(r.byDir, e.Directory)
	last := len(r.byDir) == 0
	r.mu.Unlock()
	r.gone(e.Workspace)
	if last {
		r.empty()
	}
}

// ErrNotOpen is wrapped by lookups of an id that is not open.
var ErrNotOpen = errors.New("the workspace is not open")

// Lookup returns the workspace of an open id, or ErrNotOpen.
func (r *Registry) Lookup(id string) (Workspace, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[id]
	if e == nil {
		return Workspace{}, fmt.Errorf("%q: %w", id, ErrNotOpen)
	}
	return e.Workspace, nil
}

// Resolve returns the id under which calls for a directory reach OpenCode: the
// one that was opened last. It is false while the directory is closed.
func (r *Registry) Resolve(directory string) (id string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byDir[directory]
	if e == nil || len(e.ids) == 0 {
		return "", false
	}
	return e.ids[len(e.ids)-1], true
}

// Stop ends all timers. Nothing expires any more.
func (r *Registry) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for _, e := range r.byDir {
		if e.linger != nil {
			e.linger.Stop()
		}
	}
}

// Canonical resolves links in the paths, so that a directory has one name. A
// workspace without a worktree (no version control, where OpenCode says "/") is
// its own.
func (w Workspace) Canonical() Workspace {
	resolve := func(path string) string {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		return filepath.Clean(path)
	}
	w.Directory = resolve(w.Directory)
	if w.Worktree == "" || w.Worktree == "/" {
		w.Worktree = w.Directory
	} else {
		w.Worktree = resolve(w.Worktree)
	}
	return w
}

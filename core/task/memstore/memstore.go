// Package memstore keeps tasks in memory: the Store for tests, and for a
// sidecar whose database cannot be opened.
package memstore

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Keep is how many ended tasks whose parents were told stay in memory; of more
// the oldest are forgotten.
const Keep = 1000

// Store is a task.Store in memory. The zero value is not usable; see New.
type Store struct {
	mu     sync.RWMutex
	closed bool
	byID   map[task.ID]*list.Element
	order  *list.List // of *task.Task, by creation
	done   int        // how many of them may be forgotten
}

var _ task.Store = (*Store)(nil)

// New returns an empty store. It starts nothing.
func New() *Store {
	return &Store{byID: map[task.ID]*list.Element{}, order: list.New()}
}

var errClosed = errors.New("the task store is closed")

// Create implements task.Store.
func (s *Store) Create(ctx context.Context, t task.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.byID[t.ID] != nil {
		return fmt.Errorf("%s: %w", t.ID, task.ErrExists)
	}
	s.byID[t.ID] = s.order.PushBack(&t)
	if settled(&t) {
		s.done++
		s.forget()
	}
	return nil
}

// settled reports whether nobody waits for anything of a task any more.
func settled(t *task.Task) bool { return t.State.Terminal() && t.Told }

// forget drops the oldest settled tasks beyond Keep.
func (s *Store) forget() {
	for e := s.order.Front(); e != nil && s.done > Keep; {
		next := e.Next()
		if t := e.Value.(*task.Task); settled(t) {
			s.order.Remove(e)
			delete(s.byID, t.ID)
			s.done--
		}
		e = next
	}
}

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (task.Task, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	e := s.byID[id]
	if e == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	return *e.Value.(*task.Task), nil
}

// Update implements task.Store.
func (s *Store) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	e := s.byID[id]
	if e == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	t := e.Value.(*task.Task)
	if t.Fence() != at {
		return *t, fmt.Errorf("%s: %w", id, task.ErrStale)
	}
	next, err := task.Apply(*t, change)
	if err != nil {
		return *t, err
	}
	if settled(&next) && !settled(t) {
		s.done++
	} else if !settled(&next) && settled(t) {
		s.done--
	}
	*t = next
	s.forget()
	return next, nil
}

// List implements task.Store.
func (s *Store) List(ctx context.Context, q task.Query) (task.Page, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return task.Page{}, errClosed
	}
	page := task.Page{Totals: map[task.State]int{}}
	var totals [7]int // by place in States: a map entry a task would dominate
	states := task.States()
	for e := s.order.Back(); e != nil; e = e.Prev() {
		t := e.Value.(*task.Task)
		if !q.Matches(t) {
			continue
		}
		totals[slices.Index(states, t.State)]++
		if len(page.Tasks) < q.Limit {
			if page.Tasks == nil {
				page.Tasks = make([]task.Task, 0, min(q.Limit, s.order.Len()))
			}
			page.Tasks = append(page.Tasks, *t)
			if last := &page.Tasks[len(page.Tasks)-1]; !q.Texts {
				last.Prompt, last.Result = "", ""
			}
		}
	}
	for i, state := range states {
		if totals[i] > 0 {
			page.Totals[state] = totals[i]
		}
	}
	return page, nil
}

// Close implements task.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.byID, s.order = nil, nil
	return nil
}

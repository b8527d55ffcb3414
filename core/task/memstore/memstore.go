// Package memstore keeps tasks in memory: the Store for tests, and for a
// sidecar whose database cannot be opened.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Store is a task.Store in memory. The zero value is not usable; see New.
type Store struct {
	mu     sync.RWMutex
	closed bool
	byID   map[task.ID]*task.Task
	order  []*task.Task // by creation
}

var _ task.Store = (*Store)(nil)

// New returns an empty store. It starts nothing.
func New() *Store {
	return &Store{byID: map[task.ID]*task.Task{}}
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
	s.byID[t.ID] = &t
	s.order = append(s.order, &t)
	return nil
}

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (task.Task, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	t := s.byID[id]
	if t == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	return *t, nil
}

// Update implements task.Store.
func (s *Store) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	t := s.byID[id]
	if t == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	if t.Fence() != at {
		return *t, fmt.Errorf("%s: %w", id, task.ErrStale)
	}
	next, err := task.Apply(*t, change)
	if err != nil {
		return *t, err
	}
	*t = next
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
	totals := map[task.State]*int{}
	for _, t := range slices.Backward(s.order) {
		if !q.Matches(t) {
			continue
		}
		n := totals[t.State]
		if n == nil {
			n = new(int)
			totals[t.State] = n
		}
		*n++
		if len(page.Tasks) < q.Limit {
			page.Tasks = append(page.Tasks, *t)
		}
	}
	for state, n := range totals {
		page.Totals[state] = *n
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

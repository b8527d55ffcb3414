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
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// What is forgotten: of the ended tasks whose parents were told, or are not to
// be, the oldest beyond Keep, and those that ended longer than MaxAge ago. It
// happens when something is stored; no timer runs.
const (
	Keep   = 1000
	MaxAge = 24 * time.Hour
)

// Store is a task.Store in memory. The zero value is not usable; see New.
type Store struct {
	mu     sync.RWMutex
	closed bool
	byID   map[task.ID]*record
	order  *list.List // of *record, by creation
	// settled are the records that may be forgotten, by when they became so.
	settled *list.List
	// oldest is a time before which none of the settled ones ended.
	oldest time.Time
}

// A record is a task and its places in the two lists.
type record struct {
	task.Task
	created, settled *list.Element
	ended            time.Time // Ended, or when it was settled if it has none
}

var _ task.Store = (*Store)(nil)

// New returns an empty store. It starts nothing.
func New() *Store {
	return &Store{byID: map[task.ID]*record{}, order: list.New(), settled: list.New()}
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
	r := &record{Task: own(t)}
	r.created = s.order.PushBack(r)
	s.byID[t.ID] = r
	s.settle(r)
	s.forget()
	return nil
}

// own returns t with memory of its own.
func own(t task.Task) task.Task {
	t.Past = slices.Clone(t.Past)
	return t
}

// settle notes whether anybody waits for anything of a task still.
func (s *Store) settle(r *record) {
	settled := r.State.Terminal() && (r.Told || r.Wake == task.WakeNone)
	switch {
	case settled && r.settled == nil:
		if r.ended = r.Ended; r.ended.IsZero() {
			r.ended = time.Now()
		}
		if s.settled.Len() == 0 || r.ended.Before(s.oldest) {
			s.oldest = r.ended
		}
		r.settled = s.settled.PushBack(r)
	case !settled && r.settled != nil:
		s.settled.Remove(r.settled)
		r.settled = nil
	}
}

// forget drops settled tasks that are too many or too old.
func (s *Store) forget() {
	for s.settled.Len() > Keep {
		s.drop(s.settled.Front().Value.(*record))
	}
	limit := time.Now().Add(-MaxAge)
	if s.settled.Len() == 0 || !s.oldest.Before(limit) {
		return
	}
	s.oldest = time.Now()
	for e := s.settled.Front(); e != nil; {
		r := e.Value.(*record)
		e = e.Next()
		if r.ended.Before(limit) {
			s.drop(r)
		} else if r.ended.Before(s.oldest) {
			s.oldest = r.ended
		}
	}
}

func (s *Store) drop(r *record) {
	s.order.Remove(r.created)
	s.settled.Remove(r.settled)
	delete(s.byID, r.ID)
}

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (task.Task, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	r := s.byID[id]
	if r == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	return own(r.Task), nil
}

// Update implements task.Store.
func (s *Store) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return task.Task{}, errClosed
	}
	r := s.byID[id]
	if r == nil {
		return task.Task{}, fmt.Errorf("%s: %w", id, task.ErrNotFound)
	}
	if r.Fence() != at {
		return own(r.Task), fmt.Errorf("%s: %w", id, task.ErrStale)
	}
	next, err := task.Apply(own(r.Task), change)
	if err != nil {
		return own(r.Task), err
	}
	r.Task = own(next)
	s.settle(r)
	s.forget()
	return own(next), nil
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
		t := &e.Value.(*record).Task
		if !q.Matches(t) {
			continue
		}
		if q.Root != "" {
			page.Usage = page.Usage.Plus(t.Usage)
		}
		totals[slices.Index(states, t.State)]++
		if len(page.Tasks) < q.Limit {
			if page.Tasks == nil {
				page.Tasks = make([]task.Task, 0, min(q.Limit, s.order.Len()))
			}
			page.Tasks = append(page.Tasks, *t)
			last := &page.Tasks[len(page.Tasks)-1]
			if last.Past = nil; q.Texts {
				last.Past = slices.Clone(t.Past)
			} else {
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
	s.byID, s.order, s.settled = nil, nil, nil
	return nil
}

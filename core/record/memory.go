package record

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
)

// Keep is how many closed records a Memory keeps; those that were changed
// longest ago go first. Open ones are never dropped.
const Keep = 1000

// Memory is a Store that ends with the process: for tests, and for a sidecar
// whose database cannot be opened. See NewMemory.
type Memory struct {
	mu      sync.Mutex
	byID    map[identity]*kept
	closed  *list.List // of *kept, by their last change
	changes int64
}

type identity struct{ kind, key string }

// kept is a record and its place in the order of changes.
type kept struct {
	Record
	order  int64
	closed *list.Element // nil while it is open
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. It starts nothing.
func NewMemory() *Memory {
	return &Memory{byID: map[identity]*kept{}, closed: list.New()}
}

// own returns r with memory of its own.
func own(r Record) Record {
	if r.Body = bytes.Clone(r.Body); len(r.Body) == 0 {
		r.Body = nil
	}
	return r
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, r Record) (Record, error) {
	if ctx.Err() != nil {
		return Record{}, context.Cause(ctx)
	}
	if err := r.Check(); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := identity{r.Kind, r.Key}
	k := m.byID[id]
	switch {
	case k == nil && r.Version != 0:
		return Record{}, fmt.Errorf("%s: %w", r, ErrStale)
	case k != nil && r.Version != k.Version:
		return own(k.Record), fmt.Errorf("%s: %w", r, ErrStale)
	case k == nil:
		k = &kept{}
		m.byID[id] = k
	}
	m.changes++
	k.Record, k.order = own(r), m.changes
	k.Version, k.Updated = r.Version+1, Now()
	m.unlist(k)
	if !k.Open {
		k.closed = m.closed.PushBack(k)
	}
	if m.closed.Len() > Keep {
		m.drop(m.closed.Front().Value.(*kept))
	}
	return own(k.Record), nil
}

func (m *Memory) unlist(k *kept) {
	if k.closed != nil {
		m.closed.Remove(k.closed)
		k.closed = nil
	}
}

func (m *Memory) drop(k *kept) {
	m.unlist(k)
	delete(m.byID, identity{k.Kind, k.Key})
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, kind, key string) (Record, error) {
	if ctx.Err() != nil {
		return Record{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.byID[identity{kind, key}]
	if k == nil {
		return Record{}, fmt.Errorf("%s %s: %w", kind, key, ErrNotFound)
	}
	return own(k.Record), nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, q Query) ([]Record, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []*kept
	for _, k := range m.byID {
		if q.Matches(&k.Record) {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b *kept) int { return cmp.Compare(b.order, a.order) })
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	var records []Record
	for _, k := range found {
		records = append(records, own(k.Record))
	}
	return records, nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, kind, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.byID[identity{kind, key}]; k != nil {
		m.drop(k)
	}
	return nil
}

package limit

import (
	"context"
	"errors"
	"fmt"
)

// ErrRequest refuses a request that lacks a callback.
var ErrRequest = errors.New("limit: bad request")

// Priority orders waiters before their age does. The zero value is Normal.
type Priority int8

// The priorities.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1

	ranks = 3
)

// rank is the index of a priority's queue: the lower, the sooner.
func (p Priority) rank() int { return int(High - p) }

// Request asks for one slot on each of its keys.
type Request struct {
	// Keys are what the work counts against, one to eight of them in any order;
	// naming one twice counts once.
	Keys     []Key
	Priority Priority
	// Owner names the holder in reports: a task id. The limiter does not read it.
	Owner string
	// Granted gets the lease, once, on a goroutine of its own that Close waits
	// for: it may block, do the work itself, and call the limiter. It may run
	// before Submit has returned. Acquire does not use it.
	Granted func(*Lease)
	// Expired is called when the lease has not been renewed for MaxLease, on a
	// goroutine of its own that Close waits for. It must end the work and return
	// when that is confirmed; only then is the slot free. It may release the
	// lease. After a panic the slot stays taken, and Expired is called again
	// after another MaxLease.
	Expired func()
}

// Ticket is a request's place in the queue, and then the way to its lease. It is
// safe for concurrent use.
type Ticket struct {
	limiter  *Limiter
	group    *group
	seq      uint64 // of arrival
	priority Priority
	owner    string
	granted  func(*Lease)
	expired  func()
	handOver chan *Lease // instead of granted: for Acquire

	waiting bool   // guarded by Limiter.mu
	lease   *Lease // guarded by Limiter.mu; nil before the grant
}

// Owner returns the request's owner.
func (t *Ticket) Owner() string { return t.owner }

// Lease returns the lease, or nil when none was granted.
func (t *Ticket) Lease() *Lease {
	t.limiter.mu.Lock()
	defer t.limiter.mu.Unlock()
	return t.lease
}

// Withdraw takes the ticket out of the queue. True promises that Granted is
// never called; it is true again on a second call and after Close has dropped
// the ticket. False means that the lease is granted, even if Granted has yet to
// run: Lease has it.
func (t *Ticket) Withdraw() bool {
	l := t.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.lease != nil {
		return false
	}
	if t.waiting {
		kept := l.starving > 0
		l.dequeue(t)
		if kept { // if it was for this one, it is free now
			l.admit()
		}
	}
	return true
}

// Position returns the ticket's place in line, from 1, or 0 when it is not
// waiting. The line is the one for its tightest key: that with the fewest free
// slots, and of several the one with most waiters ahead. Ahead are all who
// need that key and are of higher priority, or of the same and older. It costs
// O(log n) for each distinct set of keys.
func (t *Ticket) Position() int {
	l := t.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.waiting {
		return 0
	}
	return t.position()
}

// position is Position for a waiting ticket.
func (t *Ticket) position() int {
	most, tightest := 0, MaxLimit
	for _, k := range t.group.keys {
		free := k.free(&t.limiter.flow)
		if free > tightest {
			continue
		}
		ahead := k.ahead(t)
		if free < tightest || ahead > most {
			most, tightest = ahead, free
		}
	}
	return most + 1
}

// ahead counts the waiters for k that come before t.
func (k *keyState) ahead(t *Ticket) int {
	n, rank := 0, t.priority.rank()
	for _, g := range k.groups {
		for r := range rank {
			n += g.queues[r].live
		}
		n += g.queues[rank].before(t.seq)
	}
	return n
}

// Submit asks for a lease and returns at once; Granted brings it. A deadline for
// the wait is the caller's: Withdraw. The errors are ErrClosed, ErrKey and
// ErrRequest.
func (l *Limiter) Submit(r Request) (*Ticket, error) {
	if r.Granted == nil {
		return nil, fmt.Errorf("%w: Granted is missing", ErrRequest)
	}
	return l.submit(r, nil)
}

// Acquire asks for a lease and waits for it. When ctx ends first, the error wraps
// its cause and nothing is held. The other errors are those of Submit.
func (l *Limiter) Acquire(ctx context.Context, r Request) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("limit: acquire: %w", context.Cause(ctx))
	}
	handOver := make(chan *Lease, 1)
	t, err := l.submit(r, handOver)
	if err != nil {
		return nil, err
	}
	select {
	case lease, ok := <-handOver:
		if !ok {
			return nil, ErrClosed
		}
		return lease, nil
	case <-ctx.Done():
		if !t.Withdraw() {
			t.Lease().Release() // granted at the same moment
		}
		return nil, fmt.Errorf("limit: acquire: %w", context.Cause(ctx))
	}
}

func (l *Limiter) submit(r Request, handOver chan *Lease) (*Ticket, error) {
	if r.Expired == nil {
		return nil, fmt.Errorf("%w: Expired is missing: a lost lease could never be freed safely", ErrRequest)
	}
	if r.Priority < Low || r.Priority > High {
		return nil, fmt.Errorf("%w: priority %d", ErrRequest, r.Priority)
	}
	if len(r.Keys) == 0 || len(r.Keys) > maxKeys {
		return nil, fmt.Errorf("%w: a request names 1 to %d keys, not %d", ErrKey, maxKeys, len(r.Keys))
	}
	for _, k := range r.Keys {
		if err := k.check(); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.seq++
	t := &Ticket{
		limiter:  l,
		group:    l.groupOf(r.Keys),
		seq:      l.seq,
		priority: r.Priority,
		owner:    r.Owner,
		granted:  r.Granted,
		expired:  r.Expired,
		handOver: handOver,
	}
	kept := l.starving > 0
	l.enqueue(t)
	// Unless a breaker has just let go, nothing has become free, so only the
	// newcomer can be admitted, and only as the first of its group: those before
	// it face the same keys.
	switch {
	case l.knock(t.group):
		l.admit()
	case t.group.head != t:
	case kept: // perhaps for someone before it, or for the head that it replaces
		l.admit()
	case l.admissible(t.group) && !l.pressed(t):
		l.grant(t)
	}
	return t, nil
}

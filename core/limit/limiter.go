package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// DefaultMaxLease is how long a lease lives without being renewed.
const DefaultMaxLease = 10 * time.Minute

// ErrClosed refuses a request after Close.
var ErrClosed = errors.New("limit: closed")

// ErrLimit refuses a limit below 1. To let nothing in is not a limit.
var ErrLimit = errors.New("limit: a limit must be at least 1")

// Options make a Limiter. The zero value is the house's.
type Options struct {
	// Limits are those that the user set. One above MaxLimit means MaxLimit.
	Limits map[Key]int
	// Defaults are the limits of keys that are not in Limits. A level that is
	// not in it has DefaultAgentLimit for agents and MaxLimit for the others.
	Defaults map[Level]int
	// MaxLease is how long a lease lives without being renewed; 0 means
	// DefaultMaxLease.
	MaxLease time.Duration
	// Flow can be replaced later: Configure.
	Flow
	// Panicked gets the panics of callbacks, on the goroutine that panicked. The
	// lease stays held until its holder releases it or it expires. Without
	// Panicked a panic ends the process.
	Panicked func(owner string, value any, stack []byte)
}

// Limiter admits requests. It is safe for concurrent use. It starts nothing
// before the first lease: a lease has a timer, a callback a goroutine, and an
// open breaker or short memory a timer while somebody waits for it. Close ends
// them.
type Limiter struct {
	maxLease time.Duration
	defaults [levels]int
	panicked func(owner string, value any, stack []byte)
	patience int           // see the constant; tests need other values
	idle     chan struct{} // closed when closed is set and running has come to 0

	// mu guards all below and everything in tickets, leases, groups and keys that
	// says so. No callback runs under it, so callers may hold locks of their own
	// that callbacks take.
	mu       sync.Mutex
	closed   bool
	flow     Flow // with its defaults
	keys     map[Key]*keyState
	groups   map[keySet]*group
	waiting  []*group // those with waiters, in the order of their heads
	starving int      // groups in waiting that slots are kept for
	low      int      // waiters of priority Low
	memory   alarm    // armed while memory was short when it was last asked for, and a Low one waits
	leases   map[*Lease]struct{}
	running  int    // armed timers and running callbacks
	seq      uint64 // of the last ticket
	leaseID  uint64 // of the last lease
}

// New returns a Limiter. The error joins an ErrLimit or ErrKey for each bad entry
// of the options.
func New(o Options) (*Limiter, error) {
	l := &Limiter{
		maxLease: o.MaxLease,
		defaults: [levels]int{Global: MaxLimit, Provider: MaxLimit, Model: MaxLimit, Agent: DefaultAgentLimit},
		panicked: o.Panicked,
		flow:     o.Flow.withDefaults(),
		patience: patience,
		idle:     make(chan struct{}),
		keys:     make(map[Key]*keyState),
		groups:   make(map[keySet]*group),
		leases:   make(map[*Lease]struct{}),
	}
	if l.maxLease <= 0 {
		l.maxLease = DefaultMaxLease
	}
	var errs []error
	for level, n := range o.Defaults {
		switch {
		case level >= levels:
			errs = append(errs, fmt.Errorf("%w: unknown level %d", ErrKey, level))
		case n < 1:
			errs = append(errs, fmt.Errorf("%w: default of level %v is %d", ErrLimit, level, n))
		default:
			l.defaults[level] = min(n, MaxLimit)
		}
	}
	for key, n := range o.Limits {
		if _, err := l.SetLimit(key, n); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return l, nil
}

// SetLimit sets a key's limit and returns the one in force, which is MaxLimit
// when n is higher. A raised limit admits waiters before it returns; a lowered
// one takes no lease away, but admits nobody until enough are released. The
// errors are ErrLimit for n below 1, and ErrKey; then nothing has changed.
func (l *Limiter) SetLimit(key Key, n int) (int, error) {
	if err := key.check(); err != nil {
		return 0, err
	}
	if n < 1 {
		return 0, fmt.Errorf("%w: %v: %d", ErrLimit, key, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.state(key)
	k.setLimit(min(n, MaxLimit))
	k.set = true
	l.admit()
	return k.limit, nil
}

// SetDefault sets the limit of all keys of a level that have none of their own,
// those in use as well. It works like SetLimit.
func (l *Limiter) SetDefault(level Level, n int) error {
	if level >= levels {
		return fmt.Errorf("%w: level %d", ErrKey, level)
	}
	if n < 1 {
		return fmt.Errorf("%w: %v: %d", ErrLimit, level, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.defaults[level] = min(n, MaxLimit)
	for key, k := range l.keys {
		if key.Level == level && !k.set {
			k.setLimit(l.defaults[level])
		}
	}
	l.admit()
	return nil
}

// state returns the account of a checked key, a new one at first use.
func (l *Limiter) state(key Key) *keyState {
	k := l.keys[key]
	if k == nil {
		n := l.defaults[key.Level]
		k = &keyState{key: key, id: len(l.keys), limit: n, scale: scale{limit: n}}
		l.keys[key] = k
	}
	return k
}

// KeyStats is the state of one key at one moment.
type KeyStats struct {
	Key       Key
	Limit     int // as it was set
	Effective int // the limit in force, after adaptive scaling
	InUse     int // leases; above Effective only after it was lowered
	Queued    int // waiters that need this key, among others perhaps
	HighWater int // the most leases at one time so far
	Breaker   BreakerState
	Failures  int // in a row; those that opened the breaker stay until it closes
}

// Stats returns the state of every key that has a limit set or was ever asked
// for, all of one moment, by level and name.
func (l *Limiter) Stats() []KeyStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := make([]KeyStats, 0, len(l.keys))
	for key, k := range l.keys {
		stats = append(stats, KeyStats{
			Key: key, Limit: k.limit, Effective: k.scale.limit, InUse: k.inUse, Queued: k.queued, HighWater: k.high,
			Breaker: k.breaker.state, Failures: k.breaker.failures,
		})
	}
	slices.SortFunc(stats, func(a, b KeyStats) int { return compareKeys(a.Key, b.Key) })
	return stats
}

// Close refuses new requests, drops those that wait and returns their tickets in
// order; their Granted is never called, and a waiting Acquire gets ErrClosed
// instead of being listed. Leases stay valid and can be released, but no longer
// expire.
//
// It then waits for the callbacks that are running, or for the end of ctx, whose
// cause the error wraps. Afterwards, without an error, no timer or goroutine is
// left. A second call drops nothing, but waits as well. A callback must not wait
// for Close.
func (l *Limiter) Close(ctx context.Context) (dropped []*Ticket, err error) {
	l.mu.Lock()
	if !l.closed {
		dropped = l.drop()
		l.closed = true
		l.running++ // so that idle closes below even when nothing runs
		for lease := range l.leases {
			lease.disarm()
		}
		l.ended()
	}
	l.mu.Unlock()
	select {
	case <-l.idle:
		return dropped, nil
	default: // prefer the good news when both are true
	}
	select {
	case <-l.idle:
		return dropped, nil
	case <-ctx.Done():
		return dropped, fmt.Errorf("limit: close: callbacks still run: %w", context.Cause(ctx))
	}
}

// drop empties the queues.
func (l *Limiter) drop() (dropped []*Ticket) {
	for len(l.waiting) > 0 {
		t := l.waiting[0].head
		l.dequeue(t)
		if t.handOver != nil {
			close(t.handOver)
		} else {
			dropped = append(dropped, t)
		}
	}
	return dropped
}

// finished is ended for those who do not hold mu.
func (l *Limiter) finished() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended()
}

// ended takes one timer or callback off the count.
func (l *Limiter) ended() {
	l.running--
	if l.closed && l.running == 0 {
		close(l.idle)
	}
}

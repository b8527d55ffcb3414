package limit

import (
	"runtime/debug"
	"time"
)

type leaseState uint8

const (
	held     leaseState = iota
	expiring            // Expired is running, or has failed and will run again
	released
)

// Lease is one slot on each key of a request, from the grant to the release. It
// is safe for concurrent use.
type Lease struct {
	limiter *Limiter
	group   *group
	id      uint64
	owner   string
	expired func()

	// Guarded by Limiter.mu.
	state    leaseState
	reported bool
	probes   uint8 // bit i: counted in the breaker of group.keys[i]
	renewed  time.Time
	timer    *time.Timer // counted in Limiter.running while it is armed or its function runs
}

// newLease makes the lease of a granted ticket and arms its timer.
func (l *Limiter) newLease(t *Ticket) *Lease {
	lease := &Lease{
		limiter: l,
		group:   t.group,
		id:      l.leaseID,
		owner:   t.owner,
		expired: t.expired,
		renewed: time.Now(),
	}
	l.leases[lease] = struct{}{}
	l.running++
	lease.timer = time.AfterFunc(l.maxLease, lease.look)
	return lease
}

// ID returns the lease's number. Numbers rise in the order of the grants.
func (le *Lease) ID() uint64 { return le.id }

// Owner returns the request's owner.
func (le *Lease) Owner() string { return le.owner }

// Release frees the slots and reports whether this call did: only the first one
// does, and none after an expiry has. Waiters that now fit are admitted before
// it returns.
func (le *Lease) Release() bool {
	le.limiter.mu.Lock()
	defer le.limiter.mu.Unlock()
	return le.release()
}

func (le *Lease) release() bool {
	if le.state == released {
		return false
	}
	le.state = released
	delete(le.limiter.leases, le)
	le.disarm()
	le.endProbes()
	for _, k := range le.group.keys {
		k.inUse--
	}
	le.limiter.admit()
	return true
}

// Renew says that the work lives: its MaxLease begins anew. False means that it is
// too late, because the lease is released or the holder is being asked to end.
func (le *Lease) Renew() bool {
	le.limiter.mu.Lock()
	defer le.limiter.mu.Unlock()
	if le.state != held {
		return false
	}
	// The timer finds this out when it fires: renewing is far more frequent.
	le.renewed = time.Now()
	return true
}

// disarm stops the timer. When it has fired already, look ends by itself.
func (le *Lease) disarm() {
	if le.timer.Stop() {
		le.limiter.ended()
	}
}

// look is the timer's function: it ends the holder's work if the lease was not
// renewed, and frees the slot when that is confirmed.
func (le *Lease) look() {
	l := le.limiter
	l.mu.Lock()
	if le.state == released || l.closed {
		l.ended()
		l.mu.Unlock()
		return
	}
	if rest := l.maxLease - time.Since(le.renewed); le.state == held && rest > 0 {
		le.timer.Reset(rest)
		l.mu.Unlock()
		return
	}
	le.state = expiring
	l.mu.Unlock()

	confirmed := false
	defer func() { // also when Expired ends the goroutine
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case confirmed:
			le.release()
		case le.state == expiring && !l.closed:
			le.timer.Reset(l.maxLease)
			return
		}
		l.ended()
	}()
	confirmed = l.guard(le.owner, le.expired)
}

// guard runs a callback and reports whether it returned. A panic goes to
// Options.Panicked; without one it goes on and ends the process.
func (l *Limiter) guard(owner string, fn func()) (returned bool) {
	if l.panicked != nil {
		defer func() {
			if v := recover(); v != nil {
				l.panicked(owner, v, debug.Stack())
			}
		}()
	}
	fn()
	return true
}

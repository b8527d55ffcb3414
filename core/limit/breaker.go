package limit

import "time"

// BreakerState says what the circuit breaker of a key lets through.
type BreakerState uint8

// The states of a breaker.
const (
	Closed   BreakerState = iota // everything: all is well
	Open                         // nothing
	HalfOpen                     // a few probes, to see whether it works again
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string {
	return [...]string{Closed: "closed", Open: "open", HalfOpen: "half-open"}[s]
}

// breaker is the circuit breaker of one key, guarded by Limiter.mu. A row of
// failures opens it, time makes it half-open, successful probes close it.
//
// It is our own because sony/gobreaker (v2.4.0) is made for callers that try
// and are refused, and these wait in a line. Its only question, Allow, takes the
// slot that it asks about, while a request here takes all of its keys or none;
// it turns half-open only when it is asked and tells nobody when that will be,
// so waiters would have to poll; its MaxRequests is both how many probes there
// are and how many must succeed, so that "two successes, one at a time" cannot
// be said; and each has a mutex of its own. Its notion of a generation is kept:
// an outcome of work that was admitted before the breaker opened is old news.
type breaker struct {
	state     BreakerState
	alarm     alarm     // for until; armed exactly while it is open and somebody waits
	failures  int       // in a row
	successes int       // of probes, since it is half-open
	probes    int       // leases out that are probes and have not reported
	tripped   uint64    // the last lease of before it opened
	until     time.Time // when an open one may be tried
}

// admits returns how many more leases the breaker lets in.
func (b *breaker) admits(f *Flow) int {
	switch b.state {
	case Open:
		return 0
	case HalfOpen:
		return f.Probes - b.probes
	default:
		return MaxLimit
	}
}

// shut reports whether the breaker lets nobody in at this moment. An open one
// that nobody waits for is still so called when its time has come.
func (b *breaker) shut(f *Flow, now time.Time) bool {
	if b.state == Open {
		return now.Before(b.until)
	}
	return b.admits(f) <= 0
}

// report tells k's breaker how the work of a lease went.
func (l *Limiter) report(k *keyState, lease uint64, o Outcome) {
	b := &k.breaker
	switch {
	case lease <= b.tripped || o != Success && o != Failure:
	case o == Failure:
		b.failures++
		if b.state == HalfOpen || b.failures >= l.flow.Failures {
			l.trip(k)
		}
	case b.state == HalfOpen:
		b.successes++
		if b.successes >= l.flow.Successes {
			b.state, b.failures = Closed, 0
		}
	default:
		b.failures = 0
	}
}

// trip opens k's breaker. Probes that are still out stay counted until they end,
// so that there are never more of them than allowed.
func (l *Limiter) trip(k *keyState) {
	k.breaker.state = Open
	k.breaker.tripped = l.leaseID
	k.breaker.until = time.Now().Add(l.flow.Recovery)
	if k.queued > 0 {
		l.wake(k)
	}
}

// wake has an open breaker tried when its time comes.
func (l *Limiter) wake(k *keyState) {
	l.arm(&k.breaker.alarm, time.Until(k.breaker.until), func() {
		k.breaker.try()
		// What opened together is tried together (a model and its provider), or
		// the order of the timers would count before that of the waiters.
		for _, g := range l.waiting {
			l.knock(g)
		}
		l.admit()
	})
}

// try makes an open breaker whose time has come half-open.
func (b *breaker) try() { b.state, b.successes = HalfOpen, 0 }

// knock sees to the open breakers of a group in which somebody waits: those of
// which the time has come become half-open, and it reports whether there were
// any; the others have a timer afterwards.
func (l *Limiter) knock(g *group) (tried bool) {
	for _, k := range g.keys {
		switch {
		case k.breaker.state != Open:
		case !time.Now().Before(k.breaker.until):
			l.disarm(&k.breaker.alarm)
			k.breaker.try()
			tried = true
		case k.breaker.alarm == nil:
			l.wake(k)
		}
	}
	return tried
}

package limit

import "time"

// What a Flow says when it does not say otherwise.
const (
	DefaultFailures  = 5
	DefaultRecovery  = 30 * time.Second
	DefaultSuccesses = 2
	DefaultProbes    = 1
)

// PressureAgain is how long Low requests wait after Flow.Pressure has said true
// before it is asked again.
const PressureAgain = 2 * time.Second

// Flow is how a limiter reacts to what becomes of the work that it admits. It
// concerns the keys of providers and models only. In place of a number below 1
// the default is meant.
type Flow struct {
	// Failures in a row open the breaker of a key: nobody is admitted.
	Failures int
	// Recovery is how long that lasts before probes are admitted.
	Recovery time.Duration
	// Successes of probes close the breaker again. One failure opens it.
	Successes int
	// Probes is how many of them may be out at once.
	Probes int
	// Fixed switches adaptive scaling off: every key has its limit, however its
	// work goes.
	Fixed bool
	// Pressure says whether memory is short; nil for never. While it says so,
	// Low requests wait. It is asked only when one of them could otherwise be
	// admitted, under the limiter's lock: it must be quick, must not panic and
	// must not call the limiter.
	Pressure func() bool
}

func (f Flow) withDefaults() Flow {
	or := func(n *int, def int) {
		if *n < 1 {
			*n = def
		}
	}
	or(&f.Failures, DefaultFailures)
	or(&f.Successes, DefaultSuccesses)
	or(&f.Probes, DefaultProbes)
	if f.Recovery <= 0 {
		f.Recovery = DefaultRecovery
	}
	return f
}

// Configure replaces the Flow of a running limiter, and admits waiters that the
// new one lets through before it returns. What has been counted stays counted:
// a breaker that is open stays so until the time that was set when it opened.
func (l *Limiter) Configure(f Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flow = f.withDefaults()
	if f.Fixed {
		for _, k := range l.keys {
			k.scale = scale{limit: k.limit}
		}
	}
	l.disarm(&l.memory) // the new Pressure is asked afresh
	l.admit()
}

// Outcome is how the work of a lease went, seen from its provider.
type Outcome uint8

// The outcomes.
const (
	// Neutral says nothing about the provider: the user's cancel, a wrong
	// prompt, a deadline of ours. It is what a lease without a report counts as.
	Neutral Outcome = iota
	// Success means that the provider has done its part.
	Success
	// Failure means that the provider has not: a rate limit, overload, an error
	// of the server or the network.
	Failure
)

// String returns the outcome's name in lower case.
func (o Outcome) String() string {
	switch o {
	case Success:
		return "success"
	case Failure:
		return "failure"
	default:
		return "neutral"
	}
}

// Report says how the work went. Only the first report of a lease counts, and
// none after its release. It moves the breakers and adaptive limits of the
// lease's provider and model, and admits whom they now let through before it
// returns.
//
// A holder need not wait for its end: a probe that reports as soon as it knows
// lets the others know sooner. The lease itself stays held.
func (le *Lease) Report(o Outcome) {
	l := le.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if le.state == released || le.reported {
		return
	}
	le.reported = true
	le.endProbes()
	for _, k := range le.group.keys {
		if k.flows() {
			l.report(k, le.id, o)
			if !l.flow.Fixed {
				k.adapt(o)
			}
		}
	}
	l.admit()
}

// endProbes gives back the lease's probe slots.
func (le *Lease) endProbes() {
	for i, k := range le.group.keys {
		if le.probes&(1<<i) != 0 {
			k.breaker.probes--
		}
	}
	le.probes = 0
}

// flows reports whether the outcomes of work concern the key. What a provider
// does is no reason to slow an agent or the machine down.
func (k *keyState) flows() bool { return k.key.Level == Provider || k.key.Level == Model }

// pressed reports whether t, which could be admitted otherwise, has to wait
// because memory is short.
func (l *Limiter) pressed(t *Ticket) bool {
	if t.priority != Low || l.flow.Pressure == nil {
		return false
	}
	if l.memory == nil && l.flow.Pressure() {
		l.arm(&l.memory, PressureAgain, l.admit)
	}
	return l.memory != nil
}

// Open reports whether a request with these keys would now have to wait for a
// breaker: one that is open, or half-open with all its probes out. Keys that
// were never asked for are fine.
func (l *Limiter) Open(keys ...Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		if k := l.keys[key]; k != nil && k.breaker.shut(&l.flow, now) {
			return true
		}
	}
	return false
}

// Wait says what a ticket waits for. The zero value is that of one that does not
// wait.
type Wait struct {
	Position int // see Ticket.Position
	// Breaker is the key whose breaker lets the ticket wait, and Until when it is
	// tried again; the last one if there are several. Until is zero when probes
	// are out and all hangs on how they go. Without such a key both are zero.
	Breaker Key
	Until   time.Time
	Memory  bool // memory is short, and the priority Low
}

// Waits says what the ticket waits for. It costs little more than Position.
func (t *Ticket) Waits() Wait {
	l := t.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.waiting {
		return Wait{}
	}
	w := Wait{Position: t.position(), Memory: t.priority == Low && l.memory != nil}
	for _, k := range t.group.keys {
		b := &k.breaker
		switch {
		case b.admits(&l.flow) > 0:
		case b.state == Open && (w.Until.IsZero() || b.until.After(w.Until)):
			w.Breaker, w.Until = k.key, b.until
		case w.Breaker == Key{}:
			w.Breaker = k.key
		}
	}
	return w
}

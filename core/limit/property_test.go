package limit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// model is the rule of admission in its plainest form: after every change, go
// through all waiters by priority and arrival and admit who fits.
type model struct {
	limits map[Key]int
	inUse  map[Key]int
	live   []*modelTicket
}

type modelTicket struct {
	ticket   *Ticket
	keys     []Key
	priority Priority
	granted  bool
}

func (m *model) limit(k Key) int {
	if n, ok := m.limits[k]; ok {
		return n
	}
	return MaxLimit
}

func (m *model) fits(w *modelTicket) bool {
	return !slices.ContainsFunc(w.keys, func(k Key) bool { return m.inUse[k] >= m.limit(k) })
}

func (m *model) admit() {
	for p := High; p >= Low; p-- {
		for _, w := range m.live {
			if w.priority == p && !w.granted && m.fits(w) {
				w.granted = true
				for _, k := range w.keys {
					m.inUse[k]++
				}
			}
		}
	}
}

// position is the definition of Ticket.Position, word for word.
func (m *model) position(w *modelTicket) int {
	if w.granted {
		return 0
	}
	best, tightest := 0, MaxLimit+1
	for _, k := range w.keys {
		ahead := 0
		for i, o := range m.live {
			if o.granted || !slices.Contains(o.keys, k) {
				continue
			}
			if o.priority > w.priority || o.priority == w.priority && i < slices.Index(m.live, w) {
				ahead++
			}
		}
		if free := m.limit(k) - m.inUse[k]; free < tightest || free == tightest && ahead > best {
			best, tightest = ahead, free
		}
	}
	return best + 1
}

func randomKeys(rng *rand.Rand) []Key {
	p := fmt.Sprint("p", rng.IntN(2))
	all := []Key{{}, ForProvider(p), ForModel(p, fmt.Sprint("m", rng.IntN(2))), ForAgent(fmt.Sprint("a", rng.IntN(3)))}
	keys := all[rng.IntN(2):] // now and then without the global key
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys[:1+rng.IntN(len(keys))]
}

// randomOps runs n random operations, telling the model about each, and calls
// check after every one.
func randomOps(t *testing.T, rng *rand.Rand, l *Limiter, m *model, n int, check func(op string)) {
	drop := func(i int) {
		m.live = slices.Delete(m.live, i, i+1)
	}
	release := func(w *modelTicket) {
		for _, k := range w.keys {
			m.inUse[k]--
		}
	}
	for range n {
		var op string
		i := 0
		if len(m.live) > 0 {
			i = rng.IntN(len(m.live))
		}
		switch p := rng.IntN(100); {
		case p < 45 && len(m.live) < 60 || len(m.live) == 0:
			op = "submit"
			w := &modelTicket{keys: randomKeys(rng), priority: Priority(rng.IntN(3) - 1)}
			m.live = append(m.live, w)
			w.ticket = submit(t, l, w.priority, w.keys...)
		case p < 80:
			op = "release"
			lease := m.live[i].ticket.Lease()
			if lease == nil {
				continue
			}
			if !lease.Release() || lease.Release() {
				t.Fatal("a lease must be freed exactly once")
			}
			release(m.live[i])
			drop(i)
		case p < 92:
			op = "withdraw"
			w := m.live[i]
			if w.ticket.Withdraw() != !w.granted {
				t.Fatal("only waiting tickets can be withdrawn")
			}
			if w.granted {
				w.ticket.Lease().Release()
				release(w)
			}
			drop(i)
		default:
			op = "limit"
			keys := randomKeys(rng)
			limit := 1 + rng.IntN(6)
			m.limits[keys[0]] = limit
			if _, err := l.SetLimit(keys[0], limit); err != nil {
				t.Fatal(err)
			}
		}
		m.admit()
		check(op)
	}
}

func newModel() (*model, Options) {
	m := &model{limits: map[Key]int{{}: 8}, inUse: map[Key]int{}}
	for i := range 3 {
		m.limits[ForAgent(fmt.Sprint("a", i))] = 3
	}
	return m, Options{Limits: m.limits}
}

func TestTenThousandOperationsAgainstTheModel(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 7))
		m, o := newModel()
		l := start(t, o)
		l.patience = 1 << 30 // the model passes over waiters without end
		randomOps(t, rng, l, m, 10_000, func(op string) {
			for i, w := range m.live {
				if got := w.ticket.Lease() != nil; got != w.granted {
					t.Fatalf("seed %d, %s: ticket %d of %d granted: %v, want %v", seed, op, i, len(m.live), got, w.granted)
				}
			}
			if len(m.live) > 0 {
				w := m.live[rng.IntN(len(m.live))]
				if got, want := w.ticket.Position(), m.position(w); got != want {
					t.Fatalf("seed %d, %s: position %d, want %d", seed, op, got, want)
				}
			}
			for _, s := range l.Stats() {
				queued := 0
				for _, w := range m.live {
					if !w.granted && slices.Contains(w.keys, s.Key) {
						queued++
					}
				}
				if s.InUse != m.inUse[s.Key] || s.Limit != m.limit(s.Key) || s.Queued != queued || s.HighWater < s.InUse {
					t.Fatalf("seed %d, %s: %+v, want %d in use of %d, %d queued", seed, op, s, m.inUse[s.Key], m.limit(s.Key), queued)
				}
			}
		})
		for _, w := range m.live {
			w.ticket.Withdraw()
		}
	}
}

// With slots kept for starving waiters the grants differ from the model's, but
// the rules hold: no key over its limit, no waiter left out that could go
// unless slots are kept, no overtaking within one set of keys, and all are
// served in the end.
func TestTenThousandOperationsWithPatience(t *testing.T) {
	kept := 0
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 11))
		m, o := newModel()
		l := start(t, o)
		before := map[Key]int{}
		check := func(op string) {
			m.inUse = map[Key]int{}
			for _, w := range m.live {
				if w.granted = w.ticket.Lease() != nil; w.granted {
					for _, k := range w.keys {
						m.inUse[k]++
					}
				}
			}
			for _, s := range l.Stats() {
				if s.InUse != m.inUse[s.Key] || s.InUse > max(s.Limit, before[s.Key]) {
					t.Fatalf("seed %d, %s: %+v, counted %d, before %d", seed, op, s, m.inUse[s.Key], before[s.Key])
				}
				before[s.Key] = s.InUse
			}
			starving := 0
			for i, g := range l.waiting {
				if i > 0 && sooner(l.waiting[i-1].head, g.head) >= 0 {
					t.Fatalf("seed %d, %s: groups out of order", seed, op)
				}
				if l.starves(g) {
					starving++
				}
			}
			if starving != l.starving {
				t.Fatalf("seed %d, %s: starving %d, counted %d", seed, op, l.starving, starving)
			}
			if starving > 0 {
				kept++
				return
			}
			if i := slices.IndexFunc(m.live, func(w *modelTicket) bool { return !w.granted && m.fits(w) }); i >= 0 {
				t.Fatalf("seed %d, %s: ticket %d could go", seed, op, i)
			}
		}
		// The model must not grant by itself here: it only mirrors.
		mirror := func(op string) { check(op) }
		randomOps(t, rng, l, m, 10_000, mirror)
		for len(m.live) > 0 {
			i := slices.IndexFunc(m.live, func(w *modelTicket) bool { return w.ticket.Lease() != nil })
			if i < 0 {
				t.Fatalf("seed %d: %d waiters and nobody runs", seed, len(m.live))
			}
			m.live[i].ticket.Lease().Release()
			m.live = slices.Delete(m.live, i, i+1)
			check("drain")
		}
	}
	if kept == 0 {
		t.Error("no slot was ever kept: the test shows nothing")
	}
}

// Many goroutines at once, and the holders count for themselves.
func TestTheLimitIsNeverExceeded(t *testing.T) {
	m, o := newModel()
	l := start(t, o)
	counts := map[Key]*atomic.Int64{}
	for _, k := range []Key{
		{}, ForProvider("p0"), ForProvider("p1"), ForAgent("a0"), ForAgent("a1"), ForAgent("a2"),
		ForModel("p0", "m0"), ForModel("p0", "m1"), ForModel("p1", "m0"), ForModel("p1", "m1"),
	} {
		counts[k] = new(atomic.Int64)
	}
	var grants, withdrawn, submitted atomic.Int64
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(worker, 13))
			for range 1250 {
				keys := randomKeys(rng)
				again := rng.IntN(2) == 0
				submitted.Add(1)
				ticket, err := l.Submit(Request{
					Keys:     keys,
					Priority: Priority(rng.IntN(3) - 1),
					Expired:  nothing,
					Granted: func(le *Lease) {
						grants.Add(1)
						for _, k := range keys {
							if n := counts[k].Add(1); n > int64(m.limit(k)) {
								t.Errorf("%v: %d of %d", k, n, m.limit(k))
							}
						}
						le.Renew()
						for _, k := range keys {
							counts[k].Add(-1)
						}
						le.Release()
						if again && le.Release() {
							t.Error("freed twice")
						}
					},
				})
				if err != nil {
					t.Error(err)
					return
				}
				switch rng.IntN(4) {
				case 0:
					if ticket.Withdraw() {
						withdrawn.Add(1)
					}
				case 1:
					ticket.Position()
				case 2:
					for _, s := range l.Stats() {
						if s.InUse > s.Limit {
							t.Errorf("%+v", s)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	// Grants go on without us: each release admits the next.
	var settle sync.WaitGroup
	settle.Go(func() {
		lease, err := l.Acquire(t.Context(), Request{Keys: []Key{{}}, Priority: Low, Expired: nothing})
		if err != nil {
			t.Error(err)
			return
		}
		lease.Release()
	})
	settle.Wait()
	dropped, err := l.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := grants.Load() + withdrawn.Load() + int64(len(dropped)); got != submitted.Load() {
		t.Errorf("%d granted, %d withdrawn, %d dropped of %d", grants.Load(), withdrawn.Load(), len(dropped), submitted.Load())
	}
	for _, s := range l.Stats() {
		if s.InUse != 0 || s.Queued != 0 || s.HighWater > s.Limit {
			t.Errorf("at the end: %+v", s)
		}
	}
}

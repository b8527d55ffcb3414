package limit

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flowModel is the rule of admission with flow in its plainest form: it looks at
// everybody after everything, and knows no timers, only times.
type flowModel struct {
	flow   Flow
	keys   map[Key]*modelKey
	live   []*flowTicket
	grants int
	hold   time.Time // Low waits until then, if it is set
	short  func() bool
}

type modelKey struct {
	limit, effective, inUse int
	state                   BreakerState
	failures, successes     int
	up, down                int
	opened                  int // the grants before it opened
	until                   time.Time
}

type flowTicket struct {
	ticket   *Ticket
	keys     []Key
	priority Priority
	grant    int // its number, 0 while it waits
	probes   []Key
	reported bool
}

func (m *flowModel) key(k Key) *modelKey {
	if m.keys[k] == nil {
		n := MaxLimit
		if k.Level == Agent {
			n = DefaultAgentLimit
		}
		m.keys[k] = &modelKey{limit: n, effective: n}
	}
	return m.keys[k]
}

func (m *flowModel) probes(k Key) (n int) {
	for _, w := range m.live {
		if slices.Contains(w.probes, k) {
			n++
		}
	}
	return n
}

func (m *flowModel) free(key Key) int {
	k := m.key(key)
	switch free := k.effective - k.inUse; k.state {
	case Open:
		return min(free, 0)
	case HalfOpen:
		return min(free, m.flow.Probes-m.probes(key))
	default:
		return free
	}
}

// settle brings the model to rest at this moment: who waits tries what is due,
// and who fits is admitted, in order.
func (m *flowModel) settle() {
	now := time.Now()
	for _, w := range m.live {
		for _, key := range w.keys {
			if k := m.key(key); w.grant == 0 && k.state == Open && !now.Before(k.until) {
				k.state, k.successes = HalfOpen, 0
			}
		}
	}
	if !m.hold.IsZero() && !now.Before(m.hold) {
		m.hold = time.Time{}
	}
	for p := High; p >= Low; p-- {
		for _, w := range m.live {
			if w.priority == p && w.grant == 0 && m.fits(w) {
				m.grants++
				w.grant = m.grants
				for _, key := range w.keys {
					k := m.key(key)
					k.inUse++
					if k.state == HalfOpen {
						w.probes = append(w.probes, key)
					}
				}
			}
		}
	}
	if !slices.ContainsFunc(m.live, func(w *flowTicket) bool { return w.grant == 0 && w.priority == Low }) {
		m.hold = time.Time{}
	}
}

func (m *flowModel) fits(w *flowTicket) bool {
	if slices.ContainsFunc(w.keys, func(k Key) bool { return m.free(k) <= 0 }) {
		return false
	}
	if w.priority == Low && m.hold.IsZero() && m.short() {
		m.hold = time.Now().Add(PressureAgain)
	}
	return w.priority != Low || m.hold.IsZero()
}

func (m *flowModel) report(w *flowTicket, o Outcome) {
	if w.reported {
		return
	}
	w.reported, w.probes = true, nil
	for _, key := range w.keys {
		if key.Level != Provider && key.Level != Model {
			continue
		}
		k := m.key(key)
		fresh := w.grant > k.opened
		switch o {
		case Success:
			if k.up++; k.up == 3 && !m.flow.Fixed {
				k.up, k.effective = 0, min(k.effective+1, k.limit)
			}
			if fresh && k.state == Closed {
				k.failures = 0
			}
			if fresh && k.state == HalfOpen {
				if k.successes++; k.successes >= m.flow.Successes {
					k.state, k.failures = Closed, 0
				}
			}
		case Failure:
			if k.down++; k.down == 2 && !m.flow.Fixed {
				k.down, k.effective = 0, max(1, min(k.effective, k.inUse)-1)
			}
			if fresh {
				k.failures++
				if k.state == HalfOpen || k.failures >= m.flow.Failures {
					k.state, k.opened, k.until = Open, m.grants, time.Now().Add(m.flow.Recovery)
				}
			}
		}
		if m.flow.Fixed {
			k.up, k.down = 0, 0
		}
	}
}

func (m *flowModel) setLimit(key Key, n int) {
	k := m.key(key)
	if k.effective == k.limit {
		k.effective = n
	}
	k.limit, k.effective = n, min(k.effective, n)
}

func (m *flowModel) configure(f Flow) {
	m.flow, m.hold = f, time.Time{}
	for _, k := range m.keys {
		if f.Fixed {
			k.effective, k.up, k.down = k.limit, 0, 0
		}
	}
}

// advance lets d pass, in steps from one event to the next.
func (m *flowModel) advance(d time.Duration, step func(time.Duration)) {
	for end := time.Now().Add(d); ; {
		now, next := time.Now(), end
		for _, w := range m.live {
			for _, key := range w.keys {
				if k := m.key(key); w.grant == 0 && k.state == Open && k.until.Before(next) {
					next = k.until
				}
			}
		}
		if !m.hold.IsZero() && m.hold.Before(next) {
			next = m.hold
		}
		step(next.Sub(now))
		m.settle()
		if next.Equal(end) {
			return
		}
	}
}

// randomFlow runs n random operations on a limiter and tells the model. After
// each it calls check.
func randomFlow(t *testing.T, rng *rand.Rand, l *Limiter, m *flowModel, short *atomic.Bool, n int, check func(op string)) {
	outage := map[Key]bool{} // these keys' work fails
	end := func(i int) {
		w := m.live[i]
		w.ticket.Lease().Release()
		for _, k := range w.keys {
			m.key(k).inUse--
		}
		m.live = slices.Delete(m.live, i, i+1)
	}
	for range n {
		var op string
		i := 0
		if len(m.live) > 0 {
			i = rng.IntN(len(m.live))
		}
		switch p := rng.IntN(100); {
		case p < 35 && len(m.live) < 40 || len(m.live) == 0:
			op = "submit"
			w := &flowTicket{keys: randomKeys(rng), priority: Priority(rng.IntN(3) - 1)}
			w.ticket = submit(t, l, w.priority, w.keys...)
			m.live = append(m.live, w)
		case p < 65:
			op = "report"
			w := m.live[i]
			lease := w.ticket.Lease()
			if lease == nil {
				continue
			}
			o := Success
			switch bad := slices.ContainsFunc(w.keys, func(k Key) bool { return outage[k] }); {
			case rng.IntN(8) == 0:
				o = Neutral
			case bad != (rng.IntN(10) == 0):
				o = Failure
			}
			op += " " + o.String()
			lease.Report(o)
			m.report(w, o)
			if rng.IntN(2) == 0 { // many release at once
				m.settle()
				end(i)
			}
		case p < 75:
			op = "release"
			if m.live[i].ticket.Lease() == nil {
				continue
			}
			end(i)
		case p < 80:
			op = "withdraw"
			if m.live[i].ticket.Withdraw() {
				m.live = slices.Delete(m.live, i, i+1)
			}
		case p < 84:
			op = "limit"
			key, limit := randomKeys(rng)[0], 1+rng.IntN(8)
			if _, err := l.SetLimit(key, limit); err != nil {
				t.Fatal(err)
			}
			m.setLimit(key, limit)
		case p < 86:
			op = "outage"
			for _, k := range randomKeys(rng) {
				if k.Level == Provider || k.Level == Model {
					outage[k] = !outage[k]
				}
			}
		case p < 87:
			op = "memory"
			short.Store(!short.Load())
		case p < 88:
			op = "configure"
			f := Flow{Failures: 1 + rng.IntN(5), Successes: 1 + rng.IntN(3), Probes: 1 + rng.IntN(3), Recovery: 30 * time.Second, Fixed: rng.IntN(2) == 0, Pressure: short.Load}
			l.Configure(f)
			m.configure(f)
		default:
			op = "time"
			m.advance(time.Duration(rng.Int64N(int64(15*time.Second))), func(d time.Duration) {
				pass(d)
				for _, w := range m.live {
					if lease := w.ticket.Lease(); lease != nil {
						lease.Renew()
					}
				}
			})
		}
		m.settle()
		check(op)
	}
}

// newFlow returns a limiter and a model of it.
func newFlow(t *testing.T, short *atomic.Bool) (*Limiter, *flowModel) {
	f := Flow{Failures: 3, Pressure: short.Load}.withDefaults()
	l := start(t, Options{Limits: map[Key]int{{}: 8}, Flow: f})
	m := &flowModel{flow: f, keys: map[Key]*modelKey{{}: {limit: 8, effective: 8}}, short: short.Load}
	return l, m
}

func TestTenThousandOutcomesAgainstTheModel(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 17))
			var short atomic.Bool
			l, m := newFlow(t, &short)
			l.patience = 1 << 30 // the model passes over waiters without end
			seen := map[BreakerState]int{}
			held := 0
			randomFlow(t, rng, l, m, &short, 10_000, func(op string) {
				for i, w := range m.live {
					if got := w.ticket.Lease() != nil; got != (w.grant > 0) {
						t.Fatalf("seed %d, %s: ticket %d of %d granted: %v, want %v", seed, op, i, len(m.live), got, !got)
					}
				}
				for _, s := range l.Stats() {
					k := m.key(s.Key)
					if s.InUse != k.inUse || s.Limit != k.limit || s.Effective != k.effective || s.Breaker != k.state || s.Failures != k.failures {
						t.Fatalf("seed %d, %s: %+v, want %+v", seed, op, s, *k)
					}
					seen[s.Breaker]++
				}
				if len(m.live) == 0 {
					return
				}
				w := m.live[rng.IntN(len(m.live))]
				got := w.ticket.Waits()
				if got.Memory {
					held++
				}
				if want := w.grant == 0 && w.priority == Low && !m.hold.IsZero(); got.Memory != want {
					t.Fatalf("seed %d, %s: memory %v, want %v", seed, op, got.Memory, want)
				}
				shut := slices.ContainsFunc(w.keys, func(key Key) bool {
					k := m.key(key)
					return k.state == Open || k.state == HalfOpen && m.probes(key) >= m.flow.Probes
				})
				if want := w.grant == 0 && shut; want != (got.Breaker != Key{}) {
					t.Fatalf("seed %d, %s: %+v, want a breaker: %v", seed, op, got, want)
				}
				if w.grant == 0 && l.Open(w.keys...) != shut {
					t.Fatalf("seed %d, %s: open %v, want %v", seed, op, !shut, shut)
				}
			})
			for _, s := range []BreakerState{Closed, Open, HalfOpen} {
				if seen[s] < 1000 {
					t.Errorf("%v was seen %d times: the test shows little", s, seen[s])
				}
			}
			if held == 0 {
				t.Error("memory never held anybody")
			}
			drain(t, l, m, &short)
		})
	}
}

// drain ends all work well, until nobody waits: once breakers close and slots
// are free, nobody is forgotten.
func drain(t *testing.T, l *Limiter, m *flowModel, short *atomic.Bool) {
	t.Helper()
	short.Store(false)
	for range 10 * (len(m.live) + 1) {
		m.live = slices.DeleteFunc(m.live, func(w *flowTicket) bool {
			lease := w.ticket.Lease()
			if lease == nil {
				return false
			}
			lease.Report(Success)
			return lease.Release()
		})
		if len(m.live) == 0 {
			for _, s := range l.Stats() {
				if s.InUse != 0 || s.Queued != 0 {
					t.Errorf("at the end: %+v", s)
				}
			}
			synctest.Wait()
			if n := timers(l); n != 0 {
				t.Errorf("%d timers at the end", n)
			}
			return
		}
		pass(5 * time.Second)
	}
	t.Errorf("%d wait for ever", len(m.live))
}

// With slots kept for starving waiters the grants differ from the model's. These
// rules hold all the same, and are checked on the limiter itself.
func TestTenThousandOutcomesWithPatience(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 19))
			var short atomic.Bool
			l, m := newFlow(t, &short)
			before := map[*keyState]int{}
			probes := map[*keyState]int{}
			admitted := map[*Ticket]bool{}
			kept := 0
			randomFlow(t, rng, l, m, &short, 10_000, func(op string) {
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, k := range l.keys {
					if k.scale.limit < 1 || k.scale.limit > k.limit || k.inUse > max(before[k], k.scale.limit) {
						t.Fatalf("seed %d, %s: %v: %d in use, %d before, of %+v", seed, op, k.key, k.inUse, before[k], k.scale)
					}
					before[k] = k.inUse
					out := 0
					for lease := range l.leases {
						if i := slices.Index(lease.group.keys, k); i >= 0 && lease.probes&(1<<i) != 0 {
							out++
						}
					}
					if out != k.breaker.probes || out > max(probes[k], l.flow.Probes) {
						t.Fatalf("seed %d, %s: %v: %d probes out, counted %d, %d before", seed, op, k.key, out, k.breaker.probes, probes[k])
					}
					probes[k] = out
					if armed := k.breaker.alarm != nil; armed != (k.breaker.state == Open && k.queued > 0) {
						t.Fatalf("seed %d, %s: %v: timer %v, %v, %d wait", seed, op, k.key, armed, k.breaker.state, k.queued)
					}
				}
				starving := 0
				for _, g := range l.waiting {
					if l.starves(g) {
						starving++
					}
					full := slices.ContainsFunc(g.keys, func(k *keyState) bool { return k.free(&l.flow) <= 0 })
					if l.starving == 0 && !full && (g.head.priority > Low || l.memory == nil) {
						t.Fatalf("seed %d, %s: somebody could go", seed, op)
					}
				}
				if starving != l.starving {
					t.Fatalf("seed %d, %s: starving %d, counted %d", seed, op, l.starving, starving)
				}
				if starving > 0 {
					kept++
				}
				for _, w := range m.live {
					now := w.ticket
					if now.lease == nil || admitted[now] {
						continue
					}
					admitted[now] = true
					if head := now.group.head; head != nil && sooner(head, now) < 0 {
						t.Fatalf("seed %d, %s: one of %v priority went before one of %v with the same keys", seed, op, now.priority, head.priority)
					}
				}
			})
			if kept == 0 {
				t.Error("no slot was ever kept: the test shows nothing")
			}
			drain(t, l, m, &short)
		})
	}
}

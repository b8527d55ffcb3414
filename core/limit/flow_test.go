package limit

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wantEffective checks a key's limit in force.
func wantEffective(t *testing.T, l *Limiter, key Key, want int) {
	t.Helper()
	if got := statsOf(l, key); got.Effective != want || got.Effective > got.Limit {
		t.Fatalf("%+v, want an effective limit of %d", got, want)
	}
}

// patient is a flow whose breaker stays out of the way.
var patient = Flow{Failures: 1 << 30}

func TestAnAdaptiveLimitStartsFromWhatIsInUse(t *testing.T) {
	l := start(t, Options{Flow: patient})
	var held []*Ticket
	for range 6 {
		held = append(held, submit(t, l, Normal, prov, modl))
	}
	held[0].Lease().Report(Failure)
	wantEffective(t, l, prov, 50)
	held[1].Lease().Report(Failure)
	wantEffective(t, l, prov, 5)
	wantEffective(t, l, modl, 5)
	// Six run, five may: one goes, none comes.
	waits := submit(t, l, Normal, prov)
	held[0].Lease().Release()
	wantGranted(t, []*Ticket{waits}, false)
	held[1].Lease().Release()
	wantGranted(t, []*Ticket{waits}, true)
	end(t, waits, Success)
	for _, w := range held[2:] {
		w.Lease().Release()
	}
}

func TestAnAdaptiveLimitStaysBetweenOneAndTheCeiling(t *testing.T) {
	l := start(t, Options{Flow: patient, Limits: map[Key]int{prov: 4}})
	fail(t, l, 50, prov)
	wantEffective(t, l, prov, 1)
	for _, want := range []int{1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4} {
		end(t, submit(t, l, Normal, prov), Success)
		wantEffective(t, l, prov, want)
	}
}

func TestAGrownLimitAdmitsWaiters(t *testing.T) {
	l := start(t, Options{Flow: patient, Limits: map[Key]int{prov: 2}})
	fail(t, l, 2, prov)
	end(t, submit(t, l, Normal, prov), Success)
	end(t, submit(t, l, Normal, prov), Success)
	holder, waits := submit(t, l, Normal, prov), submit(t, l, Normal, prov)
	wantGranted(t, []*Ticket{holder, waits}, true, false)
	holder.Lease().Report(Success)
	wantGranted(t, []*Ticket{waits}, true)
	holder.Lease().Release()
	waits.Lease().Release()
}

// The original's scaling went its own way, whatever limit the user had set.
func TestScalingNeverExceedsAnExplicitLimit(t *testing.T) {
	l := start(t, Options{Flow: patient})
	set := func(n int) {
		t.Helper()
		if _, err := l.SetLimit(prov, n); err != nil {
			t.Fatal(err)
		}
	}
	set(3)
	for range 30 {
		end(t, submit(t, l, Normal, prov), Success)
	}
	wantEffective(t, l, prov, 3)
	set(5) // not scaled down: follows
	wantEffective(t, l, prov, 5)
	fail(t, l, 4, prov)
	wantEffective(t, l, prov, 1)
	set(2) // scaled down: stays
	wantEffective(t, l, prov, 1)
	set(9)
	wantEffective(t, l, prov, 1)
	for range 12 {
		end(t, submit(t, l, Normal, prov), Success)
	}
	wantEffective(t, l, prov, 5)
	set(4)
	wantEffective(t, l, prov, 4)
	for range 30 {
		end(t, submit(t, l, Normal, prov), Success)
	}
	wantEffective(t, l, prov, 4)
	if err := l.SetDefault(Model, 7); err != nil {
		t.Fatal(err)
	}
	submit(t, l, Normal, modl).Lease().Release()
	if err := l.SetDefault(Model, 9); err != nil {
		t.Fatal(err)
	}
	wantEffective(t, l, modl, 9)
}

// The original woke nobody when a limit was raised.
func TestARaisedLimitAdmitsWaitersAtOnce(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{prov: 1}})
	a, b, c := submit(t, l, Normal, prov), submit(t, l, Normal, prov), submit(t, l, Normal, prov)
	if _, err := l.SetLimit(prov, 2); err != nil {
		t.Fatal(err)
	}
	wantGranted(t, []*Ticket{a, b, c}, true, true, false)
	d := submit(t, l, Normal, modl)
	if err := l.SetDefault(Provider, 9); err != nil { // prov has its own
		t.Fatal(err)
	}
	wantGranted(t, []*Ticket{a, b, c, d}, true, true, false, true)
	for _, w := range []*Ticket{a, b, c, d} {
		w.Lease().Release()
	}
}

// The original counted a task that ended twice (its prompt returned, its session
// became idle) as two free slots.
func TestATaskThatEndsTwiceFreesOneSlot(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{prov: 1}})
	task, second, third := submit(t, l, Normal, prov), submit(t, l, Normal, prov), submit(t, l, Normal, prov)
	end(t, task, Success)
	task.Lease().Report(Failure)
	task.Lease().Release()
	wantGranted(t, []*Ticket{second, third}, true, false)
	if s := statsOf(l, prov); s.InUse != 1 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	second.Lease().Release()
	second.Lease().Report(Failure) // too late: the slot is somebody else's
	if s := statsOf(l, prov); s.InUse != 1 || s.Failures != 0 {
		t.Errorf("%+v", s)
	}
	third.Lease().Release()
}

// The original freed a slot for a task that had only waited for one.
func TestRemovingAWaitingTaskFreesNothing(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{prov: 1}})
	holder, removed, next := submit(t, l, Normal, prov), submit(t, l, Normal, prov), submit(t, l, Normal, prov)
	if !removed.Withdraw() || removed.Lease() != nil {
		t.Fatal("a waiting ticket has no lease")
	}
	wantGranted(t, []*Ticket{next}, false)
	holder.Lease().Release()
	next.Lease().Release()
}

// The original opened the breaker of a provider for which tasks had waited too
// long.
func TestAQueueTimeoutIsNoFailureOfTheProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{prov: 1}})
		holder := submit(t, l, Normal, prov)
		for range 3 * DefaultFailures {
			waits := submit(t, l, Normal, prov)
			pass(300 * time.Second)
			holder.Lease().Renew()
			waits.Withdraw()
		}
		if s := statsOf(l, prov); s.Failures != 0 || s.Breaker != Closed || s.Effective != s.Limit {
			t.Errorf("%+v", s)
		}
		holder.Lease().Release()
	})
}

// The original let all waiters go at the first try after an outage.
func TestAHalfOpenBreakerDoesNotAdmitAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}}) // the adaptive limit would let in one only
		fail(t, l, 5, prov)
		var line []*Ticket
		for range 40 {
			line = append(line, submit(t, l, Normal, prov))
		}
		pass(10 * DefaultRecovery)
		if s := statsOf(l, prov); s.InUse != DefaultProbes || s.Queued != 39 {
			t.Errorf("%+v", s)
		}
		for _, w := range line {
			w.Withdraw()
		}
		line[0].Lease().Release()
	})
}

// The original took the slot away at the very time that a prompt may take, and
// counted what timed out or was given up as it liked.
func TestALongTaskKeepsItsSlotAndItsDeadlineIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{prov: 1}})
		for range 2 * DefaultFailures {
			task, waits := submit(t, l, Normal, prov), submit(t, l, Normal, prov)
			for range 60 {
				pass(time.Minute)
				task.Lease().Renew()
			}
			wantGranted(t, []*Ticket{task, waits}, true, false)
			end(t, task, Neutral)
			end(t, waits, Neutral)
		}
		if s := statsOf(l, prov); s.Failures != 0 || s.Breaker != Closed {
			t.Errorf("%+v", s)
		}
	})
}

func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{})
		fail(t, l, 2, prov)
		wantEffective(t, l, prov, 1)
		holder, waits := submit(t, l, Normal, prov), submit(t, l, Normal, prov)
		wantGranted(t, []*Ticket{holder, waits}, true, false)
		l.Configure(Flow{Fixed: true, Failures: 3, Recovery: time.Second, Successes: 1, Probes: 1})
		wantGranted(t, []*Ticket{waits}, true)
		wantEffective(t, l, prov, 50)
		end(t, waits, Failure)
		if !l.Open(prov) {
			t.Error("the third failure opens it now")
		}
		a, b := submit(t, l, Normal, prov), submit(t, l, Normal, prov)
		pass(time.Second)
		wantGranted(t, []*Ticket{a, b}, true, false)
		l.Configure(Flow{Fixed: true, Successes: 1, Probes: 2})
		wantGranted(t, []*Ticket{b}, true)
		end(t, a, Success)
		if s := statsOf(l, prov); s.Breaker != Closed || s.Effective != 50 {
			t.Errorf("%+v", s)
		}
		b.Lease().Release()
		holder.Lease().Release()
	})
}

func TestLowWaitsWhileMemoryIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var short atomic.Bool
		short.Store(true)
		l := start(t, Options{Limits: map[Key]int{{}: 2}, Flow: Flow{Pressure: func() bool { asked.Add(1); return short.Load() }}})
		wantAsked := func(want int64) {
			t.Helper()
			if asked := asked.Load(); asked != want {
				t.Fatalf("asked %d times, want %d", asked, want)
			}
		}
		a, b := submit(t, l, High, Key{}), submit(t, l, Normal, Key{})
		low1, low2 := submit(t, l, Low, Key{}), submit(t, l, Low, Key{})
		pass(time.Minute)
		wantAsked(0) // no slot for them anyway
		b.Lease().Release()
		wantAsked(1)
		c := submit(t, l, Normal, Key{}) // goes past
		wantGranted(t, []*Ticket{low1, c}, false, true)
		c.Lease().Release()
		wantAsked(1) // not again so soon
		if w := low2.Waits(); w != (Wait{Position: 2, Memory: true}) {
			t.Errorf("%+v", w)
		}
		pass(PressureAgain - time.Nanosecond)
		wantAsked(1)
		pass(time.Nanosecond)
		wantAsked(2)
		pass(10 * PressureAgain)
		wantAsked(12)
		short.Store(false)
		pass(PressureAgain)
		wantGranted(t, []*Ticket{low1, low2}, true, false)
		short.Store(true)
		a.Lease().Release()
		wantGranted(t, []*Ticket{low2}, false)
		n := asked.Load()
		if got := timers(l); got != 2 {
			t.Errorf("%d timers, want the lease's and memory's", got)
		}
		low2.Withdraw()
		if got := timers(l); got != 1 {
			t.Errorf("nobody waits for memory, but it has a timer: %d", got)
		}
		pass(time.Minute)
		wantAsked(n)
		if w := low2.Waits(); w != (Wait{}) {
			t.Errorf("withdrawn: %+v", w)
		}
		last := submit(t, l, Low, Key{})
		wantAsked(n + 1)
		l.Configure(Flow{})
		wantGranted(t, []*Ticket{last}, true)
		last.Lease().Release()
		low1.Lease().Release()
		synctest.Wait()
		if n := timers(l); n != 0 {
			t.Errorf("%d timers", n)
		}
	})
}

func TestCloseEndsTheTimerOfShortMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Pressure: func() bool { return true }}})
		submit(t, l, Low, Key{})
		if n := timers(l); n != 1 {
			t.Fatalf("%d timers", n)
		}
		dropped, err := l.Close(t.Context())
		if err != nil || len(dropped) != 1 || timers(l) != 0 {
			t.Errorf("dropped %d, %v, %d timers", len(dropped), err, timers(l))
		}
	})
}

func TestWaitsNamesTheBreakerThatIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{ForAgent("a"): 1}})
		fail(t, l, 5, modl)
		pass(time.Second)
		fail(t, l, 5, prov)
		until := time.Now().Add(DefaultRecovery)
		for _, keys := range [][]Key{{Key{}, modl, prov}, {prov, ForAgent("a"), modl}} {
			w := submit(t, l, Normal, keys...)
			if got := w.Waits(); got.Breaker != prov || !got.Until.Equal(until) || got.Position < 1 {
				t.Errorf("%+v, want %v until %v", got, prov, until)
			}
		}
		holder, waits := submit(t, l, Normal, ForAgent("a")), submit(t, l, Normal, ForAgent("a"))
		if got := holder.Waits(); got != (Wait{}) {
			t.Errorf("a holder: %+v", got)
		}
		if got := waits.Waits(); got.Breaker != (Key{}) || !got.Until.IsZero() {
			t.Errorf("waits for an agent: %+v", got)
		}
		holder.Lease().Release()
		waits.Lease().Release()
	})
}

// A page of a list: 50 tickets among 5,000, each behind an open breaker.
func BenchmarkWaits50Of5000(b *testing.B) {
	l := start(b, Options{})
	fail(b, l, 5, prov)
	tickets := make([]*Ticket, 5000)
	for i := range tickets {
		tickets[i] = submit(b, l, Normal, Key{}, prov, modl, ForAgent(fmt.Sprint("a", i%16)))
	}
	for b.Loop() {
		for i := range 50 {
			if tickets[i*99].Waits().Breaker != prov {
				b.Fatal("no breaker")
			}
		}
	}
}

func BenchmarkAcquireReportRelease(b *testing.B) {
	l := start(b, Options{})
	r := Request{Keys: []Key{{}, ForProvider("p"), ForModel("p", "m"), ForAgent("a")}, Expired: nothing}
	b.ReportAllocs()
	for b.Loop() {
		lease, err := l.Acquire(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		lease.Report(Success)
		lease.Release()
	}
}

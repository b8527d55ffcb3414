package limit

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The keys of the tests of flow.
var (
	prov  = ForProvider("p")
	modl  = ForModel("p", "m")
	other = ForModel("p", "n")
)

// end reports the outcome of a granted ticket and releases it.
func end(t testing.TB, ticket *Ticket, o Outcome) {
	t.Helper()
	lease := ticket.Lease()
	if lease == nil {
		t.Fatal("not granted")
	}
	lease.Report(o)
	if !lease.Release() {
		t.Fatal("released before")
	}
}

// fail lets n leases on the keys fail one after the other.
func fail(t testing.TB, l *Limiter, n int, keys ...Key) {
	t.Helper()
	for range n {
		end(t, submit(t, l, Normal, keys...), Failure)
	}
}

// pass lets time go by, and what it brings happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// timers counts armed timers and running callbacks.
func timers(l *Limiter) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}

func TestFailuresInARowOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		fail(t, l, 4, prov, modl)
		end(t, submit(t, l, Normal, prov, modl), Success) // the row is broken
		fail(t, l, 4, prov, modl)
		end(t, submit(t, l, Normal, prov, modl), Neutral) // which this does not
		if l.Open(prov, modl) || statsOf(l, prov).Failures != 4 {
			t.Fatalf("%+v", statsOf(l, prov))
		}
		fail(t, l, 1, prov, modl)
		if got := statsOf(l, modl); got.Breaker != Open || got.Failures != 5 || !l.Open(Key{}, modl) || !l.Open(prov) {
			t.Fatalf("after 5 failures: %+v", got)
		}
		// Other keys' waiters go past it.
		barred := submit(t, l, High, Key{}, prov)
		passes := submit(t, l, Low, Key{}, ForProvider("q"))
		wantGranted(t, []*Ticket{barred, passes}, false, true)
		if l.Open(Key{}, ForProvider("q"), ForAgent("never seen")) {
			t.Error("open for others too")
		}
		passes.Lease().Release()
	})
}

func TestOneModelsFailuresLeaveTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		for range 5 {
			fail(t, l, 1, prov, modl)
			end(t, submit(t, l, Normal, prov, other), Success)
		}
		if !l.Open(modl) || l.Open(prov, other) {
			t.Errorf("model %v, provider %v", statsOf(l, modl), statsOf(l, prov))
		}
	})
}

func TestOnlyProvidersAndModelsHaveBreakers(t *testing.T) {
	l := start(t, Options{})
	fail(t, l, 20, Key{}, ForAgent("a"))
	for _, s := range l.Stats() {
		if s.Breaker != Closed || s.Failures != 0 || s.Effective != s.Limit {
			t.Errorf("%+v", s)
		}
	}
}

func TestProbesCloseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		fail(t, l, 5, prov)
		pass(10 * time.Second)
		var line []*Ticket
		for range 6 {
			line = append(line, submit(t, l, Normal, prov))
		}
		pass(20*time.Second - time.Nanosecond)
		wantGranted(t, line[:2], false, false)
		pass(time.Nanosecond)
		wantGranted(t, line[:2], true, false)
		if s := statsOf(l, prov); s.Breaker != HalfOpen || !l.Open(prov) {
			t.Errorf("while its probe is out: %+v", s)
		}
		if w := line[1].Waits(); w != (Wait{Position: 1, Breaker: prov}) {
			t.Errorf("while a probe is out: %+v", w)
		}
		// A neutral outcome, or none, gives the probe's slot back and says nothing.
		end(t, line[0], Neutral)
		wantGranted(t, line[1:3], true, false)
		line[1].Lease().Release()
		wantGranted(t, line[2:4], true, false)
		// A probe that reports early lets the next one go while it works on.
		line[2].Lease().Report(Success)
		wantGranted(t, line[3:5], true, false)
		line[2].Lease().Report(Failure) // its second report
		if s := statsOf(l, prov); s.Breaker != HalfOpen {
			t.Errorf("a second report counted: %+v", s)
		}
		line[3].Lease().Report(Success)
		wantGranted(t, line[4:], true, true)
		if s := statsOf(l, prov); s.Breaker != Closed || s.Failures != 0 || l.Open(prov) {
			t.Errorf("after two successes: %+v", s)
		}
		for _, w := range line[2:] {
			w.Lease().Release()
		}
	})
}

func TestAFailedProbeOpensTheBreakerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true, Probes: 3, Recovery: time.Minute}})
		fail(t, l, 5, prov)
		var line []*Ticket
		for range 8 {
			line = append(line, submit(t, l, Normal, prov))
		}
		pass(time.Minute)
		wantGranted(t, line[:4], true, true, true, false)
		end(t, line[0], Success)
		wantGranted(t, line[3:5], true, false)
		end(t, line[1], Failure)
		if w, want := line[4].Waits(), time.Now().Add(time.Minute); w != (Wait{Position: 1, Breaker: prov, Until: want}) {
			t.Errorf("%+v, want until %v", w, want)
		}
		end(t, line[2], Success) // of a probe from before
		pass(time.Minute)
		if s := statsOf(l, prov); s.Breaker != HalfOpen {
			t.Fatalf("%+v", s)
		}
		// One probe of before is still out.
		wantGranted(t, line[3:7], true, true, true, false)
		end(t, line[3], Failure)
		wantGranted(t, line[6:], true, false)
		if s := statsOf(l, prov); s.Breaker != HalfOpen {
			t.Errorf("old news opened it: %+v", s)
		}
		end(t, line[4], Success)
		end(t, line[5], Success)
		wantGranted(t, line[6:], true, true)
		end(t, line[6], Neutral)
		end(t, line[7], Neutral)
	})
}

// An outage fails all that run, over a minute or so: what comes late must not
// open a breaker that has been proven well since.
func TestFailuresOfWorkFromBeforeTheOutageAreOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		var late []*Ticket
		for range 10 {
			late = append(late, submit(t, l, Normal, prov))
		}
		fail(t, l, 5, prov)
		pass(DefaultRecovery)
		end(t, submit(t, l, Normal, prov), Success)
		end(t, submit(t, l, Normal, prov), Success)
		for _, w := range late {
			end(t, w, Failure)
		}
		if s := statsOf(l, prov); s.Breaker != Closed || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A timer is armed only while somebody waits, and the first to come after the
// time finds the breaker ready.
func TestABreakerHasATimerOnlyWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		fail(t, l, 5, prov, modl)
		armed := func(want int) {
			t.Helper()
			if n := timers(l); n != want {
				t.Fatalf("%d timers, want %d", n, want)
			}
		}
		synctest.Wait()
		armed(0)
		a, b := submit(t, l, Normal, prov), submit(t, l, Normal, prov)
		armed(1)
		a.Withdraw()
		armed(1)
		b.Withdraw()
		armed(0)
		pass(time.Hour)
		if l.Open(prov, modl) {
			t.Error("its time has come")
		}
		first, second := submit(t, l, Normal, prov, modl), submit(t, l, Normal, prov)
		wantGranted(t, []*Ticket{first, second}, true, false)
		end(t, first, Failure)
		pass(time.Second)
		synctest.Wait()
		armed(1)
		if _, err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		armed(0)
	})
}

// A newcomer may find that the time has come before the timer does. Then it
// must not go before those in line, nor leave them behind.
func TestANewcomerAtTheTimeOfTheTimerWakesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Flow: Flow{Fixed: true}})
		fail(t, l, 5, prov)
		first := submit(t, l, Normal, prov, modl)
		l.mu.Lock()
		l.keys[prov].breaker.until = time.Now()
		l.mu.Unlock()
		newcomer := submit(t, l, Low, prov)
		wantGranted(t, []*Ticket{first, newcomer}, true, false)
		end(t, first, Success)
		end(t, newcomer, Success)
	})
}

func TestAnAlarmTakenBackAsItFiresStaysSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{})
		var a alarm
		var first, second atomic.Int32
		l.mu.Lock()
		l.arm(&a, time.Second, func() { first.Add(1) })
		time.Sleep(time.Second) // it has fired, and waits for mu
		l.disarm(&a)
		l.arm(&a, time.Second, func() { second.Add(1) })
		l.mu.Unlock()
		synctest.Wait()
		if n := timers(l); n != 1 || first.Load()+second.Load() != 0 {
			t.Errorf("%d timers, rang %d and %d", n, first.Load(), second.Load())
		}
		pass(time.Second)
		if n := timers(l); n != 0 || first.Load() != 0 || second.Load() != 1 {
			t.Errorf("%d timers, rang %d and %d", n, first.Load(), second.Load())
		}
	})
}

func TestWhatOpenedTogetherIsTriedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 10 { // the order of the timers is not defined
			l := start(t, Options{Flow: Flow{Fixed: true}})
			fail(t, l, 5, prov, modl)
			second := submit(t, l, Normal, prov)
			first := submit(t, l, High, modl, prov)
			pass(DefaultRecovery)
			wantGranted(t, []*Ticket{first, second}, true, false)
			first.Lease().Release()
			second.Lease().Release()
		}
	})
}

// Slots of an agent are not kept for a starving waiter that a breaker holds.
func TestNothingIsKeptBehindABreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := ForAgent("y")
		l, both, onAgent := starve(t, modl, agent)
		l.Configure(Flow{Failures: 1, Fixed: true})
		end(t, submit(t, l, High, modl), Failure)
		behind := submit(t, l, Normal, agent)
		onAgent.Lease().Release()
		wantGranted(t, []*Ticket{both, behind}, false, true)
		if w := both.Waits(); w.Breaker != modl || w.Position != 1 {
			t.Errorf("%+v", w)
		}
		pass(DefaultRecovery) // the probe has no slot of the agent
		wantGranted(t, []*Ticket{both}, false)
		behind.Lease().Release()
		wantGranted(t, []*Ticket{both}, true)
		end(t, both, Success)
	})
}

func TestABreakerFreesWhatWasKeptWhenItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := ForAgent("y")
		l, both, onAgent := starve(t, modl, agent)
		l.Configure(Flow{Failures: 1, Fixed: true})
		// The model's slot is taken by somebody before both, and kept are the
		// agent's.
		urgent := submit(t, l, High, modl)
		onAgent.Lease().Release()
		behind := submit(t, l, Normal, agent)
		wantGranted(t, []*Ticket{urgent, both, behind}, true, false, false)
		urgent.Lease().Report(Failure)
		wantGranted(t, []*Ticket{both, behind}, false, true)
		behind.Lease().Release()
		urgent.Lease().Release()
		pass(DefaultRecovery)
		wantGranted(t, []*Ticket{both}, true)
		both.Lease().Release()
	})
}

func TestOutcomesAndStatesHaveNames(t *testing.T) {
	got := []string{Neutral.String(), Success.String(), Failure.String(), Closed.String(), Open.String(), HalfOpen.String()}
	want := []string{"neutral", "success", "failure", "closed", "open", "half-open"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}

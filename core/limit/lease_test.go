package limit

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// submitExpiring submits a request for the global key with this Expired.
func submitExpiring(t *testing.T, l *Limiter, owner string, expired func()) *Ticket {
	t.Helper()
	ticket, err := l.Submit(Request{Keys: []Key{{}}, Owner: owner, Granted: func(*Lease) {}, Expired: expired})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestALeaseNotRenewedEndsItsWorkAndThenFreesTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{{}: 1}})
		begin := time.Now()
		var asked, confirmed time.Duration
		lost := submitExpiring(t, l, "lost", func() {
			asked = time.Since(begin)
			time.Sleep(7 * time.Second) // the abort takes a while
			confirmed = time.Since(begin)
		})
		next := submitExpiring(t, l, "next", nothing)

		time.Sleep(DefaultMaxLease + 3*time.Second)
		synctest.Wait()
		if asked != DefaultMaxLease || next.Lease() != nil || statsOf(l, Key{}).InUse != 1 {
			t.Fatalf("asked at %v; the slot must not be free before the confirmation", asked)
		}
		if lost.Lease().Renew() {
			t.Error("renewed while its work is being ended")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if confirmed != DefaultMaxLease+7*time.Second || next.Lease() == nil {
			t.Fatalf("confirmed at %v, next has its lease: %v", confirmed, next.Lease() != nil)
		}
		if lost.Lease().Release() {
			t.Error("an expired lease was freed twice")
		}
		if got := statsOf(l, Key{}); got.InUse != 1 || got.HighWater != 1 {
			t.Errorf("%+v", got)
		}
		next.Lease().Release()
	})
}

func TestARenewedLeaseLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{MaxLease: time.Minute})
		var asked atomic.Int32
		lease := submitExpiring(t, l, "alive", func() { asked.Add(1) }).Lease()
		for range 100 {
			time.Sleep(59 * time.Second)
			if !lease.Renew() {
				t.Fatal("not renewed")
			}
		}
		if asked.Load() != 0 {
			t.Fatal("expired although it was renewed")
		}
		time.Sleep(59 * time.Second)
		if asked.Load() != 0 {
			t.Fatal("expired early")
		}
		time.Sleep(2 * time.Second)
		if asked.Load() != 1 || lease.Release() {
			t.Fatalf("asked %d times", asked.Load())
		}
	})
}

func TestAHolderMayReleaseWhileItIsAskedToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{{}: 1}, MaxLease: time.Minute})
		var first, second *Ticket
		var freed bool
		first = submitExpiring(t, l, "first", func() {
			freed = first.Lease().Release()
			time.Sleep(time.Second)
		})
		second = submitExpiring(t, l, "second", nothing)
		time.Sleep(time.Minute + time.Millisecond)
		synctest.Wait()
		if !freed || second.Lease() == nil {
			t.Fatalf("freed %v", freed)
		}
		time.Sleep(time.Minute / 2)
		if got := statsOf(l, Key{}).InUse; got != 1 {
			t.Errorf("%d in use: the slot was freed twice", got)
		}
		second.Lease().Release()
	})
}

func TestAnEndThatIsNotConfirmedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics []string
		l := start(t, Options{Limits: map[Key]int{{}: 1}, MaxLease: time.Minute, Panicked: func(owner string, v any, stack []byte) {
			if len(stack) == 0 {
				t.Error("no stack")
			}
			panics = append(panics, owner+": "+v.(string))
		}})
		asked := 0
		submitExpiring(t, l, "task", func() {
			switch asked++; asked {
			case 1:
				panic("first")
			case 2:
				runtime.Goexit()
			}
		})
		next := submitExpiring(t, l, "next", nothing)
		for want := 1; want <= 3; want++ {
			if next.Lease() != nil {
				t.Fatalf("the slot is free after %d calls", asked)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if asked != want {
				t.Fatalf("asked %d times, want %d", asked, want)
			}
		}
		if next.Lease() == nil || len(panics) != 1 || panics[0] != "task: first" {
			t.Errorf("next %v, panics %q", next.Lease(), panics)
		}
		next.Lease().Release()
	})
}

func TestAPanicInGrantedKeepsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics atomic.Int32
		l := start(t, Options{Panicked: func(string, any, []byte) { panics.Add(1) }})
		expired := false
		ticket, err := l.Submit(Request{
			Keys:    []Key{{}},
			Granted: func(*Lease) { panic("oops") },
			Expired: func() { expired = true },
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if panics.Load() != 1 || statsOf(l, Key{}).InUse != 1 {
			t.Fatalf("%d panics, %+v", panics.Load(), statsOf(l, Key{}))
		}
		time.Sleep(DefaultMaxLease)
		synctest.Wait()
		if !expired || ticket.Lease().Release() {
			t.Errorf("expired %v", expired)
		}
	})
}

func TestCloseWhileALeaseExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Options{MaxLease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		never := func() { t.Error("expired after Close") }
		submitExpiring(t, l, "slow", func() { time.Sleep(5 * time.Second) })
		renewed := submitExpiring(t, l, "renewed", never)
		time.Sleep(30 * time.Second)
		renewed.Lease().Renew()
		submitExpiring(t, l, "young", never)
		time.Sleep(31 * time.Second)
		begin := time.Now()
		if _, err := l.Close(t.Context()); err != nil || time.Since(begin) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		time.Sleep(time.Hour)
		if got := statsOf(l, Key{}).InUse; got != 2 {
			t.Errorf("%d in use, want those that did not expire", got)
		}
	})
}

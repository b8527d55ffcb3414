package limit

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdMemory) != "" {
		hold()
		return
	}
	goleak.VerifyTestMain(m)
}

func nothing() {}

// start returns a limiter that the end of the test closes: not under t.Context,
// which is over by then.
func start(t testing.TB, o Options) *Limiter {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// submit asks for a lease that nobody reads from Granted: tests look at
// Ticket.Lease, which is set the moment the lease is granted.
func submit(t testing.TB, l *Limiter, p Priority, keys ...Key) *Ticket {
	t.Helper()
	ticket, err := l.Submit(Request{Keys: keys, Priority: p, Granted: func(*Lease) {}, Expired: nothing})
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// granted says which of the tickets have their lease.
func granted(tickets ...*Ticket) []bool {
	var is []bool
	for _, t := range tickets {
		is = append(is, t.Lease() != nil)
	}
	return is
}

func wantGranted(t *testing.T, tickets []*Ticket, want ...bool) {
	t.Helper()
	if got := granted(tickets...); !slices.Equal(got, want) {
		t.Fatalf("granted %v, want %v", got, want)
	}
}

func statsOf(l *Limiter, key Key) KeyStats {
	for _, s := range l.Stats() {
		if s.Key == key {
			return s
		}
	}
	return KeyStats{}
}

func TestALeaseTakesEveryKeyAndFreesItOnce(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 2, ForAgent("z"): 1}})
	keys := []Key{ForAgent("z"), {}, ForModel("x", "y"), ForProvider("x"), ForAgent("z")}
	first, second := submit(t, l, Normal, keys...), submit(t, l, Normal, keys...)
	wantGranted(t, []*Ticket{first, second}, true, false)
	want := []KeyStats{
		{Key: Key{}, Limit: 2, Effective: 2, InUse: 1, Queued: 1, HighWater: 1},
		{Key: ForProvider("x"), Limit: 50, Effective: 50, InUse: 1, Queued: 1, HighWater: 1},
		{Key: ForModel("x", "y"), Limit: 50, Effective: 50, InUse: 1, Queued: 1, HighWater: 1},
		{Key: ForAgent("z"), Limit: 1, Effective: 1, InUse: 1, Queued: 1, HighWater: 1},
	}
	if d := cmp.Diff(want, l.Stats()); d != "" {
		t.Error(d)
	}
	if !first.Lease().Release() || first.Lease().Release() {
		t.Error("a lease must be freed exactly once")
	}
	wantGranted(t, []*Ticket{second}, true)
	if first.Lease().Renew() || !second.Lease().Renew() {
		t.Error("only the second lease can be renewed")
	}
	if first.Lease().ID() >= second.Lease().ID() {
		t.Error("lease numbers must rise")
	}
	second.Lease().Release()
	for _, s := range l.Stats() {
		if s.InUse != 0 || s.Queued != 0 || s.HighWater != 1 {
			t.Errorf("at the end: %+v", s)
		}
	}
}

func TestADoubleReleaseFromManyGoroutinesFreesOnce(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 2}})
	a, b := submit(t, l, Normal, Key{}), submit(t, l, Normal, Key{})
	var freed atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if a.Lease().Release() {
				freed.Add(1)
			}
		})
	}
	wg.Wait()
	if got := statsOf(l, Key{}).InUse; freed.Load() != 1 || got != 1 {
		t.Errorf("freed %d times, %d in use", freed.Load(), got)
	}
	b.Lease().Release()
}

func TestGrantedRunsOnceWithoutTheLock(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 1}})
	// A chain: every callback releases, which grants the next, and asks the
	// limiter things that need its lock.
	const n = 1000
	var calls atomic.Int32
	done := make(chan struct{})
	for range n {
		_, err := l.Submit(Request{
			Keys:    []Key{{}},
			Expired: nothing,
			Granted: func(le *Lease) {
				l.Stats()
				if calls.Add(1) == n {
					close(done)
				}
				le.Release()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if _, err := l.Close(t.Context()); err != nil || calls.Load() != n {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}

func TestWithdraw(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 1}})
	first := submit(t, l, Normal, Key{})
	var called atomic.Bool
	second, err := l.Submit(Request{Keys: []Key{{}}, Expired: nothing, Granted: func(*Lease) { called.Store(true) }})
	if err != nil {
		t.Fatal(err)
	}
	if first.Withdraw() {
		t.Error("a granted ticket was withdrawn")
	}
	if !second.Withdraw() || !second.Withdraw() {
		t.Error("a waiting ticket was not withdrawn")
	}
	first.Lease().Release()
	if s := statsOf(l, Key{}); s.InUse != 0 || s.Queued != 0 {
		t.Errorf("%+v: a withdrawn ticket frees nothing and takes nothing", s)
	}
	if _, err := l.Close(t.Context()); err != nil || called.Load() || second.Lease() != nil {
		t.Errorf("close %v, called %v, lease %v", err, called.Load(), second.Lease())
	}
}

func TestWithdrawAgainstGrant(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 1}})
	for range 2000 {
		first := submit(t, l, Normal, Key{})
		var calls atomic.Int32
		ended := make(chan struct{})
		second, err := l.Submit(Request{Keys: []Key{{}}, Expired: nothing, Granted: func(le *Lease) {
			calls.Add(1)
			le.Release()
			close(ended)
		}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { first.Lease().Release() })
		withdrawn := second.Withdraw()
		wg.Wait()
		if !withdrawn {
			<-ended
		}
		if want := int32(1); withdrawn == (calls.Load() == want) || withdrawn != (second.Lease() == nil) {
			t.Fatalf("withdrawn %v, %d calls", withdrawn, calls.Load())
		}
	}
	if got := statsOf(l, Key{}); got.InUse != 0 || got.HighWater != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSetLimit(t *testing.T) {
	l := start(t, Options{})
	a := ForAgent("a")
	var all []*Ticket
	for range 20 {
		all = append(all, submit(t, l, Normal, Key{}, a))
	}
	if got := statsOf(l, a); got.Limit != DefaultAgentLimit || got.InUse != 10 || got.Queued != 10 {
		t.Fatalf("default: %+v", got)
	}
	for _, n := range []int{0, -3} {
		if _, err := l.SetLimit(a, n); !errors.Is(err, ErrLimit) {
			t.Errorf("limit %d: %v", n, err)
		}
	}
	if n, err := l.SetLimit(a, 13); n != 13 || err != nil || statsOf(l, a).InUse != 13 {
		t.Fatalf("raised: %d, %v, %+v", n, err, statsOf(l, a))
	}
	if n, err := l.SetLimit(a, 12); n != 12 || err != nil || statsOf(l, a).InUse != 13 {
		t.Fatalf("lowered: %d, %v, %+v", n, err, statsOf(l, a))
	}
	all[0].Lease().Release()
	if got := statsOf(l, a); got.InUse != 12 || got.Queued != 7 {
		t.Fatalf("the first release only makes up for the lowering: %+v", got)
	}
	all[1].Lease().Release()
	if got := statsOf(l, a); got.InUse != 12 || got.Queued != 6 {
		t.Fatalf("the second one admits: %+v", got)
	}
	if n, err := l.SetLimit(a, 1000); n != MaxLimit || err != nil || statsOf(l, a).InUse != 18 {
		t.Fatalf("clamped: %d, %v, %+v", n, err, statsOf(l, a))
	}
	for _, w := range all[2:] {
		w.Lease().Release()
	}
}

func TestBadArguments(t *testing.T) {
	if _, err := New(Options{Limits: map[Key]int{{}: 0}}); !errors.Is(err, ErrLimit) {
		t.Errorf("limit 0: %v", err)
	}
	if _, err := New(Options{Defaults: map[Level]int{Agent: -1}}); !errors.Is(err, ErrLimit) {
		t.Errorf("default -1: %v", err)
	}
	if _, err := New(Options{Defaults: map[Level]int{77: 1}}); !errors.Is(err, ErrKey) {
		t.Errorf("level 77: %v", err)
	}
	l := start(t, Options{Defaults: map[Level]int{Agent: 500, Model: 7}, Limits: map[Key]int{ForAgent("a"): 51}})
	submit(t, l, Normal, ForAgent("b"), ForModel("p", "m")).Lease().Release()
	if a, b, m := statsOf(l, ForAgent("a")), statsOf(l, ForAgent("b")), statsOf(l, ForModel("p", "m")); a.Limit != 50 || b.Limit != 50 || m.Limit != 7 {
		t.Errorf("limits %d, %d, %d", a.Limit, b.Limit, m.Limit)
	}
	good := Request{Keys: []Key{{}}, Granted: func(*Lease) {}, Expired: nothing}
	for name, c := range map[string]struct {
		change func(*Request)
		want   error
	}{
		"no keys":       {func(r *Request) { r.Keys = nil }, ErrKey},
		"many keys":     {func(r *Request) { r.Keys = make([]Key, maxKeys+1) }, ErrKey},
		"named global":  {func(r *Request) { r.Keys = []Key{{Global, "x"}} }, ErrKey},
		"nameless":      {func(r *Request) { r.Keys = []Key{ForAgent("")} }, ErrKey},
		"unknown level": {func(r *Request) { r.Keys = []Key{{9, "x"}} }, ErrKey},
		"no Granted":    {func(r *Request) { r.Granted = nil }, ErrRequest},
		"no Expired":    {func(r *Request) { r.Expired = nil }, ErrRequest},
		"priority":      {func(r *Request) { r.Priority = 2 }, ErrRequest},
	} {
		r := good
		c.change(&r)
		if _, err := l.Submit(r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.SetLimit(Key{Level: Agent}, 1); !errors.Is(err, ErrKey) {
		t.Errorf("nameless: %v", err)
	}
}

func TestKeysHaveReadableNames(t *testing.T) {
	for k, want := range map[Key]string{
		{}:                 "global",
		ForProvider("p"):   "provider:p",
		ForModel("p", "m"): "model:p/m",
		ForAgent("Worker"): "agent:Worker",
		{9, "x"}:           "level(9):x",
	} {
		if got := k.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{Limits: map[Key]int{{}: 1}})
		r := Request{Keys: []Key{{}}, Expired: nothing}
		first, err := l.Acquire(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Acquire(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in time: %v", err)
		}
		if _, err := l.Acquire(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a dead ctx: %v", err)
		}
		if got := statsOf(l, Key{}); got.InUse != 1 || got.Queued != 0 {
			t.Errorf("%+v", got)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			second, err := l.Acquire(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			second.Release()
		})
		synctest.Wait()
		first.Release()
		wg.Wait()
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Options{Limits: map[Key]int{{}: 1}})
		if err != nil {
			t.Fatal(err)
		}
		first := submit(t, l, Normal, Key{})
		a, b := submit(t, l, Normal, Key{}), submit(t, l, High, Key{}, ForAgent("b"))
		r := Request{Keys: []Key{{}}, Expired: nothing, Granted: func(*Lease) {}}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Acquire(t.Context(), r); !errors.Is(err, ErrClosed) {
				t.Errorf("a waiting Acquire: %v", err)
			}
		})
		synctest.Wait()
		dropped, err := l.Close(t.Context())
		if err != nil || !slices.Equal(dropped, []*Ticket{b, a}) {
			t.Errorf("dropped %d, %v", len(dropped), err)
		}
		wg.Wait()
		if dropped, err := l.Close(t.Context()); err != nil || dropped != nil {
			t.Errorf("again: %v, %v", dropped, err)
		}
		if _, err := l.Submit(r); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if !a.Withdraw() || a.Position() != 0 {
			t.Error("a dropped ticket is out of the queue")
		}
		time.Sleep(time.Hour) // nothing expires any more
		if !first.Lease().Release() || first.Lease().Release() {
			t.Error("a lease must outlive Close")
		}
		if _, err := l.SetLimit(Key{}, 5); err != nil || a.Lease() != nil {
			t.Errorf("SetLimit after Close: %v", err)
		}
	})
}

func TestCloseWaitsForCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Submit(Request{Keys: []Key{{}}, Expired: nothing, Granted: func(le *Lease) {
			time.Sleep(time.Minute)
			le.Release()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := l.Close(t.Context()); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := l.Close(ctx); err != nil {
			t.Errorf("closed long ago: %v", err)
		}
	})
}

func TestSetDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.SetLimit(ForAgent("own"), 7); err != nil {
			t.Fatal(err)
		}
		held := 0
		for range 20 {
			if _, err := l.Submit(Request{Keys: []Key{ForAgent("x")}, Granted: func(*Lease) { held++ }, Expired: func() {}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // one grant at a time writes held
		}
		if held != DefaultAgentLimit {
			t.Errorf("%d grants by the house's default", held)
		}
		for _, bad := range []error{l.SetDefault(Agent, 0), l.SetDefault(Level(9), 1)} {
			if bad == nil {
				t.Error("a bad default was accepted")
			}
		}
		if err := l.SetDefault(Agent, 11); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if held != 11 {
			t.Errorf("%d grants after the default rose to 11", held)
		}
		for _, s := range l.Stats() {
			if s.Key == ForAgent("own") && s.Limit != 7 {
				t.Errorf("a limit of its own became %d", s.Limit)
			}
		}
		if _, err := l.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

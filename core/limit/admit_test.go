package limit

import (
	"slices"
	"testing"
)

// The original had priorities and never looked at them.
func TestPriorityThenArrival(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 1}})
	running := submit(t, l, Normal, Key{})
	low, n1, n2 := submit(t, l, Low, Key{}), submit(t, l, Normal, Key{}), submit(t, l, Normal, Key{})
	h1, h2 := submit(t, l, High, Key{}), submit(t, l, High, Key{})
	order := []*Ticket{h1, h2, n1, n2, low}
	for i, next := range order {
		for j, w := range order[i:] {
			if got := w.Position(); got != j+1 {
				t.Fatalf("position of %d after %d grants: %d", i+j, i, got)
			}
		}
		running.Lease().Release()
		for j, w := range order {
			if (w.Lease() != nil) != (j <= i) {
				t.Fatalf("after %d releases: granted %v", i+1, granted(order...))
			}
		}
		if next.Position() != 0 {
			t.Fatal("a granted ticket has no position")
		}
		running = next
	}
	running.Lease().Release()
}

func TestPriorityHoldsAcrossGroups(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 1}})
	running := submit(t, l, Normal, Key{})
	a := submit(t, l, Normal, Key{}, ForAgent("a"))
	b := submit(t, l, High, Key{}, ForAgent("b"))
	c := submit(t, l, High, Key{}, ForAgent("a"))
	for _, next := range []*Ticket{b, c, a} {
		running.Lease().Release()
		wantGranted(t, []*Ticket{next}, true)
		running = next
	}
	running.Lease().Release()
}

func TestAFullKeyHoldsUpOnlyItsOwn(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 2, ForAgent("a"): 1}})
	a, b := []Key{{}, ForAgent("a")}, []Key{{}, ForAgent("b")}
	hog := submit(t, l, Normal, a...)
	waits := submit(t, l, Normal, a...)
	// However often it is passed over: its own key has never been free, so
	// nothing is ever kept for it.
	for i := range 100 {
		passes := submit(t, l, Normal, b...)
		wantGranted(t, []*Ticket{waits, passes}, false, true)
		if i%2 == 0 {
			next := submit(t, l, Low, b...)
			passes.Lease().Release()
			wantGranted(t, []*Ticket{waits, next}, false, true)
			passes = next
		}
		passes.Lease().Release()
	}
	hog.Lease().Release()
	wantGranted(t, []*Ticket{waits}, true)
	waits.Lease().Release()
}

func TestAWaiterForTwoScarceKeysDoesNotStarve(t *testing.T) {
	x, y := ForModel("p", "x"), ForAgent("y")
	l := start(t, Options{Limits: map[Key]int{x: 1, y: 1}})
	// Two streams, each always with a task ready, that are never both between
	// two tasks.
	streams := []Key{x, y}
	running := []*Ticket{submit(t, l, Normal, x), submit(t, l, Normal, y)}
	both := submit(t, l, Normal, x, y)
	passed := 0 // by how many
	for i := 0; both.Lease() == nil; i++ {
		if passed > 4*patience || i > 1000 {
			t.Fatal("starved")
		}
		s := i % 2
		if running[s].Lease() == nil {
			continue // waits behind both now
		}
		next := submit(t, l, Normal, streams[s])
		running[s].Lease().Release()
		running[s] = next
		if next.Lease() != nil {
			passed++
		}
	}
	if passed < 2 {
		t.Errorf("slots were kept after %d had passed already", passed)
	}
	both.Lease().Release()
	wantGranted(t, running, true, true)
	for _, r := range running {
		r.Lease().Release()
	}
}

// starve returns a limiter on which ticket both has slots of x and y kept, and
// the lease that stands in its way (on y).
func starve(t *testing.T, x, y Key) (l *Limiter, both, onY *Ticket) {
	l = start(t, Options{Limits: map[Key]int{x: 1, y: 1}})
	onX := submit(t, l, Normal, x)
	onY = submit(t, l, Normal, y)
	both = submit(t, l, Normal, x, y)
	for {
		onY.Lease().Release() // y is free, x is not
		onY = submit(t, l, Normal, y)
		onX.Lease().Release() // and the other way round
		if l.starving > 0 {
			return l, both, onY
		}
		onX = submit(t, l, Normal, x)
	}
}

func TestWhatIsKeptIsFreedWhenItsWaiterGoes(t *testing.T) {
	x, y := ForModel("p", "x"), ForAgent("y")
	t.Run("withdrawn", func(t *testing.T) {
		l, both, onY := starve(t, x, y)
		behind := submit(t, l, Normal, x)
		wantGranted(t, []*Ticket{behind}, false)
		both.Withdraw()
		wantGranted(t, []*Ticket{behind}, true)
		behind.Lease().Release()
		onY.Lease().Release()
	})
	t.Run("overtaken", func(t *testing.T) {
		l, both, onY := starve(t, x, y)
		behind := submit(t, l, Normal, x)
		urgent := submit(t, l, High, x, y) // the new head has not starved
		wantGranted(t, []*Ticket{behind, urgent}, true, false)
		behind.Lease().Release()
		onY.Lease().Release()
		wantGranted(t, []*Ticket{both, urgent}, false, true)
		urgent.Lease().Release()
		wantGranted(t, []*Ticket{both}, true)
		both.Lease().Release()
		if l.starving != 0 {
			t.Errorf("starving: %d", l.starving)
		}
	})
	t.Run("served", func(t *testing.T) {
		l, both, onY := starve(t, x, y)
		urgent := submit(t, l, High, x) // before it in order: takes what is kept
		wantGranted(t, []*Ticket{urgent}, true)
		onY.Lease().Release()
		urgent.Lease().Release()
		wantGranted(t, []*Ticket{both}, true)
		both.Lease().Release()
		if l.starving != 0 {
			t.Errorf("starving: %d", l.starving)
		}
	})
}

func TestPositionFollowsTheTightestKey(t *testing.T) {
	l := start(t, Options{Limits: map[Key]int{{}: 3, ForAgent("a"): 1}})
	a, b := []Key{{}, ForAgent("a")}, []Key{{}, ForAgent("b")}
	a0 := submit(t, l, Normal, a...)
	a1 := submit(t, l, Normal, a...)
	b0, b1 := submit(t, l, Normal, b...), submit(t, l, Normal, b...)
	b2 := submit(t, l, Normal, b...)
	a2 := submit(t, l, Normal, a...)
	// Global is full, and so is agent a: the longer line counts.
	if got, want := []int{a1.Position(), b2.Position(), a2.Position()}, []int{1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("positions %v, want %v", got, want)
	}
	b0.Lease().Release() // to b2
	b1.Lease().Release() // global has room, agent a has not
	if got, want := []int{a1.Position(), b2.Position(), a2.Position()}, []int{1, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("positions %v, want %v", got, want)
	}
	a1.Withdraw()
	if got, want := []int{a1.Position(), a2.Position()}, []int{0, 1}; !slices.Equal(got, want) {
		t.Errorf("positions %v, want %v", got, want)
	}
	for _, w := range []*Ticket{a0, b2, a2} {
		w.Lease().Release()
	}
}

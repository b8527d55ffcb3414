package limit

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQueueAgainstASlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q queue
	var model []*Ticket
	seq := uint64(0)
	for step := range 20000 {
		// Waves: it grows for a while, then drains.
		grow := 70
		if step/2500%2 == 1 {
			grow = 25
		}
		switch p := rng.IntN(100); {
		case p < grow || len(model) == 0:
			seq++
			ticket := &Ticket{seq: seq}
			q.push(ticket)
			model = append(model, ticket)
		default:
			at := 0
			if p%2 == 0 {
				at = rng.IntN(len(model))
			}
			q.remove(model[at])
			model = slices.Delete(model, at, at+1)
		}
		if q.live != len(model) {
			t.Fatalf("step %d: %d live, want %d", step, q.live, len(model))
		}
		if len(model) == 0 {
			if q.front() != nil || q.before(seq+1) != 0 {
				t.Fatalf("step %d: not empty", step)
			}
			continue
		}
		at := rng.IntN(len(model))
		if q.front() != model[0] || q.before(model[at].seq) != at || q.before(seq+1) != len(model) {
			t.Fatalf("step %d: wrong front or count", step)
		}
		if len(q.entries) > max(sweepAt, 2*len(model)+1) {
			t.Fatalf("step %d: %d entries for %d waiters", step, len(q.entries), len(model))
		}
	}
}

package limit

import (
	"cmp"
	"slices"
)

// queue holds waiters in order of arrival. Adding, removing any of them and
// counting those before one all take O(log n), so that fifty thousand waiters
// can be cancelled one by one, or asked for their places.
//
// A removed waiter leaves a hole; holes are swept out when they are the
// majority. The tree is a Fenwick tree over the entries: it counts the waiters
// that are still there.
type queue struct {
	entries []entry
	tree    []int32
	head    int // the first entry that is no hole
	live    int
}

type entry struct {
	seq    uint64
	ticket *Ticket // nil in a hole
}

// sweepAt is the least number of entries worth sweeping.
const sweepAt = 64

// push adds t, whose seq must be higher than every one before.
func (q *queue) push(t *Ticket) {
	q.entries = append(q.entries, entry{t.seq, t})
	n := len(q.entries)
	sum := int32(1)
	for i := n - 1; i > n-n&-n; i -= i & -i {
		sum += q.tree[i-1]
	}
	q.tree = append(q.tree, sum)
	q.live++
}

// front returns the first waiter, or nil.
func (q *queue) front() *Ticket {
	if q.live == 0 {
		return nil
	}
	return q.entries[q.head].ticket
}

// remove takes t out; t must be in the queue.
func (q *queue) remove(t *Ticket) {
	at := q.find(t.seq)
	q.entries[at].ticket = nil
	q.live--
	for i := at + 1; i <= len(q.tree); i += i & -i {
		q.tree[i-1]--
	}
	if n := len(q.entries); q.live == 0 || n >= sweepAt && q.live < n/2 {
		q.sweep()
		return
	}
	for q.entries[q.head].ticket == nil {
		q.head++
	}
}

// before counts the waiters with a seq lower than this.
func (q *queue) before(seq uint64) int {
	sum := int32(0)
	for i := q.find(seq); i > 0; i -= i & -i {
		sum += q.tree[i-1]
	}
	return int(sum)
}

// find returns the index of the first entry whose seq is not lower.
func (q *queue) find(seq uint64) int {
	at, _ := slices.BinarySearchFunc(q.entries, seq, func(e entry, seq uint64) int {
		return cmp.Compare(e.seq, seq)
	})
	return at
}

// sweep drops the holes. Half of the entries are holes, so it costs each removal
// a constant.
func (q *queue) sweep() {
	old := q.entries
	*q = queue{entries: old[:0], tree: q.tree[:0]}
	if cap(old) > sweepAt && cap(old) > 4*len(old) {
		*q = queue{} // a flood has passed: give its memory back
	}
	for _, e := range old {
		if e.ticket != nil {
			q.push(e.ticket)
		}
	}
	clear(old[len(q.entries):]) // hold no ticket alive; a fresh array leaves old to the collector
}

package limit

import (
	"cmp"
	"slices"
)

// patience is how many times over a waiter's keys may be free in turn but not
// together before slots are kept for it.
const patience = 3

// group is the line of all waiters with the same set of keys: when its first
// cannot be admitted, none can. With few distinct sets a pass over the groups is
// short, however many wait. All fields are guarded by Limiter.mu.
type group struct {
	keys   []*keyState
	queues [ranks]queue
	head   *Ticket // the first in order; nil when nobody waits

	// How the head fares. Bit i stands for keys[i].
	full   uint8 // was full in this round when the head was looked at
	open   uint8 // had room in this round
	rounds int   // see the package comment, and admissible
}

// keySet names a group: its keys by id, padded with nil.
type keySet [maxKeys]*keyState

// groupOf returns the group of a set of checked keys, a new one at first use.
func (l *Limiter) groupOf(keys []Key) *group {
	var set keySet
	n := 0
	for _, key := range keys {
		if k := l.state(key); !slices.Contains(set[:n], k) {
			set[n] = k
			n++
		}
	}
	slices.SortFunc(set[:n], func(a, b *keyState) int { return cmp.Compare(a.id, b.id) })
	g := l.groups[set]
	if g == nil {
		g = &group{keys: slices.Clone(set[:n])}
		l.groups[set] = g
		for _, k := range g.keys {
			k.groups = append(k.groups, g)
		}
	}
	return g
}

// sooner orders waiters: priority, then arrival.
func sooner(a, b *Ticket) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.seq, b.seq))
}

// enqueue puts t in its group's line.
func (l *Limiter) enqueue(t *Ticket) {
	g := t.group
	t.waiting = true
	for _, k := range g.keys {
		k.queued++
	}
	if t.priority == Low {
		l.low++
	}
	g.queues[t.priority.rank()].push(t)
	if g.head == nil || sooner(t, g.head) < 0 {
		l.setHead(g, t)
	}
}

// dequeue takes t out of its group's line.
func (l *Limiter) dequeue(t *Ticket) {
	g := t.group
	t.waiting = false
	for _, k := range g.keys {
		if k.queued--; k.queued == 0 && k.breaker.alarm != nil {
			l.disarm(&k.breaker.alarm)
		}
	}
	if t.priority == Low {
		if l.low--; l.low == 0 {
			l.disarm(&l.memory)
		}
	}
	g.queues[t.priority.rank()].remove(t)
	if g.head != t {
		return
	}
	var next *Ticket
	for r := range g.queues {
		if next = g.queues[r].front(); next != nil {
			break
		}
	}
	l.setHead(g, next)
}

// setHead moves g to where t belongs in the order of groups, or out of it when t
// is nil.
func (l *Limiter) setHead(g *group, t *Ticket) {
	byHead := func(g *group, t *Ticket) int { return sooner(g.head, t) }
	if g.head != nil {
		at, _ := slices.BinarySearchFunc(l.waiting, g.head, byHead)
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	if l.starves(g) {
		l.starving--
	}
	g.head, g.full, g.open, g.rounds = t, 0, 0, 0
	if t != nil {
		at, _ := slices.BinarySearchFunc(l.waiting, t, byHead)
		l.waiting = slices.Insert(l.waiting, at, g)
	}
}

// starves reports whether slots are kept for the head.
func (l *Limiter) starves(g *group) bool { return g.rounds >= l.patience }

// admissible reports whether every key has room, and notes which had none. When
// all keys that were full in this round have been free in it too, the head was
// unlucky rather than early, and a new round begins.
func (l *Limiter) admissible(g *group) bool {
	var full uint8
	for i, k := range g.keys {
		if !k.room(&l.flow) {
			full |= 1 << i
		}
	}
	if full == 0 {
		return true
	}
	g.full |= full
	g.open |= ^full
	if g.full&^g.open == 0 && !l.starves(g) {
		g.full, g.open = 0, 0
		g.rounds++
		if l.starves(g) {
			l.starving++
		}
	}
	return false
}

// admit grants all that can be granted, in order. One pass is enough: a grant
// only takes room away.
func (l *Limiter) admit() {
	if l.closed {
		return
	}
	var kept []*group
	for i := 0; i < len(l.waiting); {
		g := l.waiting[i]
		if l.admissible(g) && !l.pressed(g.head) {
			l.grant(g.head) // moves g back, or out: the next one is at i
			continue
		}
		if l.starves(g) && !barred(g) {
			for _, k := range g.keys {
				k.kept++
			}
			kept = append(kept, g)
		}
		i++
	}
	for _, g := range kept {
		for _, k := range g.keys {
			k.kept--
		}
	}
}

// barred reports whether a breaker of the group's keys is not closed. It can be
// long until the group can go, so nothing is kept for it meanwhile.
func barred(g *group) bool {
	return slices.ContainsFunc(g.keys, func(k *keyState) bool { return k.breaker.state != Closed })
}

// grant turns a waiting ticket into a lease and sends it on its way.
func (l *Limiter) grant(t *Ticket) {
	l.dequeue(t)
	l.leaseID++
	t.lease = l.newLease(t)
	for i, k := range t.group.keys {
		k.inUse++
		k.high = max(k.high, k.inUse)
		if k.breaker.state == HalfOpen {
			k.breaker.probes++
			t.lease.probes |= 1 << i
		}
	}
	if t.handOver != nil {
		t.handOver <- t.lease // has room for it
		return
	}
	l.running++
	go l.deliver(t.lease, t.granted)
}

// deliver runs a Granted callback. A goroutine for each, because whoever made the
// room may hold locks of its own that the callback wants, and because a slow
// callback must not hold up the next.
func (l *Limiter) deliver(lease *Lease, granted func(*Lease)) {
	defer l.finished()
	l.guard(lease.owner, func() { granted(lease) })
}

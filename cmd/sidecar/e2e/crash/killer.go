package crash

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"
)

// moment is when a sidecar is killed.
type moment string

// The moments. Those of calls to the host have two sides: when the host has
// received the call, and when it has carried it out but not answered.
const (
	creating  moment = "create"
	prompting moment = "prompt"
	waking    moment = "wake"
	aborting  moment = "abort"

	received moment = " received"
	executed moment = " executed"

	sent     moment = "launch sent"
	answered moment = "launch answered"
	finished moment = "child's turn over"
	opened   moment = "workspace open" // recovery is at work
	starting moment = "starting"       // anywhere in the first moments
	whenever moment = "whenever"
)

// moments are drawn from as often as they are named.
var moments = []moment{
	creating + received, creating + executed, prompting + received, prompting + executed, prompting + executed,
	waking + received, waking + received, waking + executed, waking + executed, aborting + received,
	sent, answered, answered, finished, finished, opened, starting, whenever, whenever, whenever,
}

const (
	// soon is the most after its start that a sidecar is killed `starting`.
	soon = 60 * time.Millisecond
	// anytime is the same for `whenever`.
	anytime = 1200 * time.Millisecond
	// patience is how long a moment may fail to come: a sidecar first finds out how
	// far the tasks of the one before it got, for which it waits for late prompts.
	patience = 3500 * time.Millisecond
)

// killer kills one sidecar after the other.
type killer struct {
	log   func(string, ...any)
	kills int

	births chan *sidecar

	mu    sync.Mutex
	rand  *rand.Rand
	armed moment
	skip  int // of the moments that come next
	prey  *sidecar
	shot  chan struct{} // closed by the kill
	done  map[moment]int
	count int
	more  chan struct{} // closed and renewed with every kill
}

func newKiller(r *rand.Rand, kills int, log func(string, ...any)) *killer {
	return &killer{rand: r, kills: kills, log: log, births: make(chan *sidecar, kills+1), done: map[moment]int{}, more: make(chan struct{})}
}

// born announces a sidecar.
func (k *killer) born(s *sidecar) { k.births <- s }

// made returns how many kills were made, and a channel that says when that is
// no longer true.
func (k *killer) made() (int, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count, k.more
}

// when returns the kills by their moments.
func (k *killer) when() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string]int{}
	for m, n := range maps.All(k.done) {
		out[string(m)] = n
	}
	return out
}

// work makes all kills, one for each sidecar that is born.
func (k *killer) work(ctx context.Context) {
	for range k.kills {
		var s *sidecar
		select {
		case s = <-k.births:
		case <-ctx.Done():
			return
		}
		what, wait, shot := k.arm(s)
		timer := time.NewTimer(wait)
		select {
		case <-shot:
		case <-timer.C:
			if what != starting {
				what = whenever
			}
			k.kill(s, what)
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// arm draws the next moment.
func (k *killer) arm(s *sidecar) (what moment, wait time.Duration, shot <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.prey, k.armed, k.skip, k.shot = s, moments[k.rand.IntN(len(moments))], k.rand.IntN(2), make(chan struct{})
	wait = patience
	switch k.armed {
	case starting:
		wait = time.Duration(k.rand.Int64N(int64(soon)))
	case whenever:
		wait = time.Duration(k.rand.Int64N(int64(anytime)))
	case opened:
		k.skip = 0
	}
	return k.armed, wait, k.shot
}

// pass is called whenever a moment comes, by whoever makes it; the kill has been
// made when it returns.
func (k *killer) pass(s *sidecar, what moment) {
	k.mu.Lock()
	hit := s == k.prey && what == k.armed
	if hit && k.skip > 0 {
		k.skip--
		hit = false
	}
	k.mu.Unlock()
	if hit {
		k.kill(s, what)
	}
}

func (k *killer) kill(s *sidecar, what moment) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.prey != s {
		return
	}
	s.kill()
	k.prey = nil
	k.done[what]++
	k.count++
	close(k.shot)
	close(k.more)
	k.more = make(chan struct{})
	k.log("kill %d: %s", k.count, what)
}

// soon passes a moment shortly after it is called: the call that it announces is
// on its way then, or just being worked on.
func (k *killer) soon(s *sidecar, what moment) {
	k.mu.Lock()
	delay := time.Duration(k.rand.Int64N(int64(4 * time.Millisecond)))
	k.mu.Unlock()
	time.AfterFunc(delay, func() { k.pass(s, what) })
}

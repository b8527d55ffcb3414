package limit

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Everything at once, in real time: the holders count for themselves that no
// limit is exceeded, and all who asked are served although breakers keep opening.
func TestAllAreServedUnderOutages(t *testing.T) {
	var short atomic.Bool
	flow := Flow{Failures: 2, Recovery: time.Millisecond, Pressure: short.Load}
	l := start(t, Options{Limits: map[Key]int{{}: 6, prov: 4, modl: 3}, Flow: flow})
	var all, onProvider, served atomic.Int64
	stop := make(chan struct{})
	var others, workers sync.WaitGroup
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			l.Open(prov, modl)
			l.Stats()
			flow.Fixed = i%3 == 0
			short.Store(i%5 == 0)
			l.Configure(flow) // asks for memory afresh: nobody waits for PressureAgain
			if _, err := l.SetLimit(modl, 1+i%3); err != nil {
				t.Error(err)
			}
		}
	})
	const each = 100
	for worker := range uint64(16) {
		workers.Go(func() {
			rng := rand.New(rand.NewPCG(worker, 23))
			for range each {
				r := Request{Keys: []Key{{}, prov, modl}, Priority: Priority(rng.IntN(3) - 1), Expired: nothing}
				if worker%4 == 0 {
					r.Keys = r.Keys[:1]
				}
				lease, err := l.Acquire(t.Context(), r)
				if err != nil {
					t.Error(err)
					return
				}
				served.Add(1)
				if n := all.Add(1); n > 6 {
					t.Errorf("%d hold a lease", n)
				}
				if len(r.Keys) > 1 {
					if n := onProvider.Add(1); n > 4 {
						t.Errorf("%d hold one of the provider", n)
					}
				}
				outcome := Success
				if rng.IntN(3) == 0 {
					outcome = Failure
				}
				lease.Report(outcome)
				if len(r.Keys) > 1 {
					onProvider.Add(-1)
				}
				all.Add(-1)
				lease.Release()
			}
		})
	}
	workers.Wait()
	close(stop)
	others.Wait()
	if served.Load() != 16*each {
		t.Errorf("%d served", served.Load())
	}
}

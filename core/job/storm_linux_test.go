package job

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// TestAStorm does everything at once, then stops in the middle of it.
func TestAStorm(t *testing.T) {
	nap := proctest.Nap(t)
	var mu sync.Mutex
	told := map[string][]State{}
	r := with(t, Options{Settings: Settings{Limit: 8, Timeout: 300 * time.Millisecond}, Keep: 1000, Ended: func(_ context.Context, j Job) {
		mu.Lock()
		defer mu.Unlock()
		told[j.ID] = append(told[j.ID], j.State)
	}})
	specs := []Spec{
		{Command: "echo x; exit 0"}, {Command: "exit 2"}, {Command: "NAP"}, {Command: "NAP & setsid NAP"}, {Command: "trap '' TERM; NAP"},
		{Command: "(setsid NAP >/dev/null 2>&1 </dev/null &)"}, {Command: "cat", Interactive: true}, {Command: "cat; NAP", PTY: &Size{}},
		{Command: "yes", Spill: true},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var started sync.Map
	var wg sync.WaitGroup
	for worker := range 8 {
		rnd := rand.New(rand.NewPCG(uint64(worker), 7))
		wg.Go(func() {
			for ctx.Err() == nil {
				s := specs[rnd.IntN(len(specs))]
				s.Command = strings.ReplaceAll(s.Command, "NAP", nap)
				s.Dir = r.dir
				j, err := r.Start(ctx, s)
				if err != nil {
					continue
				}
				started.Store(j.ID, true)
				short, done := context.WithTimeout(ctx, time.Duration(rnd.IntN(60))*time.Millisecond)
				switch rnd.IntN(5) {
				case 0:
					_, _ = r.Wait(short, j.ID, Until{Pattern: "x"})
					_, _ = r.Kill(ctx, j.ID, "")
				case 1:
					_, _ = r.Write(short, j.ID, []byte("hello\n"))
					_ = r.CloseInput(short, j.ID)
				case 2:
					_, _ = r.Kill(short, j.ID, "")
					_, _ = r.Read(j.ID, Query{Tail: 3, Plain: true})
				case 3:
					_, _ = r.Wait(short, j.ID, Until{})
					_ = r.Resize(j.ID, Size{10, 10})
				case 4:
					r.Configure(Settings{Limit: 4 + rnd.IntN(8)})
					r.List(t.Context())
				}
				done()
			}
		})
	}
	proctest.Eventually(t, "enough has happened", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) > 150 })
	stop, stopped := context.WithTimeout(t.Context(), 10*time.Second)
	defer stopped()
	if err := r.Stop(stop); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
	for _, j := range r.List(t.Context()) {
		if !j.State.Terminal() || j.Left > 0 {
			t.Errorf("%+v", j)
		}
		if got := told[j.ID]; len(got) != 1 || got[0] != j.State {
			t.Errorf("%s is %s, told was %v", j.ID, j.State, got)
		}
	}
	started.Range(func(id, _ any) bool {
		if len(told[id.(string)]) != 1 {
			t.Errorf("%s was told %v", id, told[id.(string)])
		}
		return true
	})
	if records, err := r.o.Store.List(t.Context(), recordsOfJobs); err != nil || len(records) > 0 {
		t.Errorf("records %v, %v", records, err)
	}
}

// TestAnAdoptingEngineEndsNamelessDaemons stops an engine in a process that adopts
// orphans: they end even without anything that ties them to their command.
func TestAnAdoptingEngineEndsNamelessDaemons(t *testing.T) {
	nap := proctest.Nap(t)
	other := another(t, t.TempDir(), "1")
	other.start(t, Spec{Command: "(env -i setsid sh -c '" + nap + " & exit' >/dev/null 2>&1 </dev/null &)", Dir: t.TempDir()})
	proctest.Eventually(t, "it sleeps", func() bool { return len(proctest.Naps(nap)) == 1 })
	other.input.Close()
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
}

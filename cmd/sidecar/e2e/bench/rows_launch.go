package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

const (
	launchDir = "/bench/project"
	// launchLimit is the default limit of an agent.
	launchLimit = limit.DefaultAgentLimit
	// launchPromptSize is that of a short instruction, in bytes.
	launchPromptSize = 200
)

// swarm is an engine over an OpenCode in memory that answers at once.
type swarm struct {
	engine *delegate.Engine
	host   *hostSlot
	fake   *fake.OpenCode
	store  *memstore.Store
	limits *limit.Limiter
	main   string
	sent   atomic.Int64 // prompts of children that the host has
	want   int64
	all    chan struct{} // closed when want prompts were sent
	gate   chan struct{} // if not nil, children's prompts wait for it
	cancel context.CancelFunc
	ended  chan struct{}
}

// hostSlot lets go of the host, so that its memory does not count as ours.
type hostSlot struct{ delegate.Host }

// newSwarm starts an engine for want tasks that run for a time each. Gated ones
// are not accepted by the host before their gate is open.
func newSwarm(ctx context.Context, want int, lasting time.Duration, gated bool) (*swarm, error) {
	limits, err := limit.New(limit.Options{})
	if err != nil {
		return nil, err
	}
	s := &swarm{store: memstore.New(), limits: limits, want: int64(want), all: make(chan struct{}), ended: make(chan struct{})}
	if gated {
		s.gate = make(chan struct{})
	}
	s.fake = fake.New(func(_ host.Prompt, session host.Session) fake.Reply {
		if session.Parent != "" && s.sent.Add(1) == s.want {
			close(s.all)
		}
		return fake.Reply{Text: "done", After: lasting}
	})
	s.fake.Fault = func(ctx context.Context, call string) error {
		if s.gate == nil || call != "Prompt" {
			return nil
		}
		select {
		case <-s.gate:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.host = &hostSlot{s.fake}
	s.engine = delegate.New(s.store, s.host, limits, zerolog.Nop())
	settings := delegate.DefaultSettings()
	settings.MaxOpen = want
	s.engine.Configure(launchDir, settings)
	s.fake.Emit = s.engine.Event
	s.main = s.fake.Open(launchDir)
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		s.engine.Run(runCtx)
	}()
	return s, nil
}

// launch launches n background tasks and returns when they are acknowledged.
func (s *swarm) launch(ctx context.Context, n int) ([]task.ID, error) {
	ids := make([]task.ID, 0, n)
	for i := range n {
		prompt := fmt.Sprintf("%-*d", launchPromptSize, i)
		t, err := s.engine.Launch(ctx, delegate.Spec{
			Directory: launchDir, Worktree: launchDir, Parent: s.main, Agent: "general", Description: "look", Prompt: prompt, Background: true,
		})
		if err != nil {
			return nil, err
		}
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// told returns when every task has ended and the parent knows of it. The store
// may have forgotten tasks by then; it forgets only those that the parent knows.
func (s *swarm) told(ctx context.Context, ids []task.ID) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < len(ids); {
		t, err := s.engine.Wait(ctx, ids[i], 0)
		switch {
		case errors.Is(err, task.ErrNotFound):
			i++
			continue
		case err != nil:
			return err
		case t.State != task.Completed:
			return fmt.Errorf("%s is %s: %s", t.ID, t.State, t.Error)
		case t.Told:
			i++
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d tasks were told: %w", i, len(ids), context.Cause(ctx))
		}
	}
	return nil
}

// stop ends the engine and returns when it has.
func (s *swarm) stop(ctx context.Context) error {
	err := s.engine.Stop(ctx)
	s.cancel()
	<-s.ended
	s.fake.Close()
	_, closed := s.limits.Close(ctx)
	return errors.Join(err, closed)
}

// launched is one run.
type launched struct {
	sent, told time.Duration
	highest    int
}

func launchOnce(ctx context.Context, n int, lasting time.Duration) (launched, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	runtime.GC()
	s, err := newSwarm(ctx, n, lasting, false)
	if err != nil {
		return launched{}, err
	}
	start := time.Now()
	ids, err := s.launch(ctx, n)
	if err != nil {
		return launched{}, errors.Join(err, s.stop(ctx))
	}
	select {
	case <-s.all:
	case <-ctx.Done():
		return launched{}, errors.Join(fmt.Errorf("%d of %d prompts were sent", s.sent.Load(), n), s.stop(ctx))
	}
	out := launched{sent: time.Since(start), highest: s.fake.HighWater()}
	err = s.told(ctx, ids)
	out.told = time.Since(start)
	return out, errors.Join(err, s.stop(ctx))
}

func launchRows(ctx context.Context, b *bench) ([]Row, error) {
	stop, err := b.profileCPU("launch")
	if err != nil {
		return nil, err
	}
	defer stop()
	sizes := []int{1000, 5000}
	each := make([][]time.Duration, len(sizes))
	told := make([][]time.Duration, len(sizes))
	highest := 0
	for range b.times(7, 1) {
		for i, n := range sizes { // interleaved, for the ratio
			got, err := launchOnce(ctx, n, 0)
			if err != nil {
				return nil, err
			}
			each[i] = append(each[i], got.sent/time.Duration(n))
			told[i] = append(told[i], got.told/time.Duration(n))
			highest = max(highest, got.highest)
		}
	}
	stop()
	slow, err := launchOnce(ctx, 200, 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	highest = max(highest, slow.highest)
	original := []string{"428 µs (428 ms in all)", "1356 µs (6.8 s in all)"}
	var rows []Row
	for i, n := range sizes {
		s := sorted(each[i])
		rows = append(rows, Row{
			What:     fmt.Sprintf("launch %d background tasks, per task", n),
			Measured: fmt.Sprintf("%s until all prompts were sent; %s until all were told", s.spread(), show(sorted(told[i]).median())),
			Bar:      "≤ 0.2 ms", Original: original[i], Missed: s.median() > 200*time.Microsecond, Values: s.values(),
		})
	}
	ratio := float64(sorted(each[1]).median()) / float64(sorted(each[0]).median())
	rows = append(rows, Row{
		What: "  growth of the cost per task, 5000 : 1000", Measured: fmt.Sprintf("%.2f", ratio),
		Bar: "≤ 1.3 (linear)", Original: "3.2", Missed: ratio > 1.3, Values: map[string]float64{"ratio": ratio},
	}, Row{
		What: "  most sessions in flight, counted at the host", Measured: fmt.Sprint(highest),
		Bar: fmt.Sprintf("≤ %d", launchLimit), Original: "96–99 at limit 10", Missed: highest > launchLimit, Values: map[string]float64{"in_flight": float64(highest)},
	})
	memory, err := memoryRows(ctx, b)
	return append(rows, memory...), err
}

// memoryRows looks at the heap while 5000 tasks exist, ten of them running, and
// after they have ended. What the memory store and the played host keep is told
// apart by letting go of them one after the other.
func memoryRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n := b.times(5000, 1000)
	s, err := newSwarm(ctx, n, 0, true)
	if err != nil {
		return nil, err
	}
	before := heap()
	ids, err := s.launch(ctx, n)
	if err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	exist := heap()
	if err := b.profileHeap("exist"); err != nil {
		return nil, err
	}
	close(s.gate)
	if err := s.told(ctx, ids); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	ended := heap()
	if err := b.profileHeap("ended"); err != nil {
		return nil, err
	}
	s.engine.Refuse()
	s.host.Host, s.fake.Emit = idleHost{}, nil
	played := s.fake
	s.fake = fake.New(nil)
	played.Close()
	played = nil
	noHost := heap()
	if err := s.store.Close(); err != nil {
		return nil, err
	}
	noStore := heap()
	if err := b.profileHeap("forgotten"); err != nil {
		return nil, err
	}
	err = s.stop(ctx)
	runtime.KeepAlive(s)
	per := func(from, to float64) float64 { return (to - from) / float64(n) / 1024 }
	while, left := per(before, exist), per(before, noStore)
	return []Row{{
		What:     fmt.Sprintf("  heap per task while %d exist (prompts of %d B)", n, launchPromptSize),
		Measured: fmt.Sprintf("%.2f KB, prompt and record included", while), Bar: "≤ 5 KB", Original: "21 KB with 20 KB prompts", Missed: while > 5,
		Values: map[string]float64{"heap_kb": while},
	}, {
		What:     "  heap per task after all have ended and were told",
		Measured: fmt.Sprintf("engine and limits %.2f KB; stored records %.2f KB, as the newest %d stay readable", left, per(noStore, noHost), memstore.Keep),
		Bar:      "given back (≤ 0.1 KB)", Original: "all of it, for ever", Missed: left > 0.1,
		Values: map[string]float64{"engine_kb": left, "records_kb": per(noStore, noHost), "host_kb": per(noHost, ended)},
	}}, err
}

// idleHost answers nothing; nobody asks any more.
type idleHost struct{ delegate.Host }

func (idleHost) Statuses(context.Context, string) (map[string]host.Status, error) { return nil, nil }

// heap is what is in use after a collection, in bytes.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// profileCPU profiles until the returned function is called, if -profile asks.
func (b *bench) profileCPU(name string) (stop func(), err error) {
	if b.profiles == "" {
		return func() {}, nil
	}
	f, err := b.profile(name + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // twice is harmless
	}, nil
}

func (b *bench) profileHeap(name string) error {
	if b.profiles == "" {
		return nil
	}
	f, err := b.profile(name + ".heap.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

func (b *bench) profile(name string) (*os.File, error) {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(b.profiles, name))
}

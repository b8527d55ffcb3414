package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// launched is one run.
type launched struct {
	sent, told time.Duration
	highest    int
}

func launchOnce(ctx context.Context, store task.Store, n int, lasting time.Duration) (launched, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	runtime.GC()
	s, err := newSwarm(ctx, store, n, lasting, false)
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
			got, err := launchOnce(ctx, memstore.New(), n, 0)
			if err != nil {
				return nil, err
			}
			each[i] = append(each[i], got.sent/time.Duration(n))
			told[i] = append(told[i], got.told/time.Duration(n))
			highest = max(highest, got.highest)
		}
	}
	stop()
	slow, err := launchOnce(ctx, memstore.New(), 200, 20*time.Millisecond)
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
	durable, err := durableRow(ctx, b)
	if err != nil {
		return rows, err
	}
	memory, err := memoryRows(ctx, b)
	return append(append(rows, durable), memory...), err
}

// durableRow is the launch with the store on disk, beside what one flush costs
// on this disk: launches one after the other wait for a flush each.
func durableRow(ctx context.Context, b *bench) (Row, error) {
	stop, err := b.profileCPU("durable")
	if err != nil {
		return Row{}, err
	}
	defer stop()
	n := b.times(1000, 100)
	var each, flushes []time.Duration
	for round := range b.times(3, 1) {
		store, _, err := sqlitestore.Open(sqlitestore.Options{Path: filepath.Join(b.temp, fmt.Sprintf("launch-%d", round), "tasks.db"), Log: zerolog.Nop()})
		if err != nil {
			return Row{}, err
		}
		got, err := launchOnce(ctx, store, n, 0)
		if err := errors.Join(err, store.Close()); err != nil {
			return Row{}, err
		}
		each = append(each, got.sent/time.Duration(n))
		took, err := flush(filepath.Join(b.temp, "flush"), 50)
		if err != nil {
			return Row{}, err
		}
		flushes = append(flushes, took...)
	}
	s, f := sorted(each), sorted(flushes)
	return Row{
		What:     fmt.Sprintf("  %d with the durable store, per task", n),
		Measured: fmt.Sprintf("%s until all prompts were sent; one flush of 4 KB to this disk takes %s", s.spread(), show(f.median())), Original: "nothing survives",
		Values: map[string]float64{"p50_ms": ms(s.median()), "flush_ms": ms(f.median()), "flushes_per_task": float64(s.median()) / float64(f.median())},
	}, nil
}

// flush appends pages to a file and returns how long each took to be on disk.
func flush(path string, pages int) ([]time.Duration, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page := make([]byte, 4096)
	var took []time.Duration
	for range pages {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// memoryRows looks at the heap while 5000 tasks exist, ten of them running, and
// after they have ended. What the memory store and the played host keep is told
// apart by letting go of them one after the other.
func memoryRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	n := b.times(5000, 1000)
	s, err := newSwarm(ctx, memstore.New(), n, 0, true)
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

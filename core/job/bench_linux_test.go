package job

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// benchmarked is an engine that runs until the benchmark ends.
func benchmarked(b *testing.B) *Engine {
	b.Helper()
	e := New(Options{Keeper: proc.NewKeeper(), Store: record.NewMemory(), Shell: []string{"/bin/sh", "-c"}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return e
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

func BenchmarkFirstByte(b *testing.B) {
	r := benchmarked(b)
	dir := b.TempDir()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		j, err := r.Start(b.Context(), Spec{Command: "echo hello", Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		w, err := r.Wait(b.Context(), j.ID, Until{Pattern: "hello"})
		if err != nil || w.Reason != Matched {
			b.Fatalf("%+v, %v", w, err)
		}
		took = append(took, time.Since(start))
		b.StopTimer()
		if _, err := r.Wait(b.Context(), j.ID, Until{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	report(b, took)
}

func BenchmarkKill(b *testing.B) {
	r := benchmarked(b)
	dir := b.TempDir()
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		j, err := r.Start(b.Context(), Spec{Command: "sleep 300 & setsid sleep 300 & echo up; wait", Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Wait(b.Context(), j.ID, Until{Pattern: "up"}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		start := time.Now()
		if _, err := r.Kill(b.Context(), j.ID, ""); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	report(b, took)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleRows runs 1000 tasks through the real binary and then leaves it alone.
func idleRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	s, err := b.startShim(ctx, "idle", map[string]any{"maxTasksPerSession": 1000})
	if err != nil {
		return nil, err
	}
	const tasks = 1000
	start := time.Now()
	if err := s.complete(ctx, tasks); err != nil {
		return nil, errors.Join(err, s.end())
	}
	ran := time.Since(start)
	span := time.Duration(b.times(60, 5)) * time.Second
	before, err := usageOf(s.Cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	start = time.Now()
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), s.end())
	}
	took := time.Since(start).Seconds()
	after, err := usageOf(s.Cmd.Process.Pid)
	if err := errors.Join(err, s.end()); err != nil {
		return nil, err
	}
	cpu := 100 * (after.cpu - before.cpu) / took
	wakeups := float64(after.switches-before.switches) / took
	rss := after.rss / (1 << 20)
	return []Row{{
		What:     fmt.Sprintf("sidecar idle for %s after %d finished tasks: CPU", span, tasks),
		Measured: fmt.Sprintf("%.4f %% of a core (the tasks took %s)", cpu, show(ran)), Bar: "≤ 0.01 %", Original: "0.66 % (Bun)", Missed: cpu > 0.01,
		Values: map[string]float64{"percent": cpu},
	}, {
		What: "  context switches of all threads", Measured: fmt.Sprintf("%.2f/s (%d threads)", wakeups, after.threads), Bar: "≤ 0.5/s",
		Original: "38/s, main thread only", Missed: wakeups > 0.5, Values: map[string]float64{"per_s": wakeups},
	}, {
		What: "  memory", Measured: fmt.Sprintf("%.1f MB RSS", rss), Bar: "≤ 16 MB", Original: "24.4 MB when loaded, 57 MB more for 1000 tasks", Missed: rss > 16,
		Values: map[string]float64{"mb": rss},
	}}, nil
}

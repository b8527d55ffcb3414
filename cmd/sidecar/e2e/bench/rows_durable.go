package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// busyWork answers children after a tenth of a second: ten at a time are at work
// while others are launched.
func busyWork(_ host.Prompt, s host.Session) fake.Reply {
	if s.Parent == "" {
		return fake.Reply{Text: "thanks"}
	}
	return fake.Reply{Text: "done", After: 100 * time.Millisecond}
}

// durableRows shows how fast tasks are taken on that survive whatever comes: each
// is on disk before delegate_task returns.
func durableRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	flushes, err := flush(filepath.Join(b.temp, "flush"), b.times(100, 10))
	if err != nil {
		return nil, err
	}
	disk := sorted(flushes).median()
	n := b.times(10_000, 200)
	atOnce, err := b.launchAtOnce(ctx, n)
	if err != nil {
		return nil, err
	}
	one, alone, locked, err := b.launchPaced(ctx, "paced", 1, n)
	if err != nil {
		return nil, err
	}
	two, shared, lockedTwo, err := b.launchPaced(ctx, "shared", 2, n)
	if err != nil {
		return nil, err
	}
	rate := float64(n) / atOnce.Seconds()
	return []Row{{
		What:     "durable delegate_task, 64 at a time, ten tasks at work",
		Measured: fmt.Sprintf("%s; one flush to this disk takes %s", count(n, atOnce), show(disk)), Bar: "≥ 1000/s", Missed: rate < 1000,
		Values: map[string]float64{"per_s": rate, "flush_ms": ms(disk)},
	}, {
		What: "  paced at 1000/s", Measured: beside(one, alone), Bar: "p99 ≤ 10 ms", Missed: one.at(0.99) > 10*time.Millisecond, Values: one.values(),
	}, {
		What: "  two sidecars on one database, 500/s each", Measured: beside(two, shared), Bar: "p99 ≤ 150 ms", Missed: two.at(0.99) > 150*time.Millisecond, Values: two.values(),
	}, {
		What: "  SQLITE_BUSY, in answers or logs", Measured: fmt.Sprint(locked + lockedTwo), Bar: "0", Missed: locked+lockedTwo > 0,
		Values: map[string]float64{"busy": float64(locked + lockedTwo)},
	}}, nil
}

// beside is a sample next to what a ping took at the same time.
func beside(s, pings sample) string {
	return fmt.Sprintf("%s; a ping meanwhile %s", s.tail(), pings.tail())
}

func (b *bench) launchAtOnce(ctx context.Context, n int) (time.Duration, error) {
	s, err := b.startWired(ctx, filepath.Join(b.temp, "at-once"), "stderr.log", nil, busyWork)
	if err != nil {
		return 0, err
	}
	defer s.kill()
	mains := s.mains(n)
	start := time.Now()
	err = parallel(n, 64, func(i int) error { return s.delegate(ctx, mains[i/perMain], fmt.Sprintf("%-*d", launchPromptSize, i)) })
	return time.Since(start), err
}

// launchPaced launches n tasks in all at 1000 a second with some sidecars that
// share a database, beside pings of one of them, and counts the collisions that their logs tell of. A launch
// that fails, for that reason or another, is an error.
func (b *bench) launchPaced(ctx context.Context, name string, sidecars, n int) (launches, pings sample, locked int, err error) {
	state := filepath.Join(b.temp, name)
	var shims []*fakeShim
	var logs []string
	for i := range sidecars {
		log := fmt.Sprintf("stderr-%d.log", i)
		s, err := b.startWired(ctx, state, log, map[string]any{"logLevel": "debug"}, busyWork)
		if err != nil {
			return nil, nil, 0, err
		}
		defer s.kill()
		shims, logs = append(shims, s), append(logs, filepath.Join(state, log))
	}
	var (
		echo []time.Duration
		lost error
		wg   sync.WaitGroup
		all  = make([][]time.Duration, sidecars)
		errs = make([]error, sidecars)
	)
	for i, s := range shims {
		mine := n / sidecars
		mains := s.mains(mine)
		wg.Go(func() {
			all[i], errs[i] = paced(mine, time.Duration(sidecars)*time.Millisecond, func(k int) error {
				return s.delegate(ctx, mains[k/perMain], fmt.Sprintf("%-*d", launchPromptSize, k))
			})
		})
	}
	wg.Go(func() { echo, lost = shims[0].pings(ctx, n/10) })
	wg.Wait()
	if lost != nil {
		return nil, nil, 0, lost
	}
	var took []time.Duration
	for i := range shims {
		if errs[i] != nil {
			return nil, nil, 0, errs[i]
		}
		took = append(took, all[i]...)
	}
	locked, err = collisions(logs...)
	return sorted(took), sorted(echo), locked, err
}

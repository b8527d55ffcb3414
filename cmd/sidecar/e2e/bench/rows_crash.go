package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/crash"
)

// survivalRows kill the sidecar at random moments while it runs tasks, and count
// what that cost. Bars are the same for one kill as for a hundred.
func survivalRows(ctx context.Context, b *bench) ([]Row, error) {
	dir, err := os.MkdirTemp(b.temp, "survival-")
	if err != nil {
		return nil, err
	}
	seed := rand.Uint64N(1_000_000)
	played, err := crash.Run(ctx, crash.Config{
		Root: b.root, Dir: dir, Tasks: b.times(200, 20), Kills: b.times(100, 5), Seed: seed, Log: b.progress,
	})
	if err != nil {
		return nil, err
	}
	kills := []int{3, 3, 2, 2} // the shim rests after a third death within a minute
	real, err := crash.OpenCode(ctx, kills[:b.times(len(kills), 1)], seed, b.progress)
	return []Row{b.survival(played, "an OpenCode in memory"), b.survival(real, "the real OpenCode")}, err
}

func (b *bench) survival(r crash.Report, where string) Row {
	b.progress("%s", r)
	for _, problem := range r.Problems {
		b.progress("  %s", problem)
	}
	notes := []string{
		fmt.Sprintf("%d lost, %d second turns, %d untold, %d told twice", r.Lost, r.SecondTurns+r.SecondPrompts, r.Untold, r.ToldTwice+r.Repeated),
	}
	if more := r.Broken() - r.Lost - r.SecondTurns - r.SecondPrompts - r.Untold - r.ToldTwice - r.Repeated; more > 0 {
		notes = append(notes, fmt.Sprintf("%d other faults", more))
	}
	if r.Limit > 0 {
		notes = append(notes, fmt.Sprintf("at most %d of %d at once", r.HighWater, r.Limit))
	}
	return Row{
		What:     fmt.Sprintf("%d × kill -9 of the sidecar during %d tasks, %s", r.Killed(), r.Tasks, where),
		Measured: fmt.Sprintf("%s (seed %d, %s)", strings.Join(notes, "; "), r.Seed, show(r.Took)),
		Bar:      "0 of each", Missed: r.Broken() > 0,
		Values: map[string]float64{
			"kills": float64(r.Killed()), "tasks": float64(r.Tasks), "broken": float64(r.Broken()), "lost": float64(r.Lost),
			"second_turns": float64(r.SecondTurns + r.SecondPrompts), "untold": float64(r.Untold), "told_twice": float64(r.ToldTwice + r.Repeated),
		},
	}
}

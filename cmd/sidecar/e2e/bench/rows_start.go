package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
)

const emptyPlugin = `export default { id: "empty", server: async () => ({}) };`

// startRows starts OpenCode with our plugin and with an empty one, in turns.
// What is timed ends with the first answer of the project's instance, which has
// loaded the plugins by then.
func startRows(ctx context.Context, b *bench) ([]Row, error) {
	empty, err := b.writePlugin("empty-plugin", emptyPlugin)
	if err != nil {
		return nil, err
	}
	rigs := make([]*e2e.Rig, 2)
	for i, plugin := range []string{filepath.Join(b.root, "shim"), empty} {
		if rigs[i], err = b.rig(ctx, plugin); err != nil {
			return nil, err
		}
		defer rigs[i].Close()
		if _, _, err := startOnce(ctx, rigs[i]); err != nil { // the first one makes the database
			return nil, err
		}
	}
	total, instance := make([][]time.Duration, 2), make([][]time.Duration, 2)
	pairs := b.times(20, 1)
	for n := range pairs {
		for i := range rigs {
			i := (i + n) % 2 // each goes first as often as the other
			all, last, err := startOnce(ctx, rigs[i])
			if err != nil {
				return nil, err
			}
			total[i], instance[i] = append(total[i], all), append(instance[i], last)
		}
	}
	ours, theirs := sorted(total[0]), sorted(total[1])
	load, emptyLoad := sorted(instance[0]), sorted(instance[1])
	ratio := over(ours, theirs)
	return []Row{{
		What:     fmt.Sprintf("OpenCode: start → first answer of the instance, %d pairs", pairs),
		Measured: fmt.Sprintf("with us %s, empty plugin %s: %.3f ×", ours.spread(), theirs.spread(), ratio),
		Values:   map[string]float64{"ours_ms": ms(ours.median()), "empty_ms": ms(theirs.median()), "ratio": ratio},
	}, {
		What:     "  the instance alone (its request loads the plugin)",
		Measured: fmt.Sprintf("with us %s, empty plugin %s: %.3f ×", show(load.median()), show(emptyLoad.median()), over(load, emptyLoad)),
		Values:   map[string]float64{"ours_ms": ms(load.median()), "empty_ms": ms(emptyLoad.median())},
	}}, nil
}

// startOnce returns how long the whole start took, and the first request for the
// instance alone.
func startOnce(ctx context.Context, r *e2e.Rig) (total, instance time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	start := time.Now()
	s, err := r.Serve(ctx)
	if err != nil {
		return 0, 0, err
	}
	ready := time.Now()
	_, err = s.Status(ctx)
	total, instance = time.Since(start), time.Since(ready)
	return total, instance, errors.Join(err, s.Stop(ctx))
}

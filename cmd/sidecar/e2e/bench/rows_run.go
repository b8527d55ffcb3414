package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
)

const runTasks = 6

// runRows runs `opencode run` with background tasks, two at a time: whether all
// is printed matters, and how long it takes does not.
func runRows(ctx context.Context, b *bench) ([]Row, error) {
	total := b.times(20, 2)
	var (
		mu       sync.Mutex
		good     int
		problems []string
		took     []time.Duration
		wg       sync.WaitGroup
		slots    = make(chan struct{}, 2)
	)
	for range total {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			d, err := b.runOnce(ctx)
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, d); err == nil {
				good++
			} else {
				problems = append(problems, err.Error())
			}
		})
	}
	wg.Wait()
	s := sorted(took)
	measured := fmt.Sprintf("%d of %d, %s", good, total, s.spread())
	if len(problems) > 0 {
		measured += "; first: " + problems[0]
	}
	return []Row{{
		What:     fmt.Sprintf("opencode run with %d background tasks: all printed, exit 0", runTasks),
		Measured: measured, Bar: fmt.Sprintf("%d of %d", total, total), Original: "0: run ends at the first idle", Missed: good < total,
		Values: map[string]float64{"good": float64(good), "runs": float64(total), "p50_ms": ms(s.median())},
	}}, nil
}

func (b *bench) runOnce(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	r, err := b.rig(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return 0, err
	}
	var scripts []string
	for i := range runTasks {
		scripts = append(scripts, fmt.Sprintf("@wait %dms\n@say result-%d", 300+i*250, i))
	}
	res, err := r.RunAndWait(ctx, e2e.Batch(scripts...)+"\n@say launched")
	for i := range runTasks {
		if want := fmt.Sprintf("result-%d", i); err == nil && !strings.Contains(res.Stdout, want) {
			err = fmt.Errorf("%s was not printed", want)
		}
	}
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", res.Code, res.Stderr)
	}
	return res.Duration, errors.Join(err, r.Close())
}

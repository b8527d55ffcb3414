package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
)

// packageRows run OpenCode in a project whose packages are there, small or gone. A
// quick run has none: installing takes its time, and the tests do it.
func packageRows(ctx context.Context, b *bench) ([]Row, error) {
	if b.quick {
		return nil, nil
	}
	r, err := b.rig(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // a temporary folder
	o := &overgrown{b: b, dir: r.Dir, home: r.StateDir}
	if err := errors.Join(os.RemoveAll(o.path(".")), os.Mkdir(o.path("."), 0o755)); err != nil {
		return nil, err
	}
	hi := func() (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*stepLimit)
		defer cancel()
		result, err := r.RunAndWait(ctx, "hi")
		if err == nil && result.Code != 0 {
			err = fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
		}
		return result.Duration, err
	}
	first, err := hi() // makes the database, and fills npm's cache
	if err != nil {
		return nil, err
	}
	took := map[modules.State][]time.Duration{}
	counts := map[modules.State]int{}
	for range 5 {
		for _, state := range []modules.State{modules.Full, modules.Small, modules.Absent} { // who starts without any leaves all
			if state != modules.Full {
				want := map[modules.State]string{modules.Small: "shrink", modules.Absent: "remove"}[state]
				if _, err := o.clean(ctx, "--node-modules", want); err != nil {
					return nil, err
				}
			}
			was, err := o.packages(ctx)
			if err != nil || was.State != state {
				return nil, errors.Join(fmt.Errorf("the packages are %s, want %s", was.State, state), err)
			}
			d, err := hi()
			if err != nil {
				return nil, err
			}
			is, err := o.packages(ctx)
			if err != nil || state == modules.Small && is.State != state || state != modules.Small && is.State != modules.Full {
				return nil, errors.Join(fmt.Errorf("the packages were %s and are %s after a start", state, is.State), err)
			}
			took[state], counts[state] = append(took[state], d), was.Files
		}
	}
	keep, small, gone := sorted(took[modules.Full]), sorted(took[modules.Small]), sorted(took[modules.Absent])
	return []Row{{
		What:     fmt.Sprintf("`opencode run \"hi\"`, packages kept: %d files", counts[modules.Full]),
		Measured: keep.spread(), Values: keep.values(),
	}, {
		What:     fmt.Sprintf("  shrunk: %d files, and none more after the start", counts[modules.Small]),
		Measured: fmt.Sprintf("%s, %.2f × kept", small.spread(), over(small, keep)), Bar: "≤ 1.25 × kept", Missed: over(small, keep) > 1.25, Values: small.values(),
	}, {
		What:     "  removed: installed again from npm's cache",
		Measured: fmt.Sprintf("%s; the very first start %s", gone.spread(), show(first)), Original: "at every start", Values: gone.values(),
	}}, nil
}

// packages looks at OpenCode's packages.
func (o *overgrown) packages(ctx context.Context) (modules.Report, error) {
	folder, err := os.OpenRoot(o.path("."))
	if err != nil {
		return modules.Report{}, err
	}
	defer func() { _ = folder.Close() }() // was only read
	return modules.Inspect(ctx, folder, nil)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// grownFiles and grownBytes are what an overgrown folder has.
	grownFiles, grownBytes = 742, 6_200_000
	// hugeFiles is how many files a huge one has.
	hugeFiles = 100_000
)

// janitorRows clean folders with the real binary, as the janitor and as a command.
func janitorRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var rows []Row
	for _, measure := range []func(context.Context, *bench) ([]Row, error){cleanRows, scanRows, restRows, packageRows, pairRows} {
		more, err := measure(ctx, b)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// cleanRows clean overgrown folders with one command each.
func cleanRows(ctx context.Context, b *bench) ([]Row, error) {
	var took []time.Duration
	files, size, had, lost := 0, int64(0), int64(0), 0
	for i := range b.times(5, 1) {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("grown-%d", i))
		if err != nil {
			return nil, err
		}
		before, bytes, err := sizeOf(o.path("."))
		if err != nil {
			return nil, err
		}
		if before != grownFiles || bytes < grownBytes*98/100 || bytes > grownBytes*102/100 {
			return nil, fmt.Errorf("the folder has %d files and %d bytes before it is cleaned", before, bytes)
		}
		d, err := o.clean(ctx)
		if err != nil {
			return nil, err
		}
		took, had, lost = append(took, d), bytes, lost+o.lost(o.users)
		n, left, err := sizeOf(o.path("."))
		if err != nil {
			return nil, err
		}
		files, size = max(files, n), max(size, left)
	}
	once := sorted(took)
	return []Row{{
		What:     fmt.Sprintf("janitor: .opencode of %d files, %.1f MB, after one cleaning", grownFiles, float64(had)/1e6),
		Measured: fmt.Sprintf("%d files, %.2f MB", files, float64(size)/1e6), Bar: "< 200 files, < 2 MB", Original: "343–500 files, 2.8–4.3 MB", Missed: files >= 200 || size >= 2e6,
		Values: map[string]float64{"files": float64(files), "bytes": float64(size)},
	}, {
		What: "  of the user's 25 files lost", Measured: strconv.Itoa(lost), Bar: "0", Original: "2–25", Missed: lost > 0, Values: map[string]float64{"lost": float64(lost)},
	}, {
		What: "  `sidecar clean`, the whole command, all that goes flushed to the trash", Measured: once.spread(), Original: "27–63 ms: what goes is gone", Values: once.values(),
	}}, nil
}

// scanRows look through a folder with very many files.
func scanRows(ctx context.Context, b *bench) ([]Row, error) {
	huge, err := b.newOvergrown(ctx, "huge")
	if err != nil {
		return nil, err
	}
	total := b.times(hugeFiles, 5000)
	for i := range total - grownFiles {
		path := huge.path(fmt.Sprintf("cache/%d/file-%d", i/500, i))
		if i%500 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return nil, err
		}
	}
	empty := &overgrown{b: b, dir: filepath.Join(b.temp, "empty"), home: huge.home}
	if err := os.MkdirAll(empty.path("."), 0o755); err != nil {
		return nil, err
	}
	var took []time.Duration
	idle, most := 0.0, 0.0
	for range b.times(5, 1) {
		_, little, err := empty.peak(ctx)
		if err != nil {
			return nil, err
		}
		d, much, err := huge.peak(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		idle, most = max(idle, little), max(most, much)
	}
	scan, grown := sorted(took), max(0, most-idle)
	return []Row{{
		What:     fmt.Sprintf("`sidecar clean --dry-run` over %d files, the whole command", total),
		Measured: scan.spread(), Bar: "≤ 1 s", Missed: scan.median() > time.Second, Values: scan.values(),
	}, {
		What:     "  the most memory, above that for an empty folder",
		Measured: fmt.Sprintf("%.1f MB (%.1f, %.1f for an empty one)", grown/mb, most/mb, idle/mb), Bar: "≤ 10 MB", Missed: grown > 10*mb,
		Values: map[string]float64{"bytes": grown, "most": most, "idle": idle},
	}}, nil
}

// peak runs the command dry and returns how long it took and the most memory that it
// had. That is asked all the while: what the system tells of a process that has ended
// includes the memory of the one that started it.
func (o *overgrown) peak(ctx context.Context) (took time.Duration, most float64, err error) {
	var said strings.Builder
	cmd := o.console(ctx, "clean", "--dry-run")
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("sidecar clean --dry-run: %w: %.2000s", err, said.String())
			}
			return time.Since(start), most, err
		case <-tick.C:
			most = max(most, highest(cmd.Process.Pid))
		}
	}
}

// highest is the most memory that a process has had, in bytes.
func highest(pid int) float64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n * 1024
}

// restRows leave two sidecars alone, one of which has cleaned its project.
func restRows(ctx context.Context, b *bench) ([]Row, error) {
	var pids []int
	for _, with := range []bool{true, false} {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("rest-%v", with))
		if err != nil {
			return nil, err
		}
		s, err := b.startIn(ctx, o.home, o.dir, nil, map[string]any{"janitor": with, "janitorDelay": "1s", "janitorNodeModules": "shrink"})
		if err != nil {
			return nil, err
		}
		defer func() { _ = s.end() }()                                               // what counts has been measured by then
		s.Emit(host.Event{Type: host.EventSessionIdle, Session: s.fake.Open(o.dir)}) // somebody works in it
		for start := time.Now(); with; <-time.After(10 * time.Millisecond) {
			if n, _, err := sizeOf(o.path(".")); err == nil && n < 200 {
				break
			}
			if time.Since(start) > stepLimit {
				return nil, errors.New("the janitor has not cleaned the folder")
			}
		}
		pids = append(pids, s.Cmd.Process.Pid)
	}
	<-time.After(5 * time.Second) // the runtime has given back what the pass took
	span := time.Duration(b.times(20, 3)) * time.Second
	var woken [2]int64
	var before [2]usage
	for i, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		before[i] = u
	}
	<-time.After(span)
	for i, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		woken[i] = u.switches - before[i].switches
	}
	return []Row{{
		What:     fmt.Sprintf("a used project after its pass, wakeups of the sidecar in %s", span),
		Measured: fmt.Sprintf("%d, without a janitor %d", woken[0], woken[1]), Bar: "0 more than without", Original: "timers of 5, 10 and 30 min and 6 h", Missed: woken[0] > woken[1],
		Values: map[string]float64{"with": float64(woken[0]), "without": float64(woken[1])},
	}}, nil
}

// pairRows run the command twice at once, and look where every file is.
func pairRows(ctx context.Context, b *bench) ([]Row, error) {
	rounds, lost, doubled, refused := b.times(10, 2), 0, 0, 0
	for i := range rounds {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("pair-%d", i))
		if err != nil {
			return nil, err
		}
		var at [2]struct {
			out []byte
			err error
		}
		var wg sync.WaitGroup
		for i := range at {
			wg.Go(func() { at[i].out, at[i].err = o.console(ctx, "clean").CombinedOutput() })
		}
		wg.Wait()
		failed := 0
		for _, one := range at {
			if one.err == nil {
				continue
			}
			if failed++; failed > 1 || !strings.Contains(string(one.out), "is cleaning it just now") {
				return nil, fmt.Errorf("sidecar clean: %w: %.1000s", one.err, one.out)
			}
		}
		refused += failed
		l, d, err := o.account(ctx)
		if err != nil {
			return nil, err
		}
		lost, doubled = lost+l, doubled+d
	}
	return []Row{{
		What:     fmt.Sprintf("two `sidecar clean` at once, %d times: files lost or in two places", rounds),
		Measured: fmt.Sprintf("%d lost, %d in two places; %d refused as another cleaned", lost, doubled, refused), Bar: "0", Missed: lost+doubled > 0,
		Values: map[string]float64{"lost": float64(lost), "doubled": float64(doubled)},
	}}, nil
}

package main

import (
	"context"
	"fmt"
	"time"
)

// The rows of this file are measured by shim/bench, in OpenCode's own runtime.

func pluginRows(ctx context.Context, b *bench) ([]Row, error) {
	type answer struct {
		Imported float64   `json:"imported"`
		Calls    []float64 `json:"calls"`
		Turns    int       `json:"turns"`
		Children int       `json:"children"`
	}
	var warm answer
	if err := b.script(ctx, "plugin", map[string]any{"times": b.times(5000, 1000)}, &warm); err != nil {
		return nil, err
	}
	var imports, firsts []float64
	for range b.times(11, 2) {
		var cold answer
		if err := b.script(ctx, "plugin", map[string]any{"times": 1}, &cold); err != nil {
			return nil, err
		}
		imports, firsts = append(imports, cold.Imported), append(firsts, cold.Calls[0])
	}
	calls, first, imported := fromMS(warm.Calls), fromMS(firsts), fromMS(imports)
	return []Row{{
		What: "plugin function server()", Measured: calls.tail(), Bar: "p99 ≤ 5 ms", Original: "first 15.4 ms",
		Missed: calls.at(0.99) > 5*time.Millisecond, Values: calls.values(),
	}, {
		What: "  first call in a fresh process", Measured: first.spread(), Bar: "≤ 5 ms", Original: "15.4 ms (12.2–51.3)",
		Missed: first.median() > 5*time.Millisecond, Values: first.values(),
	}, {
		What: "  import in a fresh process", Measured: imported.spread(), Original: "72.9 ms (59.9–139)", Values: imported.values(),
	}, {
		What:     "  what it waits for, and what it starts",
		Measured: fmt.Sprintf("%d turns of the microtask queue, %d processes after %d calls", warm.Turns, warm.Children, len(calls)),
		Bar:      "0 and 0", Missed: warm.Turns > 0 || warm.Children > 0,
		Values: map[string]float64{"turns": float64(warm.Turns), "processes": float64(warm.Children)},
	}}, nil
}

func spawnRows(ctx context.Context, b *bench) ([]Row, error) {
	var took []float64
	if err := b.script(ctx, "starts", map[string]any{"times": b.times(60, 5)}, &took); err != nil {
		return nil, err
	}
	s := fromMS(took)
	return []Row{{
		What: "sidecar: spawn → initialize answered", Measured: s.tail(), Bar: "p50 ≤ 25 ms", Original: "first call 106 ms",
		Missed: s.median() > 25*time.Millisecond, Values: s.values(),
	}}, nil
}

// called is what shim/bench says about one kind of call.
type called struct {
	Times []float64 `json:"times"` // ms
	Rates []float64 `json:"rates"` // calls a second, 64 in flight
}

func (c called) rate() float64 { return medianOf(c.Rates) }

// share is the rate as a part of another's, compared round by round: what
// disturbs the machine for a second disturbs both.
func (c called) share(other called) float64 {
	var shares []float64
	for i := range min(len(c.Rates), len(other.Rates)) {
		shares = append(shares, c.Rates[i]/other.Rates[i])
	}
	return medianOf(shares)
}

func (c called) values() map[string]float64 {
	v := fromMS(c.Times).values()
	if v != nil {
		v["per_s"] = c.rate()
	}
	return v
}

func callRows(ctx context.Context, b *bench) ([]Row, error) {
	var all map[string]called
	config := map[string]any{"times": b.times(5000, 500), "rounds": b.times(15, 2)}
	if err := b.script(ctx, "calls", config, &all); err != nil {
		return nil, err
	}
	tool, ping, plain := all["list_tasks, 50 tasks"], all["ping"], all["plain"]
	times, floor, bare := fromMS(tool.Times), fromMS(ping.Times), fromMS(plain.Times)
	const p50, p99 = 250 * time.Microsecond, 1500 * time.Microsecond
	rows := []Row{{
		What: "list_tasks with 50 tasks, one by one, seen from the shim", Measured: times.tail(), Bar: "p50 ≤ 0.25 ms, p99 ≤ 1.5 ms",
		Original: "list_agents 0.04 / 0.90 ms", Missed: times.median() > p50 || times.at(0.99) > p99, Values: tool.values(),
	}, {
		What:     "  beside echoes in the same run (p50)",
		Measured: fmt.Sprintf("%.2f × ping (%s), %.2f × a plain jsonrpc2 echo (%s)", over(times, floor), show(floor.median()), over(times, bare), show(bare.median())),
		Bar:      "≤ 2 × the echo", Missed: over(times, floor) > 2 || over(times, bare) > 2,
		Values: map[string]float64{"times_ping": over(times, floor), "times_plain": over(times, bare), "plain_p50_ms": ms(bare.median())},
	}}
	for _, name := range []string{"list_tasks, no tasks", "tool/call of it, by the peer alone", "task/list, 50 tasks", "ping", "ping, size of 50 tasks", "plain"} {
		s := fromMS(all[name].Times)
		rows = append(rows, Row{What: "  " + name, Measured: s.tail(), Values: all[name].values()})
	}
	// The bar is read as a call that has little to say; 50 tasks are 5 KB of text
	// for each answer, and what that costs shows in the row below.
	few := all["list_tasks, no tasks"]
	share, bareShare := few.share(ping), few.share(plain)
	rows = append(rows, Row{
		What:     "64 in flight: list_tasks with few tasks",
		Measured: fmt.Sprintf("%.0f/s, %.0f %% of ping (%.0f/s), %.0f %% of plain (%.0f/s)", few.rate(), 100*share, ping.rate(), 100*bareShare, plain.rate()),
		Bar:      "≥ 12000/s, ≥ 60 % of ping", Original: "list_agents 14100/s, p99 247 ms", Missed: few.rate() < 12_000 || share < 0.6,
		Values: map[string]float64{"per_s": few.rate(), "share_of_ping": share, "ping_per_s": ping.rate(), "plain_per_s": plain.rate()},
	})
	for _, name := range []string{"tool/call of it, by the peer alone", "list_tasks, 50 tasks", "task/list, 50 tasks", "ping, size of 50 tasks"} {
		rows = append(rows, Row{
			What: "  " + name, Measured: fmt.Sprintf("%.0f/s", all[name].rate()), Values: map[string]float64{"per_s": all[name].rate()},
		})
	}
	return rows, nil
}

func over(a, b sample) float64 { return float64(a.median()) / float64(b.median()) }

func framingRows(ctx context.Context, b *bench) ([]Row, error) {
	var all map[string]called
	config := map[string]any{"times": b.times(5000, 500), "rounds": b.times(15, 2)}
	if err := b.script(ctx, "framing", config, &all); err != nil {
		return nil, err
	}
	ours, theirs := all["shim"], all["vscode-jsonrpc"]
	one, other := fromMS(ours.Times), fromMS(theirs.Times)
	return []Row{{
		What:     "the shim's own framing and peer: ping",
		Measured: fmt.Sprintf("%s; vscode-jsonrpc %s: %.2f ×", one.tail(), other.tail(), over(other, one)), Values: ours.values(),
	}, {
		What:     "  64 in flight",
		Measured: fmt.Sprintf("%.0f/s; vscode-jsonrpc %.0f/s: %.2f ×", ours.rate(), theirs.rate(), ours.share(theirs)), Values: theirs.values(),
	}}, nil
}

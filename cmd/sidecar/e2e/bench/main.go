// Command bench measures what this project promises about speed, memory and
// ends, with the real OpenCode and the real binary where that is what counts,
// and prints one table: what, measured, the bar, the original's number.
//
// The machine's facts come first, because none of the numbers mean anything
// without them. Rows that compare do so within one run and interleaved, so that
// a busy machine hits both sides alike.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(echoEnv) != "" {
		os.Exit(plainEcho(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// measurement makes some rows of the table. Those that are beside do not mind
// company: they count, or look at a process that others do not disturb.
type measurement struct {
	name   string // what -run selects
	run    func(context.Context, *bench) ([]Row, error)
	beside bool
}

// measurements are all of them, in the order of the table.
func measurements() []measurement {
	return []measurement{
		{name: "size", run: sizeRows},
		{name: "idle", run: idleRows, beside: true},
		{name: "hostile", run: hostileRows, beside: true},
		{name: "run", run: runRows, beside: true},
		{name: "kill", run: killRows},
		{name: "crash", run: crashRows},
		{name: "survival", run: survivalRows},
		{name: "plugin", run: pluginRows},
		{name: "start", run: startRows},
		{name: "spawn", run: spawnRows},
		{name: "calls", run: callRows},
		{name: "framing", run: framingRows},
		{name: "launch", run: launchRows},
		{name: "swarm", run: swarmRows},
		{name: "durable", run: durableRows},
		{name: "history", run: historyRows},
		{name: "burst", run: burstRows},
		{name: "finish", run: finishRows},
		{name: "sync", run: syncRows},
		{name: "pool", run: poolRows},
		{name: "todo", run: todoRows},
		{name: "edits", run: editRows},
		{name: "hooks", run: hookRows},
		{name: "view", run: viewRows},
		{name: "stop", run: stopRows},
		{name: "close", run: closeRows},
		{name: "jobs", run: jobRows},
		{name: "janitor", run: janitorRows},
	}
}

// run is main without the process around it. The exit code is 1 when something
// could not be measured, with -strict also when a bar was missed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	only := flags.String("run", "", "measure only what this `regexp` matches: "+strings.Join(names, ", "))
	jsonFile := flags.String("json", "", "also write the results to this `file`")
	quick := flags.Bool("quick", false, "few repetitions: shows that the bench works, not how fast things are")
	strict := flags.Bool("strict", false, "exit with 1 if a bar was missed")
	profiles := flags.String("profile", "", "write CPU and heap profiles of the launch rows into this `folder`")
	if flags.Parse(args) != nil {
		return 2
	}
	selected, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintf(stderr, "bench: -run: %v\n", err)
		return 2
	}
	b, err := newBench(ctx, *quick, *profiles, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	defer b.close()

	facts := machine(ctx, b)
	facts.print(stdout)
	start := time.Now()
	results := b.measure(ctx, func(m measurement) bool { return selected.MatchString(m.name) })
	fmt.Fprintln(stdout)
	printTable(stdout, results)
	fmt.Fprintf(stdout, "\nmeasured in %s; load average at the end %s\n", time.Since(start).Round(time.Second), loadAverage())
	if *jsonFile != "" {
		err := writeJSON(*jsonFile, facts, results)
		if err != nil {
			fmt.Fprintf(stderr, "bench: %v\n", err)
			return 1
		}
	}
	for _, r := range results {
		if r.Failed != "" || *strict && r.missed() {
			return 1
		}
	}
	return 0
}

// measure runs the selected measurements in order; those that are beside run
// next to the others.
func (b *bench) measure(ctx context.Context, selected func(measurement) bool) []result {
	all := measurements()
	results := make([]result, len(all))
	var company sync.WaitGroup
	one := func(i int) {
		m := all[i]
		b.progress("%s ...", m.name)
		start := time.Now()
		rows, err := m.run(ctx, b)
		results[i] = result{Name: m.name, Rows: rows, Seconds: time.Since(start).Seconds()}
		if err != nil {
			results[i].Failed = err.Error()
		}
		b.progress("%s took %s", m.name, time.Since(start).Round(100*time.Millisecond))
	}
	for i, m := range all {
		if !selected(m) {
			continue
		}
		if m.beside {
			company.Go(func() { one(i) })
			continue
		}
		if m.name != "size" {
			company.Wait() // what follows is about time
		}
		one(i)
	}
	company.Wait()
	var out []result
	for _, r := range results {
		if r.Name != "" {
			out = append(out, r)
		}
	}
	return out
}

func writeJSON(file string, m facts, results []result) error {
	data, err := json.MarshalIndent(map[string]any{"machine": m, "results": results}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

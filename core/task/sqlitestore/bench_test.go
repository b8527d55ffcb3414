package sqlitestore

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// BenchmarkTask is one task's whole life: an insert, three updates, and a result
// of 2 KB, each durable, with 64 of them at a time.
func BenchmarkTask(b *testing.B) {
	s := open(b, file(b))
	result := strings.Repeat("r", 2048)
	work := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range work {
				if err := live(b.Context(), s, sample(i), result); err != nil {
					b.Error(err)
				}
			}
		})
	}
	n := 0
	for b.Loop() {
		work <- n
		n++
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkCreateAt1000 paces creations at 1,000 a second for two seconds.
func BenchmarkCreateAt1000(b *testing.B) {
	s := open(b, file(b))
	first := 0
	for b.Loop() {
		p50, p99, err := pace(s, first, 1000, 2*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		first += 2000
		b.ReportMetric(float64(p50.Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
	}
}

// BenchmarkTwoProcessesAt500 has two processes create 500 a second each.
func BenchmarkTwoProcessesAt500(b *testing.B) {
	path := file(b)
	first := 0
	for b.Loop() {
		one := play(b, "paced", path, strconv.Itoa(first)+" 3s")
		two := play(b, "paced", path, strconv.Itoa(first+1_000_000)+" 3s")
		first += 10_000
		for _, p := range []*player{one, two} {
			var p50, p99 float64
			if _, err := fmt.Sscan(p.hear(b), &p50, &p99); err != nil {
				b.Fatal(err)
			}
			if err := p.cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(p50/1000, "p50-ms")
			b.ReportMetric(p99/1000, "p99-ms")
		}
	}
}

// BenchmarkWith50000 measures a store with 50,000 finished tasks, each with a
// prompt of half a KB and a result of 2 KB.
func BenchmarkWith50000(b *testing.B) {
	path := file(b)
	s := open(b, path)
	prompt, result := strings.Repeat("p", 512), strings.Repeat("r", 2048)
	var wg sync.WaitGroup
	for worker := range 128 {
		wg.Go(func() {
			for i := worker; i < 50_000; i += 128 {
				t := sample(i)
				t.Prompt, t.Result, t.State, t.Told, t.Group = prompt, result, task.Completed, true, strconv.Itoa(i/10)
				t.Started, t.Ended = t.Created, t.Created.Add(time.Second)
				if err := s.Create(b.Context(), t); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	if info, err := os.Stat(path); err == nil {
		b.Logf("%d MB", info.Size()>>20)
	}
	start := time.Now()
	if err := quickCheck(b.Context(), path); err != nil {
		b.Fatal(err)
	}
	b.Logf("quick_check takes %s", time.Since(start))

	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			s, _, err := Open(Options{Path: path, Log: zerolog.Nop()})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	s = open(b, path)
	for name, q := range map[string]task.Query{
		"worktree": {Worktree: "/w", Limit: 50},
		"running":  {Worktree: "/w", States: []task.State{task.Pending, task.Running}, Limit: 50},
		"group":    {Worktree: "/w", Group: "4000", Limit: 50},
		"all":      {Limit: 50},
		"open":     {States: []task.State{task.Pending, task.Running}, Limit: 50, Texts: true},
		"parent":   {Parent: "ses_parent", Limit: 50},
		"texts":    {Worktree: "/w", Limit: 50, Texts: true},
	} {
		b.Run("List/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.List(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, texts := range []bool{false, true} {
		b.Run(fmt.Sprintf("Read/worktree,texts=%v", texts), func(b *testing.B) { // a list that is not in memory
			for b.Loop() {
				if _, err := s.db.list(b.Context(), task.Query{Worktree: "/w", Limit: 50, Texts: texts}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Get", func(b *testing.B) {
		var took []time.Duration
		for i := 0; b.Loop(); i++ {
			start := time.Now()
			if _, err := s.Get(b.Context(), sample(i*7919%50_000).ID); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e6, "p50-ms")
	})
	b.Run("RSS", func(b *testing.B) {
		for b.Loop() {
			kib, err := strconv.ParseFloat(play(b, "rss", path, "").hear(b), 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(kib/1024, "MB")
		}
	})
}

// rss opens, lists as list_tasks does and prints its resident memory in KiB.
func rss(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	defer s.Close()
	for range 20 {
		if _, err := s.List(context.Background(), task.Query{Worktree: "/w", Limit: 50}); err != nil {
			return err
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Println(strings.Fields(rest)[0])
		}
	}
	return nil
}

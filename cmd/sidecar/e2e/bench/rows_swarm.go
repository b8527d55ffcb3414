package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const swarmLimit = 50

// swarmEnds is how the nth task of the swarm has to end.
func swarmEnds(n int) string {
	if n%20 == 2 || n%20 == 3 {
		return "error"
	}
	return "completed"
}

// swarmAnswer answers the nth task: most after a moment, one in a hundred at the
// second try only, some not at all.
func swarmAnswer(p host.Prompt, s host.Session) fake.Reply {
	if s.Parent == "" {
		return fake.Reply{Text: "thanks"}
	}
	if strings.HasPrefix(p.Text, "The last turn") {
		return fake.Reply{Text: "at last"}
	}
	var n int
	_, err := fmt.Sscanf(p.Text, "do part %d", &n)
	reply := fake.Reply{After: time.Duration(rand.IntN(30)) * time.Millisecond, Text: fmt.Sprintf("result %d", n)}
	switch {
	case err != nil || n%20 == 2:
		reply.Error = &host.MessageError{Name: "APIError", Status: 400, Message: "no such thing"}
	case n%20 == 3:
		reply.Finish = "length"
	case n%100 == 1:
		reply.Error = &host.MessageError{Name: "APIError", Status: 503, Message: "overloaded", Retryable: true}
	}
	return reply
}

// swarmRows runs a swarm of tasks through the real binary over a line that loses
// a tenth of the events, doubles others and brings them in any order.
func swarmRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	n := b.times(10_000, 500)
	options := map[string]any{"defaultConcurrency": swarmLimit, "adaptiveConcurrency": false}
	s, err := b.startWired(ctx, filepath.Join(b.temp, "swarm"), "stderr.log", options, swarmAnswer)
	if err != nil {
		return nil, err
	}
	var late sync.WaitGroup
	s.fake.Emit = func(_ string, e host.Event) {
		copies := 1 + rand.IntN(10)/8
		if rand.IntN(10) == 0 {
			copies = 0
		}
		for range copies {
			late.Add(1)
			time.AfterFunc(time.Duration(rand.IntN(20))*time.Millisecond, func() {
				defer late.Done()
				s.Emit(e)
			})
		}
	}
	rows, err := s.swarm(ctx, n)
	late.Wait()
	return rows, errors.Join(err, s.end())
}

func (s *fakeShim) swarm(ctx context.Context, n int) ([]Row, error) {
	small := resident(s.Cmd.Process.Pid)
	mains, ids := s.mains(n), make([]string, n)
	start := time.Now()
	err := parallel(n, 32, func(i int) error {
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskLaunch, wire.TaskLaunchParams{
			Workspace: fakeshim.Workspace, ParentSession: mains[i/perMain], Agent: "general", Description: "look", Prompt: fmt.Sprintf("do part %d", i),
		})
		ids[i] = t.ID
		return err
	})
	if err != nil {
		return nil, err
	}
	launched := time.Since(start)
	wrong, untold := make([]string, n), 0
	wait := func(i int) (wire.Task, error) {
		return rpc.Invoke(ctx, s.Conn, wire.TaskWait, wire.TaskWaitParams{ID: ids[i]})
	}
	err = parallel(n, 32, func(i int) error {
		t, err := wait(i)
		if t.State != swarmEnds(i) || t.State == "completed" && t.Result != fmt.Sprintf("result %d", i) && t.Result != "at last" {
			wrong[i] = fmt.Sprintf("; task %d is %s: %s%s", i, t.State, t.Result, t.Error)
		}
		return err
	})
	took := time.Since(start)
	busy := resident(s.Cmd.Process.Pid)
	if err := errors.Join(err, s.quiet(ctx)); err != nil {
		return nil, err
	}
	calm := busy
	for range 25 { // it gives memory back a moment after the last task has ended
		<-time.After(200 * time.Millisecond)
		calm = min(calm, resident(s.Cmd.Process.Pid))
	}
	bad, first := 0, ""
	for i, what := range wrong {
		t, err := wait(i)
		if err != nil {
			return nil, err
		}
		if !t.Told {
			untold++
		}
		if what != "" {
			if bad++; bad == 1 {
				first = what
			}
		}
	}
	highest := s.fake.HighWater()
	return []Row{{
		What:     fmt.Sprintf("%d tasks, limit %d, events lost, doubled, late: all at their true end", n, swarmLimit),
		Measured: fmt.Sprintf("%d wrong, %d untold; %s, launched after %s%s", bad, untold, count(n, took), show(launched), first),
		Bar:      "0 wrong, 0 untold", Missed: bad+untold > 0,
		Values: map[string]float64{"wrong": float64(bad), "untold": float64(untold), "seconds": took.Seconds()},
	}, {
		What: "  most sessions in flight, counted at the host", Measured: fmt.Sprint(highest),
		Bar: fmt.Sprintf("≤ %d", swarmLimit), Missed: highest > swarmLimit, Values: map[string]float64{"in_flight": float64(highest)},
	}, {
		What: "  memory of the sidecar: before, at the end, a moment later", Measured: fmt.Sprintf("%.1f MB, %.1f MB, %.1f MB RSS", small/(1<<20), busy/(1<<20), calm/(1<<20)),
		Values: map[string]float64{"before_mb": small / (1 << 20), "end_mb": busy / (1 << 20), "calm_mb": calm / (1 << 20)},
	}}, nil
}

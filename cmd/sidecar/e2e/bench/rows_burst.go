package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const (
	// burstSessions run while events come, burstRate of them a second, in slices.
	burstSessions, burstRate = 50, 10_000
	burstSlice               = time.Millisecond
)

// burstRows sends events of sessions at work. Every second one is of a message of
// its own that has used one token, so that the sum tells whether one was lost; the
// others are of one message whose count rises, so that the last one tells whether
// they were taken in order.
func burstRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	s, err := b.startWired(ctx, filepath.Join(b.temp, "burst"), "stderr.log", map[string]any{"defaultConcurrency": burstSessions},
		func(_ host.Prompt, session host.Session) fake.Reply {
			return fake.Reply{Text: "thanks", Hang: session.Parent != ""}
		})
	if err != nil {
		return nil, err
	}
	rows, err := s.burst(ctx, time.Duration(b.times(10, 1))*time.Second)
	return rows, errors.Join(err, s.end())
}

func (s *fakeShim) burst(ctx context.Context, span time.Duration) ([]Row, error) {
	tasks, err := s.hanging(ctx, burstSessions)
	if err != nil {
		return nil, err
	}
	pid := s.Cmd.Process.Pid
	before, err := usageOf(pid)
	if err != nil {
		return nil, err
	}
	var (
		probing sync.WaitGroup
		over    = make(chan struct{})
		handled []time.Duration
		pings   []time.Duration
		unseen  error
		unheard error
	)
	probing.Go(func() { handled, unseen = s.probe(ctx, tasks[burstSessions-1], over) })
	probing.Go(func() { pings, unheard = s.pings(ctx, int(span/pingEvery)) })
	start, slices := time.Now(), int(span/burstSlice)
	each := int(burstRate * burstSlice / time.Second)
	sent := 0
	for i := range slices {
		<-time.After(time.Until(start.Add(time.Duration(i) * burstSlice)))
		for range each {
			session, nth := sent%burstSessions, sent/burstSessions
			e := host.Event{Type: host.EventMessage, Role: host.Assistant, Session: tasks[session].Session, MessageID: "msg_count", Usage: host.Usage{Input: int64(nth)}}
			if nth%2 == 0 {
				e.MessageID, e.Usage = fmt.Sprintf("msg_%d", nth), host.Usage{Output: 1}
			}
			s.Emit(e)
			sent++
		}
	}
	took := time.Since(start)
	close(over)
	probing.Wait()
	after, err := usageOf(pid)
	if err := errors.Join(err, unseen, unheard); err != nil {
		return nil, err
	}
	wrong := 0
	nths := int64(sent / burstSessions)
	want := (nths+1)/2 + (nths/2*2 - 1) // those of one token, and the last count
	for _, t := range tasks {
		if _, err := rpc.Invoke(ctx, s.Conn, wire.TaskCancel, wire.TaskGetParams{ID: t.ID}); err != nil {
			return nil, err
		}
		got, err := rpc.Invoke(ctx, s.Conn, wire.TaskGet, wire.TaskGetParams{ID: t.ID})
		if err != nil {
			return nil, err
		}
		if got.Tokens != want {
			wrong++
		}
	}
	times := sorted(handled)
	cpu := 100 * (after.cpu - before.cpu) / took.Seconds()
	return []Row{{
		What:     fmt.Sprintf("%d events of %d sessions: sessions with one lost or out of order", sent, burstSessions),
		Measured: fmt.Sprintf("%d; %s", wrong, count(sent, took)), Bar: "0", Missed: wrong > 0,
		Values: map[string]float64{"wrong": float64(wrong), "per_s": float64(sent) / took.Seconds()},
	}, {
		What: "  an event's effect is seen, the call that looks included", Bar: "p99 ≤ 5 ms",
		Measured: beside(times, sorted(pings)), Missed: times.at(0.99) > 5*time.Millisecond, Values: times.values(),
	}, {
		What: "  CPU of the sidecar meanwhile", Measured: fmt.Sprintf("%.1f %% of a core, %.1f MB RSS", cpu, after.rss/(1<<20)),
		Values: map[string]float64{"percent": cpu, "mb": after.rss / (1 << 20)},
	}}, nil
}

// hanging launches tasks and returns them once they are at work.
func (s *fakeShim) hanging(ctx context.Context, n int) ([]wire.Task, error) {
	main := s.fake.Open(launchDir)
	tasks := make([]wire.Task, n)
	for i := range tasks {
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskLaunch, wire.TaskLaunchParams{
			Workspace: fakeshim.Workspace, ParentSession: main, Agent: "general", Description: "look", Prompt: "look",
		})
		if err != nil {
			return nil, err
		}
		tasks[i] = t
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < n; {
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskGet, wire.TaskGetParams{ID: tasks[i].ID})
		if err != nil {
			return nil, err
		}
		if t.Session != "" {
			tasks[i] = t
			i++
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return tasks, s.quiet(ctx)
}

// probe asks for permission in the session of the newest task again and again, and
// returns how long each question took from the write to an answer that shows it.
func (s *fakeShim) probe(ctx context.Context, t wire.Task, over <-chan struct{}) ([]time.Duration, error) {
	var took []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i, last := 0, false; !last; i++ {
		select {
		case <-over:
			last = true // it comes after all other events, so they have been taken too
		case <-tick.C:
		}
		q := host.Question{ID: fmt.Sprintf("per_%d", i), Permission: "bash", Patterns: []string{fmt.Sprintf("probe-%d", i)}}
		start := time.Now()
		s.Emit(host.Event{Type: host.EventPermission, Session: t.Session, Question: q})
		for {
			// Unlike task/get, this asks nothing of the host.
			now, err := rpc.Invoke(ctx, s.Conn, wire.TaskList, wire.TaskListParams{Limit: 1})
			if err != nil {
				return nil, err
			}
			if now.Tasks[0].Asks == q.String() {
				break
			}
		}
		took = append(took, time.Since(start))
		s.Emit(host.Event{Type: host.EventReplied, Session: t.Session, Question: host.Question{ID: q.ID}})
	}
	return took, nil
}

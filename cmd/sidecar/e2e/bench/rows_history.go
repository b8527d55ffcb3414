package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// historyRows looks at a sidecar whose database holds the tasks of months.
func historyRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	n := b.times(50_000, 1000)
	state := filepath.Join(b.temp, "history")
	options := sqlitestore.Options{Path: filepath.Join(state, "opencode-sidecar", "tasks.db"), Log: zerolog.Nop()}
	if err := fill(ctx, options, n); err != nil {
		return nil, err
	}
	b.progress("history: %d tasks are stored", n)
	var opens, starts []time.Duration
	for range b.times(10, 2) {
		start := time.Now()
		store, _, err := sqlitestore.Open(options)
		if err != nil {
			return nil, err
		}
		opens = append(opens, time.Since(start))
		if err := store.Close(); err != nil {
			return nil, err
		}
		took, err := b.handshake(ctx, state)
		if err != nil {
			return nil, err
		}
		starts = append(starts, took)
	}
	s, err := b.startWired(ctx, state, "stderr.log", nil, busyWork)
	if err != nil {
		return nil, err
	}
	lists, rss, err := s.lists(ctx, n, b.times(2000, 50))
	if err := errors.Join(err, s.end()); err != nil {
		return nil, err
	}
	open, start := sorted(opens), sorted(starts)
	const bar = 100 * time.Millisecond
	return []Row{{
		What: fmt.Sprintf("%d ended tasks stored: list_tasks over the wire", n), Measured: lists.tail(), Bar: "p99 ≤ 5 ms",
		Missed: lists.at(0.99) > 5*time.Millisecond, Values: lists.values(),
	}, {
		What: "  the store opens", Measured: open.spread(), Bar: "≤ 100 ms", Missed: open.median() > bar, Values: open.values(),
	}, {
		What: "  spawn → initialize answered", Measured: start.spread(), Bar: "≤ 100 ms", Missed: start.median() > bar, Values: start.values(),
	}, {
		What: "  memory after the lists", Measured: fmt.Sprintf("%.1f MB RSS", rss), Bar: "≤ 24 MB", Missed: rss > 24, Values: map[string]float64{"mb": rss},
	}}, nil
}

// fill stores n tasks that ended in the last weeks.
func fill(ctx context.Context, o sqlitestore.Options, n int) error {
	store, _, err := sqlitestore.Open(o)
	if err != nil {
		return err
	}
	now, prompt, result := time.Now(), strings.Repeat("Look at it. ", 20), strings.Repeat("It is fine. ", 40)
	err = parallel(n, 512, func(i int) error {
		start := now.Add(-time.Duration(n-i) * 30 * time.Second)
		return store.Create(ctx, task.Task{
			ID: task.ID(fmt.Sprintf("task_%08x", i)), Directory: launchDir, Worktree: launchDir, Owner: "1-1", Parent: "ses_main", Root: "ses_main",
			Session: fmt.Sprintf("ses_%d", i), Agent: "general", Model: host.Model{Provider: "p", ID: "m"}, Description: "look at a part",
			Prompt: prompt, Result: result, Background: true, Depth: 1, Attempt: 1, MessageID: fmt.Sprintf("msg_%d", i), State: task.Completed,
			Created: start, Started: start, Ended: start.Add(20 * time.Second), Told: true, Usage: task.Usage{Input: 1000, Output: 100, Cost: 0.01},
		})
	})
	return errors.Join(err, store.Close())
}

// handshake starts a sidecar, waits for its answer to initialize and ends it.
func (b *bench) handshake(ctx context.Context, state string) (time.Duration, error) {
	hash, err := fakeshim.ManifestHash(b.root)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	process, err := fakeshim.Start(b.binary, state, nil)
	if err != nil {
		return 0, err
	}
	s := fakeshim.Attach(ctx, process, rpc.NewHostRouter())
	err = s.Handshake(ctx, fakeshim.Setup{Hash: hash})
	took := time.Since(start)
	return took, errors.Join(err, s.End())
}

// lists calls list_tasks so many times, and returns the memory of the sidecar
// after that in MB.
func (s *fakeShim) lists(ctx context.Context, n, times int) (sample, float64, error) {
	var took []time.Duration
	for i := range times {
		start := time.Now()
		got, err := rpc.Invoke(ctx, s.Conn, wire.ToolCall, wire.ToolCallParams{
			Workspace: fakeshim.Workspace, Tool: "list_tasks", Args: json.RawMessage(`{}`), SessionID: "ses_main", MessageID: "msg_main", Agent: "build",
		})
		if err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(start))
		if want := fmt.Sprintf("%d completed", n); i == 0 && !strings.Contains(got.Output, want) {
			return nil, 0, fmt.Errorf("the list does not say %q: %.200q", want, got.Output)
		}
	}
	return sorted(took), resident(s.Cmd.Process.Pid) / (1 << 20), nil
}

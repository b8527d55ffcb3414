package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

const (
	launchDir = "/bench/project"
	// launchLimit is the default limit of an agent.
	launchLimit = limit.DefaultAgentLimit
	// launchPromptSize is that of a short instruction, in bytes.
	launchPromptSize = 200
)

// swarm is an engine over an OpenCode in memory that answers at once.
type swarm struct {
	engine *delegate.Engine
	host   *hostSlot
	fake   *fake.OpenCode
	store  task.Store
	limits *limit.Limiter
	main   string
	sent   atomic.Int64 // prompts of children that the host has
	want   int64
	all    chan struct{} // closed when want prompts were sent
	gate   chan struct{} // prompts of gated children wait for it
	cancel context.CancelFunc
	ended  chan struct{}
}

// hostSlot lets go of the host, so that its memory does not count as ours.
type hostSlot struct{ delegate.Host }

// newSwarm starts an engine over a store, for want tasks that run for a time
// each. Gated ones are not accepted by the host before their gate is open.
func newSwarm(ctx context.Context, store task.Store, want int, lasting time.Duration, gated bool) (*swarm, error) {
	limits, err := limit.New(limit.Options{})
	if err != nil {
		return nil, err
	}
	s := &swarm{store: store, limits: limits, want: int64(want), all: make(chan struct{}), ended: make(chan struct{}), gate: make(chan struct{})}
	s.fake = fake.New(func(_ host.Prompt, session host.Session) fake.Reply {
		if session.Parent != "" && s.sent.Add(1) == s.want {
			close(s.all)
		}
		return fake.Reply{Text: "done", After: lasting}
	})
	if gated {
		s.fake.Fault(func(ctx context.Context, call string) error {
			if call != "Prompt" {
				return nil
			}
			select {
			case <-s.gate:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}
	s.host = &hostSlot{s.fake}
	s.engine = delegate.New(delegate.Options{Store: s.store, Host: s.host, Limits: limits, Log: zerolog.Nop()})
	settings := delegate.DefaultSettings()
	settings.MaxOpen, settings.MaxTree = want, want
	s.engine.WorkspaceOpened(ctx, launchDir, launchDir, settings)
	s.fake.Emit = s.engine.Event
	s.main = s.fake.Open(launchDir)
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		s.engine.Run(runCtx)
	}()
	return s, nil
}

// launch launches n background tasks and returns when they are acknowledged.
func (s *swarm) launch(ctx context.Context, n int) ([]task.ID, error) {
	ids := make([]task.ID, 0, n)
	for i := range n {
		prompt := fmt.Sprintf("%-*d", launchPromptSize, i)
		t, err := s.engine.Launch(ctx, delegate.Spec{
			Directory: launchDir, Worktree: launchDir, Parent: s.main, Agent: "general", Description: "look", Prompt: prompt, Background: true,
		})
		if err != nil {
			return nil, err
		}
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// told returns when every task has ended and the parent knows of it. The store
// may have forgotten tasks by then; it forgets only those that the parent knows.
func (s *swarm) told(ctx context.Context, ids []task.ID) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < len(ids); {
		t, err := s.engine.Wait(ctx, ids[i], 0)
		switch {
		case errors.Is(err, task.ErrNotFound):
			i++
			continue
		case err != nil:
			return err
		case t.State != task.Completed:
			return fmt.Errorf("%s is %s: %s", t.ID, t.State, t.Error)
		case t.Told:
			i++
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d tasks were told: %w", i, len(ids), context.Cause(ctx))
		}
	}
	return nil
}

// stop ends the engine, not its store, and returns when it has.
func (s *swarm) stop(ctx context.Context) error {
	err := s.engine.Stop(ctx)
	s.cancel()
	<-s.ended
	s.fake.Close()
	_, closed := s.limits.Close(ctx)
	return errors.Join(err, closed)
}

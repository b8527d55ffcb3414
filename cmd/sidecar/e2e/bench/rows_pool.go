package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
)

// pooled is one task of a row of them: how long it took from the call of the
// tool to the child's request to its model, and how many messages that had.
type pooled struct {
	reached  time.Duration
	messages int
}

// poolRows shows what the reuse of sessions gains in OpenCode, where a session is
// a row in a database: tasks one after the other, with the pool and without.
func poolRows(ctx context.Context, b *bench) ([]Row, error) {
	n := b.times(10, 2)
	var without, with []pooled
	for _, on := range []bool{false, true} {
		s, err := b.serveWith(ctx, filepath.Join(b.root, "shim"), fmt.Sprintf("OPENCODE_SIDECAR_SESSION_POOL=%v", on))
		if err != nil {
			return nil, err
		}
		list, err := s.inTurn(ctx, n)
		if err := errors.Join(err, s.close()); err != nil {
			return nil, err
		}
		if on {
			with = list
		} else {
			without = list
		}
	}
	fresh, reused := reaches(without), reaches(with)
	last := with[len(with)-1].messages
	return []Row{{
		What: "session pool: call → the child's request to its model, fresh | reused session",
		Measured: fmt.Sprintf("%s | %s; the %dth task in one session sends %d messages along, a fresh one %d",
			fresh.spread(), reused.spread(), n, last, without[len(without)-1].messages),
		Values: map[string]float64{"fresh_ms": ms(fresh.median()), "reused_ms": ms(reused.median()), "messages": float64(last)},
	}}, nil
}

func reaches(list []pooled) sample {
	var out []time.Duration
	for _, p := range list {
		out = append(out, p.reached)
	}
	return sorted(out)
}

// inTurn runs n synchronous tasks of one session, after one that warms OpenCode up.
func (s *served) inTurn(ctx context.Context, n int) ([]pooled, error) {
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	var list []pooled
	for i := range n + 1 {
		tag := fmt.Sprintf("pool-%d", i)
		if err := s.ask(ctx, session, "@tag "+tag, e2e.Delegate(false, "@tag "+tag+"-child", "@say the answer"), "@say ok"); err != nil {
			return nil, err
		}
		call, err := s.turn(ctx, tag, 0)
		if err != nil {
			return nil, err
		}
		child, err := s.turn(ctx, tag+"-child", 0)
		if err != nil {
			return nil, err
		}
		list = append(list, pooled{child.Start.Sub(call.End), len(child.Messages)})
	}
	return list[1:], nil
}

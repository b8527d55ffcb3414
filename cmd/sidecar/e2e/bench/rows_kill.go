package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const hangingTasks = 5

// killRows ends OpenCode in every way while tasks run, and counts what is left.
func killRows(ctx context.Context, b *bench) ([]Row, error) {
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT}
	var rows []Row
	for _, mode := range []string{"serve", "run"} {
		var took []time.Duration
		var parts []string
		for _, sig := range signals[:b.times(len(signals), 1)] {
			end := b.endServe
			if mode == "run" {
				end = b.endRun
			}
			d, err := end(ctx, sig)
			if err != nil {
				return rows, fmt.Errorf("%s of opencode %s: %w", sig, mode, err)
			}
			took = append(took, d)
			parts = append(parts, fmt.Sprintf("%s %s", strings.ToUpper(sig.String()), show(d)))
		}
		s := sorted(took)
		rows = append(rows, Row{
			What:     fmt.Sprintf("opencode %s ended with %d tasks running → nothing left", mode, hangingTasks),
			Measured: strings.Join(parts, ", "), Bar: "≤ 2 s", Original: "grandchildren live on", Missed: s.at(1) > 2*time.Second, Values: s.values(),
		})
	}
	var ends []time.Duration
	for range b.times(3, 1) {
		d, err := b.interrupt(ctx)
		if err != nil {
			return rows, fmt.Errorf("SIGINT of a waiting run: %w", err)
		}
		ends = append(ends, d)
	}
	s := sorted(ends)
	return append(rows, Row{
		What: "  SIGINT while run waits for a task → ended", Measured: s.spread(), Bar: "≤ 0.5 s", Missed: s.at(1) > 500*time.Millisecond, Values: s.values(),
	}), nil
}

func (b *bench) endServe(ctx context.Context, sig syscall.Signal) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	s, err := b.serve(ctx)
	if err != nil {
		return 0, err
	}
	session, err := s.session(ctx)
	if err == nil {
		err = s.ask(ctx, session, batch(hangingTasks, "@tag five", "@hang"), "@say launched")
	}
	if err == nil {
		err = s.Model.WaitLoad(ctx, "five", hangingTasks)
	}
	if err == nil {
		_, err = s.sidecar()
	}
	if err != nil {
		return 0, errors.Join(err, s.close())
	}
	took, err := ended(ctx, s.Process, s.Rig, sig)
	return took, errors.Join(err, s.close())
}

func (b *bench) endRun(ctx context.Context, sig syscall.Signal) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	r, err := b.rig(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return 0, err
	}
	p, err := r.Project.Run(batch(hangingTasks, "@tag five", "@hang") + "\n@say launched")
	if err == nil {
		err = r.Model.WaitLoad(ctx, "five", hangingTasks)
	}
	if err == nil {
		_, err = p.WaitOutput(ctx, "launched")
	}
	if err != nil {
		return 0, errors.Join(err, r.Close())
	}
	took, err := ended(ctx, p, r, sig)
	return took, errors.Join(err, r.Close())
}

func (b *bench) interrupt(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	r, err := b.rig(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return 0, err
	}
	p, err := r.Project.Run(e2e.Delegate(true, "@tag wait", "@hang") + "\n@say launched")
	if err == nil {
		err = r.Model.WaitLoad(ctx, "wait", 1)
	}
	if err == nil {
		_, err = p.WaitOutput(ctx, "launched")
	}
	start := time.Now()
	if err == nil {
		err = p.Signal(os.Interrupt)
	}
	if err == nil {
		_, err = p.Wait(ctx)
	}
	return time.Since(start), errors.Join(err, r.Close())
}

// ended signals OpenCode and returns how long something of the project lives.
func ended(ctx context.Context, p *hosttest.Process, r *e2e.Rig, sig os.Signal) (time.Duration, error) {
	start := time.Now()
	if err := p.Signal(sig); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := r.Processes().WaitGone(ctx)
	return time.Since(start), err
}

// crashRows kills the sidecar while a call is in flight.
func crashRows(ctx context.Context, b *bench) ([]Row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	var failed, again []time.Duration
	for n := range b.times(3, 1) { // a fourth death within a minute is the last
		f, a, err := s.crash(ctx, fmt.Sprintf("doomed-%d", n))
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		failed, again = append(failed, f), append(again, a)
	}
	errored, works := sorted(failed), sorted(again)
	return []Row{{
		What: "SIGKILL of the sidecar → the call in flight fails", Measured: errored.spread(), Bar: "≤ 200 ms", Original: "60 s",
		Missed: errored.at(1) > 200*time.Millisecond, Values: errored.values(),
	}, {
		What: "  and the next call works", Measured: fmt.Sprintf("all of %d; a whole turn with it took %s", len(works), show(works.median())),
		Bar: "works", Values: works.values(),
	}}, s.close()
}

// crash returns how long after the kill the call failed, and how long a turn
// with the next call took.
func (s *served) crash(ctx context.Context, tag string) (failed, again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	session, err := s.session(ctx)
	if err != nil {
		return 0, 0, err
	}
	after := s.events.Len()
	if err := s.PromptAsync(ctx, session, hosttest.Text(e2e.Delegate(false, "@tag "+tag, "@hang"), "@say went on")); err != nil {
		return 0, 0, err
	}
	if err := s.Model.WaitLoad(ctx, tag, 1); err != nil {
		return 0, 0, err
	}
	pid, err := s.sidecar()
	if err != nil {
		return 0, 0, err
	}
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return 0, 0, err
	}
	event, err := s.events.Wait(ctx, after, func(e hosttest.Event) bool {
		return e.Type == "message.part.updated" && e.Session == session && strings.Contains(string(e.Properties), "stopped unexpectedly")
	})
	if err != nil {
		return 0, 0, fmt.Errorf("the call did not fail: %w", err)
	}
	if err := s.WaitIdle(ctx, session); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := s.ask(ctx, session, e2e.Call("list_tasks", nil), "@tag "+tag+"-again", "@say {{result}}"); err != nil {
		return 0, 0, err
	}
	again = time.Since(start)
	answer, err := s.turn(ctx, tag+"-again", 1)
	if err == nil && !strings.Contains(answer.Last("tool"), "task") {
		err = fmt.Errorf("the next call answered %q", answer.Last("tool"))
	}
	return event.At.Sub(killed), again, err
}

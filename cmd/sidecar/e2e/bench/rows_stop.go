package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const stopBar = 100 * time.Millisecond

// stopRows stops missions in the real OpenCode, while their session works and
// while it rests.
func stopRows(ctx context.Context, b *bench) ([]Row, error) {
	record := filepath.Join(b.temp, "stop.jsonl")
	s, err := b.serveWith(ctx, filepath.Join(b.root, "shim"), "OPENCODE_SIDECAR_RECORD="+record, "OPENCODE_SIDECAR_MISSION_COUNTDOWN=10m")
	if err != nil {
		return nil, err
	}
	rows, err := s.stops(ctx, record, b.times(10, 1))
	return rows, errors.Join(err, s.close())
}

func (s *served) stops(ctx context.Context, record string, n int) ([]Row, error) {
	var rows []Row
	for _, mode := range []struct {
		name, step, ready, sign string
	}{
		{"busy", "@text at work\n@hang", "message.part.delta", "at work"},
		{"idle", "@say planned", "tui.toast.show", "It goes on in 10m"},
	} {
		var hooks, aborts, turns []time.Duration
		for i := range n {
			hook, turn, err := s.stop(ctx, record, mode.step, mode.ready, mode.sign)
			if err != nil {
				return rows, fmt.Errorf("stop %d of a session that is %s: %w", i, mode.name, err)
			}
			hooks, aborts, turns = append(hooks, hook.took), append(aborts, hook.abort), append(turns, turn)
		}
		hook, abort, turn := sorted(hooks), sorted(aborts), sorted(turns)
		measured := hook.spread()
		if abort.at(1) > 0 {
			measured += fmt.Sprintf(", OpenCode's abort %s of that", show(abort.median()))
		}
		rows = append(rows, Row{
			What:     fmt.Sprintf("/stop of a mission whose session is %s: its hook, seen from the shim", mode.name),
			Measured: fmt.Sprintf("%s; with the sentence that confirms it %s", measured, show(turn.median())), Bar: "all ≤ 100 ms",
			Missed: hook.at(1) > stopBar, Values: hook.values(),
		})
	}
	return rows, nil
}

// stop starts a mission in a session of its own, waits for an event that it has
// come to its last step, and stops it. It returns how long the hook took, and the
// whole command with its answer.
func (s *served) stop(ctx context.Context, record, step, ready, sign string) (hook stopped, turn time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	session, err := s.session(ctx)
	if err != nil {
		return hook, 0, err
	}
	script := []string{"Build it.", e2e.Call("update_todo", map[string]any{"action": "add", "task": "the work"}), step, "@say stopped as you wish", "@say never to be said"}
	after, ended := s.events.Len(), make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.Client.Command(ctx, session, "task", strings.Join(script, "\n")) // the stop may end it with an error
	}()
	defer func() {
		cancel()
		<-ended
	}()
	_, err = s.events.Wait(ctx, after, func(e hosttest.Event) bool {
		return e.Type == ready && (e.Session == session || e.Session == "") && strings.Contains(string(e.Properties), sign)
	})
	if err != nil {
		return hook, 0, fmt.Errorf("the mission does not come to its last step: %w", err)
	}
	start := time.Now()
	answer, err := s.Client.Command(ctx, session, "stop", "")
	turn = time.Since(start)
	if err != nil {
		return hook, 0, err
	}
	if answer.Text() != "stopped as you wish" {
		return hook, 0, fmt.Errorf("/stop is answered %.300q", answer.Text())
	}
	crossed, err := readRecording(record)
	if err != nil {
		return hook, 0, err
	}
	hook, err = crossed.stop(session)
	if err == nil && !strings.HasPrefix(hook.text, "The mission was stopped after ") {
		err = fmt.Errorf("the hook says %q", hook.text)
	}
	return hook, turn, err
}

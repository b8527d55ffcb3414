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

// noIdle is our plugin without ears for the end of a turn.
const noIdle = `import plugin from %q;

const deaf = ({ type, properties }) => type === "session.idle" || (type === "session.status" && properties.status.type === "idle");

export default {
  id: "opencode-sidecar-without-idle",
  server: async (input, options) => {
    const hooks = await plugin.server(input, options);
    const { event } = hooks;
    return { ...hooks, event: async (given) => void (deaf(given.event) || (await event(given))) };
  },
};
`

// finished is how long the end of a child took to arrive. From the event that it
// is idle, by the shim's clock: until the messages that prove it were there, and
// until the parent's wake was sent. From outside, by the bus of OpenCode: until
// the parent's session had the result, after the same event and after the end of
// the model's answer, which OpenCode's own work for the end of a turn is part of.
type finished struct{ proof, wake, told, answer time.Duration }

func finishRows(ctx context.Context, b *bench) ([]Row, error) {
	heard, err := b.finishes(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return nil, err
	}
	plugin, err := b.writePlugin("no-idle", fmt.Sprintf(noIdle, filepath.Join(b.root, "shim", "dist", "index.js")))
	if err != nil {
		return nil, err
	}
	lost, err := b.finishes(ctx, plugin)
	if err != nil {
		return nil, err
	}
	proof := pick(heard, func(f finished) time.Duration { return f.proof })
	wake := pick(heard, func(f finished) time.Duration { return f.wake })
	told := pick(heard, func(f finished) time.Duration { return f.told })
	answer := pick(heard, func(f finished) time.Duration { return f.answer })
	without := pick(lost, func(f finished) time.Duration { return f.told })
	return []Row{{
		What: "0.5 s task: session.idle → end proven, task terminal", Measured: proof.spread(), Bar: "≤ 50 ms", Original: "10.24 s",
		Missed: proof.median() > 50*time.Millisecond, Values: proof.values(),
	}, {
		What:     "  → parent's wake sent",
		Measured: fmt.Sprintf("%s; in its session, seen from outside, %s, %s after the model's answer", wake.spread(), show(told.median()), show(answer.median())),
		Values:   wake.values(),
	}, {
		What: "  every idle event dropped → parent told", Measured: without.spread(), Bar: "≤ 1 s", Original: "10.24 s",
		Missed: without.median() > time.Second, Values: without.values(),
	}}, nil
}

func pick(list []finished, which func(finished) time.Duration) sample {
	var out []time.Duration
	for _, f := range list {
		out = append(out, which(f))
	}
	return sorted(out)
}

func (b *bench) finishes(ctx context.Context, plugin string) ([]finished, error) {
	record := filepath.Join(b.temp, filepath.Base(plugin)+".jsonl")
	s, err := b.serveWith(ctx, plugin, "OPENCODE_SIDECAR_RECORD="+record)
	if err != nil {
		return nil, err
	}
	var list []finished
	n := b.times(10, 1)
	for try := 0; len(list) <= n; try++ { // the first one warms OpenCode up
		f, err := s.finish(ctx, fmt.Sprintf("child-%d", try), record)
		if errors.Is(err, errParentBusy) && try < 3*n {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		list = append(list, f)
	}
	return list[1:], s.close()
}

// errParentBusy is a run that says nothing: the parent's own turn was still
// running when its task ended, and nobody interrupts that.
var errParentBusy = errors.New("the parent was busy when its task ended")

func (s *served) finish(ctx context.Context, tag, record string) (finished, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	session, err := s.session(ctx)
	if err != nil {
		return finished{}, err
	}
	after := s.events.Len()
	if err := s.ask(ctx, session, e2e.Delegate(true, "@tag "+tag, "@wait 500ms", "@say the answer"), "@say launched"); err != nil {
		return finished{}, err
	}
	child, err := s.turn(ctx, tag, 0)
	if err != nil {
		return finished{}, err
	}
	told, err := s.events.Wait(ctx, after, func(e hosttest.Event) bool {
		return e.Type == "message.part.updated" && e.Session == session && strings.Contains(string(e.Properties), "background task has ended")
	})
	if err != nil {
		return finished{}, fmt.Errorf("the parent was not told: %w", err)
	}
	idle, err := s.events.Wait(ctx, after, hosttest.OfSession("session.idle", child.Session))
	if err != nil {
		return finished{}, err
	}
	parent, err := s.events.Wait(ctx, after, hosttest.OfSession("session.idle", session))
	if err != nil {
		return finished{}, err
	}
	if parent.Seq > idle.Seq {
		return finished{}, errParentBusy
	}
	f := finished{told: told.At.Sub(idle.At), answer: told.At.Sub(child.End)}
	crossed, err := readRecording(record)
	if err == nil {
		f.proof, f.wake, err = crossed.ending(child.Session, session)
		if errors.Is(err, errNoIdle) {
			err = nil // this plugin passes none on
		}
	}
	return f, errors.Join(err, s.WaitIdle(ctx, session))
}

// syncRows compares what a synchronous delegation adds to its child's prompt
// with what OpenCode's own task tool adds, for the same script, in turns.
func syncRows(ctx context.Context, b *bench) ([]Row, error) {
	s, err := b.serve(ctx)
	if err != nil {
		return nil, err
	}
	tools := []func(script ...string) string{
		func(script ...string) string { return e2e.Delegate(false, script...) },
		func(script ...string) string {
			return e2e.Call("task", map[string]any{"subagent_type": "general", "description": "scripted work", "prompt": strings.Join(script, "\n")})
		},
	}
	added := make([][]time.Duration, len(tools))
	for n := range b.times(10, 1) + 1 {
		for i, tool := range tools {
			d, err := s.added(ctx, fmt.Sprintf("sync-%d-%d", i, n), tool)
			if err != nil {
				return nil, errors.Join(err, s.close())
			}
			if n > 0 { // the first ones warm OpenCode up
				added[i] = append(added[i], d)
			}
		}
	}
	ours, builtin := sorted(added[0]), sorted(added[1])
	more := ours.median() - builtin.median()
	return []Row{{
		What:     "synchronous delegate_task of 0.5 s: over OpenCode's own task tool",
		Measured: fmt.Sprintf("%s; beyond the prompt itself ours %s, task %s", show(more), ours.spread(), builtin.spread()), Bar: "≤ 0.1 s", Original: "10.5 s, or never",
		Missed: more > 100*time.Millisecond, Values: map[string]float64{"over_ms": ms(more), "ours_ms": ms(ours.median()), "task_ms": ms(builtin.median())},
	}}, s.close()
}

// added runs a tool that plays a child script of 0.5 s, and returns how much
// longer than the child's prompt it took from the model's call to its result.
func (s *served) added(ctx context.Context, tag string, tool func(...string) string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	session, err := s.session(ctx)
	if err != nil {
		return 0, err
	}
	child := tag + "-child"
	if err := s.ask(ctx, session, "@tag "+tag, tool("@tag "+child, "@wait 500ms", "@say the answer"), "@say ok"); err != nil {
		return 0, err
	}
	call, err := s.turn(ctx, tag, 0)
	if err != nil {
		return 0, err
	}
	prompt, err := s.turn(ctx, child, 0)
	if err != nil {
		return 0, err
	}
	next, err := s.turn(ctx, tag, 1)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(next.Last("tool"), "the answer") {
		return 0, fmt.Errorf("the tool returned %.300q", next.Last("tool"))
	}
	return next.Start.Sub(call.End) - prompt.End.Sub(prompt.Start), nil
}

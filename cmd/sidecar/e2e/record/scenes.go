package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// scene is one behaviour to record.
//
// A scene keeps apart in time what races otherwise, such as the ends of two
// tasks: a transcript has one order, and a replay has to come to the same.
type scene struct {
	name  string
	about string
	// options are those of the plugin that differ from the recorder's: toasts are off.
	options map[string]any
	// prompt is that of the main session, or what command is called with.
	prompt  []string
	command string
	// play drives OpenCode until the recording may be cut off; OpenCode is then
	// killed. It is nil for `opencode run`, which needs nobody.
	play func(context.Context, *stage) error
}

func scenes() []scene {
	onTask := func(tool string) string { return e2e.Call(tool, map[string]any{"taskId": "{{task 1}}"}) }
	onJob := func(tool, args string) string { return "@call " + tool + ` {"taskId":"{{job 1}}"` + args + "}" }
	todos := map[string]any{"todos": []any{
		map[string]any{"content": "write it down", "status": "in_progress", "priority": "high"},
		map[string]any{"content": "do it", "status": "pending", "priority": "low"},
	}}
	return append([]scene{
		{
			name:   "handshake",
			about:  "The first tool call starts the sidecar: handshake, workspace, one call and its look-up.",
			prompt: []string{e2e.Call("list_agents", nil), "@say these are the agents"},
			play:   untilSaid("these are the agents"),
		}, {
			name:   "background",
			about:  "A background task: launched, ended, and told to the session that asked, which is idle by then.",
			prompt: []string{e2e.Delegate(true, "@wait 1s", "@say done in the background"), "@say launched", "@say thank you"},
			play:   untilSaid("thank you"),
		}, {
			name:   "sync",
			about:  "A synchronous task: its result is the result of the tool call.",
			prompt: []string{e2e.Delegate(false, "@wait 300ms", "@say done while you waited"), "@say thank you"},
			play:   untilSaid("thank you"),
		}, {
			name:  "batch",
			about: "Three tasks in one call. They run in parallel, end one after another, and each end is told.",
			prompt: []string{
				e2e.Batch("@gate one\n@say first", "@gate two\n@say second", "@gate three\n@say third"),
				"@say launched", "@say got one", "@say got two", "@say got three",
			},
			play: func(ctx context.Context, s *stage) error {
				err := s.said(ctx, "launched")
				for _, gate := range []string{"one", "two", "three"} {
					if err == nil {
						err = s.quiet(ctx)
					}
					s.Model.Open(gate)
					if err == nil {
						err = s.said(ctx, "got "+gate)
					}
				}
				return errors.Join(err, s.quiet(ctx))
			},
		}, {
			name:  "cancel",
			about: "The model looks at a running task and cancels it: its session is aborted, and seen to have stopped, before the call is answered.",
			prompt: []string{
				e2e.Delegate(true, "@text so far", "@hang"), "@wait 700ms", onTask("get_task_result"),
				"@wait 300ms", onTask("cancel_task"), "@say cancelled",
			},
			play: untilSaid("cancelled"),
		}, {
			name:   "abort",
			about:  "The user stops the session (Esc) while it waits for a synchronous task: the call is cancelled, and the task with it.",
			prompt: []string{e2e.Delegate(false, "@tag child", "@hang")},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.childRuns, s.quiet,
					func(ctx context.Context) error { return s.Abort(ctx, s.session) },
					s.recorded("-32800"), s.quiet)
			},
		}, {
			name:   "failure",
			about:  "The provider refuses the child's request: the task has failed, and the session that asked is told why.",
			prompt: []string{e2e.Delegate(true, "@wait 500ms", "@fail 400 the model is on strike"), "@say launched", "@say what a pity"},
			play:   untilSaid("what a pity"),
		}, {
			name:   "todo",
			about:  "The model writes OpenCode's own todo list while the sidecar runs: the event crosses.",
			prompt: []string{e2e.Call("list_tasks", nil), e2e.Call("todowrite", todos), "@say noted"},
			play:   untilSaid("noted"),
		}, {
			name:   "dispose",
			about:  "OpenCode disposes of its instance while a task runs and does not come back: the sidecar ends itself after 10 s.",
			prompt: []string{e2e.Delegate(true, "@tag child", "@hang"), "@say launched"},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.saying("launched"), s.childRuns, s.quiet, s.Dispose, s.recorded(`"note":"exit"`))
			},
		}, {
			name:   "reload",
			about:  "OpenCode disposes of its instance, which aborts what runs, and opens the directory again: the task was interrupted, which is told.",
			prompt: []string{e2e.Delegate(true, "@tag child", "@hang"), "@say launched", "@say what a pity"},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.saying("launched"), s.childRuns, s.quiet, s.Dispose,
					s.recorded(`workspace/close`), s.saying("what a pity"), s.quiet)
			},
		}, {
			name:  "eof",
			about: "OpenCode is killed while a task runs: the sidecar sees the end of its input and ends too.",
			prompt: []string{
				e2e.Delegate(true, "@tag child", "@text so far", "@hang"), "@wait 500ms", onTask("get_task_result"), "@say launched",
			},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.saying("launched"), s.childRuns, s.quiet)
			},
		}, {
			name:  "jobs",
			about: "Background commands: one is started under the user's rules, its line awaited; it is written to, read from a cursor on, and killed; another fails, and one is refused because its folder is not there.",
			prompt: []string{
				`@call run_background {"command":"echo listening; read line; echo got $line; exec sleep 300","label":"server","interactive":true,"waitFor":"listening"}`,
				onJob("write_background", `,"input":"hello\n"`),
				onJob("check_background", `,"cursor":"10.0","waitFor":"got"`),
				"@call list_background",
				onJob("kill_background", ""),
				`@call run_background {"command":"echo oops >&2; exit 3","waitMs":20000}`,
				`@call run_background {"command":"true","cwd":"nowhere"}`,
				"@say these were commands",
			},
			play: untilSaid("these were commands"),
		}, {
			name:  "jobs-notify",
			about: "The session is told of the end of a background command, because it asked for that.",
			prompt: []string{
				`@call run_background {"command":"sleep 1; echo built; exit 2","label":"build","notify":true}`,
				"@say launched", "@say what a pity",
			},
			play: untilSaid("what a pity"),
		}, {
			name:   "headless",
			about:  "`opencode run` with a background task: the turn is continued and held until the result is there.",
			prompt: []string{e2e.Delegate(true, "@wait 1200ms", "@say done in the background"), "@say launched", "@say thank you"},
		},
	}, missions()...)
}

// untilSaid plays until the main session has said the last it has to say.
func untilSaid(last string) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error { return inTurn(ctx, s.saying(last), s.quiet) }
}

// inTurn does one thing after the other until one fails.
func inTurn(ctx context.Context, steps ...func(context.Context) error) error {
	for i, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// stage is where a scene plays.
type stage struct {
	*e2e.Rig
	*hosttest.Server
	session string
	raw     string
}

// childRuns waits until the request tagged child is being answered.
func (s *stage) childRuns(ctx context.Context) error { return s.Model.WaitLoad(ctx, "child", 1) }

func (s *stage) saying(text string) func(context.Context) error {
	return func(ctx context.Context) error { return s.said(ctx, text) }
}

// said waits until the main session has said something, and rests.
func (s *stage) said(ctx context.Context, text string) error {
	_, err := s.WaitMessages(ctx, s.session, func(all []hosttest.Message) bool {
		for _, m := range all {
			if m.Info.Role == "assistant" && m.Text() == text {
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", text, err)
	}
	return s.WaitIdle(ctx, s.session)
}

// recorded waits until the recording holds a text.
func (s *stage) recorded(text string) func(context.Context) error {
	return func(ctx context.Context) error {
		for !strings.Contains(s.read(), text) {
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("nothing like %s was recorded: %w", text, err)
			}
		}
		return nil
	}
}

// quiet waits until nothing was recorded for a while.
func (s *stage) quiet(ctx context.Context) error {
	for size := -1; size != len(s.read()); {
		size = len(s.read())
		if err := pause(ctx, 700*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// read returns what was recorded so far, nothing before the sidecar has started.
func (s *stage) read() string {
	b, _ := os.ReadFile(s.raw)
	return string(b)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

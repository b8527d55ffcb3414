package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/transcript"
)

// missions are the scenes about todo.md and what drives it.
func missions() []scene {
	// What a mission tells people is how most of its ends show.
	quick := func(more map[string]any) map[string]any {
		options := map[string]any{"toasts": true, "missionCountdown": "300ms"}
		maps.Copy(options, more)
		return options
	}
	parts := []string{
		"Build all five parts.",
		plan(5), workers(1, 2), "@say launched the first two", "@say two are done",
		workers(3, 4), "@say launched two more", "@say four are done",
		workers(5), "@say launched the last", "@say five are done",
	}
	endless := func(step string) []string {
		script := []string{"Build it.", plan(1)}
		for range 6 {
			script = append(script, step)
		}
		return script
	}
	over := func(what string) func(context.Context, *stage) error {
		return func(ctx context.Context, s *stage) error { return inTurn(ctx, s.recorded(what), s.quiet) }
	}
	return []scene{
		{
			name:    "mission",
			about:   "/task: a plan of five items, delegated to workers and finished over two continuations.",
			options: quick(nil),
			command: "task",
			prompt:  parts,
			play:    over("Done: 5 of 5"),
		}, {
			name:    "mission-run",
			about:   "`opencode run --command task`: the same mission; each turn is continued before it ends, without a countdown.",
			command: "task",
			prompt:  parts,
		}, {
			name:    "mission-edit",
			about:   "A person edits todo.md in the middle of a mission, the way of vim: agents see it, and the mission does not end before that is done too.",
			options: quick(nil),
			command: "task",
			prompt: []string{
				"Build it.", plan(1), update("S1", "completed"), "@tag held\n@gate edited\n@say all is done",
				update("by hand", "completed"), "@say what the user added is done",
			},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.runs("held"), s.quiet,
					s.edits(func(text string) string { return "<!-- my notes -->\r\n" + text + "* [ ] one more, by hand" }),
					s.recorded("todo.md was edited"), s.quiet, s.opens("edited"), s.recorded("Done: 2 of 2"), s.quiet)
			},
		}, {
			name:    "mission-stop",
			about:   "/stop while the session is busy: the turn is aborted inside the hook, and one sentence confirms it.",
			options: quick(nil),
			command: "task",
			prompt:  []string{"Build it.", plan(1), "@tag held\n@text working on it\n@hang", "@say stopped as you wish", "@say never to be said"},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.runs("held"), s.quiet, s.slash("stop"), s.saying("stopped as you wish"), s.quiet)
			},
		}, {
			name:    "mission-esc",
			about:   "The user stops the turn (Esc): the mission is paused, and goes on after the next message.",
			options: quick(nil),
			command: "task",
			prompt: []string{
				"Build it.", plan(1), "@tag held\n@text working on it\n@hang", "@say the other one, then", update("S1", "completed"), "@say it is built",
			},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.runs("held"), s.quiet,
					func(ctx context.Context) error { return s.Abort(ctx, s.session) },
					s.recorded("Paused: you stopped its turn"), s.quiet, s.says("use the other one"), s.recorded("Done: 1 of 1"), s.quiet)
			},
		}, {
			name:    "mission-restart",
			about:   "The sidecar is killed in the middle of a mission: the next one goes on with it.",
			options: quick(nil),
			command: "task",
			prompt:  []string{"Build it.", plan(1), "@tag held\n@gate restarted\n@say planned", update("S1", "completed"), "@say it is built"},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.runs("held"), s.quiet, s.killSidecar, s.recorded(`"restarts":1`), s.quiet,
					s.opens("restarted"), s.recorded("Done: 1 of 1"), s.quiet)
			},
		}, {
			name:    "mission-idle",
			about:   "A model that does nothing but talk is stopped after missionIdleTurns turns of which nothing came.",
			options: quick(map[string]any{"missionIdleTurns": 2}),
			command: "task",
			prompt:  endless("@say still at it"),
			play:    over("Stopped: nothing came of"),
		}, {
			name:    "mission-iterations",
			about:   "A model that never finishes is stopped after missionIterations continuations.",
			options: quick(map[string]any{"missionIterations": 2, "missionIdleTurns": 50}),
			command: "task",
			prompt:  endless("@say still at it"),
			play:    over("Stopped: it has gone on 2 times"),
		}, {
			name:    "mission-tokens",
			about:   "A model that never finishes is stopped when missionTokens are used up.",
			options: quick(map[string]any{"missionTokens": 15_000, "missionIdleTurns": 50}),
			command: "task",
			prompt:  endless("@usage 9000 1000\n@say still at it"),
			play:    over("Stopped: it has used"),
		}, {
			name:   "commands",
			about:  "/status, /agents and /plan in a session without a mission: the first two are answered in the hook, which starts the sidecar.",
			prompt: []string{"@say hello", "@say there is none", "@say these are the agents", "@say a plan"},
			play: func(ctx context.Context, s *stage) error {
				return inTurn(ctx, s.saying("hello"), s.slash("status"), s.quiet, s.slash("agents"), s.quiet,
					s.slash("plan", "Build it."), s.saying("a plan"), s.quiet)
			},
		}, {
			name:  "update-todo",
			about: "The tool update_todo: items are added, one is named ambiguously, the list is not the one that was read, and the rules of an agent do not allow the edit.",
			prompt: []string{
				add("write the parser"), add("write the tests"), update("write the", "completed"), update("the tests", "completed"),
				todoCall(map[string]any{"action": "add", "task": "the parser", "subtask": "read the boxes"}),
				todoCall(map[string]any{"action": "update", "task": "the parser", "status": "progress", "version": "0123456789ab"}),
				"@say noted", update("the parser", "completed"), "@say I may not",
			},
			play: func(ctx context.Context, s *stage) error {
				planning := hosttest.Text("may you")
				planning.Agent = "plan"
				return inTurn(ctx, s.saying("noted"), s.quiet,
					func(ctx context.Context) error { return s.PromptAsync(ctx, s.session, planning) },
					s.saying("I may not"), s.quiet)
			},
		},
	}
}

// todoCall is a call of update_todo.
func todoCall(arguments map[string]any) string { return e2e.Call("update_todo", arguments) }

func add(item string) string { return todoCall(map[string]any{"action": "add", "task": item}) }

func update(item, status string) string {
	return todoCall(map[string]any{"action": "update", "task": item, "status": status})
}

// plan writes a list of so many items.
func plan(items int) string {
	var calls []string
	for i := range items {
		calls = append(calls, add(fmt.Sprintf("S%d: part %d", i+1, i+1)))
	}
	return strings.Join(calls, "\n")
}

// workers delegates items to workers, which mark their own and end so far apart
// that people are told of each.
func workers(numbers ...int) string {
	var tasks []map[string]any
	for i, n := range numbers {
		tasks = append(tasks, map[string]any{
			"agent": "Worker", "description": fmt.Sprintf("S%d", n),
			"prompt": fmt.Sprintf("@wait %dms\n%s\n@say part %d is built", 600+1900*i, update(fmt.Sprintf("S%d", n), "completed"), n),
		})
	}
	return e2e.Call("delegate_tasks", map[string]any{"tasks": tasks, "wake": "all"})
}

// runs waits until a request with a tag is being answered.
func (s *stage) runs(tag string) func(context.Context) error {
	return func(ctx context.Context) error { return s.Model.WaitLoad(ctx, tag, 1) }
}

func (s *stage) opens(gate string) func(context.Context) error {
	return func(context.Context) error {
		s.Model.Open(gate)
		return nil
	}
}

// slash calls a command and waits for the end of its turn.
func (s *stage) slash(command string, arguments ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Client.Command(ctx, s.session, command, strings.Join(arguments, "\n"))
		return err
	}
}

// says sends a message of the user.
func (s *stage) says(text string) func(context.Context) error {
	return func(ctx context.Context) error { return s.PromptAsync(ctx, s.session, hosttest.Text(text)) }
}

// edits has a person edit todo.md, and notes it in the recording.
func (s *stage) edits(change func(string) string) func(context.Context) error {
	return func(context.Context) error {
		content, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(todo.Path)))
		if err != nil {
			return err
		}
		now := change(string(content))
		line, err := transcript.FileNote(todo.Path, now)
		if err != nil {
			return err
		}
		raw, err := os.OpenFile(s.raw, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = raw.Write(line) // at once, so that it does not mix with the shim's
		return errors.Join(err, raw.Close(), transcript.SaveFile(s.Dir, todo.Path, now))
	}
}

// killSidecar kills the sidecar as the system would.
func (s *stage) killSidecar(ctx context.Context) error {
	running, err := s.Sidecars()
	if err != nil {
		return err
	}
	if len(running) != 1 {
		return fmt.Errorf("%d sidecars run", len(running))
	}
	process, err := os.FindProcess(running[0].PID)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	return pause(ctx, 20*time.Millisecond)
}

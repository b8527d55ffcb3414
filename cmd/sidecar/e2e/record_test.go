package e2e

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/transcript"
)

var record = flag.Bool("record", false, "write what TestRecord records to testdata/transcripts")

// scene is one behaviour to record. play drives OpenCode up to the point where
// the recording may be cut off: the test then kills OpenCode.
type scene struct {
	name  string
	about string
	// prompt is that of the main session.
	prompt []string
	// play is nil for `opencode run`, which needs nobody.
	play func(context.Context, *testing.T, *stage)
}

// stage is where a scene plays.
type stage struct {
	*Rig
	*hosttest.Server
	session string
	raw     string
}

// said waits until the main session has said something, and rests.
func (s *stage) said(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	_, err := s.WaitMessages(ctx, s.session, func(all []hosttest.Message) bool {
		for _, m := range all {
			if m.Info.Role == "assistant" && m.Text() == text {
				return true
			}
		}
		return false
	})
	if err == nil {
		err = s.WaitIdle(ctx, s.session)
	}
	if err != nil {
		t.Fatalf("waiting for %q: %v", text, err)
	}
}

// recorded waits until the recording holds a text.
func (s *stage) recorded(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(s.read(t), text) {
		select {
		case <-ctx.Done():
			t.Fatalf("nothing like %s was recorded: %v", text, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// quiet waits until nothing was recorded for a while.
func (s *stage) quiet(ctx context.Context, t *testing.T) {
	t.Helper()
	for size := -1; size != len(s.read(t)); {
		size = len(s.read(t))
		select {
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-time.After(700 * time.Millisecond):
		}
	}
}

func (s *stage) read(t *testing.T) string {
	b, err := os.ReadFile(s.raw)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// asks plays the prompt, and waits for what the main session says last.
func asks(last string) func(context.Context, *testing.T, *stage) {
	return func(ctx context.Context, t *testing.T, s *stage) {
		s.said(ctx, t, last)
		s.quiet(ctx, t)
	}
}

func scenes() []scene {
	return []scene{
		{
			name:   "handshake",
			about:  "The first tool call starts the sidecar: handshake, workspace, one call and its look-up.",
			prompt: []string{Call("list_agents", nil), "@say these are the agents"},
			play:   asks("these are the agents"),
		}, {
			name:   "background",
			about:  "A background task: launched, ended, and told to the session that asked, which is idle by then.",
			prompt: []string{Delegate(true, "@wait 1s", "@say done in the background"), "@say launched", "@say thank you"},
			play:   asks("thank you"),
		}, {
			name:   "sync",
			about:  "A synchronous task: its result is the result of the tool call.",
			prompt: []string{Delegate(false, "@wait 300ms", "@say done while you waited"), "@say thank you"},
			play:   asks("thank you"),
		}, {
			name:   "batch",
			about:  "Three tasks in one call. They run in parallel, end one after another, and each end is told when the session is idle.",
			prompt: []string{Batch("@gate one\n@say first", "@gate two\n@say second", "@gate three\n@say third"), "@say launched", "@say got one", "@say got two", "@say got three"},
			play: func(ctx context.Context, t *testing.T, s *stage) {
				s.said(ctx, t, "launched")
				for _, gate := range []string{"one", "two", "three"} {
					s.quiet(ctx, t)
					s.Model.Open(gate)
					s.said(ctx, t, "got "+gate)
				}
				s.quiet(ctx, t)
			},
		}, {
			name:   "cancel",
			about:  "The model cancels a running task: its session is aborted, and seen to have stopped, before the call is answered.",
			prompt: []string{Delegate(true, "@text so far", "@hang"), Call("get_task_result", map[string]any{"taskId": "{{task 1}}"}), "@wait 500ms", Call("cancel_task", map[string]any{"taskId": "{{task 1}}"}), "@say cancelled"},
			play:   asks("cancelled"),
		}, {
			name:   "abort",
			about:  "The user stops the session (Esc) while it waits for a synchronous task: the call is cancelled, and the task with it.",
			prompt: []string{Delegate(false, "@tag child", "@hang")},
			play: func(ctx context.Context, t *testing.T, s *stage) {
				if err := s.Model.WaitLoad(ctx, "child", 1); err != nil {
					t.Fatal(err)
				}
				s.quiet(ctx, t)
				if err := s.Abort(ctx, s.session); err != nil {
					t.Fatal(err)
				}
				s.recorded(ctx, t, `-32800`)
				s.quiet(ctx, t)
			},
		}, {
			name:   "failure",
			about:  "The provider refuses the child's request: the task has failed, and the session that asked is told why.",
			prompt: []string{Delegate(true, "@wait 500ms", "@fail 400 the model is on strike"), "@say launched", "@say what a pity"},
			play:   asks("what a pity"),
		}, {
			name:   "todo",
			about:  "The model writes OpenCode's own todo list while the sidecar runs: the event crosses, and nothing has to come of it.",
			prompt: []string{Call("list_tasks", nil), Call("todowrite", map[string]any{"todos": []any{map[string]any{"content": "write it down", "status": "in_progress", "priority": "high"}, map[string]any{"content": "do it", "status": "pending", "priority": "low"}}}), "@say noted"},
			play:   asks("noted"),
		}, {
			name:   "dispose",
			about:  "OpenCode disposes of its instance while a task runs and does not come back: the sidecar ends itself after 10 s.",
			prompt: []string{Delegate(true, "@tag child", "@hang"), "@say launched"},
			play: func(ctx context.Context, t *testing.T, s *stage) {
				s.said(ctx, t, "launched")
				if err := s.Model.WaitLoad(ctx, "child", 1); err != nil {
					t.Fatal(err)
				}
				s.quiet(ctx, t)
				if err := s.Dispose(ctx); err != nil {
					t.Fatal(err)
				}
				s.recorded(ctx, t, `"note":"exit"`)
			},
		}, {
			name:   "reload",
			about:  "OpenCode disposes of its instance, which aborts what runs, and opens the directory again: the task is found stopped and told.",
			prompt: []string{Delegate(true, "@tag child", "@hang"), "@say launched", "@say what a pity"},
			play: func(ctx context.Context, t *testing.T, s *stage) {
				s.said(ctx, t, "launched")
				if err := s.Model.WaitLoad(ctx, "child", 1); err != nil {
					t.Fatal(err)
				}
				s.quiet(ctx, t)
				if err := s.Dispose(ctx); err != nil {
					t.Fatal(err)
				}
				s.recorded(ctx, t, `workspace/close`)
				s.said(ctx, t, "what a pity")
				s.quiet(ctx, t)
			},
		}, {
			name:   "eof",
			about:  "OpenCode is killed while a task runs: the sidecar sees the end of its input and ends too.",
			prompt: []string{Delegate(true, "@tag child", "@text so far", "@hang"), Call("get_task_result", map[string]any{"taskId": "{{task 1}}"}), "@say launched"},
			play: func(ctx context.Context, t *testing.T, s *stage) {
				s.said(ctx, t, "launched")
				if err := s.Model.WaitLoad(ctx, "child", 1); err != nil {
					t.Fatal(err)
				}
				s.quiet(ctx, t)
			},
		}, {
			name:   "headless",
			about:  "`opencode run` with a background task: the turn is continued and held until the result is there.",
			prompt: []string{Delegate(true, "@wait 1200ms", "@say done in the background"), "@say launched", "@say thank you"},
		},
	}
}

// TestRecord records every behaviour anew and replays what it has recorded
// against the binary: the recordings in testdata can be made again at any time.
// With -record it writes them.
func TestRecord(t *testing.T) {
	for _, s := range scenes() {
		t.Run(s.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			raw := filepath.Join(t.ArtifactDir(), "raw.jsonl")
			rig, err := NewRig(ctx, nil, "OPENCODE_SIDECAR_RECORD="+raw)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := rig.Close(); err != nil {
					t.Error(err)
				}
			}()
			mode := "opencode run"
			if s.play == nil {
				if result, err := rig.RunAndWait(ctx, strings.Join(s.prompt, "\n")); err != nil || result.Code != 0 {
					t.Fatal(result, err)
				}
			} else {
				mode = "opencode serve"
				perform(ctx, t, s, rig, raw)
			}
			write(ctx, t, s, mode, rig, raw)
		})
	}
}

// perform plays a scene with a server, and kills it.
func perform(ctx context.Context, t *testing.T, s scene, rig *Rig, raw string) {
	server, err := rig.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	session, err := server.CreateSession(ctx, hosttest.NewSession{Title: "main"})
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{rig, server, session.ID, raw}
	if err := server.PromptAsync(ctx, session.ID, hosttest.Text(s.prompt...)); err != nil {
		t.Fatal(err)
	}
	s.play(ctx, t, st)
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// write turns the recording into a transcript and checks that it can be replayed.
func write(ctx context.Context, t *testing.T, s scene, mode string, rig *Rig, raw string) {
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	recording, err := transcript.Normalize(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	recording.Comment = []string{s.about, "OpenCode " + hosttest.OpenCodeVersion + ", " + mode}
	file := filepath.Join(t.ArtifactDir(), s.name+".txt")
	if *record {
		file = filepath.Join(rig.Checkout, "testdata", "transcripts", s.name+".txt")
	}
	if err := os.WriteFile(file, []byte(transcript.Format(recording)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(rig.Checkout, "bin", "sidecar"), "transcript", "replay", file).CombinedOutput(); err != nil {
		t.Errorf("what was recorded cannot be replayed: %v\n%s", err, out)
	}
}

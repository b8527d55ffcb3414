package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/lifecycle"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/transcript"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

var update = flag.Bool("update", false, "rewrite the sidecar's side of testdata/transcripts from a replay")

// behaviours are the recordings that have to exist.
var behaviours = []string{
	"abort", "background", "batch", "cancel", "commands", "dispose", "eof", "failure", "handshake", "headless", "jobs-notify", "jobs",
	"mission-edit", "mission-esc", "mission-idle", "mission-iterations", "mission-restart", "mission-run", "mission-stop", "mission-tokens", "mission",
	"reload", "sync", "todo", "update-todo",
}

// real are those that only a process can be replayed with: it is killed, or wakes
// when the system tells it of a file or of the end of a command, whose clock is not
// that of a bubble.
var real = []string{"jobs", "jobs-notify", "mission-edit", "mission-restart"}

// virtual are the others.
func virtual() []string {
	return slices.DeleteFunc(slices.Clone(behaviours), func(name string) bool { return slices.Contains(real, name) })
}

// recording reads a transcript of testdata.
func recording(t *testing.T, name string) (file string, r transcript.Transcript) {
	t.Helper()
	file = filepath.Join("..", "..", "testdata", "transcripts", name+".txt")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err = transcript.Parse(file, string(content))
	if err != nil {
		t.Fatal(err)
	}
	return file, r
}

func TestEveryTranscriptIsReplayed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "transcripts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
	}
	if got, want := fmt.Sprint(names), fmt.Sprint(behaviours); got != want {
		t.Errorf("testdata/transcripts holds %s, want %s", got, want)
	}
}

// inMemory is a sidecar whose pipes are in memory, within a synctest bubble: it
// does what serve does without watching a real parent or real signals. outside
// gets the todo lists.
func inMemory(t *testing.T, root string, outside func(*todo.Sync)) transcript.Sidecar {
	t.Helper()
	in, toSidecar := io.Pipe()
	fromSidecar, out := io.Pipe()
	var log bytes.Buffer
	env := map[string]string{"HOME": root, "XDG_STATE_HOME": filepath.Join(root, "state"), "OPENCODE_SIDECAR_LOG_LEVEL": "debug"}
	a, err := newApp(in, out, &log, func(key string) (string, bool) { v, ok := env[key]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	outside(a.todos)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { a.tasks.Run(ctx) })
	work.Go(func() { a.missions.Run(ctx) })
	served := make(chan error, 1)
	work.Go(func() { served <- a.conn.Serve(ctx) })
	ended := make(chan error, 1)
	go func() {
		budget := lifecycle.BudgetHostGone
		var failure error
		select {
		case failure = <-served:
		case request := <-a.stop:
			budget = request.budget
		case <-a.exit:
			budget = lifecycle.BudgetDispose
		}
		report := a.lifecycle.Shutdown(context.Background(), "the replay is over", budget)
		if !report.Clean() {
			failure = errors.Join(failure, fmt.Errorf("shutdown: %+v", report))
		}
		a.conn.Close()
		cancel()
		work.Wait()
		_ = out.Close()
		ended <- failure
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the sidecar's log:\n%s", log.String())
		}
	})
	return transcript.Sidecar{
		In: toSidecar, Out: fromSidecar,
		Wait: func() error { return <-ended },
		Kill: a.conn.Close,
	}
}

// usesTodos reports whether a transcript has the sidecar watch a todo list.
func usesTodos(r transcript.Transcript) bool {
	return slices.ContainsFunc(r.Entries, func(e transcript.Entry) bool {
		body, _ := e.Body.(map[string]any)
		return e.Method == wire.HookCommand.Name || e.Method == wire.ToolCall.Name && body["tool"] == "update_todo"
	})
}

// replayInMemory replays in a bubble, where time is exact.
func replayInMemory(t *testing.T, r transcript.Transcript, change func(*transcript.Options)) (got transcript.Transcript, err error) {
	t.Helper()
	root := t.TempDir()
	options, optionsErr := replayOptions(root)
	if optionsErr != nil {
		t.Fatal(optionsErr)
	}
	options.Settle = synctest.Wait
	change(&options)
	// What waits for the system to tell of a file would hold up the bubble's time
	// for good, so the list is watched from outside before anybody asks for it.
	lists, watched := make(chan *todo.Sync), make(chan struct{})
	go func() {
		for s := range lists {
			if usesTodos(r) {
				s.Open(options.Directory, options.Directory, false)
				s.Watch(options.Directory)
			}
			watched <- struct{}{}
		}
	}()
	defer close(lists)
	synctest.Test(t, func(t *testing.T) {
		sidecar := inMemory(t, root, func(s *todo.Sync) { lists <- s; <-watched })
		got, err = transcript.Replay(t.Context(), r, sidecar, options)
	})
	return got, err
}

func TestTranscriptInMemory(t *testing.T) {
	for _, name := range virtual() {
		t.Run(name, func(t *testing.T) {
			file, r := recording(t, name)
			got, err := replayInMemory(t, r, func(o *transcript.Options) { o.Update = *update })
			if err != nil {
				t.Fatalf("%v\n\nIf this change is meant, `go test ./cmd/sidecar -run Transcript -update` takes it over.", err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(transcript.Format(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// pauseLimit is how long a slow host may stop. What it does not answer within a
// second costs a cancelled task its partial output; and /stop, for which a person
// waits, gives the abort 70 ms.
func pauseLimit(name string) time.Duration {
	if name == "mission-stop" {
		return 5 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// A host that stops for a while before each of its messages changes what the
// sidecar's timers do, but not what the sidecar does.
func TestTranscriptOnASlowHost(t *testing.T) {
	for _, name := range virtual() {
		t.Run(name, func(t *testing.T) {
			_, r := recording(t, name)
			for seed := range uint64(4) {
				random := rand.New(rand.NewPCG(seed, 1))
				if _, err := replayInMemory(t, r, func(o *transcript.Options) {
					o.Pause = func() { time.Sleep(time.Duration(random.Int64N(int64(pauseLimit(name))))) }
				}); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// sidecarBinary builds the binary with the Makefile's flags, so that nothing is
// compiled once more for it.
func sidecarBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sidecar")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func TestTranscriptAgainstTheBinary(t *testing.T) {
	binary := sidecarBinary(t)
	for _, name := range behaviours {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			file, _ := recording(t, name)
			if err := replayFile(t.Context(), file, binary); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTranscriptCommand(t *testing.T) {
	binary := sidecarBinary(t)
	file, _ := recording(t, "handshake")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(t.TempDir(), "changed.txt")
	if err := os.WriteFile(changed, bytes.Replace(content, []byte(`{"reattached":false}`), []byte(`{"reattached":true}`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(t.TempDir(), "raw.jsonl")
	if err := os.WriteFile(raw, []byte(`{"note":"spawn"}`+"\n"+`{"dir":"out","msg":{"method":"exit","params":{}}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"-h"}, 0, transcriptUsage, ""},
		{[]string{"replay", "-h"}, 0, "", transcriptUsage},
		{nil, 2, "", transcriptUsage},
		{[]string{"play"}, 2, "", transcriptUsage},
		{[]string{"replay"}, 2, "", transcriptUsage},
		{[]string{"normalize", "-about", "What it shows.", "-opencode", "1.2.3", raw}, 0, "# What it shows.\n# OpenCode 1.2.3\n\n--> exit {}\n--- eof\n", ""},
		{[]string{"normalize", file}, 1, "", "sidecar transcript normalize: " + file + ": line 1: invalid character"},
		{[]string{"replay", "-binary", binary, file}, 0, file + ": the same\n", ""},
		{[]string{"replay", "-binary", binary, changed, file}, 1, "- <-- 2 {\"reattached\":true}\n+ <-- 2 {\"reattached\":false}\n" + file + ": the same\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"transcript"}, test.args...), nil, &stdout, &stderr)
		if code != test.code || !strings.HasSuffix(stdout.String(), test.stdout) || !strings.HasPrefix(stderr.String(), test.stderr) {
			t.Errorf("sidecar transcript %q: code %d, want %d\nstdout %s\nstderr %s", test.args, code, test.code, &stdout, &stderr)
		}
	}
}

// What a reviewer gets to see when the sidecar does something else than what
// was recorded.
func TestTranscriptDiffersReadably(t *testing.T) {
	file, _ := recording(t, "sync")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"another text", `\ndone while you waited"`, `\ndone when it was done"`, "+ "},
		{"another field", `"title":"scripted work"`, `"title":"other work"`, `-   "title":"other work",`},
		{"a message too many", "--- eof", "<-- h99 host/toast {\"workspace\":\"wrk_1\"}\n--- eof", `- <-- h99 host/toast {"workspace":"wrk_1"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Only the sidecar's side is changed: the last place of a text is in its answer.
			i := strings.LastIndex(string(content), test.old)
			if i < 0 {
				t.Fatalf("%q is not in %s", test.old, file)
			}
			changed := string(content)[:i] + test.new + string(content)[i+len(test.old):]
			r, err := transcript.Parse("changed.txt", changed)
			if err != nil {
				t.Fatal(err)
			}
			_, err = replayInMemory(t, r, func(*transcript.Options) {})
			if m, ok := errors.AsType[*transcript.Mismatch](err); !ok || !strings.Contains(m.Diff, test.want) || !strings.HasPrefix(m.Where, "changed.txt:") {
				t.Errorf("got %v\nwant a mismatch with %q", err, test.want)
			}
		})
	}
}

package archive_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/archive"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// appendTo makes this binary a process that appends tasks to that worktree.
const appendTo = "ARCHIVE_TEST_APPEND_TO"

const perProcess = 60

func TestMain(m *testing.M) {
	if worktree := os.Getenv(appendTo); worktree != "" {
		for i := range perProcess {
			t := ended(worktree)
			t.ID = task.ID(fmt.Sprintf("task_%d_%d", os.Getpid(), i))
			t.Result = strings.Repeat("result ", 1+i*250) // also beyond a page and a pipe's buffer
			if err := archive.New(zone).Append(t); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var zone = time.FixedZone("east", 2*60*60)

func ended(worktree string) task.Task {
	at := time.Date(2026, 11, 23, 22, 30, 0, 123456789, time.UTC) // the 24th in the east
	return task.Task{
		ID: "task_00000001", Directory: worktree, Worktree: worktree, Owner: "host-1", Parent: "ses_p", Root: "ses_p", Session: "ses_c",
		Agent: "general", Model: host.Model{Provider: "p", ID: "m"}, Description: "look", Prompt: "a secret", Background: true, Depth: 1,
		Attempt: 2, State: task.Completed, Result: "a < b & c\nd", Usage: task.Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 0.25},
		Past:    []task.Attempt{{Model: host.Model{Provider: "p", ID: "old"}, State: task.Failed, Error: "overloaded", Started: at.Add(-2 * time.Minute), Ended: at.Add(-time.Minute)}},
		Created: at.Add(-3 * time.Minute), Started: at.Add(-time.Minute), Ended: at,
	}
}

func file(worktree string) string {
	return filepath.Join(worktree, ".opencode", "archive", "tasks", "tasks_2026-11-24.jsonl")
}

func read(t *testing.T, worktree string) string {
	t.Helper()
	b, err := os.ReadFile(file(worktree))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestALineIsTheTaskWithoutItsPrompt(t *testing.T) {
	worktree := t.TempDir()
	tk := ended(worktree)
	if err := archive.New(zone).Append(tk); err != nil {
		t.Fatal(err)
	}
	want := `{"id":"task_00000001","state":"completed","attempt":2,"agent":"general","model":"p/m","description":"look",` +
		`"background":true,"depth":1,"directory":"` + worktree + `","parentSession":"ses_p","rootSession":"ses_p","session":"ses_c",` +
		`"created":"2026-11-24T00:27:00.123+02:00","started":"2026-11-24T00:29:00.123+02:00","ended":"2026-11-24T00:30:00.123+02:00",` +
		`"usage":{"inputTokens":1,"outputTokens":2,"reasoningTokens":3,"cacheReadTokens":4,"cacheWriteTokens":5,"costUSD":0.25},` +
		`"result":"a < b & c\nd","pastAttempts":[{"state":"error","model":"p/old",` +
		`"started":"2026-11-24T00:28:00.123+02:00","ended":"2026-11-24T00:29:00.123+02:00","error":"overloaded"}]}` + "\n"
	if diff := cmp.Diff(want, read(t, worktree)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for path, mode := range map[string]os.FileMode{file(worktree): 0o600, filepath.Dir(file(worktree)): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
}

func TestALineAfterABrokenOneIsNotLost(t *testing.T) {
	worktree := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(file(worktree)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file(worktree), []byte(`{"id":"task_0`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := archive.New(zone).Append(ended(worktree)); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(read(t, worktree), "\n")
	if len(lines) != 4 || lines[0] != `{"id":"task_0` || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("lines %q", lines)
	}
}

func TestOnlyEndedTasksAreArchived(t *testing.T) {
	for _, change := range []func(*task.Task){
		func(t *task.Task) { t.State = task.Running },
		func(t *task.Task) { t.Ended = time.Time{} },
		func(t *task.Task) { t.Worktree = "" },
	} {
		tk := ended(t.TempDir())
		change(&tk)
		if err := archive.New(zone).Append(tk); err == nil {
			t.Errorf("archived %+v", tk)
		}
	}
}

func TestNothingOutsideOfTheWorktreeIsWritten(t *testing.T) {
	for _, link := range []string{".opencode", ".opencode/archive", ".opencode/archive/tasks", ".opencode/archive/tasks/tasks_2026-11-24.jsonl"} {
		t.Run(filepath.Base(link), func(t *testing.T) {
			worktree, outside := t.TempDir(), t.TempDir()
			target, path := outside, filepath.Join(worktree, link)
			if strings.HasSuffix(link, ".jsonl") {
				target = filepath.Join(outside, "victim")
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			err := archive.New(zone).Append(ended(worktree))
			if err == nil || !strings.Contains(err.Error(), link+" is a symbolic link that leads out of the worktree or nowhere; it is not followed") {
				t.Errorf("error is %v", err)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("outside: %v, %v", entries, err)
			}
		})
	}
}

func TestALinkInsideOfTheWorktreeIsFollowed(t *testing.T) {
	worktree := t.TempDir()
	if err := os.Mkdir(filepath.Join(worktree, "elsewhere"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(worktree, ".opencode")); err != nil {
		t.Fatal(err)
	}
	if err := archive.New(zone).Append(ended(worktree)); err != nil {
		t.Fatal(err)
	}
	read(t, worktree)
}

func TestLinesOfTwoProcessesNeverMix(t *testing.T) {
	worktree := t.TempDir()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), appendTo+"="+worktree)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(read(t, worktree)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v in %.80q", err, lines.Text())
		}
		seen[r.ID] = true
	}
	if len(seen) != 2*perProcess || lines.Err() != nil {
		t.Errorf("%d tasks, %v", len(seen), lines.Err())
	}
}

package sqlitestore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestPruneDeletesWhatNobodyWaitsFor(t *testing.T) {
	s := open(t, file(t))
	month := 30 * 24 * time.Hour
	add := func(n int, state task.State, told bool, ended time.Duration) {
		tk := sample(n)
		tk.State, tk.Told, tk.Created = state, told, time.Now().Add(-10*month)
		if state.Terminal() {
			tk.Ended = time.Now().Add(-ended)
		}
		create(t, s, tk)
	}
	add(1, task.Completed, true, month+time.Hour)
	add(2, task.Completed, true, month-time.Hour)
	add(3, task.Failed, false, 3*month-time.Hour)
	add(7, task.Failed, false, 3*month+time.Hour)
	add(4, task.Running, false, 0)
	nobody := sample(6) // is to be told
	nobody.State, nobody.Wake, nobody.Ended = task.Completed, task.WakeNone, time.Now().Add(-2*month)
	create(t, s, nobody)
	add(5, task.Pending, true, 0)
	for i := range 250 {
		add(100+i, task.Cancelled, true, 2*month)
	}
	n, err := s.Prune(t.Context(), month)
	if err != nil || n != 253 {
		t.Errorf("pruned %d, %v; want 253", n, err)
	}
	if got := count(t, s); got != 4 {
		t.Errorf("%d tasks left, want 4", got)
	}
	for _, gone := range []int{1, 7, 100, 349} {
		if _, err := s.Get(t.Context(), sample(gone).ID); !errors.Is(err, task.ErrNotFound) {
			t.Errorf("task %d: %v, want ErrNotFound", gone, err)
		}
	}
	var texts int
	query(t, s.options.Path, "SELECT (SELECT count(*) FROM prompts) + (SELECT count(*) FROM results)", &texts)
	if texts != 4 {
		t.Errorf("%d texts left of 4 tasks", texts)
	}
}

func TestForgettingAllDeletesWhatWasSetAside(t *testing.T) {
	path := filled(t)
	overwrite(t, path, strings.Repeat("garbage that holds a secret ", 1000))
	s, found, err := Open(Options{Path: path, Log: zerolog.Nop()})
	if err != nil || found.SetAside == "" {
		t.Fatalf("%+v, %v", found, err)
	}
	defer s.Close()
	for _, worktree := range []string{"/w", ""} {
		if _, err := s.Forget(t.Context(), task.Query{Worktree: worktree}, false); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(found.SetAside); (worktree == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("forgetting worktree %q: %v", worktree, err)
		}
	}
}

func TestForgottenTextIsGoneFromTheDisk(t *testing.T) {
	for name, rows := range map[string]bool{"texts": false, "rows": true} {
		t.Run(name, func(t *testing.T) {
			path := file(t)
			s := open(t, path)
			secret := bytes.Repeat([]byte("the secret "), 900)
			for i := range 20 {
				tk := sample(i)
				tk.Prompt = string(secret)
				tk.Past = []task.Attempt{{Result: string(secret), Error: string(secret)}}
				if i == 0 {
					tk.Prompt, tk.Past = "open", nil
				}
				create(t, s, tk)
				tk, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State = task.Running })
				if err == nil && i > 0 {
					_, err = s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) {
						x.State, x.Result, x.Error, x.Note = task.Failed, string(secret), string(secret), string(secret)
					})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			n, err := s.Forget(t.Context(), task.Query{Worktree: "/w"}, rows)
			if err != nil || n != 19 {
				t.Fatalf("forgot %d, %v; want 19", n, err)
			}
			if tk, err := s.Get(t.Context(), sample(0).ID); err != nil || tk.Prompt != "open" {
				t.Errorf("the open task has prompt %q, %v", tk.Prompt, err)
			}
			tk, err := s.Get(t.Context(), sample(1).ID)
			if rows != errors.Is(err, task.ErrNotFound) {
				t.Errorf("a forgotten task: %v", err)
			}
			if !rows && (tk.Prompt != Erased || tk.Result != Erased || tk.Error != "" || tk.Note != "" || tk.Past[0].Error != "" || tk.Description == "") {
				t.Errorf("a forgotten task is now %+v", tk)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(path + "*")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range files {
				if content, err := os.ReadFile(name); err == nil && bytes.Contains(content, []byte("the secret")) {
					t.Errorf("%s still holds the text", filepath.Base(name))
				}
			}
		})
	}
}

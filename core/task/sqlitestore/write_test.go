package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestACallerMayGiveUp(t *testing.T) {
	s := open(t, file(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, sample(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	create(t, s, sample(2))

	// One whose ctx ends while the writer is at work.
	ctx, cancel = context.WithCancel(t.Context())
	inside, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Update(ctx, sample(2).ID, sample(2).Fence(), func(x *task.Task) {
			close(inside)
			<-goOn
			x.State = task.Running
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Update: %v", err)
		}
	})
	<-inside
	cancel()
	wg.Wait()
	close(goOn)
	create(t, s, sample(3)) // comes after it
	if got, err := s.Get(t.Context(), sample(2).ID); err != nil || got.State != task.Running {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAPanicInAChangeIsItsCallers(t *testing.T) {
	s := open(t, file(t))
	create(t, s, sample(1))
	func() {
		defer func() {
			if got := recover(); got != "oh" {
				t.Errorf("recovered %v", got)
			}
		}()
		_, _ = s.Update(t.Context(), sample(1).ID, sample(1).Fence(), func(x *task.Task) { panic("oh") })
	}()
	create(t, s, sample(2))
}

func TestCloseAnswersAll(t *testing.T) {
	path := file(t)
	s := open(t, path)
	stored := make([]bool, 500)
	var wg sync.WaitGroup
	for i := range stored {
		wg.Go(func() {
			err := s.Create(t.Context(), sample(i))
			stored[i] = err == nil
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Create: %v", err)
			}
		})
		if i == 250 {
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Error("Close left the log behind")
	}
	s = open(t, path)
	for i, want := range stored {
		if _, err := s.Get(t.Context(), sample(i).ID); (err == nil) != want {
			t.Errorf("task %d: acknowledged %v, then %v", i, want, err)
		}
	}
}

func TestReadersSeeWholeStates(t *testing.T) {
	s := open(t, file(t))
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for g := range 4 {
		writers.Go(func() {
			for i := range 20 {
				if err := live(t.Context(), s, sample(g*1000+i), fmt.Sprint("answer ", i)); err != nil {
					t.Error(err)
				}
			}
		})
		readers.Go(func() {
			for {
				page, err := s.List(t.Context(), task.Query{Worktree: "/w", Limit: 100, Texts: true})
				if err != nil {
					t.Error(err)
				}
				totals := map[task.State]int{}
				for _, tk := range page.Tasks {
					totals[tk.State]++
					if (tk.State == task.Completed) != (tk.Result != "") {
						t.Errorf("%s is %s with result %q", tk.ID, tk.State, tk.Result)
					}
				}
				for state, n := range totals {
					if page.Totals[state] != n {
						t.Errorf("%d tasks are %s, the totals say %d", n, state, page.Totals[state])
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if err := s.Checkpoint(t.Context()); err != nil {
		t.Error(err)
	}
}

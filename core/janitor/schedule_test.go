package janitor

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// running starts the janitor, which tells of each pass by the checkpoint that it ends
// with, and returns how many there were.
func (s *scene) running(t *testing.T) *atomic.Int32 {
	passes := &atomic.Int32{}
	s.janitor = New(s.janitor.o) // in the bubble
	s.janitor.o.Now = time.Now
	s.janitor.o.Checkpoint = func(context.Context) error { passes.Add(1); return nil }
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.janitor.Run(t.Context())
	}()
	t.Cleanup(func() {
		if err := s.janitor.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		<-stopped
	})
	return passes
}

// each has a pass counted whatever it does.
func each(set Settings) Settings {
	set.Every = maps.Clone(set.Every)
	set.Every[Checkpoint] = 0
	return set
}

func TestPassesComeWithUseOnly(t *testing.T) {
	s := newScene(t)
	s.write("x", "", 0)
	synctest.Test(t, func(t *testing.T) {
		passes := s.running(t)
		after := func(d time.Duration, want int32, why string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := passes.Load(); n != want {
				t.Errorf("%s: %d passes, want %d", why, n, want)
			}
		}
		s.janitor.Open(s.dir, s.dir, each(Defaults()))
		after(24*time.Hour, 0, "opened, and not used")
		s.janitor.Used(s.dir)
		after(59*time.Second, 0, "a minute after the first use")
		s.janitor.Used(s.dir)
		after(2*time.Second, 1, "a minute after the first use")
		after(24*time.Hour, 1, "not used since")
		s.janitor.Used(s.dir)
		after(time.Second, 2, "used after a long time")
		s.janitor.Used(s.dir)
		s.janitor.Used("/elsewhere")
		after(4*time.Minute, 2, "nothing is due yet")
		after(time.Minute+time.Second, 3, "due")
		s.janitor.Open(s.dir, s.dir, Settings{Off: true})
		s.janitor.Used(s.dir)
		after(24*time.Hour, 3, "switched off")
		s.janitor.Open(s.dir, s.dir, each(Defaults()))
		s.janitor.Used(s.dir)
		s.janitor.Close(s.dir)
		s.janitor.Used(s.dir)
		s.janitor.Close(s.dir)
		if err := s.janitor.Gone(t.Context(), s.dir); err != nil {
			t.Error(err)
		}
		after(24*time.Hour, 3, "closed")
	})
}

// The intervals hold over the ends of processes.
func TestIntervalsOutliveTheProcess(t *testing.T) {
	s := newScene(t)
	history := filepath.Join(s.dir, ".opencode", historyName)
	synctest.Test(t, func(t *testing.T) {
		s.now = time.Now()
		s.write("archive/todo_history.jsonl", ourHistory(1), time.Minute)
		life := func(d time.Duration) {
			ctx, cancel := context.WithCancel(t.Context())
			other := New(s.janitor.o)
			other.o.Now = time.Now
			go other.Run(ctx)
			other.Open(s.dir, s.dir, Defaults())
			other.Used(s.dir)
			time.Sleep(d)
			synctest.Wait()
			if err := other.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			cancel()
			synctest.Wait()
		}
		life(2 * time.Minute)
		if _, err := os.Stat(history); err == nil {
			t.Fatal("the history is not packed")
		}
		s.write("archive/todo_history.jsonl", ourHistory(2), time.Minute)
		for range 5 { // an hour each
			life(time.Hour)
		}
		if _, err := os.Stat(history); err != nil {
			t.Fatal("packed again before six hours were over")
		}
		time.Sleep(time.Hour)
		life(2 * time.Minute)
		if _, err := os.Stat(history); err == nil {
			t.Error("not packed after six hours")
		}
	})
}

func TestStopWaitsForThePass(t *testing.T) {
	s := newScene(t)
	s.write("x", "", 0)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.janitor.o.Checkpoint = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		<-leave
		return ctx.Err()
	}
	done := make(chan struct{})
	go func() { defer close(done); s.janitor.Run(context.Background()) }()
	set := each(Defaults())
	set.Delay = 0
	s.janitor.Open(s.dir, s.dir, set)
	s.janitor.Used(s.dir)
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.janitor.Stop(ctx); err == nil {
		t.Error("it has not waited")
	}
	close(leave)
	if err := s.janitor.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-done
}

func TestFoldersUpToTheWorktree(t *testing.T) {
	for _, test := range []struct {
		directory, worktree string
		want                int
	}{{"/a/b/c", "/a", 3}, {"/a", "/a", 1}, {"/a/b", "/x", 1}, {"/a/b", "/", 3}} {
		if got := between(test.directory, test.worktree); len(got) != test.want || got[0] != test.directory {
			t.Errorf("%v: %q", test, got)
		}
	}
}

// next is when a pass would be due after one that is done now.
func (s *scene) next(set Settings) time.Duration {
	return s.janitor.once(s.Context(), s.dir, set).Sub(s.now)
}

// A clock that was set back does not stop the cleaning until it has caught up.
func TestAClockThatWasSetBack(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(1), 60*day)
	c, err := s.janitor.claim(filepath.Join(s.dir, ".opencode"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range folderRules {
		c.ledger.Last[r] = s.now.AddDate(1, 0, 0)
	}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	c.release()
	s.next(Defaults())
	if tree := s.tree(); len(tree) > 0 {
		t.Errorf("left is %v", tree)
	}
}

// Who finds that another process cleans looks again soon.
func TestAFolderThatIsTakenIsLookedAtSoon(t *testing.T) {
	s := newScene(t)
	s.write("todo.md", "", 0)
	c, err := s.janitor.claim(filepath.Join(s.dir, ".opencode"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.release()
	if d := s.next(Defaults()); d != takenPause {
		t.Errorf("it is due after %s", d)
	}
}

// What is used during a pass has another one to come.
func TestUseDuringAPassCounts(t *testing.T) {
	s := newScene(t)
	s.write("todo.md", "", 0)
	set := Defaults()
	set.Every[Checkpoint] = 0
	for _, used := range []bool{true, false} {
		s.janitor.o.Checkpoint = func(context.Context) error {
			if used {
				s.janitor.Used(s.dir)
			}
			return nil
		}
		s.janitor.Open(s.dir, s.dir, set)
		p := s.janitor.projects[s.dir]
		s.janitor.work(t.Context(), p)
		if planned := !p.due.IsZero(); planned != used {
			t.Errorf("used is %v, a pass is planned is %v", used, planned)
		}
	}
}

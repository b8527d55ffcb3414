package todo

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// scriptSync returns a worktree that is watched with the default times, in a
// bubble, and what plays the system for it.
func scriptSync(t *testing.T, content string, prepare func(*synced, *scripted)) (*synced, *scripted) {
	t.Helper()
	s, system := newSynced(t, content, WatchOptions{}), newScripted()
	s.sync.notifier = system.notifier
	if prepare != nil {
		prepare(s, system)
	}
	s.sync.Watch(s.dir)
	return s, system
}

// saves is a person who saves the file.
func (s *synced) saves(system *scripted, content string) {
	s.t.Helper()
	s.replace(content)
	system.event <- fsnotify.Event{Name: s.path(Path), Op: fsnotify.Write}
}

func TestSyncShowsOneToastASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, system := scriptSync(t, "- [ ] a\n", nil)
		start := time.Now()
		s.saves(system, "- [x] a\n")
		s.sees("info", "1 of 1 done")
		if d := time.Since(start); d != defaultQuiet {
			t.Errorf("the first came after %v", d)
		}
		// One who saves all the time.
		start = time.Now()
		var shown []time.Duration
		for n := 1; time.Since(start) < 20*time.Second; n++ {
			s.saves(system, strings.Repeat("- [x] a\n", n))
			time.Sleep(600 * time.Millisecond)
			for len(s.screen.toasts) > 0 {
				<-s.screen.toasts
				shown = append(shown, time.Since(start))
			}
		}
		if n := len(shown); n < 10 || n > 20 {
			t.Errorf("%d toasts in 20 s: %v", n, shown)
		}
		time.Sleep(time.Minute)
		for len(s.screen.toasts) > 1 {
			<-s.screen.toasts
		}
		n := s.read().Len()
		s.sees("info", fmt.Sprintf("%d of %d done", n, n)) // the last one says how it is now
		s.stop()
	})
}

func TestSyncStopsBetweenTwoToasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, system := scriptSync(t, "- [ ] a\n", func(s *synced, _ *scripted) { s.sync.watch.Quiet = time.Millisecond })
		s.saves(system, "- [x] a\n")
		s.sees("info", "1 of 1 done")
		s.saves(system, "- [/] a\n")
		time.Sleep(10 * time.Millisecond)
		start := time.Now()
		s.sync.Close(s.dir)
		if time.Since(start) > 0 || len(s.screen.toasts) > 0 {
			t.Errorf("it took %v, %d toasts", time.Since(start), len(s.screen.toasts))
		}
		s.stop()
	})
}

func TestSyncGivesUpAToastThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, system := scriptSync(t, "- [ ] a\n", nil)
		s.screen.hang.Store(true)
		start := time.Now()
		s.saves(system, "- [x] a\n")
		s.sees("info", "1 of 1 done")
		s.saves(system, "- [/] a\n") // is noticed once it has been given up
		s.sees("info", "0 of 1 done, 1 open")
		if d := time.Since(start); d != 2*defaultQuiet+toastDeadline {
			t.Errorf("it took %v", d)
		}
		s.stop()
	})
}

// Where the system refuses to watch, people hear of it once, and each use of the
// list looks at the file.
func TestSyncWithoutWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, system := scriptSync(t, "- [ ] a\n", func(_ *synced, system *scripted) { system.answer(nil, syscall.ENOSPC) })
		s.sees("warning", "fs.inotify.max_user_watches")
		for _, content := range []string{"- [x] a\n", "- [x] a\n- [x] b\n"} {
			s.replace(content)
			time.Sleep(time.Hour)
			if len(s.screen.toasts) > 0 {
				t.Errorf("got %+v", <-s.screen.toasts)
			}
			s.sync.Watch(s.dir)
			s.sees("info", "todo.md was edited")
		}
		system.answer(nil, nil)
		s.sync.Watch(s.dir)
		synctest.Wait()
		s.saves(system, "- [ ] a\n")
		s.sees("info", "0 of 1 done, 1 open")
		s.stop()
	})
}

package todo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watched is a worktree with a watcher that has little patience.
type watched struct {
	*worktree
	watcher *Watcher
	updates chan Update
}

func newWatched(t *testing.T, content string) *watched {
	t.Helper()
	w := prepareWatched(t, content, WatchOptions{Quiet: 150 * time.Millisecond, MaxDelay: time.Second})
	w.watcher.Start()
	return w
}

func prepareWatched(t *testing.T, content string, options WatchOptions) *watched {
	t.Helper()
	w := &watched{worktree: newWorktree(t, content), updates: make(chan Update, 1000)}
	w.watcher = NewWatcher(w.file, func(_ context.Context, u Update) { w.updates <- u }, options)
	t.Cleanup(w.watcher.Close)
	return w
}

// next waits for an update.
func (w *watched) next() Update {
	w.t.Helper()
	select {
	case u := <-w.updates:
		return u
	case <-time.After(10 * time.Second):
		w.t.Fatal("no update came")
		return Update{}
	}
}

// expect waits for an update that says that the file holds a content, which
// "-" says of no file.
func (w *watched) expect(content string) {
	w.t.Helper()
	u := w.next()
	got := "-"
	if u.Document == nil {
		w.t.Fatalf("got the warning %v, want %q", u.Warning, content)
	}
	if !u.Document.Missing {
		got = u.Document.text
	}
	if got != content || u.Warning != nil && content != "" {
		w.t.Fatalf("got %q and %v, want %q", got, u.Warning, content)
	}
}

// reaches waits for an update with a content after several steps, which a busy
// machine may take so long for that those in between are told as well.
func (w *watched) reaches(content string) {
	w.t.Helper()
	for {
		if u := w.next(); u.Document != nil && !u.Document.Missing && u.Document.text == content {
			return
		}
	}
}

// warned waits for an update that is only a warning, of a kind.
func (w *watched) warned(like error) {
	w.t.Helper()
	if u := w.next(); !errors.Is(u.Warning, like) {
		w.t.Fatalf("got %+v, want the warning %v", u, like)
	}
}

// quietly makes sure that nothing was told meanwhile: the next update is that
// of a change made now.
func (w *watched) quietly() {
	w.t.Helper()
	content := fmt.Sprintf("- [ ] sentinel %d\n", time.Now().UnixNano())
	w.write(content)
	w.expect(content)
}

// replace saves the file as most editors do.
func (w *watched) replace(content string) {
	w.t.Helper()
	w.must(os.WriteFile(w.path(".opencode/new"), []byte(content), 0o644))
	w.must(os.Rename(w.path(".opencode/new"), w.path(Path)))
}

func TestWatchEditors(t *testing.T) {
	w := newWatched(t, "- [ ] a\n")
	w.write("- [x] a\n")
	w.expect("- [x] a\n")
	w.quietly()

	for i := range 3 {
		w.replace(fmt.Sprintf("- [ ] renamed %d\n", i))
		w.expect(fmt.Sprintf("- [ ] renamed %d\n", i))
	}
	w.quietly()

	// vim: the old file becomes the backup, a new one is written, the backup goes.
	for i := range 3 {
		w.must(os.WriteFile(w.path(".opencode/4913"), nil, 0o644))
		w.must(os.Remove(w.path(".opencode/4913")))
		w.must(os.Rename(w.path(Path), w.path(".opencode/todo.md~")))
		w.write(fmt.Sprintf("- [ ] vim %d\n", i))
		w.must(os.Remove(w.path(".opencode/todo.md~")))
		w.reaches(fmt.Sprintf("- [ ] vim %d\n", i))
	}
	w.quietly()

	// git: the file is removed and made again.
	w.must(os.Remove(w.path(Path)))
	w.write("- [ ] checked out\n")
	w.reaches("- [ ] checked out\n")

	// What is written again is no change, nor is another file.
	w.replace("- [ ] checked out\n")
	w.must(os.Chmod(w.path(Path), 0o600))
	w.must(os.WriteFile(w.path(".opencode/context.md"), nil, 0o644))
	w.quietly()

	w.must(os.Remove(w.path(Path)))
	w.expect("-")
	w.write("- [ ] back\n")
	w.expect("- [ ] back\n")
}

func TestWatchFolders(t *testing.T) {
	w := newWatched(t, "-")
	w.must(os.WriteFile(w.path("other"), nil, 0o644))
	w.must(os.Mkdir(w.path(".opencode"), 0o755))
	w.quietly()
	for i := range 3 {
		w.must(os.RemoveAll(w.path(".opencode")))
		w.expect("-")
		w.write(fmt.Sprintf("- [ ] again %d\n", i))
		w.expect(fmt.Sprintf("- [ ] again %d\n", i))
		w.replace(fmt.Sprintf("- [x] again %d\n", i))
		w.expect(fmt.Sprintf("- [x] again %d\n", i))
	}
	// At once.
	w.must(os.RemoveAll(w.path(".opencode")))
	w.write("- [ ] at once\n")
	w.reaches("- [ ] at once\n")
	w.quietly()

	// Moved away, with its content, and back.
	content := w.content()
	w.must(os.Rename(w.path(".opencode"), w.path("away")))
	w.expect("-")
	w.must(os.WriteFile(w.path("away/todo.md"), []byte("- [ ] nobody looks\n"), 0o644))
	w.must(os.WriteFile(w.path("away/todo.md"), []byte(content), 0o644))
	w.must(os.Rename(w.path("away"), w.path(".opencode")))
	w.expect(content)
	w.quietly()

	// The worktree itself.
	w.must(os.RemoveAll(w.dir))
	w.expect("-")
	w.write("- [ ] cloned again\n")
	w.expect("- [ ] cloned again\n")
	w.quietly()
}

func TestWatchOwnEdits(t *testing.T) {
	w := newWatched(t, "- [ ] a\n- [ ] b\n")
	for range 3 {
		for _, state := range []State{Completed, Pending} {
			_, err := w.file.Edit(t.Context(), Edit{}, set("a", state))
			w.must(err)
		}
	}
	w.quietly()

	// Another process is somebody else.
	w.write("- [x] a\n- [x] b\n")
	w.expect("- [x] a\n- [x] b\n")
	_, err := NewFile(w.dir, w.state, nil).Edit(t.Context(), Edit{}, set("a", Cancelled))
	w.must(err)
	w.expect("- [-] a\n- [x] b\n")

	// And so is a person who takes an edit back.
	_, err = w.file.Edit(t.Context(), Edit{}, set("a", Pending))
	w.must(err)
	w.write("- [-] a\n- [x] b\n")
	w.expect("- [-] a\n- [x] b\n")
	w.must(os.RemoveAll(w.path(".opencode")))
	w.expect("-")
	_, err = w.file.Create(t.Context(), Edit{}, []byte("- [ ] made\n"))
	w.must(err)
	w.quietly()
}

// A person's change that nobody was told of is told, though an edit followed.
func TestWatchTellsWhatAnEditBuiltOn(t *testing.T) {
	w := prepareWatched(t, "- [ ] a\n- [ ] b\n", WatchOptions{Quiet: time.Second})
	w.watcher.Start()
	w.write("- [ ] a\n- [x] b\n")
	_, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	w.must(err)
	w.expect("- [x] a\n- [x] b\n")
	w.quietly()
}

func TestWatchWarnings(t *testing.T) {
	w := newWatched(t, "- [ ] a\n")
	w.write("")
	if u := w.next(); !errors.Is(u.Warning, ErrEmpty) || !u.Document.Empty() {
		t.Errorf("0 bytes: %+v", u)
	}
	w.write("a\x00")
	w.warned(ErrBinary)
	w.write("b\x00\x00")
	w.must(os.Truncate(w.path(Path), 50<<20))
	if u := w.next(); u.Document != nil || !strings.Contains(u.Warning.Error(), "50.0 MiB") {
		t.Errorf("50 MiB: %+v", u)
	}
	w.write("- [ ] a\n")
	w.expect("- [ ] a\n")
	w.must(os.Remove(w.path(Path)))
	w.must(os.Mkdir(w.path(Path), 0o755))
	w.warned(ErrNotRegular)
	w.must(os.Remove(w.path(Path)))
	w.write("- [ ] a\n")
	w.expect("- [ ] a\n")
	w.must(os.Chmod(w.path(Path), 0))
	if os.Geteuid() != 0 { // root reads it all the same
		w.warned(os.ErrPermission)
		w.must(os.Chmod(w.path(Path), 0o644))
		w.expect("- [ ] a\n")
	}
	w.must(os.Chmod(w.path(Path), 0o644))
	w.quietly()
}

func TestWatchSymbolicLinks(t *testing.T) {
	w := newWatched(t, "- [ ] a\n")
	outside := filepath.Join(t.TempDir(), "todo.md")
	w.must(os.WriteFile(outside, []byte("- [ ] secret\n"), 0o644))
	swap := func(to string) {
		t.Helper()
		w.must(os.Symlink(to, w.path(".opencode/link")))
		w.must(os.Rename(w.path(".opencode/link"), w.path(Path)))
	}
	swap(outside)
	w.warned(ErrOutside)
	w.must(os.Mkdir(w.path("docs"), 0o755))
	w.must(os.WriteFile(w.path("docs/plan.md"), []byte("- [ ] b\n"), 0o644))
	swap("../docs/plan.md")
	w.expect("- [ ] b\n")
	w.must(os.WriteFile(w.path("docs/plan.md"), []byte("- [x] b\n"), 0o644))
	w.expect("- [x] b\n")
	swap("../docs/none.md")
	w.expect("-")
	w.must(os.WriteFile(w.path("docs/none.md"), []byte("- [ ] c\n"), 0o644))
	w.expect("- [ ] c\n")
	w.must(os.RemoveAll(w.path("docs")))
	w.expect("-")
	w.must(os.Mkdir(w.path("docs"), 0o755))
	w.must(os.WriteFile(w.path("docs/none.md"), []byte("- [ ] d\n"), 0o644))
	w.expect("- [ ] d\n")
	w.must(os.Remove(w.path(Path)))
	w.expect("-")
	w.quietly()
}

func TestWatchStartsWithAWarning(t *testing.T) {
	w := newWatched(t, "a\x00")
	w.warned(ErrBinary)
	w.quietly()
}

// The time that matters to people: a change is told within 700 ms. On a busy
// machine not each of them is.
func TestWatchIsPrompt(t *testing.T) {
	w := prepareWatched(t, "- [ ] a\n", WatchOptions{})
	w.watcher.Start()
	fastest := time.Hour
	for i := range 3 {
		start := time.Now()
		w.replace(fmt.Sprintf("- [ ] %d\n", i))
		w.expect(fmt.Sprintf("- [ ] %d\n", i))
		fastest = min(fastest, time.Since(start))
	}
	if fastest < defaultQuiet || fastest > 700*time.Millisecond {
		t.Errorf("it took %v", fastest)
	}
	t.Logf("from a change to its update: %v", fastest)
}

// scripted is a notifier whose events a test makes, and what makes it.
type scripted struct {
	event        chan fsnotify.Event
	failure      chan error
	made, closed atomic.Int32

	mu              sync.Mutex
	makeErr, addErr error
}

func (s *scripted) events() <-chan fsnotify.Event { return s.event }
func (s *scripted) errors() <-chan error          { return s.failure }

func (s *scripted) Close() error {
	s.closed.Add(1)
	return nil
}

func (s *scripted) Add(string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addErr
}

// answer sets what comes of making it and of adding folders.
func (s *scripted) answer(makeErr, addErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeErr, s.addErr = makeErr, addErr
}

func newScripted() *scripted {
	return &scripted{event: make(chan fsnotify.Event), failure: make(chan error)}
}

// notifier is for a watcher.
func (s *scripted) notifier() (notifier, error) {
	s.made.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.makeErr != nil {
		return nil, s.makeErr
	}
	return s, nil
}

// script puts a scripted notifier under a watcher.
func (w *watched) script() *scripted {
	s := newScripted()
	w.watcher.notifier = s.notifier
	return s
}

func TestWatchWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prepareWatched(t, "- [ ] a\n", WatchOptions{})
		s := w.script()
		w.watcher.Start()
		change := fsnotify.Event{Name: w.path(Path), Op: fsnotify.Write}

		// A burst is one update, a quiet while after its end.
		start := time.Now()
		for i := range 5 {
			w.replace(fmt.Sprintf("- [ ] burst %d\n", i))
			s.event <- change
			time.Sleep(300 * time.Millisecond)
		}
		w.expect("- [ ] burst 4\n")
		if d := time.Since(start); d != 1200*time.Millisecond+defaultQuiet {
			t.Errorf("told after %v", d)
		}
		// Without an end, updates come all the same.
		start = time.Now()
		var told []time.Duration
		for i := range 50 {
			w.replace(fmt.Sprintf("- [ ] no end %d\n", i))
			s.event <- change
			time.Sleep(100 * time.Millisecond)
			select {
			case <-w.updates:
				told = append(told, time.Since(start))
			default:
			}
		}
		if len(told) != 2 || told[0] > 2100*time.Millisecond || told[1] > 4200*time.Millisecond {
			t.Errorf("told after %v", told)
		}
		w.expect("- [ ] no end 49\n")
		// Events of other files are none, and neither are lost ones without a change.
		s.event <- fsnotify.Event{Name: w.path(".opencode/other"), Op: fsnotify.Write}
		s.failure <- fsnotify.ErrEventOverflow
		time.Sleep(time.Hour)
		if len(w.updates) > 0 {
			t.Errorf("told %+v", <-w.updates)
		}
		w.replace("- [ ] lost\n")
		s.failure <- fsnotify.ErrEventOverflow
		w.expect("- [ ] lost\n")
		w.watcher.Close()
		if s.closed.Load() != 1 {
			t.Errorf("closed %d times", s.closed.Load())
		}
	})
}

func TestWatchAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prepareWatched(t, "- [ ] a\n", WatchOptions{})
		s := w.script()
		w.watcher.Start()
		w.replace("- [x] a\n")
		s.failure <- errors.New("the watch broke")
		w.expect("- [x] a\n") // what happened meanwhile is not lost
		if s.made.Load() != 2 || s.closed.Load() != 1 {
			t.Errorf("%d made, %d closed", s.made.Load(), s.closed.Load())
		}
		s.answer(errors.New("no more today"), nil)
		s.failure <- errors.New("the watch broke again")
		u := w.next()
		if u.Warning == nil || !strings.Contains(u.Warning.Error(), "no more today") || u.Document.text != "- [x] a\n" {
			t.Errorf("%+v", u)
		}
		time.Sleep(24 * time.Hour)
		if n := s.made.Load(); n < 2000 || n > 4000 {
			t.Errorf("tried %d times in a day", n)
		}
		if len(w.updates) > 0 {
			t.Errorf("told %+v", <-w.updates)
		}
		s.answer(nil, nil)
		w.replace("- [/] a\n")
		time.Sleep(maxBackoff)
		w.expect("- [/] a\n")
		w.replace("- [ ] a\n")
		s.event <- fsnotify.Event{Name: w.path(Path), Op: fsnotify.Write}
		w.expect("- [ ] a\n")
		w.watcher.Close()
	})
}

func TestWatchLimits(t *testing.T) {
	for _, limit := range []error{syscall.ENOSPC, fmt.Errorf("couldn't initialize inotify: %w", syscall.EMFILE)} {
		synctest.Test(t, func(t *testing.T) {
			w := prepareWatched(t, "- [ ] a\n", WatchOptions{})
			s := w.script()
			if errors.Is(limit, syscall.ENOSPC) {
				s.answer(nil, limit)
			} else {
				s.answer(limit, nil)
			}
			w.watcher.Start()
			u := w.next()
			if e, ok := errors.AsType[*WatchLimitError](u.Warning); !ok || !errors.Is(e, limit) || !strings.Contains(e.Error(), "fs.inotify.max_user_watches") || u.Document.text != "- [ ] a\n" {
				t.Errorf("%+v", u)
			}
			w.replace("- [x] a\n")
			time.Sleep(24 * time.Hour)
			if len(w.updates) > 0 || s.made.Load() != 1 {
				t.Errorf("%d tries and %d updates without being asked", s.made.Load(), len(w.updates))
			}
			w.watcher.Look()
			w.expect("- [x] a\n")
			w.watcher.Look()
			synctest.Wait()
			if len(w.updates) > 0 {
				t.Errorf("told %+v", <-w.updates)
			}
			s.answer(nil, nil)
			w.watcher.Look()
			synctest.Wait()
			w.replace("- [/] a\n")
			s.event <- fsnotify.Event{Name: w.path(Path), Op: fsnotify.Write}
			w.expect("- [/] a\n")
			w.watcher.Close()
		})
	}
}

func TestCloseWithoutStart(t *testing.T) {
	w := NewWatcher(NewFile(t.TempDir(), t.TempDir(), nil), nil, WatchOptions{})
	w.Look()
	w.Close()
	w.Close()
}

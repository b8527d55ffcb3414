package todo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// toast is a toast as somebody saw it.
type toast struct {
	directory string
	host.Toast
}

// screen plays OpenCode: it shows toasts, or hangs.
type screen struct {
	toasts chan toast
	hang   atomic.Bool
	hung   atomic.Int32 // calls that hang
}

func (s *screen) Toast(ctx context.Context, directory string, t host.Toast) error {
	s.toasts <- toast{directory, t}
	if s.hang.Load() {
		s.hung.Add(1)
		defer s.hung.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// synced is a worktree that OpenCode has open, with people at its screen.
type synced struct {
	*worktree
	sync   *Sync
	screen *screen
	log    *strings.Builder // to be read once the Sync has stopped
}

func newSynced(t *testing.T, content string, options WatchOptions) *synced {
	t.Helper()
	s := &synced{worktree: newWorktree(t, content), screen: &screen{toasts: make(chan toast, 100)}, log: &strings.Builder{}}
	s.sync = NewSync(SyncOptions{State: s.state, Host: s.screen, Log: zerolog.New(s.log), Watch: options})
	t.Cleanup(s.stop)
	s.sync.Open(s.dir, s.dir, true)
	return s
}

// impatient are the times of a watcher whose tests do not care.
func impatient() WatchOptions {
	return WatchOptions{Quiet: 150 * time.Millisecond, MaxDelay: time.Second}
}

func newWatchedSync(t *testing.T, content string) *synced {
	t.Helper()
	s := newSynced(t, content, impatient())
	s.sync.Watch(s.dir)
	return s
}

func (s *synced) stop() { s.must(s.sync.Stop(context.WithoutCancel(s.t.Context()))) }

func (s *synced) next() toast {
	s.t.Helper()
	select {
	case got := <-s.screen.toasts:
		return got
	case <-time.After(10 * time.Second):
		s.t.Fatal("no toast came")
		return toast{}
	}
}

// sees waits for a toast of a kind that holds a text.
func (s *synced) sees(variant, text string) {
	s.t.Helper()
	got := s.next()
	if got.Title != "Todo list" || got.Variant != variant || !strings.Contains(got.Message, text) || got.Duration != toastDuration || got.directory != s.dir {
		s.t.Fatalf("got %+v, want the %s %q", got, variant, text)
	}
}

// reaches waits for a toast after several steps, which a busy machine may take so
// long for that those in between are told as well.
func (s *synced) reaches(text string) {
	s.t.Helper()
	for !strings.Contains(s.next().Message, text) {
	}
}

// quietly makes sure that no toast came: the next is that of a change made now.
func (s *synced) quietly() {
	s.t.Helper()
	n := time.Now().UnixNano()%1000 + 10
	s.replace(strings.Repeat("- [ ] sentinel\n", int(n)))
	s.sees("info", fmt.Sprintf("todo.md was edited: 0 of %d done, %d open", n, n))
}

// mends puts the file right, which is no news for whoever does it.
func (s *synced) mends(content string) {
	s.t.Helper()
	s.write(content)
	s.settles("version " + string(mustParse(s.t, content).Version))
}

// settles waits until the watcher knows of a state of the file.
func (s *synced) settles(state string) {
	s.t.Helper()
	file := s.sync.trees[s.dir].file
	s.eventually(func() bool {
		file.mu.Lock()
		defer file.mu.Unlock()
		return file.seen == state
	})
}

func (s *synced) eventually(holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("it has not come to that")
		}
	}
}

// replace saves the file as most editors do.
func (s *synced) replace(content string) {
	s.t.Helper()
	s.must(os.MkdirAll(s.path(".opencode"), 0o755))
	s.must(os.WriteFile(s.path(".opencode/new"), []byte(content), 0o644))
	s.must(os.Rename(s.path(".opencode/new"), s.path(Path)))
}

func TestSyncTellsOfAPersonsEdits(t *testing.T) {
	t.Parallel()
	s := newWatchedSync(t, "- [x] a\n- [x] b\n- [x] c\n- [ ] d\n- [/] e\n")
	s.sync.Watch(s.dir)
	s.quietly() // nothing of what was there

	// vim: the old file becomes the backup, a new one is written, the backup goes.
	for i := 1; i <= 2; i++ {
		s.must(os.Rename(s.path(Path), s.path(".opencode/todo.md~")))
		s.write(strings.Repeat("- [x] done\n", i) + "- [-] given up\n- [ ] open\n")
		s.must(os.Remove(s.path(".opencode/todo.md~")))
		s.reaches(fmt.Sprintf("todo.md was edited: %d of %d done, 1 cancelled, 1 open", i, i+2))
	}
	s.replace("- [x] a\n- [x] b\n- [x] c\n- [ ] d\n- [/] e\n")
	s.sees("info", "todo.md was edited: 3 of 5 done, 2 open")
	s.replace("- [x] a\n")
	s.sees("info", "todo.md was edited: 1 of 1 done")
	s.replace("all is done\n")
	s.sees("info", "todo.md was edited: it has no items")

	s.must(os.Remove(s.path(Path)))
	s.sees("info", "todo.md was removed")
	s.write("- [ ] again\n")
	s.sees("info", "todo.md was edited: 0 of 1 done, 1 open")
	s.must(os.RemoveAll(s.path(".opencode")))
	s.sees("info", "todo.md was removed")
	s.write("- [ ] a\n- [ ] b\n")
	s.sees("info", "0 of 2 done")
	s.quietly()
}

func TestSyncWithoutAFolder(t *testing.T) {
	t.Parallel()
	s := newWatchedSync(t, "-")
	s.must(os.Mkdir(s.path(".opencode"), 0o755))
	s.must(os.WriteFile(s.path(".opencode/opencode.json"), []byte("{}"), 0o644))
	s.write("- [ ] a\n")
	s.sees("info", "0 of 1 done, 1 open")
	s.quietly()
}

func TestSyncIsQuietAboutItsOwnEdits(t *testing.T) {
	t.Parallel()
	s := newWatchedSync(t, "- [ ] a\n- [ ] b\n")
	for _, state := range []State{Completed, Pending, InProgress} {
		_, err := s.sync.Edit(t.Context(), s.dir, Edit{}, set("a", state))
		s.must(err)
	}
	_, err := s.sync.Merge(t.Context(), s.dir, nil, todos(t, "- [x] b\n- [ ] c\n"), MergeOptions{AddNew: true}, false)
	s.must(err)
	s.quietly()
}

func TestSyncIsQuietAboutAgents(t *testing.T) {
	t.Parallel()
	s := newSynced(t, "- [ ] a\n", WatchOptions{}) // with time to say that it was an agent
	s.sync.Watch(s.dir)
	name := s.path(Path)
	s.replace("- [x] a\n")
	s.sync.Touched(s.dir, []string{"/elsewhere", name})
	s.quietly()

	// On top of it an edit of ours, and another one of an agent.
	s.replace("- [/] a\n")
	s.sync.Touched(s.dir, []string{name})
	_, err := s.sync.Edit(t.Context(), s.dir, Edit{}, set("a", Completed))
	s.must(err)
	s.replace("- [x] a\n- [ ] b\n")
	s.sync.Touched(s.dir, []string{name})
	s.quietly()

	// It makes and removes the file, and names it in other ways.
	s.must(os.Remove(name))
	s.sync.Touched(s.dir, []string{name})
	s.must(os.Symlink(s.dir, s.path("self")))
	s.replace("- [ ] a\n")
	s.sync.Touched(s.dir, []string{s.path("self/.opencode/../.opencode/todo.md")})
	s.quietly()

	// A person right after an agent, and a person who takes an agent's edit back.
	s.replace("- [x] a\n")
	s.sync.Touched(s.dir, []string{name})
	s.replace("- [x] a\n- [x] b\n- [ ] c\n")
	s.sees("info", "2 of 3 done, 1 open")
	s.replace("- [x] a\n")
	s.sees("info", "1 of 1 done")

	// Other files are no excuse, nor are files in a directory that is not open.
	s.replace("- [x] a\n- [ ] b\n")
	s.sync.Touched(s.dir, []string{s.path("todo.md"), "", s.path(".opencode/new")})
	s.sync.Touched("/elsewhere", []string{name})
	s.sees("info", "1 of 2 done")

	// What is wrong is told whoever did it.
	s.replace("a\x00")
	s.sync.Touched(s.dir, []string{name})
	s.sees("warning", "NUL")
}

func TestSyncWarns(t *testing.T) {
	t.Parallel()
	s := newWatchedSync(t, "- [ ] a\n")
	s.write("")
	s.sees("warning", ".opencode/todo.md is there and empty: it has 0 bytes")
	s.mends("- [ ] a\n- [ ] b\n")
	s.quietly()
	s.write("a\x00")
	s.sees("warning", "it is not a text file in UTF-8 (it holds NUL bytes)")
	s.write("b\x00") // the same once more
	s.must(os.Truncate(s.path(Path), 50<<20))
	s.sees("warning", "it is 50.0 MiB long, and todo files are read up to 4.0 MiB")
	s.must(os.Remove(s.path(Path)))
	s.must(os.Symlink(filepath.Join(s.state, "todo.md"), s.path(Path)))
	s.sees("warning", "a symbolic link leads out of the worktree")
	s.must(os.Remove(s.path(Path)))
	s.must(os.Mkdir(s.path(Path), 0o755))
	s.sees("warning", "it is not a regular file")
	s.must(os.Remove(s.path(Path)))
	s.mends("- [ ] a\n")
	s.quietly()
	s.write("a\x00") // a warning that has gone is news when it comes back
	s.sees("warning", "NUL")
	s.stop()
	if n := strings.Count(s.log.String(), `"level":"warn"`); n != 6 {
		t.Errorf("%d warnings in the log:\n%s", n, s.log)
	}
}

func TestSyncWarnsAtTheStart(t *testing.T) {
	t.Parallel()
	s := newWatchedSync(t, "")
	s.sees("warning", "0 bytes")
	s.mends("- [ ] a\n")
	s.quietly()
}

func TestSyncOfSeveralDirectories(t *testing.T) {
	t.Parallel()
	s := newSynced(t, "- [ ] a\n", impatient())
	below, quiet := s.path("below"), s.path("quiet")
	s.sync.Open(below, s.dir, false)
	s.sync.Open(below, s.dir, true) // the settings of the last time count
	s.sync.Open(quiet, s.dir, true)
	s.sync.Open(quiet, s.dir, false)
	s.sync.Watch(s.dir)
	both := func(content string) {
		t.Helper()
		s.replace(content)
		first, second := s.next(), s.next()
		if first.directory > second.directory {
			first, second = second, first
		}
		if first.directory != s.dir || second.directory != below || first.Toast != second.Toast {
			t.Errorf("%+v and %+v", first, second)
		}
	}
	both("- [x] a\n")
	both("- [x] a\n- [ ] b\n")
	s.sync.Close(below)
	s.quietly()
	s.sync.Close(quiet)
	s.quietly()
	s.sync.Close("/elsewhere")
	s.sync.Close(s.dir)
	s.sync.Close(s.dir)
	if _, err := s.sync.Read(s.dir); !errors.Is(err, ErrNotOpen) {
		t.Errorf("closed: %v", err)
	}
	s.replace("- [ ] nobody looks\n")

	// Opened again, it is watched again, since it was.
	s.sync.Open(s.dir, s.dir, true)
	tree := s.sync.trees[s.dir]
	s.sync.Open(s.dir, s.dir, true)
	if s.sync.trees[s.dir] != tree {
		t.Error("opened twice")
	}
	s.eventually(tree.watching)
	s.quietly()
}

// A directory can come to belong to another worktree.
func TestSyncMovesADirectory(t *testing.T) {
	s := newWatchedSync(t, "- [ ] a\n")
	above := filepath.Dir(s.dir)
	s.sync.Open(s.dir, above, true)
	if _, err := s.sync.Read(s.dir); !errors.Is(err, ErrNotOpen) {
		t.Errorf("the old one: %v", err)
	}
	doc, err := s.sync.Read(above)
	if err != nil || !doc.Missing {
		t.Errorf("the new one: %v", err)
	}
	s.sync.Close(s.dir)
	if _, err := s.sync.Read(above); !errors.Is(err, ErrNotOpen) {
		t.Errorf("closed: %v", err)
	}
}

func TestSyncWithoutToasts(t *testing.T) {
	t.Parallel()
	s := newSynced(t, "- [ ] a\n", impatient())
	s.sync.Open(s.dir, s.dir, false)
	s.sync.Watch(s.dir)
	s.write("a\x00")
	s.settles("error reading .opencode/todo.md: " + ErrBinary.Error())
	s.stop()
	if len(s.screen.toasts) > 0 || !strings.Contains(s.log.String(), "NUL bytes") || !strings.Contains(s.log.String(), s.dir) {
		t.Errorf("%d toasts, and in the log %s", len(s.screen.toasts), s.log)
	}
}

func TestSyncClosesWhileAToastHangs(t *testing.T) {
	t.Parallel()
	for name, closing := range map[string]func(s *synced){
		"the directory": func(s *synced) { s.sync.Close(s.dir) },
		"all":           func(s *synced) { s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newWatchedSync(t, "- [ ] a\n")
			s.screen.hang.Store(true)
			s.replace("- [x] a\n")
			s.sees("info", "1 of 1 done")
			start := time.Now()
			closing(s)
			if took := time.Since(start); took > time.Second || s.screen.hung.Load() > 0 {
				t.Errorf("it took %v, and %d calls still hang", took, s.screen.hung.Load())
			}
		})
	}
}

func TestSyncIsClosed(t *testing.T) {
	s := newWatchedSync(t, "- [ ] a\n")
	for range 2 {
		s.stop()
	}
	s.sync.Open(s.dir, s.dir, true)
	s.sync.Watch(s.dir)
	s.sync.Touched(s.dir, []string{s.path(Path)})
	s.sync.Close(s.dir)
	if _, err := s.sync.Read(s.dir); !errors.Is(err, ErrStopped) {
		t.Errorf("reading: %v", err)
	}
	if _, err := s.sync.Edit(t.Context(), s.dir, Edit{}, set("a", Completed)); !errors.Is(err, ErrStopped) {
		t.Errorf("editing: %v", err)
	}
	base := Base{{Text: "x"}}
	got, err := s.sync.Merge(t.Context(), s.dir, base, nil, MergeOptions{}, true)
	if !errors.Is(err, ErrStopped) || len(got) != 1 {
		t.Errorf("merging: %v, %v", got, err)
	}
}

func TestSyncStopsInTime(t *testing.T) {
	s := newWatchedSync(t, "- [ ] a\n")
	tree := s.sync.trees[s.dir]
	tree.mu.Lock() // somebody starts the watcher, and the disk hangs
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.sync.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	tree.mu.Unlock()
}

// Most worktrees never have a todo list: what is open costs nothing.
func TestSyncStartsNothing(t *testing.T) {
	s := newSynced(t, "- [ ] a\n", WatchOptions{})
	s.sync.notifier = func() (notifier, error) {
		t.Error("it is watched")
		return newSystemNotifier()
	}
	doc, err := s.sync.Read(s.dir)
	if err != nil || doc.Len() != 1 {
		t.Errorf("%v", err)
	}
	s.sync.Watch("/elsewhere")
	s.sync.Touched(s.dir, []string{s.path(Path)})
	s.sync.Close(s.dir)
	s.sync.Open(s.dir, s.dir, true)
}

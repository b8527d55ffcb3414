package todo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// asNobody runs f on a thread that has no more rights on files than any user,
// even if the tests are run by root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setfsuid := func(uid uintptr) {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, uid, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	setfsuid(nobody)
	defer setfsuid(0)
	f()
}

// open lets everybody into a test's folders.
func (w *worktree) open() {
	w.t.Helper()
	for _, dir := range []string{w.dir, w.state} {
		w.must(os.Chmod(filepath.Dir(dir), 0o755))
		w.must(os.Chmod(dir, 0o777))
	}
	w.must(os.Chmod(w.path(".opencode"), 0o777))
}

func TestNoPermission(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deny     func(w *worktree)
		readable bool
	}{
		{"the file is nobody's to read", func(w *worktree) { w.must(os.Chmod(w.path(Path), 0)) }, false},
		{"the folder is nobody's to enter", func(w *worktree) { w.must(os.Chmod(w.path(".opencode"), 0)) }, false},
		{"the file is read-only", func(w *worktree) { w.must(os.Chmod(w.path(Path), 0o444)) }, true},
		{"the folder is read-only", func(w *worktree) {
			w.must(os.Chmod(w.path(Path), 0o666))
			w.must(os.Chmod(w.path(".opencode"), 0o555))
		}, true},
		{"the state's folder is read-only", func(w *worktree) { w.must(os.Chmod(w.state, 0o555)) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorktree(t, "- [ ] a\n")
			w.open()
			tt.deny(w)
			var doc *Document
			var readErr, editErr error
			asNobody(t, func() {
				doc, readErr = w.file.Read()
				_, editErr = w.file.Edit(t.Context(), Edit{}, set("a", Completed))
			})
			if tt.readable != (readErr == nil) || readErr != nil && !errors.Is(readErr, fs.ErrPermission) || tt.readable && doc.Len() != 1 {
				t.Errorf("reading: %v", readErr)
			}
			if !errors.Is(editErr, fs.ErrPermission) {
				t.Errorf("editing: %v", editErr)
			}
			t.Log(editErr)
			w.must(os.Chmod(w.path(".opencode"), 0o755))
			w.must(os.Chmod(w.path(Path), 0o644))
			if names := w.names(); w.content() != "- [ ] a\n" || len(names) != 1 {
				t.Errorf("%q, %q", w.content(), names)
			}
		})
	}
}

// A file that may not grow is what a full disk is like to whoever writes it.
func TestFullDisk(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	var was syscall.Rlimit
	w.must(syscall.Getrlimit(unix.RLIMIT_FSIZE, &was))
	w.must(syscall.Setrlimit(unix.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10, Max: was.Max}))
	_, err := w.file.Edit(t.Context(), Edit{}, func(d *Document) ([]byte, error) {
		return Add(d, Place{}, Entry{Text: "more than ten bytes"})
	})
	_, createErr := NewFile(t.TempDir(), w.state, nil).Create(t.Context(), Edit{}, []byte("more than ten bytes"))
	w.must(syscall.Setrlimit(unix.RLIMIT_FSIZE, &was))
	if !errors.Is(err, syscall.EFBIG) || !errors.Is(createErr, syscall.EFBIG) {
		t.Errorf("%v, %v", err, createErr)
	}
	t.Log(err)
	if names := w.names(); w.content() != "- [ ] a\n" || len(names) != 1 {
		t.Errorf("%q, %q", w.content(), names)
	}
}

func TestAPipeIsNotWaitedFor(t *testing.T) {
	w := newWorktree(t, "-")
	w.must(os.Mkdir(w.path(".opencode"), 0o755))
	w.must(unix.Mkfifo(w.path(Path), 0o644))
	if _, err := w.file.Read(); !errors.Is(err, ErrNotRegular) {
		t.Error(err)
	}
}

func TestTheOwnerStays(t *testing.T) {
	if os.Geteuid() != 0 {
		proctest.Lacks(t, "root, who alone can give files away")
	}
	w := newWorktree(t, "- [ ] a\n")
	w.must(os.Chown(w.path(Path), 1234, 5678))
	_, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	w.must(err)
	info, err := os.Stat(w.path(Path))
	w.must(err)
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 5678 {
		t.Errorf("the owner is %d:%d", s.Uid, s.Gid)
	}
}

// A closed watcher holds nothing of the system's.
func TestCloseGivesAllBack(t *testing.T) {
	handles := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	w := newWorktree(t, "- [ ] a\n")
	before := handles()
	for range 20 {
		watcher := NewWatcher(w.file, func(context.Context, Update) {}, WatchOptions{})
		watcher.Start()
		w.write("- [x] a\n")
		watcher.Close()
		watcher.Close()
	}
	if now := handles(); now > before+2 { // the runtime's own poller
		t.Errorf("%d handles, %d before", now, before)
	}
}

func TestSyncWithoutPermission(t *testing.T) {
	s := newSynced(t, "- [ ] a\n", WatchOptions{})
	s.open()
	s.must(os.Chmod(s.path(Path), 0))
	asNobody(t, func() { s.sync.Watch(s.dir) }) // which looks at the file before it returns
	s.sees("warning", "permission denied")
}

func TestUpdateTodoWithoutPermission(t *testing.T) {
	for mode, text := range map[os.FileMode]string{0: "reading .opencode/todo.md", 0o444: "editing .opencode/todo.md"} {
		d := newDesk(t, "- [ ] a\n")
		d.open()
		d.must(os.Chmod(d.path(Path), mode))
		var err error
		asNobody(t, func() { _, err = d.call(`{'action':'update','task':'a','status':'completed'}`) })
		if !errors.Is(err, fs.ErrPermission) || !strings.HasPrefix(err.Error(), text) || !strings.HasSuffix(err.Error(), "; only the user can put that right") {
			t.Errorf("%v", err)
		}
		t.Log(err)
		d.must(os.Chmod(d.path(Path), 0o644))
		if d.content() != "- [ ] a\n" {
			t.Errorf("%q", d.content())
		}
	}
}

package todo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// editorEnv makes this binary a process of TestManyProcesses.
const editorEnv = "TODO_TEST_EDITOR"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(editorEnv); ok {
		os.Exit(editor(job))
	}
	goleak.VerifyTestMain(m)
}

// worktree is a directory with a todo file in it, unless content is "-".
type worktree struct {
	t     testing.TB
	dir   string
	state string
	file  *File
	warns []error
}

func newWorktree(t testing.TB, content string) *worktree {
	t.Helper()
	w := &worktree{t: t, dir: t.TempDir(), state: t.TempDir()}
	w.file = NewFile(w.dir, w.state, func(err error) { w.warns = append(w.warns, err) })
	if content != "-" {
		w.write(content)
	}
	return w
}

func (w *worktree) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w *worktree) write(content string) {
	w.t.Helper()
	w.must(os.MkdirAll(w.path(".opencode"), 0o755))
	w.must(os.WriteFile(w.path(Path), []byte(content), 0o644))
}

func (w *worktree) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *worktree) content() string {
	w.t.Helper()
	content, err := os.ReadFile(w.path(Path))
	w.must(err)
	return string(content)
}

func (w *worktree) read() *Document {
	w.t.Helper()
	doc, err := w.file.Read()
	w.must(err)
	return doc
}

func (w *worktree) history() []HistoryEntry {
	w.t.Helper()
	content, err := os.ReadFile(w.path(HistoryPath))
	w.must(err)
	var entries []HistoryEntry
	for line := range strings.Lines(string(content)) {
		var e HistoryEntry
		w.must(json.Unmarshal([]byte(line), &e))
		entries = append(entries, e)
	}
	return entries
}

// names lists what is in .opencode.
func (w *worktree) names() []string {
	w.t.Helper()
	entries, err := os.ReadDir(w.path(".opencode"))
	w.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// set is an edit that sets the state of the item with a text.
func set(text string, state State) func(*Document) ([]byte, error) {
	return func(doc *Document) ([]byte, error) {
		item, err := Find(doc, text)
		if err != nil {
			return nil, err
		}
		return SetState(doc, item, state)
	}
}

func TestRead(t *testing.T) {
	w := newWorktree(t, "-")
	if doc := w.read(); !doc.Missing || doc.Version != "" || doc.Len() != 0 || doc.Empty() {
		t.Errorf("no file: %+v", doc)
	}
	w.write("- [ ] a\n")
	first := w.read()
	if first.Missing || first.Len() != 1 || len(first.Version) != 64 || len(first.Version.Short()) != 12 {
		t.Errorf("%+v", first)
	}
	if again := w.read(); again != first {
		t.Error("an unchanged file was parsed again")
	}
	// The same size within the clock's grain, in place.
	w.write("- [x] a\n")
	if doc := w.read(); doc.Items[0].State != Completed {
		t.Error("a change was missed")
	}
	w.write("")
	if doc := w.read(); !doc.Empty() || doc.Missing {
		t.Errorf("0 bytes: %+v", doc)
	}
	w.must(os.RemoveAll(w.path(".opencode")))
	if doc := w.read(); !doc.Missing {
		t.Errorf("a removed file: %+v", doc)
	}
	w.must(os.RemoveAll(w.dir))
	if doc := w.read(); !doc.Missing {
		t.Errorf("a removed worktree: %+v", doc)
	}
}

func TestReadTrustsAnOldStamp(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	old := time.Now().Add(-time.Hour)
	w.must(os.Chtimes(w.path(Path), old, old))
	first := w.read()
	// What no honest program does shows that the content was not looked at.
	w.write("- [x] a\n")
	w.must(os.Chtimes(w.path(Path), old, old))
	if w.read() != first {
		t.Error("an old file was read again")
	}
	w.must(os.Rename(w.path(Path), w.path("moved")))
	w.write("- [/] a\n")
	w.must(os.Chtimes(w.path(Path), old, old))
	if w.read().Items[0].State != InProgress {
		t.Error("another file of the same size and time was taken for the old one")
	}
}

func TestReadRefuses(t *testing.T) {
	w := newWorktree(t, "a\x00b")
	if _, err := w.file.Read(); !errors.Is(err, ErrBinary) {
		t.Errorf("binary: %v", err)
	}
	w.must(os.Truncate(w.path(Path), 50<<20))
	_, err := w.file.Read()
	if large, ok := errors.AsType[*TooLargeError](err); !ok || large.Size != 50<<20 ||
		err.Error() != "reading .opencode/todo.md: it is 50.0 MiB long, and todo files are read up to 4.0 MiB" {
		t.Errorf("50 MiB: %v", err)
	}
	if _, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed)); err == nil {
		t.Error("50 MiB were edited")
	}
	w.must(os.Remove(w.path(Path)))
	w.must(os.Mkdir(w.path(Path), 0o755))
	if _, err := w.file.Read(); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
}

func TestSymbolicLinks(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "todo.md")
	if err := os.WriteFile(secret, []byte("- [ ] a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		make func(w *worktree)
		real string // where the file is, in the worktree; "" where it is refused
	}{
		{"a file outside", func(w *worktree) {
			w.must(os.Mkdir(w.path(".opencode"), 0o755))
			w.must(os.Symlink(secret, w.path(Path)))
		}, ""},
		{"a folder outside", func(w *worktree) { w.must(os.Symlink(outside, w.path(".opencode"))) }, ""},
		{"a file above", func(w *worktree) {
			w.must(os.Mkdir(w.path(".opencode"), 0o755))
			w.must(os.Symlink("../../todo.md", w.path(Path)))
		}, ""},
		{"a loop", func(w *worktree) { w.must(os.Symlink(".opencode", w.path(".opencode"))) }, ""},
		{"a file inside", func(w *worktree) {
			w.must(os.MkdirAll(w.path(".opencode"), 0o755))
			w.must(os.MkdirAll(w.path("docs"), 0o755))
			w.must(os.WriteFile(w.path("docs/plan.md"), []byte("- [ ] a\n"), 0o644))
			w.must(os.Symlink("../docs/plan.md", w.path(Path)))
		}, "docs/plan.md"},
		{"an absolute one inside", func(w *worktree) {
			w.must(os.MkdirAll(w.path(".opencode"), 0o755))
			w.must(os.WriteFile(w.path("plan.md"), []byte("- [ ] a\n"), 0o644))
			w.must(os.Symlink(w.path("plan.md"), w.path(Path)))
		}, "plan.md"},
		{"a folder inside, and a link from there", func(w *worktree) {
			w.must(os.MkdirAll(w.path("config/opencode"), 0o755))
			w.must(os.WriteFile(w.path("config/plan.md"), []byte("- [ ] a\n"), 0o644))
			w.must(os.Symlink("config/opencode", w.path(".opencode")))
			w.must(os.Symlink("../plan.md", w.path("config/opencode/todo.md")))
		}, "config/plan.md"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorktree(t, "-")
			tt.make(w)
			doc, err := w.file.Read()
			_, editErr := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
			if tt.real == "" {
				if err == nil || editErr == nil || !strings.Contains(err.Error(), "symbolic link") || tt.name != "a loop" && !errors.Is(editErr, ErrOutside) {
					t.Errorf("read %v, edited %v", err, editErr)
				}
				return
			}
			if err != nil || editErr != nil || doc.Items[0].State != Pending {
				t.Fatalf("read %v, edited %v", err, editErr)
			}
			content, err := os.ReadFile(w.path(tt.real))
			if err != nil || string(content) != "- [x] a\n" {
				t.Errorf("%q, %v", content, err)
			}
			if info, err := os.Lstat(w.path(tt.real)); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
	content, err := os.ReadFile(secret)
	if err != nil || string(content) != "- [ ] a\n" {
		t.Errorf("a file outside of the worktree became %q", content)
	}
}

func TestEdit(t *testing.T) {
	w := newWorktree(t, "# Plan\n- [ ] a\n- [ ] b\n")
	w.must(os.Chmod(w.path(Path), 0o640))
	before := w.read()
	doc, err := w.file.Edit(t.Context(), Edit{Actor: "Worker", Kind: "update"}, set("a", Completed))
	w.must(err)
	if want := "# Plan\n- [x] a\n- [ ] b\n"; w.content() != want || doc.text != want || w.read() != doc {
		t.Errorf("%q, %q", w.content(), doc.text)
	}
	added, err := w.file.Edit(t.Context(), Edit{Actor: "Planner", Kind: "add"}, func(d *Document) ([]byte, error) {
		return Add(d, Place{}, Entry{Text: "c"})
	})
	w.must(err)
	if info, err := os.Stat(w.path(Path)); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if diff := cmp.Diff([]string{"archive", "todo.md"}, w.names()); diff != "" {
		t.Error(diff)
	}
	history := w.history()
	for i := range history {
		if age := time.Since(history[i].Time); age < 0 || age > time.Minute {
			t.Errorf("the time is %v", history[i].Time)
		}
		history[i].Time = time.Time{}
	}
	want := []HistoryEntry{
		{Actor: "Worker", Kind: "update", Changes: []LineChange{{2, "- [ ] a", "- [x] a"}}, VersionBefore: before.Version, VersionAfter: doc.Version},
		{Actor: "Planner", Kind: "add", Changes: []LineChange{{4, "", "- [ ] c"}}, VersionBefore: doc.Version, VersionAfter: added.Version},
	}
	if diff := cmp.Diff(want, history); diff != "" {
		t.Error(diff)
	}
	// What is so already is not written.
	again, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	if err != nil || again != added || len(w.history()) != 2 {
		t.Errorf("%v, %v, %d lines of history", again == added, err, len(w.history()))
	}
	if len(w.warns) > 0 {
		t.Error(w.warns)
	}
}

func TestEditRefuses(t *testing.T) {
	w := newWorktree(t, "-")
	if _, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed)); !errors.Is(err, ErrMissing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) > 0 {
		t.Errorf("the worktree holds %v, %v", entries, err)
	}
	w.write("- [ ] a\n")
	var match *MatchError
	if _, err := w.file.Edit(t.Context(), Edit{}, set("zz", Completed)); !errors.As(err, &match) {
		t.Errorf("an error of the change: %v", err)
	}
	if _, err := w.file.Edit(t.Context(), Edit{}, func(*Document) ([]byte, error) { return []byte("a\x00"), nil }); !errors.Is(err, ErrBinary) {
		t.Errorf("a content that cannot be read: %v", err)
	}
	if diff := cmp.Diff([]string{"todo.md"}, w.names()); diff != "" || w.content() != "- [ ] a\n" {
		t.Errorf("%s, %q", diff, w.content())
	}
}

func TestConflict(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n- [ ] b\n")
	doc := w.read()
	w.write("- [ ] new\n- [ ] a\n- [x] b\n")
	_, err := w.file.Edit(t.Context(), Edit{Expect: Version(doc.Version.Short())}, set("a", Completed))
	e, ok := errors.AsType[*ConflictError](err)
	if !ok || !errors.Is(err, ErrConflict) || !e.Known {
		t.Fatal(err)
	}
	now := w.read()
	want := fmt.Sprintf(`.opencode/todo.md changed since version %s; it is version %s now: line 1 is new: "- [ ] new"; line 3 was "- [ ] b" and is "- [x] b"`,
		doc.Version.Short(), now.Version.Short())
	if err.Error() != want {
		t.Errorf("got %s\nwant %s", err, want)
	}
	_, err = w.file.Edit(t.Context(), Edit{Expect: "0123456789ab"}, set("a", Completed))
	if e, ok := errors.AsType[*ConflictError](err); !ok || e.Known || len(e.Changes) > 0 {
		t.Errorf("a version that nobody knows: %v", err)
	}
	if _, err = w.file.Edit(t.Context(), Edit{Expect: now.Version}, set("a", Completed)); err != nil {
		t.Error(err)
	}
}

// A person's editor does not lock.
func TestAPersonSavesMeanwhile(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	calls := 0
	_, err := w.file.Edit(t.Context(), Edit{}, func(d *Document) ([]byte, error) {
		if calls++; calls == 1 {
			w.write("- [ ] a\n- [ ] the person's\n")
		}
		return set("a", Completed)(d)
	})
	if err != nil || calls != 2 || w.content() != "- [x] a\n- [ ] the person's\n" {
		t.Errorf("%v, %d calls, %q", err, calls, w.content())
	}
	_, err = w.file.Edit(t.Context(), Edit{}, func(d *Document) ([]byte, error) {
		w.write(w.content() + "- [ ] more\n")
		return set("a", Pending)(d)
	})
	if err == nil || !strings.HasPrefix(w.content(), "- [x] a\n") {
		t.Errorf("%v, %q", err, w.content())
	}
	w.must(os.Remove(w.path(Path)))
	if diff := cmp.Diff([]string{"archive"}, w.names()); diff != "" {
		t.Error(diff)
	}
}

func TestEditsTakeTurns(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	other := NewFile(w.dir, w.state, nil)
	inside := make(chan struct{})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := w.file.Edit(t.Context(), Edit{}, func(d *Document) ([]byte, error) {
			close(inside)
			<-done
			return set("a", Completed)(d)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	for _, f := range []*File{w.file, other} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := f.Edit(ctx, Edit{}, set("a", Cancelled)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while another edits: %v", err)
		}
		cancel()
	}
	if doc, err := w.file.Read(); err != nil || doc.Items[0].State != Pending {
		t.Errorf("reading while another edits: %v", err)
	}
	close(done)
	wg.Wait()
	if _, err := other.Edit(t.Context(), Edit{}, set("a", Cancelled)); err != nil || w.content() != "- [-] a\n" {
		t.Errorf("%v, %q", err, w.content())
	}
}

func TestCreate(t *testing.T) {
	w := newWorktree(t, "-")
	doc, err := w.file.Create(t.Context(), Edit{Actor: "person", Kind: "create"}, []byte("# Plan\n"))
	w.must(err)
	if w.content() != "# Plan\n" || w.read().Version != doc.Version {
		t.Errorf("%q", w.content())
	}
	if h := w.history(); len(h) != 1 || h[0].VersionBefore != "" || h[0].VersionAfter != doc.Version {
		t.Errorf("%+v", h)
	}
	if _, err := w.file.Create(t.Context(), Edit{}, []byte("other")); !errors.Is(err, fs.ErrExist) || w.content() != "# Plan\n" {
		t.Errorf("%v, %q", err, w.content())
	}
	if _, err := NewFile(filepath.Join(w.dir, "gone"), w.state, nil).Create(t.Context(), Edit{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a worktree that is not there: %v", err)
	}
}

func TestHistoryGoesOnBehindHalfALine(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	w.must(os.MkdirAll(w.path(".opencode/archive"), 0o755))
	w.must(os.WriteFile(w.path(HistoryPath), []byte(`{"time":"20`), 0o644))
	_, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	w.must(err)
	content, err := os.ReadFile(w.path(HistoryPath))
	w.must(err)
	if lines := bytes.Split(content, []byte("\n")); len(lines) != 3 || !json.Valid(lines[1]) {
		t.Errorf("%s", content)
	}
}

func TestHistoryThatCannotBeWrittenIsAWarning(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	w.must(os.WriteFile(w.path(".opencode/archive"), nil, 0o644))
	_, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	if err != nil || w.content() != "- [x] a\n" || len(w.warns) != 1 {
		t.Errorf("%v, %q, %v", err, w.content(), w.warns)
	}
}

func TestWhatAKilledEditLeft(t *testing.T) {
	w := newWorktree(t, "- [ ] a\n")
	for name, age := range map[string]time.Duration{".todo.md.sidecar-OLD.tmp": time.Hour, ".todo.md.sidecar-NEW.tmp": 0, ".todo.md.swp": time.Hour} {
		path := w.path(".opencode/" + name)
		w.must(os.WriteFile(path, nil, 0o644))
		w.must(os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age)))
	}
	_, err := w.file.Edit(t.Context(), Edit{}, set("a", Completed))
	w.must(err)
	if diff := cmp.Diff([]string{".todo.md.sidecar-NEW.tmp", ".todo.md.swp", "archive", "todo.md"}, w.names()); diff != "" {
		t.Error(diff)
	}
}

func TestDiffLines(t *testing.T) {
	changes, more := diffLines("a\nb\n- [ ] c\r\nd\n", "new\na\n- [x] c\nd\ne")
	want := []LineChange{{2, "b", ""}, {1, "", "new"}, {3, "- [ ] c", "- [x] c"}, {5, "", "e"}}
	if diff := cmp.Diff(want, changes); diff != "" || more != 0 {
		t.Error(diff, more)
	}
	changes, more = diffLines("", strings.Repeat("x"+strings.Repeat("long", 500)+"\n", 50))
	if len(changes) != 20 || more != 30 || len(changes[0].After) > 600 {
		t.Errorf("%d changes and %d more", len(changes), more)
	}
}

const (
	editors        = 8
	editsOfProcess = 200
)

// editor is one process of many: it ticks off its own item and adds others.
func editor(job string) int {
	dir, rest, _ := strings.Cut(job, "|")
	state, number, _ := strings.Cut(rest, "|")
	file := NewFile(dir, state, func(err error) { fmt.Fprintln(os.Stderr, err) })
	n, _ := strconv.Atoi(number)
	for i := range editsOfProcess {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := file.Edit(ctx, Edit{Actor: number, Kind: "test"}, func(d *Document) ([]byte, error) {
			if i%2 == 0 {
				return Add(d, Place{Under: d.Items[n]}, Entry{Text: fmt.Sprintf("process %d edit %d", n, i)})
			}
			return set(fmt.Sprintf("process %d edit %d", n, i-1), Completed)(d)
		})
		cancel()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func TestManyProcesses(t *testing.T) {
	var plan strings.Builder
	for n := range editors {
		fmt.Fprintf(&plan, "- [ ] process %d\n", n)
	}
	w := newWorktree(t, plan.String())
	var processes []*exec.Cmd
	var output bytes.Buffer
	for n := range editors {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", editorEnv, w.dir, w.state, n))
		cmd.Stdout = os.Stderr
		cmd.Stderr = os.Stderr
		w.must(cmd.Start())
		processes = append(processes, cmd)
	}
	for _, cmd := range processes {
		if err := cmd.Wait(); err != nil {
			t.Error(err, output.String())
		}
	}
	doc := w.read()
	for n, item := range doc.Items {
		if len(item.Children) != editsOfProcess/2 {
			t.Errorf("process %d added %d items", n, len(item.Children))
		}
		for i, child := range item.Children {
			if child.State != Completed || child.Text != fmt.Sprintf("process %d edit %d", n, 2*i) {
				t.Errorf("item %d of process %d is %c %q", i, n, child.Mark, child.Text)
			}
		}
	}
	history := w.history()
	if len(history) != editors*editsOfProcess {
		t.Errorf("%d edits in the history", len(history))
	}
	for i := range len(history) - 1 {
		if history[i].VersionAfter != history[i+1].VersionBefore {
			t.Fatalf("edit %d does not follow the one before", i+1)
		}
	}
	if diff := cmp.Diff([]string{"archive", "todo.md"}, w.names()); diff != "" {
		t.Error(diff)
	}
	if slices.ContainsFunc(history, func(e HistoryEntry) bool { return len(e.Changes) != 1 }) {
		t.Error("an edit changed other than one line")
	}
}

package janitor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What looks like a line of ours from afar, at a place of ours, is the user's as
// long as no process of ours can have stopped right there.
func TestLinesThatOnlyBeginLikeOurs(t *testing.T) {
	for name, content := range map[string]string{
		"archive/tasks/tasks_2025-01-01.jsonl":     `{"id":"task_1","title":"Buy milk"}` + "\n",
		"archive/tasks/tasks_2025-01-02.jsonl":     `{"id":"task_my plans"}` + "\n",
		"archive/tasks/tasks_2025-01-03.jsonl":     seedTasks(2) + `{"id":"task_0a","note":1}` + "\n",
		"archive/tasks/tasks_2025-01-04.jsonl":     `{"id":"task_1","state":"open","title":"mine"}` + "\n",
		"archive/todo_history.2025-01-01.jsonl":    `{"version":1,"note":"mine"}` + "\n",
		"archive/todo_history.2025-01-02.jsonl":    `{"time":"2025-01-02","text":"mine"}` + "\n",
		"archive/todo_history.2025-01-03.jsonl.gz": packed(`{"version":2}` + "\n"),
	} {
		s := newScene(t)
		s.write(name, content, 90*day)
		before := s.tree()
		s.clean(Defaults())
		if diff := cmp.Diff(before, s.tree()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A process can be killed after any byte of a line.
func TestLinesThatWereCutAnywhere(t *testing.T) {
	whole, _, _ := strings.Cut(seedTasks(1), "\n")
	history, _, _ := strings.Cut(ourHistory(1), "\n")
	old, _, _ := strings.Cut(seedHistory(1, 1), "\n")
	for i := range 80 {
		for _, l := range []struct {
			line string
			form form
		}{{whole, taskLine}, {`{"id":"task_01234567","state":"completed"` + strings.Repeat(" ", 80), taskLine}, {history, historyLine}, {old, historyLine}} {
			if err := proveLines(strings.NewReader(l.line+"\n"+l.line[:i]+"\n\n"+l.line), l.form); err != nil {
				t.Errorf("%q: %v", l.line[:i], err)
			}
		}
	}
}

// A folder may be a repository of its own, of which the one around it knows no files.
func TestWhatAnotherRepositoryTracksStays(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(3), 60*day)
	s.write("archive/todo_history.2025-01-01.jsonl", seedHistory(0, 3), 60*day)
	for _, inner := range []string{".opencode/archive", ".opencode/archive/tasks"} {
		s.git("init", "-q")
		s.git("-C", inner, "init", "-q")
		s.git("-C", inner, "add", "-f", ".")
		before := s.tree()
		r, err := s.janitor.Clean(t.Context(), s.dir, Defaults(), false)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.tree() {
			delete(before, name)
		}
		if inner == ".opencode/archive" && len(before) > 0 || len(gone(r)) > 0 && strings.Contains(gone(r)[0], "tasks") {
			t.Errorf("%s: %v went, %v", inner, before, gone(r))
		}
		if err := os.RemoveAll(filepath.Join(s.dir, inner, ".git")); err != nil {
			t.Fatal(err)
		}
	}
}

// Names alone prove nothing where git or a link says otherwise.
func TestWhatPackingLeftIsNotTakenFromOthers(t *testing.T) {
	const half = ".todo_history.2026-02-22.jsonl.gz.0123abcd.tmp"
	s := newScene(t)
	s.write("mine/"+half, "mine", 90*day)
	if err := os.Symlink("mine", filepath.Join(s.dir, ".opencode", "archive")); err != nil {
		t.Fatal(err)
	}
	tracked := newScene(t)
	tracked.write("archive/"+half, "mine", 90*day)
	tracked.git("init", "-q")
	tracked.git("add", "-f", ".")
	for _, s := range []*scene{s, tracked} {
		before := s.tree()
		s.clean(Defaults())
		if diff := cmp.Diff(before, s.tree()); diff != "" {
			t.Error(diff)
		}
	}
}

// What is not provably ours does not make what is ours go.
func TestOnlyProvenDocumentsCount(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	s.document(docs, "a.md", "A", strings.Repeat("a", 100), 60*day)
	s.document(docs, "b.md", "B", "", 60*day)
	s.index(docs)
	s.write("docs/b.md", strings.Repeat("mine ", 1000), 0)
	set := Defaults()
	set.DocumentBytes = 2000
	if r := s.clean(set); len(r.Gone) > 0 {
		t.Errorf("%+v", r.Gone)
	}
}

// Its length does not tell that a word was changed, but its time does.
func TestADocumentThatWasEditedStays(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	for _, name := range []string{"a.md", "b.md", "c.md", "d.md", "e.md"} {
		s.document(docs, name, name, strings.Repeat("word", 1000), 60*day)
	}
	s.index(docs)
	path := filepath.Join(s.dir, ".opencode", "docs", "a.md")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.write("docs/a.md", strings.Replace(string(content), "word", "Word", 1), -time.Hour)
	set := quiet()
	set.DocumentBytes = 10_000
	if diff := cmp.Diff([]string{"docs/b.md", "docs/c.md"}, gone(s.clean(set))); diff != "" {
		t.Fatal(diff)
	}
	// That the index was changed by us does not make it forget.
	set.DocumentBytes = 1
	if diff := cmp.Diff([]string{"docs/d.md"}, gone(s.clean(set))); diff != "" {
		t.Error(diff)
	}
}

// What restoring needs is written down before a document goes.
func TestDocumentsGoOnlyIfTheirEntriesAreRemembered(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	s.document(docs, "a.md", "A", strings.Repeat("a", 100), 60*day)
	s.document(docs, "b.md", "B", strings.Repeat("b", 100), 50*day)
	s.index(docs)
	// Nothing can be written in its place.
	if err := os.MkdirAll(filepath.Join(s.state, "janitor", key(filepath.Join(s.dir, ".opencode"))+".json"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := s.tree()
	set := dropping()
	r, err := s.janitor.Clean(t.Context(), s.dir, set, false)
	if err == nil || len(r.Gone) > 0 || len(r.Problems) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Error(diff)
	}
}

func TestAJanitorThatIsTurnedOffDoesNothing(t *testing.T) {
	s := newScene(t)
	s.write("x", "", 0)
	synctest.Test(t, func(t *testing.T) {
		passes := s.running(t)
		set := each(Defaults())
		s.janitor.Open(s.dir, s.dir, set)
		s.janitor.Used(s.dir)
		synctest.Wait()
		set.Off = true
		s.janitor.Open(s.dir, s.dir, set)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := passes.Load(); n > 0 {
			t.Errorf("%d passes", n)
		}
	})
}

// Somebody who does not lock may still write to a history that was set aside.
func TestALineThatComesAfterPackingStays(t *testing.T) {
	s := newScene(t)
	const name = "archive/todo_history.2026-02-20.jsonl"
	s.write(name, seedHistory(1, 2), time.Hour)
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	info, err := f.root.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	s.write(name, seedHistory(1, 3), 0)
	s.write(name+".gz", packed(seedHistory(1, 2)), 0)
	if err := f.drop(name, name+".gz", info); err == nil {
		t.Error("it was dropped")
	}
	if all, files := lines(t, s.dir); len(all) != 3 || files != 1 {
		t.Errorf("%d lines in %d files", len(all), files)
	}
}

// A cleaning that is killed once the index of the document cache has changed must have
// noted before what restoring needs.
func TestARestoreThatWasCutShortGoesOn(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	s.document(docs, "a.md", "A", strings.Repeat("a", 100), 60*day)
	s.index(docs)
	set := Defaults()
	set.DocumentBytes = 1
	if r := s.clean(set); len(r.Gone) != 1 {
		t.Fatalf("%+v", r)
	}
	// Another process had put the file back, and was killed then.
	batches, err := s.trash.Batches("")
	if err != nil || len(batches) != 1 {
		t.Fatal(batches, err)
	}
	copies, err := filepath.Glob(filepath.Join(s.state, "trash", batches[0].Batch, "1"))
	if err != nil || len(copies) != 1 {
		t.Fatal(copies, err)
	}
	content, err := os.ReadFile(copies[0])
	if err != nil {
		t.Fatal(err)
	}
	s.write("docs/a.md", string(content), 60*day)
	if _, err := s.janitor.Restore(context.Background(), s.dir, "", ""); err != nil {
		t.Fatal(err)
	}
	if names := s.indexed().names(); names != "a.md" {
		t.Errorf("the index has %q", names)
	}
}

// A process that is killed once it has published what it packed leaves that with two
// names, with which nothing goes to the trash.
func TestAPackedHistoryWithItsTemporaryNameGoesInTime(t *testing.T) {
	s := newScene(t)
	const name = "archive/todo_history.2026-02-20.jsonl.gz"
	s.write(name, packed(seedHistory(1, 2)), 9*day)
	dir := filepath.Join(s.dir, ".opencode", "archive")
	if err := os.Link(filepath.Join(dir, filepath.Base(name)), filepath.Join(dir, "."+filepath.Base(name)+".0123abcd.tmp")); err != nil {
		t.Fatal(err)
	}
	if r := s.clean(Defaults()); len(s.tree()) != 1 || len(r.Gone)+len(r.Stays) > 0 || r.Files != 1 {
		t.Errorf("%+v, %v", r, s.tree())
	}
	s.now = s.now.Add(40 * day)
	if diff := cmp.Diff([]string{name}, gone(s.clean(Defaults()))); diff != "" {
		t.Error(diff)
	}
}

func TestATrashThatTakesNothingIsAProblemOnce(t *testing.T) {
	s := newScene(t)
	for _, name := range []string{"archive/tasks/tasks_2025-01-01.jsonl", "archive/tasks/tasks_2025-01-02.jsonl"} {
		s.write(name, seedTasks(1), 90*day)
	}
	if err := os.WriteFile(filepath.Join(s.state, "trash"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.tree()
	r, err := s.janitor.Clean(t.Context(), s.dir, Defaults(), false)
	if err != nil || len(r.Problems) != 1 || len(r.Stays) != 2 || len(r.Gone) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Error(diff)
	}
}

// A note behind a line is a user's.
func TestANoteAtTheEndOfALineStays(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", strings.TrimSuffix(seedTasks(1), "\n")+"   # look at this again, it is the only place where it is written down\n", 60*day)
	if r := s.clean(Defaults()); len(r.Gone) > 0 {
		t.Errorf("%+v", r.Gone)
	}
}

package janitor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// archives writes so many of opencode-orchestrator's archives of tasks, all of them old.
func (s *scene) archives(n int) {
	s.Helper()
	for i := range n {
		at := time.Date(2025, 2, 3, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i)
		s.write("archive/tasks/tasks_"+at.Format(time.DateOnly)+".jsonl", seedTasks(35), s.now.Sub(at))
	}
}

// The tree that opencode-orchestrator leaves after months: 742 files, 6.2 MB.
func (s *scene) overgrown() {
	s.Helper()
	s.users()
	s.archives(380)
	for i := range 30 {
		day0 := s.now.AddDate(0, 0, -i-1)
		s.write("archive/todo_history."+day0.Format(time.DateOnly)+".jsonl.gz", packed(seedHistory(i*100, 40)), time.Duration(i+1)*day)
	}
	s.write("archive/todo_history.jsonl", seedHistory(9000, 100), time.Hour)
	docs := map[string]any{}
	for i := range 5 {
		s.document(docs, fmt.Sprintf("doc_%d.md", i), "Dokument ä "+fmt.Sprint(i), strings.Repeat("wörter 𝄞 ", 500), time.Duration(i)*day)
	}
	s.index(docs)
	for i := range 300 {
		s.write(fmt.Sprintf("node_modules/p%d/index.js", i), strings.Repeat("x", 4000), 50*day)
	}
}

func TestAnOvergrownFolderBecomesSmall(t *testing.T) {
	s := newScene(t)
	s.overgrown()
	files, bytes := s.size()
	if files != 742 || bytes < 6_000_000 {
		t.Fatalf("%d files, %d bytes", files, bytes)
	}
	before := s.tree()
	dry, err := s.janitor.Clean(t.Context(), s.dir, Defaults(), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Fatalf("a dry run has changed\n%s", diff)
	}
	r := s.clean(Defaults())
	if len(dry.Gone) != len(r.Gone) || len(r.Packed) != 1 {
		t.Errorf("dry %d, then %d; packed %q", len(dry.Gone), len(r.Gone), r.Packed)
	}
	s.keptUsers()
	files, bytes = s.size()
	if files -= 300; files >= 200 {
		t.Errorf("%d files are left", files)
	}
	if bytes -= 300 * 4000; bytes >= 2<<20 {
		t.Errorf("%d bytes are left", bytes)
	}
	t.Logf("%d files, %d bytes left; %d went", files, bytes, len(r.Gone))
	if again := s.clean(Defaults()); len(again.Gone)+len(again.Packed) > 0 {
		t.Errorf("the second time went %d, packed %d", len(again.Gone), len(again.Packed))
	}
	// All of it can be had back.
	root, err := os.OpenRoot(filepath.Join(s.dir, ".opencode"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	back, err := s.trash.Restore(t.Context(), root, filepath.Join(s.dir, ".opencode"), "")
	if err != nil || len(back.Left) > 0 || len(back.Items) != len(r.Gone) {
		t.Fatalf("%d restored, %d left, %v", len(back.Items), len(back.Left), err)
	}
	after := s.tree()
	for _, name := range []string{"archive/todo_history.jsonl", r.Packed[0], "docs/_metadata.json"} {
		delete(before, name)
		delete(after, name)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

func gone(r Report) (names []string) {
	for _, g := range r.Gone {
		names = append(names, g.Name)
	}
	return names
}

// quiet has limits that nothing of these tests reaches.
func quiet() Settings {
	set := Defaults()
	set.Files, set.Bytes, set.Cap, set.DocumentBytes = 1e6, 1<<40, 1e6, 1<<40
	return set
}

// dropping are quiet settings under which the older half of a document cache goes.
func dropping() Settings {
	set := quiet()
	set.DocumentBytes = 1
	return set
}

func TestOldArchivesGo(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2026-02-20.jsonl", seedTasks(3), 9*day)
	s.write("archive/tasks/tasks_2026-02-21.jsonl", seedTasks(3), 6*day)                                                   // was used since
	s.write("archive/tasks/tasks_2026-02-26.jsonl", seedTasks(3), 40*day)                                                  // its time was set back
	s.write("archive/tasks/tasks_2026-02-10.jsonl", seedTasks(3)+"{\"id\":\"task_0", 20*day)                               // half a line
	s.write("archive/tasks/tasks_2026-02-11.jsonl", "", 20*day)                                                            // nothing at all
	s.write("archive/tasks/tasks_2026-02-12.jsonl", "[]\n"+seedTasks(3), 20*day)                                           // somebody's
	s.write("archive/tasks/tasks_2026-02-31.jsonl", seedTasks(3), 20*day)                                                  // no day
	s.write("archive/tasks/tasks_2026-02-13.jsonl.bak", seedTasks(3), 20*day)                                              // no name of ours
	s.write("archive/tasks/sub/tasks_2026-02-13.jsonl", seedTasks(3), 20*day)                                              // no place of ours
	s.write("tasks_2026-02-13.jsonl", seedTasks(3), 20*day)                                                                // nor this
	s.write("archive/tasks/tasks_2026-02-14.jsonl", `{"id":"task_01234567","state":"completed","attempt":1}`+"\n", 15*day) // ours
	r := s.clean(quiet())
	want := []string{
		"archive/tasks/tasks_2026-02-10.jsonl", "archive/tasks/tasks_2026-02-11.jsonl",
		"archive/tasks/tasks_2026-02-14.jsonl", "archive/tasks/tasks_2026-02-20.jsonl",
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(gone(r)))); diff != "" {
		t.Error(diff)
	}
	if len(r.Stays) != 1 || r.Stays[0].Name != "archive/tasks/tasks_2026-02-12.jsonl" || r.Stays[0].Why != "line 1 is not one of ours" {
		t.Errorf("%+v", r.Stays)
	}
	if r.Gone[0].Why != "archive of tasks, last used 19 days ago; kept for 7 days" && r.Gone[0].Why != "archive of tasks, last used 20 days ago; kept for 7 days" {
		t.Errorf("%q", r.Gone[0].Why)
	}
}

func TestTheLongestUnusedGoFirst(t *testing.T) {
	s := newScene(t)
	for i := range 10 {
		s.write(fmt.Sprintf("archive/tasks/tasks_2026-02-%02d.jsonl", 11+i), seedTasks(1), time.Duration(10-i)*time.Hour+3*day)
	}
	s.write("archive/tasks/tasks_2026-02-28.jsonl", seedTasks(1), 0)
	s.write("archive/todo_history.jsonl", "", 80*day) // in use, however old
	s.write("archive/tasks/tasks_2026-02-09.jsonl", "mine", 30*day)
	for i := range 7 {
		s.write(fmt.Sprintf("agents/%d.md", i), "x", 90*day)
	}
	for _, test := range []struct {
		change func(*Settings)
		want   int
	}{
		{func(set *Settings) {}, 0},
		{func(set *Settings) { set.Files = 10 }, 2},
		{func(set *Settings) { set.Cap = 16 }, 2},                             // 18 are left
		{func(set *Settings) { set.Bytes = 3 * int64(len(seedTasks(1))) }, 4}, // 7 are left
		{func(set *Settings) { set.Files = 0 }, 2},                            // of 3, one is in use
	} {
		set := quiet()
		set.ArchiveAge = 1000 * day
		test.change(&set)
		r := s.clean(set)
		if len(r.Gone) != test.want || !slices.IsSorted(gone(r)) {
			t.Errorf("%+v\nwant %d", r.Gone, test.want)
		}
	}
}

func TestALargeDocumentCacheIsHalved(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	for i := range 6 {
		s.document(docs, fmt.Sprintf("d%d.md", i), "Title", strings.Repeat("é", 10_000), time.Duration(i+1)*day)
	}
	edited, err := os.ReadFile(filepath.Join(s.dir, ".opencode", "docs", "d5.md"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("docs/d5.md", string(edited)+"a note of its user", 6*day)
	docs["gone.md"] = docs["d0.md"]
	docs["../todo.md"], docs["_metadata.json"] = docs["d0.md"], docs["d0.md"]
	s.index(docs)
	s.write("todo.md", "- [ ] x\n", 90*day)
	s.write("docs/mine.md", "# mine", 90*day)
	set := quiet()
	set.DocumentBytes = 60_000
	r := s.clean(set)
	if diff := cmp.Diff([]string{"docs/d4.md", "docs/d3.md", "docs/d2.md"}, gone(r)); diff != "" {
		t.Errorf("%s\n%+v", diff, r.Stays)
	}
	x := s.indexed()
	if diff := cmp.Diff([]string{"../todo.md", "_metadata.json", "d0.md", "d1.md", "d5.md", "gone.md"}, slices.Sorted(maps.Keys(x.documents))); diff != "" {
		t.Error(diff)
	}
	if string(x.all["extra"]) != "1.5" {
		t.Errorf("%s", x.all["extra"])
	}
}

func TestWhatGitTracksStays(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(3), 60*day)
	s.write("archive/tasks/tasks_2025-01-02.jsonl", seedTasks(3), 60*day)
	s.write("archive/todo_history.jsonl", seedHistory(0, 3), 60*day)
	s.git("init", "-q")
	s.git("add", "-f", ".opencode/archive/tasks/tasks_2025-01-01.jsonl", ".opencode/archive/todo_history.jsonl")
	r := s.clean(Defaults())
	if diff := cmp.Diff([]string{"archive/tasks/tasks_2025-01-02.jsonl"}, gone(r)); diff != "" || len(r.Packed) > 0 {
		t.Errorf("%s%q", diff, r.Packed)
	}
	// Where git cannot tell, everything may be tracked.
	if err := os.WriteFile(filepath.Join(s.dir, ".git", "index"), []byte("no index"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("archive/tasks/tasks_2025-01-03.jsonl", seedTasks(3), 60*day)
	r, err := s.janitor.Clean(t.Context(), s.dir, Defaults(), false)
	if err != nil || len(r.Gone) > 0 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "git cannot say") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNothingBehindLinksIsTouched(t *testing.T) {
	s := newScene(t)
	outside := t.TempDir()
	name := filepath.Join(outside, "tasks_2025-01-01.jsonl")
	if err := os.WriteFile(name, []byte(seedTasks(2)), 0o600); err != nil {
		t.Fatal(err)
	}
	old := s.now.Add(-90 * day)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	s.write("archive/x", "", 0)
	at := filepath.Join(s.dir, ".opencode", "archive")
	if err := errors.Join(os.Symlink(outside, filepath.Join(at, "tasks")), os.Symlink(name, filepath.Join(at, "todo_history.2025-01-01.jsonl"))); err != nil {
		t.Fatal(err)
	}
	if r := s.clean(Defaults()); len(r.Gone) > 0 {
		t.Errorf("%+v", r)
	}
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	s.write("mine/_metadata.json", `{"documents":{}}`, 0)
	if err := os.Symlink("mine", filepath.Join(s.dir, ".opencode", "docs")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.readIndex(); err == nil || err.Error() != "docs is a symbolic link" {
		t.Error(err)
	}
	// Nor is an .opencode that is a link itself.
	other := newScene(t)
	if err := os.Symlink(filepath.Join(s.dir, ".opencode"), filepath.Join(other.dir, ".opencode")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.janitor.Clean(t.Context(), other.dir, Defaults(), false); err == nil || !strings.Contains(err.Error(), "a symbolic link") {
		t.Error(err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
}

func TestTwoCleanAtOnce(t *testing.T) {
	s := newScene(t)
	s.users()
	s.archives(60)
	other := New(s.janitor.o)
	var wg sync.WaitGroup
	var mu sync.Mutex
	went, refused := map[string]int{}, 0
	for i := range 8 {
		j := s.janitor
		if i%2 == 1 {
			j = other
		}
		wg.Go(func() {
			r, err := j.Clean(context.Background(), s.dir, Defaults(), false)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, errTaken) {
				refused++
				return
			}
			if err != nil || len(r.Problems) > 0 {
				t.Error(err, r.Problems)
			}
			for _, g := range r.Gone {
				went[g.Name]++
			}
		})
	}
	wg.Wait()
	s.keptUsers()
	for name, n := range went {
		if n > 1 {
			t.Errorf("%s went %d times", name, n)
		}
	}
	if refused == 0 || len(went) == 0 {
		t.Errorf("%d refused, %d went", refused, len(went))
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	s := newScene(t)
	r := s.clean(Defaults())
	if diff := cmp.Diff(Report{}, r); diff != "" {
		t.Error(diff)
	}
	if entries, err := os.ReadDir(s.state); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestAPassEndsWithItsContext(t *testing.T) {
	s := newScene(t)
	s.archives(5)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := s.janitor.Clean(ctx, s.dir, Defaults(), false); !errors.Is(err, context.Canceled) || len(r.Gone) > 0 {
		t.Errorf("%d, %v", len(r.Gone), err)
	}
	if r := s.clean(Defaults()); len(r.Gone) == 0 {
		t.Error("nothing went afterwards")
	}
}

func TestWhatIsPutBackCountsAsUsed(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2026-01-01.jsonl", seedTasks(3), 50*day)
	docs := map[string]any{}
	for i := range 4 {
		s.document(docs, fmt.Sprintf("d%d.md", i), "Title", strings.Repeat("x", 1000), time.Duration(i)*day)
	}
	s.index(docs)
	before := s.tree()
	set := quiet()
	set.DocumentBytes = 3000
	if r := s.clean(set); len(r.Gone) != 3 {
		t.Fatalf("%+v", r)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, ".opencode", "archive")); err != nil {
		t.Fatal(err)
	}
	back, err := s.janitor.Restore(t.Context(), s.dir, "", "")
	if err != nil || len(back.Items) != 3 {
		t.Fatalf("%+v, %v", back, err)
	}
	if n := len(s.indexed().documents); n != 4 {
		t.Errorf("the index has %d documents", n)
	}
	s.now = s.now.Add(3 * day)
	set.DocumentBytes = 1 << 20
	if r := s.clean(set); len(r.Gone) > 0 {
		t.Errorf("%+v", r)
	}
	after := s.tree()
	delete(before, "docs/_metadata.json") // whose spaces may differ
	delete(after, "docs/_metadata.json")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	s.now = s.now.Add(8 * day)
	if r := s.clean(set); len(r.Gone) != 1 {
		t.Errorf("%+v", r)
	}
	for _, later := range []struct {
		by   time.Duration
		want int
	}{{6 * day, 1}, {2 * day, 0}} { // the trash keeps it for 7 days
		s.now = s.now.Add(later.by)
		s.clean(set)
		if kept, err := s.trash.Batches(""); err != nil || len(kept) != later.want {
			t.Errorf("after %s: %+v, %v", later.by, kept, err)
		}
	}
}

func TestWhatAKilledCleaningLeftGoes(t *testing.T) {
	s := newScene(t)
	name := "archive/tasks/.sidecar-taken-ABCDEFGHIJ-1"
	if !trash.IsLeftover(filepath.Base(name)) {
		t.Fatal("the trash names them otherwise")
	}
	s.write(name, seedTasks(1), 0)
	s.write("agents/.sidecar-taken-ABCDEFGHIJ-1", "not ours by its place", 0)
	if diff := cmp.Diff([]string{name}, gone(s.clean(quiet()))); diff != "" {
		t.Error(diff)
	}
}

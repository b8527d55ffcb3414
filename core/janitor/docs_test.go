package janitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func cache(s *scene) {
	docs := map[string]any{}
	s.document(docs, "a.md", "A", strings.Repeat("a", 100), 60*day)
	s.document(docs, "b.md", "B", strings.Repeat("b", 100), 50*day)
	s.index(docs)
}

// An index whose documents are null is no reason to panic.
func TestRestoringIntoAnIndexOfNothing(t *testing.T) {
	s := newScene(t)
	cache(s)
	set := dropping()
	if n := len(s.clean(set).Gone); n != 1 {
		t.Fatal(n)
	}
	s.write("docs/_metadata.json", `{"documents":null}`, 0)
	r, err := s.janitor.Restore(t.Context(), s.dir, "", "")
	if err != nil || len(r.Items) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The documents come back without an index, too: there is nothing to note then.
func TestRestoringDocumentsWithoutAnIndex(t *testing.T) {
	s := newScene(t)
	cache(s)
	set := dropping()
	s.clean(set)
	if err := os.RemoveAll(filepath.Join(s.dir, ".opencode")); err != nil {
		t.Fatal(err)
	}
	r, err := s.janitor.Restore(t.Context(), s.dir, "", "")
	if err != nil || len(r.Items) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Who links docs has told us nothing wrong.
func TestALinkedDocsFolderIsNoProblem(t *testing.T) {
	s := newScene(t)
	s.write("todo.md", "x", 0)
	if err := os.Symlink(t.TempDir(), filepath.Join(s.dir, ".opencode", "docs")); err != nil {
		t.Fatal(err)
	}
	s.clean(Defaults())
}

// What the other plugin adds to its index while we change it is not lost.
func TestTheIndexKeepsWhatIsAddedMeanwhile(t *testing.T) {
	s := newScene(t)
	docs := map[string]any{}
	s.document(docs, "a.md", "A", "a", 60*day)
	s.index(docs)
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	once := true
	err = f.changeIndex(func(all map[string]json.RawMessage) bool {
		if once {
			once = false
			s.document(docs, "new.md", "New", "n", 0)
			s.index(docs)
		}
		delete(all, "a.md")
		return true
	})
	if names := s.indexed().names(); err != nil || names != "new.md" {
		t.Errorf("the index has %s, %v", names, err)
	}
}

// What is saved can be read again; the oldest entries are forgotten for that.
func TestALargeLedgerIsRemembered(t *testing.T) {
	s := newScene(t)
	f := s.dir + "/.opencode"
	c, err := s.janitor.claim(f)
	if err != nil {
		t.Fatal(err)
	}
	entry := json.RawMessage(fmt.Sprintf(`{"url":"https://example.com/%s","title":%q,"fetchedAt":"2026-01-01T00:00:00.000Z","expiresAt":"2026-01-02T00:00:00.000Z","size":1234}`, strings.Repeat("path/", 24), strings.Repeat("title ", 10)))
	for i := range 2 * maxCandidates {
		c.ledger.Dropped = append(c.ledger.Dropped, dropped{fmt.Sprintf("https___example_com_path_path_path_%05d.md", i), entry, time.Now()})
	}
	if err := c.save(); err != nil {
		t.Error(err)
	}
	c.release()
	if n := len(s.janitor.remembered(f).Dropped); n != 2*maxCandidates {
		t.Errorf("%d are remembered", n)
	}

	if c, err = s.janitor.claim(f); err != nil {
		t.Fatal(err)
	}
	defer c.release()
	newest := c.ledger.Dropped[len(c.ledger.Dropped)-1]
	for range 3 {
		c.ledger.Dropped = append(c.ledger.Dropped, c.ledger.Dropped...)
	}
	all := len(c.ledger.Dropped)
	if err := c.save(); err != nil {
		t.Error(err)
	}
	left := s.janitor.remembered(f).Dropped
	if n := len(left); n == all || n < maxCandidates || left[n-1].Name != newest.Name {
		t.Errorf("%d of %d are remembered", n, all)
	}
}

// The entry that comes back is that of the document which comes back.
func TestAnOlderDocumentComesBackWithItsOwnEntry(t *testing.T) {
	s := newScene(t)
	set := dropping()
	fetch := func(body string) {
		docs := map[string]any{}
		s.document(docs, "a.md", "A", body, 60*day)
		s.index(docs)
		s.now = s.now.Add(time.Hour)
	}
	fetch("the first")
	s.clean(set)
	batches, err := s.trash.Batches("")
	if err != nil || len(batches) != 1 {
		t.Fatal(batches, err)
	}
	fetch("the second, which is longer")
	s.clean(set)
	if _, err := s.janitor.Restore(t.Context(), s.dir, batches[0].Batch, ""); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(s.dir, ".opencode", "docs", "a.md"))
	if err != nil || !strings.Contains(string(content), "the first") {
		t.Fatal(string(content), err)
	}
	var e entry
	if err := json.Unmarshal(s.indexed().documents["a.md"], &e); err != nil || e.Size != units(content) {
		t.Errorf("the index says %d, it has %d (%v)", e.Size, units(content), err)
	}
}

// A variable of git's, as a hook has it, does not hide what git tracks.
func TestTheEnvironmentDoesNotHideWhatGitTracks(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(1), 60*day)
	other := t.TempDir()
	s.git("init", "-q")
	s.git("add", "-f", ".opencode")
	s.git("init", "-q", other)
	t.Setenv("GIT_DIR", filepath.Join(other, ".git"))
	if r := s.clean(Defaults()); len(r.Gone) > 0 || r.Tracked != 1 {
		t.Errorf("%+v", r)
	}
}

// A cache of which git tracks the index is a project's.
func TestDocumentsOfATrackedIndexStay(t *testing.T) {
	s := newScene(t)
	cache(s)
	s.git("init", "-q")
	s.git("add", "-f", ".opencode/docs/_metadata.json")
	set := dropping()
	if r := s.clean(set); len(r.Gone) > 0 || r.Tracked != 2 {
		t.Errorf("%+v", r)
	}
}

// What can come back no more need not be remembered.
func TestEntriesAreRememberedAsLongAsTheTrash(t *testing.T) {
	s := newScene(t)
	cache(s)
	set := dropping()
	s.clean(set)
	folder := filepath.Join(s.dir, ".opencode")
	if n := len(s.janitor.remembered(folder).Dropped); n != 1 {
		t.Fatalf("%d are remembered", n)
	}
	set.DocumentBytes = 1 << 20
	s.now = s.now.Add(set.TrashAge + time.Hour)
	s.clean(set)
	if n := len(s.janitor.remembered(folder).Dropped); n != 0 {
		t.Errorf("%d are still remembered", n)
	}
}

// A process that is killed after a document went, or came back, and before its index
// says so, has the next pass say it.
func TestTheIndexIsSettledAfterAKill(t *testing.T) {
	s := newScene(t)
	cache(s)
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	full, err := f.read(indexName, maxIndex)
	if err != nil {
		t.Fatal(err)
	}
	set := dropping()
	s.clean(set)
	set.DocumentBytes = 1 << 20
	names := func() string { return s.indexed().names() }
	s.write("docs/_metadata.json", string(full), 0) // as before it was changed
	if s.clean(set); names() != "b.md" {
		t.Errorf("after the document went: %s", names())
	}
	if _, err := s.trash.Restore(t.Context(), f.root, f.path, ""); err != nil { // and no word to the index
		t.Fatal(err)
	}
	if s.clean(set); names() != "a.md b.md" {
		t.Errorf("after it came back: %s", names())
	}
}

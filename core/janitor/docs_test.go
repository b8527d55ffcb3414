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
	set := quiet()
	set.DocumentBytes = 1
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
	set := quiet()
	set.DocumentBytes = 1
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
	x, readErr := f.readIndex()
	if readErr != nil {
		t.Fatal(readErr)
	}
	if _, ok := x.documents["new.md"]; !ok {
		t.Errorf("the new entry is lost (%v)", err)
	}
}

// What is saved can be read again.
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
		t.Log(err)
	}
	c.release()
	if n := len(s.janitor.remembered(f).Dropped); n != 2*maxCandidates {
		t.Errorf("%d are remembered", n)
	}
}

// The entry that comes back is that of the document which comes back.
func TestAnOlderDocumentComesBackWithItsOwnEntry(t *testing.T) {
	s := newScene(t)
	set := quiet()
	set.DocumentBytes = 1
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
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	x, err := f.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	content, err := f.read("docs/a.md", maxDocument)
	if err != nil || !strings.Contains(string(content), "the first") {
		t.Fatal(string(content), err)
	}
	var e entry
	if err := json.Unmarshal(x.documents["a.md"], &e); err != nil || e.Size != units(content) {
		t.Errorf("the index says %d, it has %d (%v)", e.Size, units(content), err)
	}
}

package trash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRestoringReplacesNothing(t *testing.T) {
	files := map[string]string{"same": "same", "other": "old", "dangling": "d", "folder": "f", "behind/x": "x", "blocked/y": "y", "free": "free"}
	p := newProject(t, files)
	p.take(day, "same", "other", "dangling", "folder", "behind/x", "blocked/y", "free")
	p.write("same", "same")
	p.write("other", "new")
	p.must(os.Symlink("nowhere", p.path("dangling")))
	p.must(os.Mkdir(p.path("folder"), 0o755))
	p.must(os.RemoveAll(p.path("behind")))
	p.must(os.Mkdir(p.path("real"), 0o755))
	p.must(os.Symlink("real", p.path("behind")))
	p.must(os.RemoveAll(p.path("blocked")))
	p.write("blocked", "a file")
	after := p.files()
	after["free"] = "free"

	done := p.restore("")
	p.want(after)
	wantNames(t, "restored", done.Items, "free")
	wantNames(t, "there already", done.Already, "same")
	reasons := map[string]string{}
	for _, left := range done.Left {
		reasons[left.Name] = left.Reason
	}
	for name, says := range map[string]string{
		"other": "another file is in its place", "dangling": "symbolic link", "folder": "a folder",
		"behind/x": `"behind" on the way to it is no folder but a symbolic link`, "blocked/y": "no folder but a file",
	} {
		if !strings.Contains(reasons[name], says) {
			t.Errorf("%s stays because %q, want %q", name, reasons[name], says)
		}
	}
	if s := p.only(); s.Items != 5 {
		t.Errorf("%d items are left, want 5", s.Items)
	}

	p.must(os.Remove(p.path("free"))) // twice restores nothing twice
	for _, name := range []string{"other", "dangling", "folder", "behind", "blocked"} {
		p.must(os.Remove(p.path(name)))
	}
	done = p.restore("")
	wantNames(t, "restored", done.Items, "other", "dangling", "folder", "behind/x", "blocked/y")
	delete(files, "free")
	p.want(files)
	p.empty()
}

func TestBatchesOfManyFolders(t *testing.T) {
	p, q := newProject(t, map[string]string{"a": "a", "b": "b"}), newProject(t, map[string]string{"c": "c"})
	q.trash, q.place = p.trash, p.place
	if found, err := p.trash.Batches(""); found != nil || err != nil {
		t.Errorf("an unused trash has %v, %v", found, err)
	}
	if n, err := p.trash.Expire(t.Context(), day); n != 0 || err != nil {
		t.Errorf("an unused trash expires %v, %v", n, err)
	}
	p.take(day, "a")
	q.take(day.Add(time.Hour), "c")
	p.take(day.Add(2*time.Hour), "b")
	all, err := p.trash.Batches("")
	p.must(err)
	if len(all) != 3 || all[0].Taken.Before(all[1].Taken) || all[1].Folder != q.dir {
		t.Errorf("the batches are %+v", all)
	}
	if of, err := p.trash.Batches(p.dir + "/"); err != nil || len(of) != 2 || of[0].Batch != all[0].Batch {
		t.Errorf("the batches of one folder are %+v, %v", of, err)
	}
	_, err = p.trash.Restore(t.Context(), p.root, p.dir, q.only().Batch)
	wantError(t, err, ErrNotFound, "of another folder")
	for _, batch := range []string{"../" + all[0].Batch, "..", strings.Repeat("x", 38), "x"} {
		_, err = p.trash.Restore(t.Context(), p.root, p.dir, batch)
		wantError(t, err, ErrNotFound, "")
		_, err = p.trash.Items(batch)
		wantError(t, err, ErrNotFound, "")
	}
	p.restore("")
	p.want(map[string]string{"b": "b"})
	p.restore("")
	p.want(map[string]string{"a": "a", "b": "b"})
	q.restore("")
	q.want(map[string]string{"c": "c"})
	p.empty()
}

func TestAnInterruptedTakeIsThereAlready(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b"})
	p.take(day, "a", "b")
	p.write("a", "a")                                                              // killed before its removal,
	p.must(os.WriteFile(p.inTrash("3"), []byte("c"), 0o600))                       // and before noting the next,
	p.must(os.WriteFile(p.path(takenName(p.only().Batch, 2)), []byte("b"), 0o600)) // and between renaming and removing
	index, err := os.OpenFile(p.inTrash(indexName), os.O_APPEND|os.O_WRONLY, 0)
	p.must(err)
	_, err = index.WriteString(`{"n":3,"path":"c","si`)
	p.must(errors.Join(err, index.Close()))
	if s := p.only(); s.Items != 2 || s.Problem != "" {
		t.Errorf("it is %+v", s)
	}
	done := p.restore("")
	wantNames(t, "there already", done.Already, "a")
	wantNames(t, "restored", done.Items, "b")
	p.want(map[string]string{"a": "a", "b": "b"})
	p.empty()
}

func TestAnInterruptedRestoreGoesOn(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b", "c": "c"})
	p.take(day, "a", "b", "c")
	batch := p.only().Batch
	p.write(restoredName(batch, 1), "half")
	p.write(restoredName(batch, 2), "b")
	p.must(os.Link(p.path(restoredName(batch, 2)), p.path("b")))
	p.must(os.WriteFile(p.inTrash(goneName), []byte(`{"n":1,"how":"rest`), 0o600))
	for name := range p.files() {
		if want := strings.HasPrefix(name, "."); IsLeftover("in/"+name) != want || IsLeftover(name) != want {
			t.Errorf("%s: leftover is not %t", name, want)
		}
	}
	done := p.restore(batch)
	wantNames(t, "restored", done.Items, "a", "c")
	wantNames(t, "there already", done.Already, "b")
	p.want(map[string]string{"a": "a", "b": "b", "c": "c"})
	p.empty()
}

func TestLeftoversAreOursAlone(t *testing.T) {
	for _, name := range []string{
		"", "a", ".sidecar-taken-", ".sidecar-taken-ABCDEFGHIJ", ".sidecar-taken-ABCDEFGHIJ-", ".sidecar-taken-ABCDEFGHIJ-0", ".sidecar-taken-ABCDEFGHIJ-01",
		".sidecar-taken-ABCDEFGHIJ-x", ".sidecar-taken-abcdefghij-1", ".sidecar-taken-ABCDEFGHIJ-1/x", ".sidecar-taken-ABCDEFGHIJ-+1", "x.sidecar-taken-ABCDEFGHIJ-1",
	} {
		if IsLeftover(name) {
			t.Errorf("%q counts as ours", name)
		}
	}
}

func TestDamageIsToldAndTheRestRestored(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "bb", "c": "ccc", "d": "dddd", "e": "e"})
	p.take(day, "a", "b", "c", "d")
	p.must(os.WriteFile(p.inTrash("1"), []byte("A"), 0o600))
	p.must(os.WriteFile(p.inTrash("2"), []byte("short"), 0o600))
	p.must(os.Remove(p.inTrash("3")))
	content, err := os.ReadFile(p.inTrash(indexName))
	p.must(err)
	content = append(content, "this is no line\n"+`{"n":9,"path":"../../x","size":1,"mode":420,"sha256":"`+strings.Repeat("0", 64)+`"}`+"\n"+strings.Repeat("x", 3*maxLine)+"\n"...)
	p.must(os.WriteFile(p.inTrash(indexName), content, 0o600))
	if s := p.only(); s.Items != 4 || !strings.Contains(s.Problem, "line 6") {
		t.Errorf("it is %+v", s)
	}
	done, err := p.trash.Restore(t.Context(), p.root, p.dir, "")
	wantError(t, err, ErrDamaged, "line 6")
	wantNames(t, "restored", done.Items, "d")
	if len(done.Left) != 3 {
		t.Errorf("left: %+v", done.Left)
	}
	for _, left := range done.Left {
		if !strings.Contains(left.Reason, "its copy in the trash is damaged") {
			t.Errorf("%s stays because %q", left.Name, left.Reason)
		}
	}
	p.want(map[string]string{"d": "dddd", "e": "e"})

	p.take(day.Add(time.Hour), "e") // another batch is none the worse
	wantNames(t, "restored", p.restore("").Items, "e")
	batch := p.only().Batch
	p.must(os.WriteFile(p.inTrash(indexName), nil, 0o600))
	if s := p.only(); s.Folder != "" || s.Items != 0 || !strings.Contains(s.Problem, "damaged") || !s.Taken.Equal(day) {
		t.Errorf("it is %+v", s)
	}
	_, err = p.trash.Restore(t.Context(), p.root, p.dir, batch)
	wantError(t, err, ErrDamaged, "")
	_, err = p.trash.Items(batch)
	wantError(t, err, ErrDamaged, "")
	p.must(os.Truncate(p.inTrash(indexName), maxIndex+1))
	if s := p.only(); !strings.Contains(s.Problem, "at most") {
		t.Errorf("it is %+v", s)
	}
	p.must(os.Remove(p.inTrash(indexName)))
	if s := p.only(); !strings.Contains(s.Problem, "no index") {
		t.Errorf("it is %+v", s)
	}
	if _, err := p.trash.Expire(t.Context(), day.Add(time.Second)); err != nil {
		t.Error(err)
	}
	p.empty()
}

func TestAnIndexThatLostItsLinesIsNotTheEnd(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b", "c": "c"})
	p.take(day, "a", "b", "c")
	content, err := os.ReadFile(p.inTrash(indexName))
	p.must(err)
	lines := strings.SplitAfter(string(content), "\n")
	p.must(os.WriteFile(p.inTrash(indexName), []byte(lines[0]+lines[1]), 0o600))
	batch := p.only().Batch
	_, err = p.trash.Restore(t.Context(), p.root, p.dir, batch)
	wantError(t, err, ErrDamaged, "2 copies that its index does not name")
	for n, content := range []string{"b", "c"} {
		if !equalFile(filepath.Join(p.place, batch, fmt.Sprint(n+2)), []byte(content)) {
			t.Errorf("the copy %d is gone", n+2)
		}
	}
}

func TestAContextEndsBetweenFiles(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b"})
	p.take(day, "a", "b")
	why := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, err := p.trash.Restore(ctx, p.root, p.dir, "")
	wantError(t, err, why, "")
	_, err = p.trash.Expire(ctx, day.Add(time.Hour))
	wantError(t, err, why, "")
	p.want(map[string]string{})
	p.must(discard2(p, p.only().Batch))
	_, err = p.trash.Expire(ctx, day.Add(time.Hour))
	wantError(t, err, why, "")
	if _, err := p.trash.Expire(t.Context(), day.AddDate(-1, 0, 0)); err != nil {
		t.Error(err)
	}
	p.empty() // what was begun is finished
}

// discard2 begins to delete a batch, as Expire does that is killed.
func discard2(p *project, batch string) error {
	root, err := p.trash.open()
	if err != nil {
		return err
	}
	return errors.Join(discard(root, batch), root.Close())
}

func TestExpireTakesTheOldAndLeavesTheRest(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b", "c": "c", "d": "d"})
	p.take(day, "a", "b")
	p.take(day.Add(time.Hour), "c")
	open := p.trash.Begin(p.dir, day)
	p.must(open.Take(p.root, "d", p.see("d"), ""))
	for _, name := range []string{"somebody's", "20261123T120000.123456Z-lowercase1"} {
		p.must(os.WriteFile(filepath.Join(p.place, name), nil, 0o600))
	}
	for _, want := range []int{2, 0} {
		if n, err := p.trash.Expire(t.Context(), day.Add(time.Minute)); n != want || err != nil {
			t.Errorf("%d items expired, want %d: %v", n, want, err)
		}
	}
	p.must(open.Close())
	wantNames(t, "restored", p.restore("").Items, "c")
	wantNames(t, "restored", p.restore("").Items, "d")
	p.want(map[string]string{"c": "c", "d": "d"})
	entries, err := os.ReadDir(p.place)
	if err != nil || len(entries) != 2 {
		t.Errorf("the trash has %v, %v; want the two that are not ours", entries, err)
	}
}

func TestABatchThatIsWorkedOnIsBusy(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a"})
	b := p.trash.Begin(p.dir, day)
	p.must(b.Take(p.root, "a", p.see("a"), ""))
	synctest.Test(t, func(t *testing.T) {
		_, err := p.trash.Restore(t.Context(), p.root, p.dir, "")
		wantError(t, err, ErrBusy, "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p.trash.Restore(ctx, p.root, p.dir, "")
		wantError(t, err, context.DeadlineExceeded, "")
	})
	p.must(b.Close())
	wantNames(t, "restored", p.restore("").Items, "a")
}

func TestLinksInTheTrashLeadNowhere(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b"})
	secret := filepath.Join(t.TempDir(), "secret")
	p.must(os.WriteFile(secret, []byte("a"), 0o600))
	p.take(day, "a", "b")
	p.must(os.Remove(p.inTrash("1")))
	p.must(os.Symlink(secret, p.inTrash("1")))
	p.must(os.Remove(p.inTrash("2")))
	p.must(os.Symlink(goneName, p.inTrash("2")))
	if done := p.restore(""); len(done.Left) != 2 {
		t.Errorf("restoring says %+v", done)
	}
	p.want(map[string]string{})
	batch := filepath.Join(p.place, p.only().Batch)
	p.must(os.Rename(batch, batch+"x"))
	p.must(os.Symlink(filepath.Base(batch)+"x", batch))
	if s := p.only(); !strings.Contains(s.Problem, "symbolic link") {
		t.Errorf("it is %+v", s)
	}
}

func TestOfManyBatchesTheNewestAreListed(t *testing.T) {
	p := newProject(t, nil)
	for n := range 2500 { // more than one reading of the folder takes
		p.write(batchName(day.Add(time.Duration(n)*time.Second), "ABCDEFGHIJ"), "")
	}
	found, err := list(p.root, 100, isBatch)
	p.must(err)
	if last, _ := takenAt(found[len(found)-1]); len(found) != 100 || !last.Equal(day.Add(2400*time.Second)) {
		t.Errorf("%d batches are listed, the last of %v", len(found), last)
	}
}

package trash

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsTakenComesBackAsItWas(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	files := map[string]string{"archive/a.md": "one", "archive/deep/er/b.md": big, "empty": "", "stays.md": "stays"}
	p := newProject(t, files)
	old := time.Date(2025, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	p.must(os.Chtimes(p.path("archive/a.md"), old, old))
	p.must(os.Chmod(p.path("archive/a.md"), 0o751))
	p.must(os.Chmod(p.path("empty"), 0o400))

	p.take(day, "archive/a.md", "archive/deep/er/b.md", "empty")
	p.want(map[string]string{"stays.md": "stays"})
	if _, err := os.Stat(p.path("archive/deep/er")); err != nil {
		t.Errorf("a folder was removed: %v", err)
	}
	s := p.only()
	if want := (Summary{Batch: s.Batch, Folder: p.dir, Taken: day, Items: 3, Bytes: int64(3 + len(big))}); s != want {
		t.Errorf("the batch is %+v, want %+v", s, want)
	}
	items, err := p.trash.Items(s.Batch)
	p.must(err)
	want := Item{Folder: p.dir, Name: "archive/a.md", Why: "old", Size: 3, Mode: 0o751, Modified: old, Taken: day}
	if diff := cmp.Diff(want, items[0]); diff != "" {
		t.Errorf("the item (-want +got):\n%s", diff)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700 | fs.ModeDir, s.Batch: 0o700 | fs.ModeDir, s.Batch + "/1": 0o600, s.Batch + "/index.jsonl": 0o600} {
		if info, err := os.Stat(filepath.Join(p.place, name)); err != nil || info.Mode() != mode && runtime.GOOS != "windows" {
			t.Errorf("%q in the trash is %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}

	p.must(os.RemoveAll(p.path("archive")))
	done := p.restore("")
	wantNames(t, "restored", done.Items, "archive/a.md", "archive/deep/er/b.md", "empty")
	if done.Batch != s.Batch || done.Folder != p.dir || len(done.Already)+len(done.Left) > 0 {
		t.Errorf("restoring says %+v", done)
	}
	p.want(files)
	if info := p.see("archive/a.md"); info.Mode() != 0o751 || !info.ModTime().Equal(old) {
		t.Errorf("it came back with %v, %v", info.Mode(), info.ModTime())
	}
	if info := p.see("empty"); info.Mode() != 0o400 {
		t.Errorf("it came back with %v", info.Mode())
	}
	p.empty()
	_, err = p.trash.Restore(t.Context(), p.root, p.dir, s.Batch)
	wantError(t, err, ErrNotFound, "no such batch")
	_, err = p.trash.Restore(t.Context(), p.root, p.dir, "")
	wantError(t, err, fs.ErrNotExist, "no such batch")
	p.empty()
}

func TestNamesMayHoldAnyByte(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("such names cannot be had on this system")
	}
	files := map[string]string{}
	for i, name := range []string{
		"new\nline", "\n", "tab\tand \"quotes\" \\ ", "\xff\xfe not text", "d\xffr/\xc3(", " ", "...", "-rf", "$(x)", "a\u2028b", "*", "index.jsonl", "1",
		strings.Repeat("n", 255), strings.Repeat("d/", 100) + "deep", "\x01\x7f",
	} {
		files[name] = fmt.Sprint(i)
	}
	p := newProject(t, files)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	p.take(day, names...)
	p.want(map[string]string{})
	p.restore("")
	p.want(files)
	p.empty()
}

func TestWhatIsNotAPlainFileIsNotTaken(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "one": "1", "dir/x": "x", "new": "n"})
	p.must(os.Symlink("a", p.path("link")))
	p.must(os.Symlink("dir", p.path("linked")))
	p.must(os.Link(p.path("one"), p.path("two")))
	p.must(os.MkdirAll(p.path("dir/sub"), 0o755))
	before := p.files()
	b := p.trash.Begin(p.dir, day)
	for name, want := range map[string]struct {
		is   error
		says string
	}{
		"link":                              {ErrNotPlain, "a symbolic link"},
		"dir":                               {ErrNotPlain, "a folder"},
		"one":                               {ErrNotPlain, "2 names"},
		"linked/x":                          {ErrNotPlain, `"linked" on the way to it is no folder but a symbolic link`},
		"a/b":                               {ErrNotPlain, `"a" on the way`},
		"gone":                              {fs.ErrNotExist, ""},
		"no/way":                            {fs.ErrNotExist, ""},
		"":                                  {nil, "no path"},
		".":                                 {nil, "no path"},
		"..":                                {nil, "no path"},
		"dir/../a":                          {nil, "no path"},
		"dir//x":                            {nil, "no path"},
		"dir/":                              {nil, "no path"},
		"/etc/passwd":                       {nil, "no path"},
		"a\x00":                             {nil, "no path"},
		"../" + filepath.Base(p.dir) + "/a": {nil, "no path"},
	} {
		seen, err := p.root.Lstat(name)
		if err != nil || !seen.Mode().IsRegular() {
			seen = p.see("a")
		}
		wantError(t, b.Take(p.root, name, seen, ""), want.is, want.says)
	}
	wantError(t, b.Take(p.root, strings.Repeat("d/", 40_000)+"x", p.see("a"), ""), nil, "")
	p.must(b.Close())
	p.want(before)
	if _, err := os.Stat(p.place); err == nil {
		t.Error("a batch that took nothing made the trash")
	}
	wantError(t, b.Take(p.root, "a", p.see("a"), ""), fs.ErrClosed, "")
	p.must(b.Close())
}

func TestAFileThatIsNotWhatWasSeenIsNotTaken(t *testing.T) {
	p := newProject(t, nil)
	b := p.trash.Begin(p.dir, day)
	for what, change := range map[string]func(string){
		"written to":     func(name string) { p.write(name, "oth") },
		"longer":         func(name string) { p.write(name, "longer") },
		"replaced":       func(name string) { p.write("new", "old"); p.must(os.Rename(p.path("new"), p.path(name))) },
		"a link now":     func(name string) { p.must(os.Remove(p.path(name))); p.must(os.Symlink("x", p.path(name))) },
		"touched":        func(name string) { p.must(os.Chtimes(p.path(name), day, day)) },
		"removed":        func(name string) { p.must(os.Remove(p.path(name))) },
		"a folder now":   func(name string) { p.must(os.Remove(p.path(name))); p.must(os.Mkdir(p.path(name), 0o755)) },
		"has a new link": func(name string) { p.must(os.Link(p.path(name), p.path(name+" too"))) },
	} {
		p.write(what, "old")
		p.must(os.Chtimes(p.path(what), day.AddDate(-1, 0, 0), day.AddDate(-1, 0, 0)))
		seen := p.see(what)
		change(what)
		before := p.files()
		if err := b.Take(p.root, what, seen, ""); err == nil {
			t.Errorf("%s: it was taken", what)
		}
		p.want(before)
	}
	p.must(b.Close())
	p.empty()
}

// Between the last look at a file and its removal an editor may put a new one in
// its place, and a reader see none.
func TestAFileThatChangesAtTheLastMomentGoesBack(t *testing.T) {
	for what, change := range map[string]func(p *project){
		"file":   func(p *project) { p.write("x", "new") },
		"link":   func(p *project) { p.must(os.Symlink("nowhere", p.path("x"))) },
		"folder": func(p *project) { p.write("x/y/z", "deep") },
	} {
		t.Run(what, func(t *testing.T) {
			p := newProject(t, map[string]string{"x": "old"})
			seen := p.see("x")
			p.must(os.Remove(p.path("x")))
			change(p)
			before := p.files()
			lost, err := away(p.root, "x", takenPrefix+"AAAAAAAAAA-1", seen)
			wantError(t, err, ErrChanged, "")
			if lost {
				t.Error("it says that it is lost")
			}
			p.want(before)
		})
	}
}

func TestWhatCannotGoBackIsToldByName(t *testing.T) {
	p := newProject(t, map[string]string{"aside": "changed", "x": "newest"})
	err := place(p.root, "aside", "x")
	wantError(t, err, fs.ErrExist, "")
	p.want(map[string]string{"aside": "changed", "x": "newest"})
	p.must(place(p.root, "aside", "y"))
	p.want(map[string]string{"y": "changed", "x": "newest"})
}

// File systems without hard links are hard to come by in a test; what is done there
// is not.
func TestWithoutLinksAFileIsCopiedOverNothing(t *testing.T) {
	p := newProject(t, map[string]string{"aside": "whole", "x": "there"})
	p.must(os.Chmod(p.path("aside"), 0o640))
	p.must(os.Chtimes(p.path("aside"), day, day))
	wantError(t, duplicate(p.root, "aside", "x"), fs.ErrExist, "")
	p.must(os.Symlink("nowhere", p.path("dangling")))
	wantError(t, duplicate(p.root, "aside", "dangling"), nil, "exist")
	p.must(duplicate(p.root, "aside", "y"))
	p.want(map[string]string{"aside": "whole", "x": "there", "y": "whole", "dangling": "-> nowhere"})
	if info := p.see("y"); info.Mode() != 0o640 || !info.ModTime().Equal(day) {
		t.Errorf("the copy has %v, %v", info.Mode(), info.ModTime())
	}
}

func TestAFullIndexRefuses(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b", "c": "c"})
	b := p.trash.Begin(p.dir, day)
	p.must(b.Take(p.root, "a", p.see("a"), "old"))
	b.index.size = maxIndex - 10
	wantError(t, b.Take(p.root, "b", p.see("b"), "old"), ErrTooLarge, "")
	p.must(b.Close())
	p.want(map[string]string{"b": "b", "c": "c"})
}

func TestALongReasonIsCut(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a"})
	b := p.trash.Begin(p.dir, day)
	p.must(b.Take(p.root, "a", p.see("a"), "\xff"+strings.Repeat("é", 100_000)))
	p.must(b.Close())
	items, err := p.trash.Items(p.only().Batch)
	p.must(err)
	if why := items[0].Why; len(why) > maxWhy || !strings.HasPrefix(why, "\ufffdéé") {
		t.Errorf("%d bytes of the reason are kept", len(why))
	}
}

func TestABatchThatCannotBeHadLeavesEverything(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a"})
	p.must(os.MkdirAll(filepath.Dir(p.place), 0o755))
	p.must(os.WriteFile(p.place, []byte("a file where the trash should be"), 0o600))
	b := p.trash.Begin(p.dir, day)
	wantError(t, b.Take(p.root, "a", p.see("a"), ""), nil, "the trash")
	p.must(os.Remove(p.place))
	p.must(b.Take(p.root, "a", p.see("a"), "")) // the next one finds it mended
	p.must(b.Close())
	p.restore("")
	p.want(map[string]string{"a": "a"})

	b = New(p.place).Begin("relative", day)
	wantError(t, b.Take(p.root, "a", p.see("a"), ""), nil, "absolute")
	b = p.trash.Begin(p.dir, day.AddDate(9000, 0, 0))
	wantError(t, b.Take(p.root, "a", p.see("a"), ""), nil, "no time")
	p.must(b.Close())
	p.want(map[string]string{"a": "a"})
	p.empty()
}

// A file that cannot be removed after it was copied and noted is not taken.
func TestWhatCannotBeRemovedIsNotInTheTrash(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b"})
	b := p.trash.Begin(p.dir, day)
	p.must(b.Take(p.root, "a", p.see("a"), ""))
	p.must(os.Mkdir(p.path(takenName(b.held.batch, 2)), 0o755)) // in the way
	if err := b.Take(p.root, "b", p.see("b"), ""); err == nil {
		t.Error("it was taken")
	}
	p.must(b.Take(p.root, "b", p.see("b"), "")) // the next number is free
	p.must(b.Close())
	p.want(map[string]string{})
	items, err := p.trash.Items(p.only().Batch)
	p.must(err)
	wantNames(t, "in the trash", items, "a", "b")
	if _, err := os.Stat(p.inTrash("2")); err == nil {
		t.Error("the copy is there still")
	}

	p.write("c", "c")
	b = p.trash.Begin(p.dir, day.Add(time.Hour))
	p.must(b.open())
	p.must(os.Mkdir(p.path(takenName(b.held.batch, 1)), 0o755))
	if err := b.Take(p.root, "c", p.see("c"), ""); err == nil {
		t.Error("it was taken")
	}
	p.must(b.Close()) // and leaves no batch
	p.restore("")
	p.want(map[string]string{"a": "a", "b": "b", "c": "c"})
	p.empty()
}

// An editor saves, by putting a new file in the place of the old, while the old one
// is taken. What it saved last is somewhere.
func TestAnEditorThatSavesMeanwhileLosesNothing(t *testing.T) {
	p := newProject(t, nil)
	b := p.trash.Begin(p.dir, day)
	taken, back := 0, 0
	for round := range 150 {
		name := fmt.Sprintf("%d.md", round)
		p.write(name, "first")
		seen := p.see(name)
		last := ""
		var editor sync.WaitGroup
		start := make(chan struct{})
		editor.Go(func() {
			<-start
			for version := range 12 {
				last = fmt.Sprint("version ", version)
				if err := os.WriteFile(p.path("saving"), []byte(last), 0o644); err != nil {
					t.Error(err)
				}
				if err := os.Rename(p.path("saving"), p.path(name)); err != nil {
					t.Error(err)
				}
			}
		})
		close(start)
		if b.Take(p.root, name, seen, "") == nil {
			taken++
		} else {
			back++
		}
		editor.Wait()
		if got, err := os.ReadFile(p.path(name)); string(got) != last {
			t.Fatalf("round %d: the editor saved %q, and there is %q, %v", round, last, got, err)
		}
	}
	p.must(b.Close())
	t.Logf("%d taken before a save, %d left alone", taken, back)
}

// A kill between two steps that are microseconds apart is hard to hit; that the
// first step fails shows the same order.
func TestNothingGoesThatTheIndexDoesNotHave(t *testing.T) {
	p := newProject(t, map[string]string{"a": "a", "b": "b"})
	b := p.trash.Begin(p.dir, day)
	p.must(b.Take(p.root, "a", p.see("a"), ""))
	p.must(b.index.close())
	for range 2 {
		wantError(t, b.Take(p.root, "b", p.see("b"), ""), fs.ErrClosed, "noting it in the index")
	}
	p.want(map[string]string{"b": "b"})
	wantError(t, b.Close(), fs.ErrClosed, "")
	if _, err := os.Stat(p.inTrash("2")); err == nil {
		t.Error("a copy is left")
	}
	wantNames(t, "restored", p.restore("").Items, "a")
	p.want(map[string]string{"a": "a", "b": "b"})
	p.empty()
}

package trash

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// role names the variable that makes the test binary play a part in another
// process instead of running tests; its value is a key of roles.
const role = "TRASH_ROLE"

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		parts := map[string]func(project, trash string) error{"churn": churn, "small": fillSmall, "readonly": readOnly, "shared": share}
		if err := parts[name](os.Getenv("TRASH_PROJECT"), os.Getenv("TRASH_FOLDER")); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// day is when things are taken here.
var day = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

// project is a folder and a trash for it.
type project struct {
	t     testing.TB
	dir   string
	root  *os.Root
	place string // of the trash
	trash *Trash
}

func newProject(t testing.TB, files map[string]string) *project {
	t.Helper()
	p := &project{t: t, dir: t.TempDir(), place: filepath.Join(t.TempDir(), "state", "trash")}
	root, err := os.OpenRoot(p.dir)
	p.must(err)
	t.Cleanup(func() { _ = root.Close() })
	p.root, p.trash = root, New(p.place)
	for name, content := range files {
		p.write(name, content)
	}
	return p
}

func (p *project) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) path(name string) string { return p.dir + "/" + name }

func (p *project) write(name, content string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.WriteFile(p.path(name), []byte(content), 0o644))
}

// files returns what is in the project, links as such.
func (p *project) files() map[string]string {
	p.t.Helper()
	found := map[string]string{}
	p.must(filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, p.dir+"/")
		if entry.Type()&fs.ModeSymlink != 0 {
			found[name], err = os.Readlink(path)
			found[name] = "-> " + found[name]
			return err
		}
		content, err := os.ReadFile(path)
		found[name] = string(content)
		return err
	}))
	return found
}

func (p *project) want(files map[string]string) {
	p.t.Helper()
	if diff := cmp.Diff(files, p.files()); diff != "" {
		p.t.Errorf("the project (-want +got):\n%s", diff)
	}
}

func (p *project) see(name string) fs.FileInfo {
	p.t.Helper()
	info, err := p.root.Lstat(name)
	p.must(err)
	return info
}

// take takes files in one batch, which it closes.
func (p *project) take(at time.Time, names ...string) {
	p.t.Helper()
	b := p.trash.Begin(p.dir, at)
	for _, name := range names {
		p.must(b.Take(p.root, name, p.see(name), "old"))
	}
	p.must(b.Close())
}

func (p *project) restore(batch string) Restored {
	p.t.Helper()
	done, err := p.trash.Restore(p.t.Context(), p.root, p.dir, batch)
	p.must(err)
	return done
}

// only returns the one batch that there is.
func (p *project) only() Summary {
	p.t.Helper()
	found, err := p.trash.Batches(p.dir)
	if err != nil || len(found) != 1 {
		p.t.Fatalf("%d batches, want one: %v, %v", len(found), found, err)
	}
	return found[0]
}

// inTrash returns the path of a file in the only batch.
func (p *project) inTrash(name string) string {
	p.t.Helper()
	return filepath.Join(p.place, p.only().Batch, name)
}

// empty checks that nothing is in the trash, whoever looks.
func (p *project) empty() {
	p.t.Helper()
	entries, err := os.ReadDir(p.place)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		p.t.Errorf("%s is left in the trash", e.Name())
	}
}

func nameItems(items []Item) (names []string) {
	for _, item := range items {
		names = append(names, item.Name)
	}
	return names
}

func wantNames(t testing.TB, what string, got []Item, want ...string) {
	t.Helper()
	if !slices.Equal(nameItems(got), want) {
		t.Errorf("%s: %q, want %q", what, nameItems(got), want)
	}
}

func wantError(t testing.TB, err, is error, says string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), says) {
		t.Errorf("the error is %v, want %v that says %q", err, is, says)
	}
}

func equalFile(path string, content []byte) bool {
	got, err := os.ReadFile(path)
	return err == nil && bytes.Equal(got, content)
}

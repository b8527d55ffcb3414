package janitor

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == packForever {
		packUntilKilled(os.Args[2], os.Args[3])
		return
	}
	goleak.VerifyTestMain(m)
}

// scene is an .opencode folder in a project of its own.
type scene struct {
	testing.TB
	dir     string // of the project
	state   string
	trash   *trash.Trash
	janitor *Janitor
	now     time.Time
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{TB: t, dir: t.TempDir(), state: t.TempDir(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.trash = trash.New(filepath.Join(s.state, "trash"))
	s.janitor = New(Options{
		State: s.state, Trash: s.trash, Log: zerolog.Nop(), Now: func() time.Time { return s.now }, Jitter: func(time.Duration) time.Duration { return 0 },
		Exclusive: func(_ context.Context, _ string, do func() error) error { return do() },
	})
	return s
}

// write writes a file below .opencode that was changed so long ago.
func (s *scene) write(name, content string, ago time.Duration) {
	s.Helper()
	path := filepath.Join(s.dir, ".opencode", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.Fatal(err)
	}
	at := s.now.Add(-ago)
	if err := os.Chtimes(path, at, at); err != nil {
		s.Fatal(err)
	}
}

// clean cleans and fails on errors and problems.
func (s *scene) clean(set Settings) Report {
	s.Helper()
	r, err := s.janitor.Clean(s.Context(), s.dir, set, false)
	if err != nil || len(r.Problems) > 0 {
		s.Fatal(err, r.Problems)
	}
	return r
}

// tree are the files below .opencode with the sums of their contents.
func (s *scene) tree() map[string]string {
	s.Helper()
	files := map[string]string{}
	root := filepath.Join(s.dir, ".opencode")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			files[name] = "link to " + to
			return err
		}
		content, err := os.ReadFile(path)
		files[name] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		s.Fatal(err)
	}
	return files
}

func (s *scene) size() (files int, bytes int64) {
	s.Helper()
	_ = filepath.WalkDir(filepath.Join(s.dir, ".opencode"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		files, bytes = files+1, bytes+info.Size()
		return err
	})
	return files, bytes
}

// sorted compares lists whatever their order.
var sorted = cmpopts.SortSlices(func(a, b string) bool { return a < b })

const day = 24 * time.Hour

// seedTasks are lines of opencode-orchestrator's archive of tasks.
func seedTasks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"task_%08x","agent":"Worker","prompt":%q,"status":"completed","startedAt":"2026-01-02T03:04:05.678Z","completedAt":"2026-01-02T03:05:05.678Z","parentSessionID":"ses_1"}`+"\n", i, strings.Repeat("do it ", 33))
	}
	return b.String()
}

// seedHistory are lines of its history of todo.md.
func seedHistory(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"version":%d,"timestamp":1767323045678,"author":"system","contentHash":"%064x","size":%d}`+"\n", from+i, from+i, i)
	}
	return b.String()
}

// ourHistory is one of our own lines.
func ourHistory(n int) string {
	return fmt.Sprintf(`{"time":"2026-02-28T10:00:00.123456Z","actor":"Commander","kind":"update","changes":[{"line":%d,"before":"a","after":"b"}],"versionBefore":"%x","versionAfter":"%x"}`+"\n", n, n, n+1)
}

// document writes a document of opencode-orchestrator's cache and its entry.
func (s *scene) document(index map[string]any, name, title, body string, ago time.Duration) {
	s.Helper()
	at := s.now.Add(-ago).Format("2006-01-02T15:04:05.000Z")
	content := fmt.Sprintf("# %s\n\n> Source: https://example.com/%s\n> Cached: %s\n\n---\n\n%s", title, name, at, body)
	s.write("docs/"+name, content, ago)
	index[name] = map[string]any{"url": "https://example.com/" + name, "title": title, "fetchedAt": at, "expiresAt": at, "size": units([]byte(content))}
}

// indexed is what the index of the cache says now.
func (s *scene) indexed() *index {
	s.Helper()
	f, err := openFolder(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	defer f.close()
	x, err := f.readIndex()
	if err != nil {
		s.Fatal(err)
	}
	return x
}

// names are the documents of an index.
func (x *index) names() string { return strings.Join(slices.Sorted(maps.Keys(x.documents)), " ") }

// git runs git in the project.
func (s *scene) git(args ...string) {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), "git", args...)
	cmd.Dir, cmd.Env = s.dir, withoutGit(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

func (s *scene) index(documents map[string]any) {
	s.Helper()
	content, err := json.MarshalIndent(map[string]any{"documents": documents, "lastUpdated": "2026-01-01T00:00:00.000Z", "extra": 1.5}, "", "  ")
	if err != nil {
		s.Fatal(err)
	}
	s.write("docs/_metadata.json", string(content), 0)
}

func packed(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// users are files of a user, with old times. Some look like ours.
var users = map[string]string{
	"agents/reviewer.md": "# my reviewer", "agent/old.md": "# old", "commands/ship.md": "ship it", "command/x.md": "x", "mode/m.md": "m", "modes/n.md": "n",
	"plugins/my-plugin.js": "export const P = async () => ({})", "plugin/p.ts": "export default {}", "skills/a/SKILL.md": "skill", "tool/db.ts": "export default 1", "tools/t.ts": "1",
	"themes/dark.json": "{}", "plans/plan.md": "plan", "opencode.json": "{}", "opencode.jsonc": "{}", "tui.json": "{}", "AGENTS.md": "agents", ".npmrc": "x=1",
	"todo.md": "- [ ] a\n", "context.md": "context", "agents.json": "[]", "loop-state.json": "{}",
	"archive/tasks/notes.jsonl": seedTasks(1), "archive/tasks/tasks_2025-01-01.jsonl": seedTasks(2) + "my own note\n", "docs/mine.md": "# mine",
}

func (s *scene) users() {
	s.Helper()
	for name, content := range users {
		s.write(name, content, 60*day)
	}
}

// keptUsers fails unless every file of the user is as it was.
func (s *scene) keptUsers() {
	s.Helper()
	for name, want := range users {
		got, err := os.ReadFile(filepath.Join(s.dir, ".opencode", filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			s.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

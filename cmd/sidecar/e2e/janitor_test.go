package e2e

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const day = 24 * time.Hour

// files are those below a folder with their contents, by slash-separated names.
type files map[string]string

// filesIn reads a folder. Files that vanish meanwhile are left out.
func filesIn(t *testing.T, folder string) files {
	t.Helper()
	found := files{}
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreMissing(err)
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		name, _ := filepath.Rel(folder, path)
		found[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// write writes the files into a folder, as if they had last been used so long ago.
func (f files) write(t *testing.T, folder string, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago)
	for name, content := range f {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
}

// same fails unless each of the files is in a folder, byte for byte.
func (f files) same(t *testing.T, when, folder string) {
	t.Helper()
	now := filesIn(t, folder)
	maps.DeleteFunc(now, func(name, _ string) bool { _, wanted := f[name]; return !wanted })
	if diff := cmp.Diff(f, now); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// without counts those that a folder does not have.
func (f files) without(folder string) (missing int) {
	for name := range f {
		if _, err := os.Lstat(filepath.Join(folder, filepath.FromSlash(name))); errors.Is(err, fs.ErrNotExist) {
			missing++
		}
	}
	return missing
}

// users are the files of a user, at the places that OpenCode reads and at ours.
func users() files {
	return files{
		"agents/reviewer.md": "---\ndescription: reviews\nmode: subagent\n---\nReview.\n", "agent/old.md": "---\ndescription: old\nmode: subagent\n---\nOld.\n",
		"commands/ship.md": "---\ndescription: ship it\n---\nShip it.\n", "command/test.md": "---\ndescription: test it\n---\nTest it.\n",
		"modes/careful.md": "Be careful.\n", "skills/a/SKILL.md": "---\nname: a\ndescription: does a\n---\nDo a.\n", "skills/a/data.json": "{}",
		"plugins/my-plugin.js": "export const Mine = async () => ({})\n", "plugin/lib/helper.ts": "export const help = 1\n",
		"tool/db.ts":       "export default { description: 'asks the database', args: {}, execute: async () => 'no rows' }\n",
		"themes/dark.json": "{}", "plans/plan.md": "# The plan\n", "opencode.json": "{\"$schema\":\"https://opencode.ai/config.json\"}\n",
		"AGENTS.md": "Be brief.\n", "agents.json": "[]\n", "todo.md": "- [ ] S1: something\n", "context.md": "context\n", "loop-state.json": "{}",
		".gitignore": "node_modules\n# mine\n", "package.json": "{\"name\":\"mine\",\"private\":true}\n", "bun.lock": "{}\n",
		"docs/mine.md": "# mine\n", "archive/notes.md": "notes\n",
		"archive/tasks/notes.jsonl": tasks(1), "archive/tasks/tasks_2025-01-01.jsonl": tasks(2) + "a note of mine\n",
	}
}

// tasks are lines of an archive of tasks.
func tasks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"task_%08x","agent":"Worker","prompt":%q,"status":"completed","startedAt":"2026-01-02T03:04:05.678Z","completedAt":"2026-01-02T03:05:05.678Z","parentSessionID":"ses_1"}`+"\n", i, strings.Repeat("do it ", 33))
	}
	return b.String()
}

// history are lines of a history of todo.md, of which no two are the same.
func history(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"version":%d,"timestamp":1767323045678,"author":"system","contentHash":"%064x","size":%d}`+"\n", from+i, from+i, i)
	}
	return b.String()
}

// lines are the sorted lines of all histories in a folder.
func lines(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	for name, content := range filesIn(t, filepath.Join(folder, "archive")) {
		switch {
		case !strings.HasPrefix(name, "todo_history."):
			continue
		case strings.HasSuffix(name, ".gz"):
			packed, err := gzip.NewReader(strings.NewReader(content))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			unpacked, err := io.ReadAll(packed)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			content = string(unpacked)
		}
		all = append(all, strings.SplitAfter(strings.TrimSuffix(content, "\n"), "\n")...)
	}
	for i, line := range all {
		all[i] = strings.TrimSuffix(line, "\n")
	}
	slices.Sort(all)
	return all
}

// A folder that has grown over years becomes small while OpenCode runs; nothing of
// the user's is touched, and what went can be brought back.
func TestAnOvergrownFolderBecomesSmall(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]any{"janitorDelay": "1s"})
	folder := filepath.Join(r.Dir, ".opencode")
	now := time.Now()
	on := func(ago int) string { return now.Add(-time.Duration(ago) * day).UTC().Format(time.DateOnly) }

	old, fresh := files{}, files{}
	for i := range 200 {
		old["archive/tasks/tasks_"+on(30+i)+".jsonl"] = tasks(10)
	}
	for i := range 3 {
		fresh["archive/tasks/tasks_"+on(i)+".jsonl"] = tasks(10)
	}
	histories := files{"archive/todo_history.jsonl": history(0, 100)}
	for i := range 20 {
		histories["archive/todo_history."+on(3*i+1)+".jsonl"] = history(1000*(i+1), 100)
	}
	old.write(t, folder, 30*day)
	fresh.write(t, folder, 0)
	histories.write(t, folder, 0)
	users := users()
	users.write(t, folder, 60*day)
	before, noted := len(filesIn(t, folder)), lines(t, folder)

	s := serve(t, r)
	s.contains("the list", s.ask("list_tasks", nil), "No tasks")
	s.wait("what is old has gone and the history is packed", func() bool {
		return old.without(folder) == len(old) && histories.without(folder) == len(histories)
	})
	users.same(t, "the user's files while OpenCode runs", folder)
	fresh.same(t, "the archives of the last days", folder)
	left := filesIn(t, folder)
	if len(left) > 60 {
		t.Errorf("%d of %d files are left: %v", len(left), before, slices.Sorted(maps.Keys(left)))
	}
	if now := lines(t, folder); len(now) == 0 || len(now) > len(noted) {
		t.Errorf("of %d lines of the history %d are packed", len(noted), len(now))
	}
	s.contains("the trash", s.command(0, "clean", "--trash"), folder)
	s.contains("putting back", s.command(0, "clean", "--restore"), "back in "+folder)
	users.same(t, "the user's files in the end", folder)
	fresh.same(t, "the archives of the last days in the end", folder)
	old.same(t, "what was put back", folder)
	if diff := cmp.Diff(noted, lines(t, folder)); diff != "" {
		t.Errorf("the history that was put back (-want +got):\n%s", diff)
	}
	s.contains("the prompt afterwards", s.ask("list_tasks", nil), "No tasks")
}

// own are the files of OpenCode's beside node_modules.
var own = []string{".gitignore", "package-lock.json", "package.json"}

// What becomes of the packages that OpenCode installs. They come from the registry
// once; each subtest has a copy.
func TestOpenCodesPackages(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	full := filepath.Join(r.Dir, ".opencode")
	if err := os.RemoveAll(full); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(full, 0o755); err != nil {
		t.Fatal(err)
	}
	runs(t, r, "@say hi")
	if p := inspect(t, r); p.State != modules.Full || p.Files < 1000 || !slices.Equal(own, beside(t, r)) {
		t.Fatalf("OpenCode has installed %+v and %v", p, beside(t, r))
	}
	for name, test := range map[string]func(*testing.T, *Rig){
		"remove/after a kill": removedAfterKill, "remove/after a run": removedAfterRun, "remove/but they are needed": needed, "shrink": shrunk,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, _, _ := strings.Cut(name, "/")
			mine := newRig(t, map[string]any{"janitorNodeModules": set})
			if err := errors.Join(os.RemoveAll(filepath.Join(mine.Dir, ".opencode")), os.CopyFS(filepath.Join(mine.Dir, ".opencode"), os.DirFS(full))); err != nil {
				t.Fatal(err)
			}
			test(t, mine)
		})
	}
}

// runs plays a script in a run of OpenCode's and returns what it prints once
// everything has ended.
func runs(t *testing.T, r *Rig, script ...string) string {
	t.Helper()
	result, err := r.RunAndWait(deadline(t, limit), strings.Join(script, "\n"))
	if err != nil || result.Code != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
	return result.Stdout + result.Stderr
}

// inspect looks at a rig's packages.
func inspect(t *testing.T, r *Rig) modules.Report {
	t.Helper()
	folder, err := os.OpenRoot(filepath.Join(r.Dir, ".opencode"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	report, err := modules.Inspect(t.Context(), folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// beside are the names in a rig's folder, node_modules aside.
func beside(t *testing.T, r *Rig) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.Dir, ".opencode"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "node_modules" {
			names = append(names, e.Name())
		}
	}
	return names
}

func removed(t *testing.T, r *Rig) {
	t.Helper()
	if p := inspect(t, r); p.State != modules.Absent || len(beside(t, r)) > 0 {
		t.Errorf("left are %v and %+v\n%s", beside(t, r), p, r.Log())
	}
}

func removedAfterKill(t *testing.T, r *Rig) {
	s := serve(t, r)
	s.ask("list_tasks", nil)
	if p := inspect(t, r); p.State != modules.Full || p.Files < 1000 {
		t.Errorf("while OpenCode runs there is only %+v", p)
	}
	s.Kill()
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
	removed(t, r)
}

func removedAfterRun(t *testing.T, r *Rig) {
	if said := runs(t, r, Call("list_tasks", nil), "@say all listed"); !strings.Contains(said, "all listed") {
		t.Errorf("it said %s", said)
	}
	removed(t, r)
}

// localPlugin imports a package at run time.
const localPlugin = `import { tool } from "@opencode-ai/plugin"
export const Local = async () => ({
	tool: { local_echo: tool({ description: "echoes", args: {}, execute: async () => "the local tool works" }) },
})
`

func needed(t *testing.T, r *Rig) {
	files{"plugin/local.ts": localPlugin}.write(t, filepath.Join(r.Dir, ".opencode"), 0)
	before := inspect(t, r)
	if said := runs(t, r, Call("list_tasks", nil), Call("local_echo", nil), "@say {{result}}"); !strings.Contains(said, "the local tool works") {
		t.Errorf("it said %s", said)
	}
	if diff := cmp.Diff(before, inspect(t, r)); diff != "" || !slices.Equal(append(slices.Clone(own), "plugin"), beside(t, r)) {
		t.Errorf("left are %v and (-before +now)\n%s", beside(t, r), diff)
	}
	if !strings.Contains(r.Log(), "plugin/local.ts imports") {
		t.Errorf("the log does not say why they stay:\n%s", r.Log())
	}
}

func shrunk(t *testing.T, r *Rig) {
	runs(t, r, Call("list_tasks", nil), "@say done")
	small := func(when string) {
		t.Helper()
		if p := inspect(t, r); p.State != modules.Small || p.Files != 0 || !slices.Equal(own, beside(t, r)) {
			t.Fatalf("%s there are %v and %+v\n%s", when, beside(t, r), p, r.Log())
		}
	}
	small("after a run")
	s := serve(t, r)
	s.contains("the list", s.ask("list_tasks", nil), "No tasks")
	small("after the next start, which waits for what it installs,")

	folder, after := filepath.Join(r.Dir, ".opencode"), s.events.Len()
	files{"plugin/late.ts": localPlugin}.write(t, folder, 0)
	s.wait("the small form is undone", func() bool {
		_, err := os.Lstat(filepath.Join(folder, "package-lock.json"))
		return errors.Is(err, fs.ErrNotExist)
	})
	const warning = "has a plugin or tool now"
	if _, err := s.events.Wait(deadline(t, limit), after, func(e hosttest.Event) bool {
		return e.Type == "tui.toast.show" && strings.Contains(string(e.Properties), warning)
	}); err != nil {
		t.Errorf("no toast says that it %s: %v", warning, err)
	}
	s.contains("the log", r.Log(), warning)
	s.gone(syscall.SIGKILL)
	if names := beside(t, r); slices.Contains(names, "package-lock.json") {
		t.Errorf("the small form is back beside a plugin: %v", names)
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"
)

// yard is a project, and a home for what is kept of it.
type yard struct {
	*testing.T
	root, project, state string
}

func newYard(t *testing.T) *yard {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{T: t, root: root, project: filepath.Join(root, "project"), state: filepath.Join(root, "state", "opencode-sidecar")}
	for _, dir := range []string{y.project, filepath.Join(root, "home")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OPENCODE_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", filepath.Join(root, "home"))
	t.Setenv("XDG_STATE_HOME", filepath.Join(root, "state"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(root, "config"))
	return y
}

// write writes a file below the project's .opencode folder that was changed so many
// days ago.
func (y *yard) write(name, content string, days int) {
	y.Helper()
	path := filepath.Join(y.project, ".opencode", filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o640)); err != nil {
		y.Fatal(err)
	}
	at := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		y.Fatal(err)
	}
}

// archive writes an archive of tasks of so many days ago, and returns its name.
func (y *yard) archive(days int) string {
	y.Helper()
	name := "archive/tasks/tasks_" + time.Now().UTC().AddDate(0, 0, -days).Format(time.DateOnly) + ".jsonl"
	y.write(name, fmt.Sprintf("{\"id\":\"task_%08x\",\"agent\":\"general\"}\n", days), days)
	return name
}

// documents writes a document cache that is too large, of which the older document
// has the given name.
func (y *yard) documents(older string) {
	y.Helper()
	y.Setenv("OPENCODE_SIDECAR_JANITOR_DOCUMENT_BYTES", "65536")
	index := map[string]any{}
	for i, name := range []string{older, "newer.md"} {
		fetched := time.Now().UTC().AddDate(0, 0, i-9).Format("2006-01-02T15:04:05.000Z")
		content := fmt.Sprintf("# T\n\n> Source: http://x\n> Cached: %s\n\n---\n\n%s", fetched, strings.Repeat("x", 40<<10))
		index[name] = map[string]any{"url": "http://x", "title": "T", "fetchedAt": fetched, "size": len(content)}
		y.write("docs/"+name, content, 9-i)
	}
	text, err := json.Marshal(map[string]any{"documents": index})
	if err != nil {
		y.Fatal(err)
	}
	y.write("docs/_metadata.json", string(text), 1)
}

// tree is what is below a folder: of files their content, mode and time; of folders
// the mode and, if they are wanted, the times.
func (y *yard) tree(dir string, folderTimes bool) map[string]string {
	y.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if !d.IsDir() || folderTimes {
			text += " " + info.ModTime().Format(time.RFC3339Nano)
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		found[strings.TrimPrefix(path, dir)] = text
		return nil
	})
	if err != nil {
		y.Fatal(err)
	}
	return found
}

func (y *yard) same(what string, want, got map[string]string) {
	y.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		y.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

// run runs the program, and returns its code and what it prints with PROJECT, STATE,
// ID and one minute in place of what differs each time.
func (y *yard) run(args ...string) (code int, out, errs string) {
	y.Helper()
	var stdout, stderr bytes.Buffer
	code = run(args, strings.NewReader(""), &stdout, &stderr)
	return code, y.plain(stdout.String()), y.plain(stderr.String())
}

var (
	anyBatch  = regexp.MustCompile(`\d{8}T\d{6}\.\d{6}Z-[A-Z2-7]{10}`)
	anyMinute = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d`)
)

func (y *yard) plain(text string) string {
	text = strings.NewReplacer(y.project, "PROJECT", y.state, "STATE", y.root, "ROOT").Replace(text)
	return anyMinute.ReplaceAllString(anyBatch.ReplaceAllString(text, "ID"), "2026-11-23 12:00")
}

// clean runs `sidecar clean` for the project and compares what it says.
func (y *yard) clean(args string, code int, out, errs string) {
	y.Helper()
	y.wants(append(append([]string{"clean"}, strings.Fields(args)...), y.project), code, out, errs)
}

func (y *yard) wants(args []string, code int, out, errs string) {
	y.Helper()
	gotCode, gotOut, gotErrs := y.run(args...)
	if diff := cmp.Diff([]any{code, strings.TrimLeft(out, "\n"), errs}, []any{gotCode, gotOut, gotErrs}); diff != "" {
		y.Errorf("%q (-want +got):\n%s", args, diff)
	}
}

func (y *yard) git(dir string, args ...string) {
	y.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		y.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// batch returns the id of the newest batch.
func (y *yard) batch() string {
	y.Helper()
	entries, err := filepath.Glob(filepath.Join(y.state, "trash", "2*[A-Z2-7]"))
	if err != nil || len(entries) == 0 {
		y.Fatal("there is no batch", err)
	}
	return filepath.Base(entries[len(entries)-1])
}

func TestCleanDryRunChangesNothing(t *testing.T) {
	y := newYard(t)
	old, older := y.archive(9), y.archive(30)
	y.archive(1)
	y.write("todo.md", "- [ ] mine\n", 90)
	y.write("archive/todo_history.jsonl", `{"time":"2026-01-02T03:04:05Z","actor":"x"}`+"\n", 3)
	y.write("archive/tasks/tasks_2026-01-01.jsonl", "a note of mine\n", 90)
	y.packages("plugin/free.ts", "export default {}\n")
	before := y.tree(y.root, true)
	y.clean("--dry-run --node-modules remove", 0, `
FILE                                  SIZE      LAST USED  WHY
`+older+`  41 bytes  30d ago    archive of tasks, last used 30 days ago; kept for 7 days
`+old+`  41 bytes  9d ago     archive of tasks, last used 9 days ago; kept for 7 days

Would be packed: archive/todo_history.jsonl.
2 files, 82 bytes, would go to the trash, STATE/trash, which keeps them for 7 days; `+"`sidecar clean --restore PROJECT`"+` puts them back. In PROJECT/.opencode would be left: 8 files, of which 3 are ours. Nothing was changed.

STAYS                                 WHY
archive/tasks/tasks_2026-01-01.jsonl  line 1 is not one of ours

OpenCode's packages, 3 files and 138 bytes, would be removed. OpenCode installs them at its next start, which takes 5 to 10 seconds.
`, "")
	y.same("a dry run changes something", before, y.tree(y.root, true))
}

func TestCleanCanBeUndone(t *testing.T) {
	y := newYard(t)
	old, older := y.archive(9), y.archive(30)
	y.archive(1)
	if err := os.Chmod(filepath.Join(y.project, ".opencode", older), 0o600); err != nil {
		t.Fatal(err)
	}
	before := y.tree(y.project, false)
	y.clean("--restore", 0, "Nothing of PROJECT is in the trash, so there is nothing to put back.\n", "")
	y.clean("--trash", 0, "Nothing of PROJECT is in the trash.\n", "")
	y.clean("", 0, `
FILE                                  SIZE      LAST USED  WHY
`+older+`  41 bytes  30d ago    archive of tasks, last used 30 days ago; kept for 7 days
`+old+`  41 bytes  9d ago     archive of tasks, last used 9 days ago; kept for 7 days

2 files, 82 bytes, went to the trash, STATE/trash, which keeps them for 7 days; `+"`sidecar clean --restore PROJECT`"+` puts them back. In PROJECT/.opencode is left: 1 file, of which 1 is ours.
`, "")
	after := y.tree(y.root, true)
	if _, there := after["/project/.opencode/"+old]; there || len(y.tree(y.project, false)) != len(before)-2 {
		t.Errorf("left are %v", after)
	}
	y.clean("--trash", 0, `
ID                                  TAKEN             FILES  SIZE      KEPT FOR  FROM
ID  2026-11-23 12:00  2      82 bytes  6d        PROJECT/.opencode

They are in STATE/trash; `+"`sidecar clean --restore PROJECT`"+` puts the last back, --batch ID another.
`, "")
	listed := `
FILE                                  SIZE      LAST CHANGED  NOTE
` + older + `  41 bytes  30d ago
` + old + `  41 bytes  9d ago

`
	y.clean("--restore --dry-run", 0, listed+"2 files of ID would be put back into PROJECT/.opencode. Nothing was changed.\n", "")
	y.same("looking changes something", after, y.tree(y.root, true))
	y.clean("--restore", 0, listed+"2 files of ID are back in PROJECT/.opencode. It counts as used today.\n", "")
	y.same("what came back is not what went", before, y.tree(y.project, false))
	y.clean("--restore", 0, "Nothing of PROJECT is in the trash, so there is nothing to put back.\n", "")
}

func TestCleanHasNothingToDo(t *testing.T) {
	y := newYard(t)
	y.clean("", 0, "There is no PROJECT/.opencode, so there is nothing to clean.\n", "")
	y.archive(1)
	y.write("todo.md", "", 90)
	y.clean("", 0, "There is nothing to clean in PROJECT/.opencode: it has 2 files, of which 1 is ours.\n", "")
	t.Chdir(filepath.Join(y.project, ".opencode"))
	y.wants([]string{"clean"}, 0, "There is nothing to clean in PROJECT/.opencode: it has 2 files, of which 1 is ours.\n", "")
	y.wants([]string{"clean", "../none"}, 1, "", "sidecar clean: there is no folder PROJECT/none\n")
	y.wants([]string{"clean", "todo.md"}, 1, "", "sidecar clean: PROJECT/.opencode/todo.md is not a folder\n")
}

// Whoever is somewhere in an .opencode folder means the project around it, but for a
// repository of its own.
func TestCleanFindsTheProjectFromWithin(t *testing.T) {
	y := newYard(t)
	y.archive(1)
	const nothing = "There is nothing to clean in PROJECT/.opencode: it has 1 file, of which 1 is ours.\n"
	folder := filepath.Join(y.project, ".opencode")
	y.wants([]string{"clean", filepath.Join(folder, "archive", "tasks")}, 0, nothing, "")
	own := filepath.Join(folder, "skill", "own")
	if err := os.MkdirAll(filepath.Join(own, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	y.wants([]string{"clean", own}, 0, "There is no PROJECT/.opencode/skill/own/.opencode, so there is nothing to clean.\n", "")
	y.git(folder, "init", "--quiet") // its user versions just the folder
	code, out, errs := y.run("clean", filepath.Join(folder, "archive"))
	if code != 0 || !strings.HasPrefix(out, "There is nothing to clean in PROJECT/.opencode: ") || errs != "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestCleanPacks(t *testing.T) {
	y := newYard(t)
	y.write("archive/todo_history.jsonl", `{"time":"2026-01-02T03:04:05Z","actor":"x"}`+"\n", 3)
	code, out, errs := y.run("clean", y.project)
	want := regexp.MustCompile("^Packed: archive/todo_history\\.[0-9TZ-]+\\.jsonl\\.gz\\.\nNothing else is to be cleaned in PROJECT/\\.opencode: it has 1 file, of which 1 is ours\\.\n$")
	if code != 0 || !want.MatchString(out) || errs != "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

// moved renames the project, after which what was taken out of it has no home.
func (y *yard) moved() (to string) {
	y.Helper()
	to = filepath.Join(y.root, "moved")
	if err := os.Rename(y.project, to); err != nil {
		y.Fatal(err)
	}
	return to
}

func TestCleanPrintsNamesSafely(t *testing.T) {
	y := newYard(t)
	const evil, shown = "a\n\x1b[31mb\u202e.md", `"docs/a\n\x1b[31mb\u202e.md"`
	y.documents(evil)
	for _, args := range []string{"--dry-run", "", "--restore --dry-run", "--restore"} {
		code, out, errs := y.run(append(append([]string{"clean"}, strings.Fields(args)...), y.project)...)
		if code != 0 || !strings.Contains(out, shown) || strings.ContainsAny(out, "\x1b\u202e") || errs != "" {
			t.Errorf("%q: code %d, %q, %q", args, code, out, errs)
		}
	}
	y = newYard(t)
	y.documents(evil)
	y.write("docs/"+evil, "what the index does not say"+strings.Repeat("x", 50<<10), 9)
	for _, command := range []string{"clean", "doctor"} {
		code, out, errs := y.run(command, y.project)
		if code != 0 || !strings.Contains(out, shown) || strings.ContainsAny(out, "\x1b\u202e") || errs != "" {
			t.Errorf("%s: code %d, %q, %q", command, code, out, errs)
		}
	}
}

func TestCleanMisused(t *testing.T) {
	y := newYard(t)
	y.archive(9)
	before := y.tree(y.root, true)
	for args, errs := range map[string]string{
		"--trash --restore":                  "--trash lists and --restore puts back; leave one out",
		"--trash --dry-run":                  "--trash changes nothing; leave --dry-run out",
		"--trash --node-modules keep":        "--node-modules is for cleaning; packages are not in the trash",
		"--restore --node-modules keep":      "--node-modules is for cleaning; packages are not in the trash",
		"--batch x":                          "--batch is for --restore, which puts back what that cleaning took",
		"--trash --batch x":                  "--batch is for --restore, which puts back what that cleaning took",
		"--restore --batch=":                 "--batch is empty; give it a value or leave it out",
		"--node-modules none":                `invalid value "none" for flag -node-modules: accepted is keep, shrink or remove`,
		"--dry":                              "there is no flag --dry; did you mean --dry-run?",
		". more":                             `"more" is not expected; one project is cleaned at a time`,
		"20261123T232749.800284Z-K52J4VEKA3": "ID names a cleaning, not a folder; did you mean --restore --batch ID?",
	} {
		y.wants(append([]string{"clean"}, strings.Fields(args)...), 2, "", "sidecar clean: "+errs+"\n")
	}
	y.wants([]string{"clean", ""}, 2, "", "sidecar clean: the folder is empty; name one or leave it out\n")
	y.wants([]string{"clean", "--help"}, 0, cleanUsage, "")
	y.same("a command that was not understood changes something", before, y.tree(y.root, true))
	y.Setenv("OPENCODE_SIDECAR_JANITOR_FILES", "none")
	if _, _, errs := y.run("clean", "--dry-run", y.project); !strings.Contains(errs, "OPENCODE_SIDECAR_JANITOR_FILES") {
		t.Errorf("of a wrong limit is said %q", errs)
	}
}

func TestCleanByAnother(t *testing.T) {
	y := newYard(t)
	y.archive(1)
	y.run("clean", y.project)
	locks, _ := filepath.Glob(filepath.Join(y.state, "janitor", "*.lock"))
	if len(locks) != 1 {
		t.Fatal(locks)
	}
	other := flock.New(locks[0])
	if held, err := other.TryLock(); !held {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	y.clean("", 1, "", "sidecar clean: PROJECT/.opencode: another sidecar is cleaning it just now\n")
}

// console is one in the project, with a terminal so wide.
func (y *yard) console(width int) (c *console, out, errs *bytes.Buffer) {
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	return &console{in: strings.NewReader(""), out: out, err: errs, env: os.LookupEnv, dir: y.project, now: time.Now, width: width}, out, errs
}

func TestCleanCanBeStopped(t *testing.T) {
	y := newYard(t)
	y.archive(9)
	before := y.tree(y.project, true)
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("the user has had enough"))
	c, out, errs := y.console(0)
	if code := cleanCommand(ctx, nil, c); code != 1 || out.String() != "" || errs.String() != "sidecar clean: it was stopped; nothing else was done\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	y.same("what was stopped changes something", before, y.tree(y.project, true))
}

// nested is a folder of the project's repository that has an .opencode folder too;
// both have an old archive.
func (y *yard) nested() (sub string) {
	y.Helper()
	y.archive(9)
	sub = filepath.Join(y.project, "sub")
	if err := errors.Join(os.Mkdir(sub, 0o755), os.CopyFS(filepath.Join(sub, ".opencode"), os.DirFS(filepath.Join(y.project, ".opencode")))); err != nil {
		y.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(sub, ".opencode", "archive", "tasks", "*"))
	at := time.Now().Add(-9 * 24 * time.Hour)
	if err != nil || len(files) != 1 || os.Chtimes(files[0], at, at) != nil {
		y.Fatal(files, err)
	}
	y.git(y.project, "init", "--quiet")
	return sub
}

func TestCleanGoesUpToTheWorktree(t *testing.T) {
	y := newYard(t)
	sub := y.nested()
	name := y.archive(9)
	deeper := filepath.Join(sub, "deeper")
	if err := os.Mkdir(deeper, 0o755); err != nil {
		t.Fatal(err)
	}
	before, all := y.tree(y.project, false), y.tree(y.root, true)
	reported := func(folder, went, is, changed string) string {
		return `
FILE                                  SIZE      LAST USED  WHY
` + name + `  41 bytes  9d ago     archive of tasks, last used 9 days ago; kept for 7 days

1 file, 41 bytes, ` + went + ` to the trash, STATE/trash, which keeps them for 7 days; ` + "`sidecar clean --trash PROJECT/sub/deeper`" + ` lists them for --restore. In ` + folder + ` ` + is + ` left: 0 files, of which 0 are ours.` + changed + "\n"
	}
	const dry = " Nothing was changed."
	y.wants([]string{"clean", "--dry-run", deeper}, 0, reported("PROJECT/sub/.opencode", "would go", "would be", dry)+reported("PROJECT/.opencode", "would go", "would be", dry), "")
	y.same("a dry run changes something", all, y.tree(y.root, true))
	y.wants([]string{"clean", deeper}, 0, reported("PROJECT/sub/.opencode", "went", "are", "")+reported("PROJECT/.opencode", "went", "are", ""), "")
	for _, folder := range []string{"PROJECT/.opencode", "PROJECT/sub/.opencode"} { // the last that was cleaned comes back first
		code, out, errs := y.run("clean", "--restore", sub)
		if code != 0 || !strings.Contains(out, "1 file of ID is back in "+folder+".") || errs != "" {
			t.Errorf("%s: code %d, %q, %q", folder, code, out, errs)
		}
	}
	y.same("what came back is not what went", before, y.tree(y.project, false))
}

// One that cannot be cleaned is no reason to leave the others.
func TestCleanGoesOnAfterAFolderThatFails(t *testing.T) {
	y := newYard(t)
	sub := y.nested()
	if err := errors.Join(os.RemoveAll(filepath.Join(sub, ".opencode")), os.Symlink(y.root, filepath.Join(sub, ".opencode"))); err != nil {
		t.Fatal(err)
	}
	code, out, errs := y.run("clean", sub)
	if code != 1 || !strings.Contains(out, "1 file, 41 bytes, went to the trash") || errs != "sidecar clean: PROJECT/sub/.opencode is not a folder of its own but a symbolic link\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

// stopsAt ends what a console is doing once it says a text.
type stopsAt struct {
	bytes.Buffer
	text string
	stop func()
}

func (s *stopsAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(s.text)) {
		s.stop()
	}
	return s.Buffer.Write(p)
}

func TestCleanBeginsNoFolderOnceItIsStopped(t *testing.T) {
	y := newYard(t)
	c, _, errs := y.console(0)
	c.dir = y.nested()
	ctx, stop := context.WithCancel(t.Context())
	out := &stopsAt{text: "In " + filepath.Join(c.dir, ".opencode"), stop: stop}
	c.out = out
	if code := cleanCommand(ctx, nil, c); code != 1 || strings.Count(out.String(), "went to the trash") != 1 || errs.String() != "sidecar clean: it was stopped; nothing else was done\n" {
		t.Errorf("code %d, %q, %q", code, out.String(), errs)
	}
	if left, err := filepath.Glob(filepath.Join(y.project, ".opencode", "archive", "tasks", "*")); err != nil || len(left) != 1 {
		t.Errorf("left is %q, %v", left, err)
	}
}

func TestCleanFitsTheTerminal(t *testing.T) {
	y := newYard(t)
	t.Setenv("NO_COLOR", "1")
	y.archive(9)
	y.documents(strings.Repeat("漢字", 40) + ".md")
	c, out, errs := y.console(70)
	if code := cleanCommand(t.Context(), []string{"--dry-run"}, c); code != 0 || errs.Len() > 0 {
		t.Fatalf("code %d, %q", code, errs)
	}
	table, _, _ := strings.Cut(out.String(), "\n\n")
	for line := range strings.Lines(table) {
		if n := runewidth.StringWidth(strings.TrimSpace(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Count(table, "…") < 2 {
		t.Errorf("nothing was cut:\n%s", table)
	}
}

func TestCleanSaysOnATerminalWhatTakesLong(t *testing.T) {
	t.Parallel()
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(terminal.Close(), tty.Close()) }()
	c := &console{err: tty}
	c.meanwhile("Quick …")()
	done := c.meanwhile("Slow …")
	said := make([]byte, 100)
	n, err := terminal.Read(said)
	done()
	if got := strings.TrimSpace(string(said[:n])); err != nil || got != "Slow …" {
		t.Errorf("said was %q, %v", got, err)
	}
}

func TestCleanPackages(t *testing.T) {
	y := newYard(t)
	y.packages("plugin/mine.ts", "import { z } from \"zod\"\nexport default z\n")
	before := y.tree(y.project, true)
	y.clean("--node-modules remove", 0, `There is nothing to clean in PROJECT/.opencode: it has 4 files, of which 0 are ours.
OpenCode's packages, 3 files and 138 bytes, stay: plugin/mine.ts imports "zod", so the packages are needed.
`, "")
	y.same("packages that are needed go", before, y.tree(y.project, true))
	if err := os.RemoveAll(filepath.Join(y.project, ".opencode", "plugin")); err != nil {
		t.Fatal(err)
	}
	const nothing = "There is nothing to clean in PROJECT/.opencode: it has 3 files, of which 0 are ours.\n"
	y.clean("--dry-run --node-modules shrink", 0, nothing+"OpenCode's packages, 3 files and 138 bytes, would be replaced by the small form, with which OpenCode starts as fast.\n", "")
	t.Setenv("OPENCODE_SIDECAR_JANITOR_NODE_MODULES", "shrink")
	y.clean("", 0, nothing+"OpenCode's packages, 3 files and 138 bytes, were replaced by the small form, with which OpenCode starts as fast.\n", "")
	y.clean("", 0, nothing+"OpenCode's packages have their small form already.\n", "")
	y.clean("--node-modules keep", 0, nothing, "")
	y.clean("--node-modules remove", 0, nothing+"OpenCode's packages, 0 files and 0 bytes, were removed. OpenCode installs them at its next start, which takes 5 to 10 seconds.\n", "")
	y.clean("--node-modules remove", 0, "There is nothing to clean in PROJECT/.opencode: it has 0 files, of which 0 are ours.\nOpenCode has installed no packages here.\n", "")
	y.packages("", "")
	y.write("node_modules/zod/large.js", strings.Repeat("x", largePackages), 0)
	y.clean("--node-modules keep", 0, nothing+"OpenCode's packages, 4 files and 10.0 MiB, stay. Nothing needs them: `sidecar clean --node-modules shrink PROJECT` replaces them by a small form, with which OpenCode starts as fast.\n", "")
}

// While an OpenCode has the project open its packages stay: an error if somebody asks
// for them, and worth a sentence if it is only what the environment wants.
func TestCleanPackagesOfAnOpenProject(t *testing.T) {
	y := newYard(t)
	y.packages("", "")
	y.run("clean", "--node-modules", "shrink", y.project)
	uses, _ := filepath.Glob(filepath.Join(y.state, "janitor", "*.use"))
	if len(uses) != 1 {
		t.Fatal(uses)
	}
	open := flock.New(uses[0])
	if held, err := open.TryRLock(); !held {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	before := y.tree(y.project, true)
	const nothing = "There is nothing to clean in PROJECT/.opencode: it has 3 files, of which 0 are ours.\n"
	const stay = "OpenCode's packages stay: PROJECT: an OpenCode has it open; close it first"
	for _, dry := range []string{"", "--dry-run "} {
		for _, want := range []string{"shrink", "remove"} {
			y.clean(dry+"--node-modules "+want, 1, nothing, "sidecar clean: "+stay+"\n")
			t.Setenv("OPENCODE_SIDECAR_JANITOR_NODE_MODULES", want)
			y.clean(dry, 0, nothing+stay+".\n", "")
			y.clean(dry+"--node-modules "+want, 1, nothing, "sidecar clean: "+stay+"\n")
			t.Setenv("OPENCODE_SIDECAR_JANITOR_NODE_MODULES", "")
		}
		y.clean(dry+"--node-modules keep", 0, nothing, "")
	}
	y.same("packages of an open project change", before, y.tree(y.project, true))
}

// packages writes what OpenCode installs, and a local plugin or tool if it is named.
func (y *yard) packages(local, source string) {
	y.Helper()
	const name = "@opencode-ai/plugin"
	listed := map[string]any{}
	for _, p := range []string{name, "zod"} {
		listed["node_modules/"+p] = map[string]string{"version": "1.18.33"}
		y.write("node_modules/"+p+"/package.json", "{}\n", 0)
	}
	lock := func() string {
		text, err := json.Marshal(map[string]any{"lockfileVersion": 3, "packages": listed})
		if err != nil {
			y.Fatal(err)
		}
		return string(text)
	}
	y.write("node_modules/.package-lock.json", lock(), 0)
	listed[""] = map[string]any{"dependencies": map[string]string{name: "1.18.33"}}
	y.write("package-lock.json", lock(), 0)
	y.write("package.json", "{\n  \"dependencies\": {\n    \"@opencode-ai/plugin\": \"1.18.33\"\n  }\n}\n", 0)
	y.write(".gitignore", "node_modules\npackage.json\npackage-lock.json\nbun.lock\n.gitignore", 0)
	if local != "" {
		y.write(local, source, 0)
	}
}

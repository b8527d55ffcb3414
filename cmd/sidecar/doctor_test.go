package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// doctor runs `sidecar doctor` for the project, and fails unless it says each of
// the findings, has the code and changes nothing.
func (y *yard) doctor(code int, findings ...string) {
	y.Helper()
	before := y.tree(y.project, true)
	got, out, errs := y.run("doctor", y.project)
	if got != code || errs != "" {
		y.Errorf("code %d, want %d, %q", got, code, errs)
	}
	for _, f := range findings {
		if !strings.Contains(out, f) {
			y.Errorf("%q is not said in\n%s", f, out)
		}
	}
	y.same("the doctor changes something", before, y.tree(y.project, true))
}

func TestDoctorInAnEmptyFolder(t *testing.T) {
	y := newYard(t)
	before := y.tree(y.root, true)
	y.wants([]string{"doctor", y.project}, 0, `
Sidecar
  ok       version `+wire.Version+`
  ok       the state folder STATE is not there yet; the first start makes it
  ok       there is no task database STATE/tasks.db yet; the first task makes it
  ok       there is no log STATE/sidecar.log yet

.opencode
  ok       there is none from PROJECT up to PROJECT, so there is nothing to clean

Plugin
  note     no configuration that was found names it, so OpenCode does not load it here unless it comes in another way; the `+"`plugin`"+` list of opencode.json names it

0 problems, 1 note.
`, "")
	y.same("the doctor changes something", before, y.tree(y.root, true))
}

func TestDoctorOfPackages(t *testing.T) {
	y := newYard(t)
	y.write("todo.md", "", 1)
	y.doctor(0, "ok       OpenCode has installed no packages into it")
	y.packages("plugin/mine.ts", "import { z } from \"zod\"\nexport default z\n")
	y.doctor(0,
		"\nPROJECT/.opencode\n",
		"ok       it has 5 files, ", "packages aside; of these 0, 0 bytes, are ours by place and name\n",
		"ok       OpenCode's packages are installed: 3 files and 138 bytes, of @opencode-ai/plugin 1.18.33\n",
		"ok       local plugins and tools: plugin/mine.ts\n",
		"ok       packages are needed: plugin/mine.ts imports \"zod\"\n",
		"ok       janitorNodeModules: keep is right, as packages are needed\n")
	t.Setenv("OPENCODE_SIDECAR_JANITOR_NODE_MODULES", "remove")
	y.doctor(0, "note     janitorNodeModules is remove in the environment and has no effect here: keep is right")
	t.Setenv("OPENCODE_SIDECAR_JANITOR_NODE_MODULES", "")
	y.write("plugin/mine.ts", "export default {}\n", 0)
	y.doctor(0, "ok       none of them imports a package\n", "keep fits, which is the default and starts fast; shrink does not")
	if err := os.RemoveAll(filepath.Join(y.project, ".opencode", "plugin")); err != nil {
		t.Fatal(err)
	}
	y.doctor(0, "so does shrink")
	y.run("clean", "--node-modules", "shrink", y.project)
	y.doctor(0, "ok       OpenCode's packages have their small form", "so does shrink")
	y.write("tool/mine.ts", "import { tool } from \"@opencode-ai/plugin\"\n", 0)
	y.doctor(1, "problem  OpenCode's packages have their small form, but tool/mine.ts imports \"@opencode-ai/plugin\", and fails without them")
	y.write("yarn.lock", "", 0)
	y.doctor(0, "note     0 files and 0 bytes, in node_modules; they are not OpenCode's alone and stay: yarn.lock shows")
}

func TestDoctorOfTheStateFolder(t *testing.T) {
	for name, tc := range map[string]struct {
		file string // in the place of a folder
		want string
	}{
		"a file":       {"state/opencode-sidecar", "problem  STATE should be the state folder and is a file; move it away"},
		"below a file": {"state", "problem  the state folder STATE cannot be used: "},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			file := filepath.Join(y.root, tc.file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			y.doctor(1, tc.want)
		})
	}
	y := newYard(t)
	if err := os.MkdirAll(y.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(y.state, "sidecar.log"), make([]byte, 3<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	y.doctor(0, "ok       the state folder STATE can be written; it has 1 file, 3.0 KiB\n", "ok       the log is STATE/sidecar.log, 3.0 KiB\n")
	if entries, err := os.ReadDir(y.state); err != nil || len(entries) != 1 {
		t.Errorf("in the state folder are %v, %v", entries, err)
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("OPENCODE_SIDECAR_JANITOR_DELAY", "soon")
	y.doctor(0, "note     OPENCODE_SIDECAR_JANITOR_DELAY", "ok       the state folder ROOT/home/.local/state/opencode-sidecar is not there yet")
}

func TestDoctorOfTheDatabase(t *testing.T) {
	y := newYard(t)
	file := filepath.Join(y.state, "tasks.db")
	store, _, err := sqlitestore.Open(sqlitestore.Options{Path: file, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	y.doctor(0, "ok       the task database STATE/tasks.db opens and has ")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	before := y.tree(y.state, false)
	y.doctor(0, "ok       the task database STATE/tasks.db opens and has ")
	y.same("looking at the database changes something", before, y.tree(y.state, false))
	damage := strings.Repeat("no database", 1000)
	if err := errors.Join(os.WriteFile(file, []byte(damage), 0o600), os.WriteFile(file+".damaged-1", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	before = y.tree(y.state, false)
	y.doctor(1, "problem  the task database STATE/tasks.db, 10.7 KiB, cannot be opened: ", "note     1 file of damaged databases that were set aside lies beside it")
	y.same("looking at the database changes something", before, y.tree(y.state, false))
	t.Setenv("OPENCODE_SIDECAR_STORE", "memory")
	y.doctor(0, "note     tasks are kept in memory only, as the environment asks for\n")
}

func TestDoctorOfFiles(t *testing.T) {
	y := newYard(t)
	y.archive(9)
	y.archive(30)
	y.run("clean", y.project)
	y.archive(8)
	y.write("archive/tasks/tasks_2026-01-01.jsonl", "a note of mine\n", 90)
	y.doctor(0,
		"ok       it has 2 files, 56 bytes, packages aside; of these 2, 56 bytes, are ours by place and name\n",
		"ok       1 file is due for the trash; `sidecar clean --dry-run` lists them\n",
		"note     archive/tasks/tasks_2026-01-01.jsonl stays: line 1 is not one of ours\n",
		"ok       2 files of it, 82 bytes, are in the trash, of which the oldest goes in 6d;")
	y.git(y.project, "init", "--quiet")
	y.git(y.project, "add", ".opencode")
	y.doctor(0, "note     git tracks 2 files here that would otherwise be cleaned when old; what it tracks is left alone")
	t.Setenv("OPENCODE_SIDECAR_JANITOR", "false")
	t.Setenv("OPENCODE_SIDECAR_JANITOR_FILE_CAP", "10")
	for i := range 11 {
		y.write("notes/"+time.Duration(i).String(), "", 0)
	}
	y.doctor(0, "note     the janitor is off", "note     that is more than the 10 files")
	sub := filepath.Join(y.project, "sub")
	if err := errors.Join(os.MkdirAll(sub, 0o755), os.Symlink(y.root, filepath.Join(sub, ".opencode"))); err != nil {
		t.Fatal(err)
	}
	_, out, _ := y.run("doctor", sub)
	at, of := strings.Index(out, "\nPROJECT/sub/.opencode\n  note     it is a symbolic link"), strings.Index(out, "\nPROJECT/.opencode\n")
	if at < 0 || of < at {
		t.Errorf("of the folders up to the worktree is said\n%s", out)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(y.project, ".opencode")), os.WriteFile(filepath.Join(y.project, ".opencode"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	y.doctor(1, "problem  it is no folder")
}

func TestDoctorFindsThePlugin(t *testing.T) {
	y := newYard(t)
	put := func(name, content string) string {
		t.Helper()
		file := filepath.Join(y.root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := put("project/opencode.jsonc", "{ // opencode-sidecar\n \"plugin\": [\"other\", /* \"opencode-sidecar\" */ ], }")
	y.doctor(0, "note     no configuration that was found names it")
	put("project/opencode.jsonc", "\ufeff{ \"url\": \"http://x\", \"plugin\": [[\"/y/opencode-sidecar/shim\", {\"a\": 1,}],], }")
	y.doctor(0, "ok       PROJECT/opencode.jsonc names it: /y/opencode-sidecar/shim\n\n0 problems, 0 notes.\n")
	put("config/opencode/opencode.json", `{"plugin": ["opencode-sidecar@1.0.0"]}`)
	y.doctor(0, "ok       ROOT/config/opencode/opencode.json names it: opencode-sidecar@1.0.0\n", "note     it is named 2 times")
	if err := errors.Join(os.Remove(file), os.RemoveAll(filepath.Join(y.root, "config"))); err != nil {
		t.Fatal(err)
	}
	put("project/.opencode/opencode.json", `{"plugin": ["{env:PLUGIN}"]}`)
	y.doctor(0, "note     PROJECT/.opencode/opencode.json names {env:PLUGIN}, which only OpenCode can fill in\n\n0 problems, 1 note.\n")
	put("project/.opencode/opencode.json", `{"plugin": `)
	y.doctor(0, "note     PROJECT/.opencode/opencode.json cannot be understood, so nobody can tell whether it names the plugin")
	t.Setenv("OPENCODE_CONFIG_CONTENT", `{"plugin": ["opencode-sidecar"]}`)
	y.doctor(0, "ok       OPENCODE_CONFIG_CONTENT names it: opencode-sidecar\n")

	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &doctor{}
	for entry, want := range map[string]bool{
		filepath.Join(filepath.Dir(program), "..", "shim"):                        true,
		"file://" + filepath.Join(filepath.Dir(program), "../shim/dist/index.js"): true,
		"../shim": true, "./shim": false, "other": false,
	} {
		if got := d.isPlugin(filepath.Dir(program), entry); got != want {
			t.Errorf("%s: %v, want %v", entry, got, want)
		}
	}
}

func TestDoctorReadsJSONWithComments(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: nil, `{"plugin": null}`: nil, `{"plugin": []}`: nil, `{"plugin": [1, [], ["a", {}], "b"]}`: {"a", "b"},
		"{\"plugin\": [\"// a\", \"/* b */\", \"c,]\", \"\\\",]\"] // d\n}": {"// a", "/* b */", "c,]", `",]`},
		"// x\n{/* ,] */ \"plugin\": [\"a\" , ] , }":                        {"a"},
	} {
		if got, err := pluginEntries([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "[]", `{"plugin": "a"}`, `{"plugin": [`, `{"a`, "/*"} {
		if got, err := pluginEntries([]byte(text)); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestDoctorMisused(t *testing.T) {
	y := newYard(t)
	y.wants([]string{"doctor", "a", "b"}, 2, "", "sidecar doctor: \"b\" is not expected; name one folder\n")
	y.wants([]string{"doctor", ""}, 2, "", "sidecar doctor: the folder is empty; name one or leave it out\n")
	y.wants([]string{"doctor", filepath.Join(y.root, "none")}, 1, "", "sidecar doctor: there is no folder ROOT/none\n")
	y.wants([]string{"doctor", "--help"}, 0, doctorUsage, "")
	code, out, _ := y.run("help")
	if diff := cmp.Diff([]any{0, usage}, []any{code, out}); diff != "" {
		t.Error(diff)
	}
}

package modules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStates(t *testing.T) {
	f := newFolder(t)
	if r := f.inspect(); r.State != Absent || r.Removable() != nil || r.Shrinkable() != nil {
		t.Errorf("empty: %+v", r)
	}
	f.install(3)
	r := f.inspect()
	if r.State != Full || r.Version != "1.18.33" || r.Files < 3*len(installed) || r.Bytes < 1000 || r.Removable() != nil || r.Shrinkable() != nil {
		t.Errorf("full: %+v", r)
	}
	f.must(os.Remove(f.path(lockName)))
	if r := f.inspect(); r.State != Full {
		t.Errorf("without a lock file: %+v", r)
	}
	f.must(os.RemoveAll(f.path(modulesName)))
	f.must(os.Mkdir(f.path(modulesName), 0o755))
	if r := f.inspect(); r.State != Full || r.Version != "1.18.33" {
		t.Errorf("an empty node_modules: %+v", r)
	}
	f.write(lockName, string(smallLock("1.18.34")))
	if r := f.inspect(); r.State != Small || r.Version != "1.18.34" || r.Files != 0 {
		t.Errorf("small: %+v", r)
	}
	f.must(os.Remove(f.path(modulesName)))
	if r := f.inspect(); r.State != Full {
		t.Errorf("the small lock file alone: %+v", r)
	}
}

// What is not OpenCode's alone is said, and stays to the last byte.
func TestForeign(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	link := func(target, name string) func(*configFolder) {
		return func(f *configFolder) {
			f.must(os.MkdirAll(filepath.Dir(f.path(name)), 0o755))
			f.must(os.Symlink(target, f.path(name)))
		}
	}
	write := func(name, content string) func(*configFolder) {
		return func(f *configFolder) { f.write(name, content) }
	}
	hidden := func(entry any) func(*configFolder) {
		return func(f *configFolder) {
			packages := map[string]any{"node_modules/mine": entry}
			for _, name := range installed {
				packages["node_modules/"+name] = map[string]any{}
			}
			f.write("node_modules/.package-lock.json", lock(packages))
			f.write("node_modules/mine/index.js", "")
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*configFolder)
		reason string
	}{
		{"a package that nobody listed", write("node_modules/mine/index.js", ""), "node_modules/mine was not installed by OpenCode"},
		{"one in a scope", write("node_modules/@opencode-ai/mine/index.js", ""), "node_modules/@opencode-ai/mine was not"},
		{"one in a package", write("node_modules/zod/node_modules/mine/index.js", ""), "node_modules/zod/node_modules/mine was not"},
		{"a file", write("node_modules/notes.txt", ""), "node_modules/notes.txt was not"},
		{"a hidden folder", write("node_modules/.cache/x", ""), "node_modules/.cache was not"},
		{"what npm did not rename", write("node_modules/.mine-abcd1234/x", ""), "node_modules/.mine-abcd1234 was not"},
		{"a linked package", link(outside, "node_modules/mine"), "node_modules/mine was not"},
		{"a link in the place of a package", func(f *configFolder) {
			f.must(os.RemoveAll(f.path("node_modules/zod")))
			link(outside, "node_modules/zod")(f)
		}, "node_modules/zod was not"},
		{"a link in a package", link("../zod", "node_modules/effect/zod"), "node_modules/effect/zod was not"},
		{"a program outside", link("../../mine.js", "node_modules/.bin/mine"), "node_modules/.bin/mine was not"},
		{"an absolute program", link(outside, "node_modules/.bin/mine"), "node_modules/.bin/mine was not"},
		{"installed without being saved", hidden(map[string]any{"extraneous": true}), "node_modules/.package-lock.json has mine, which OpenCode did not install"},
		{"npm link", hidden(map[string]any{"link": true, "resolved": "../mine"}), "node_modules/.package-lock.json has mine from a local folder"},
		{"a local archive", hidden(map[string]any{"resolved": "file:../mine.tgz"}), "node_modules/.package-lock.json has mine from a local folder"},
		{"no list", func(f *configFolder) { f.must(os.Remove(f.path("node_modules/.package-lock.json"))) }, "was not installed by OpenCode"},
		{"a bad list", write("node_modules/.package-lock.json", "{"), "node_modules/.package-lock.json is not valid JSON"},
		{"node_modules is a link", func(f *configFolder) {
			f.must(os.RemoveAll(f.path("node_modules")))
			link(outside, "node_modules")(f)
		}, "node_modules is a link"},
		{"node_modules is a file", func(f *configFolder) {
			f.must(os.RemoveAll(f.path("node_modules")))
			f.write("node_modules", "")
		}, "node_modules is not a folder"},
		{"another dependency is locked", write("package-lock.json", `{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"1","left-pad":"1"}}}}`), "package-lock.json asks for left-pad"},
		{"another one for development", write("package-lock.json", `{"packages":{"":{"devDependencies":{"left-pad":"1"}}}}`), "package-lock.json asks for left-pad"},
		{"a linked package is locked", write("package-lock.json", `{"packages":{"":{},"../mine":{}}}`), "package-lock.json has ../mine from a local folder"},
		{"an old lock file", write("package-lock.json", `{"dependencies":{}}`), "package-lock.json does not say what it is for"},
		{"a bad lock file", write("package-lock.json", `{`), "package-lock.json is not valid JSON"},
		{"a linked lock file", func(f *configFolder) {
			f.must(os.Rename(f.path("package-lock.json"), f.path("other.json")))
			link("other.json", "package-lock.json")(f)
		}, "package-lock.json is a link"},
		{"a dependency in bun.lock", write("bun.lock", `{"workspaces":{"":{"dependencies":{"left-pad":"1",},},},}`), "bun.lock asks for left-pad"},
		{"workspaces in bun.lock", write("bun.lock", `{"workspaces":{"":{},"a":{}}}`), "bun.lock has workspaces"},
		{"a dependency", write("package.json", `{"dependencies":{"@opencode-ai/plugin":"1.18.33","left-pad":"1"}}`), "package.json asks for left-pad"},
		{"a dependency for development", write("package.json", `{"devDependencies":{"typescript":"5"}}`), "package.json asks for typescript"},
		{"a key", write("package.json", `{"dependencies":{"@opencode-ai/plugin":"1.18.33"},"type":"module"}`), `package.json has "type"`},
		{"a key that is no list", write("package.json", `{"scripts":{}}`), `package.json has "scripts"`},
		{"a bad package.json", write("package.json", `{"dependencies":[]}`), "package.json is not valid JSON"},
		{"a linked package.json", func(f *configFolder) {
			f.must(os.Remove(f.path("package.json")))
			link(filepath.Join(outside, "package.json"), "package.json")(f)
		}, "package.json is a link"},
		{"yarn", write("yarn.lock", ""), "yarn.lock shows that another package manager is used"},
		{"pnpm", write("pnpm-lock.yaml", ""), "pnpm-lock.yaml shows"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := full(t, 1)
			tt.change(f)
			before := f.names()
			r := f.inspect()
			if r.State != Foreign || !strings.Contains(strings.Join(r.Reasons, "\n"), tt.reason) || r.Removable() == nil || r.Shrinkable() == nil {
				t.Errorf("%+v", r)
			}
			if _, err := Remove(t.Context(), f.root, nil); err == nil || err.Error() != r.Reasons[0] {
				t.Errorf("removed: %v", err)
			}
			if _, err := Shrink(t.Context(), f.root, nil); err == nil {
				t.Error("shrunk")
			}
			if done, err := Regrow(t.Context(), f.root, untracked); done || err != nil {
				t.Errorf("regrown: %v, %v", done, err)
			}
			if diff := cmp.Diff(before, f.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What npm and OpenCode leave, now and earlier, is not foreign.
func TestOwn(t *testing.T) {
	for name, change := range map[string]func(*configFolder){
		"a retired package":        func(f *configFolder) { f.write("node_modules/.zod-Ab3dE6gH/x.js", "") },
		"a retired one in a scope": func(f *configFolder) { f.write("node_modules/@opencode-ai/.sdk-Ab3dE6gH/x.js", "") },
		"what Remove left":         func(f *configFolder) { f.write("node_modules/"+trashName+"/zod/x.js", "") },
		"what Shrink left":         func(f *configFolder) { f.write("node_modules/"+temporaryName, "{") },
		"bun.lock": func(f *configFolder) {
			f.write("bun.lock", "{\n  // made by bun\n  \"workspaces\": { \"\": { \"dependencies\": { \"@opencode-ai/plugin\": \"1.1.0\", }, }, },\n}\n")
		},
		"an older .gitignore":   func(f *configFolder) { f.write(ignoreName, ignoreForms[1]) },
		"an older package.json": func(f *configFolder) { f.write(packageName, strings.TrimSuffix(packageContent, "\n")) },
		"no package.json":       func(f *configFolder) { f.must(os.Remove(f.path(packageName))) },
	} {
		t.Run(name, func(t *testing.T) {
			f := full(t, 1)
			change(f)
			if r := f.inspect(); r.State != Full || r.Removable() != nil {
				t.Errorf("%+v", r)
			}
			if _, err := Remove(t.Context(), f.root, nil); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"agent/reviewer.md"}, f.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTracked(t *testing.T) {
	for _, tt := range []struct {
		name string
		left []string // nil where nothing may be touched
	}{
		{modulesName, nil},
		{lockName, nil},
		{bunLockName, nil},
		{packageName, nil}, // who keeps it in git says what is installed
		{ignoreName, []string{".gitignore", "agent/reviewer.md"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := full(t, 1)
			f.write(bunLockName, `{"workspaces":{"":{}}}`)
			before := f.names()
			_, err := Remove(t.Context(), f.root, func(name string) bool { return name == tt.name })
			if (err == nil) != (tt.left != nil) {
				t.Errorf("removed: %v", err)
			}
			if tt.left == nil {
				tt.left = before
			}
			if diff := cmp.Diff(tt.left, f.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLocal(t *testing.T) {
	f := full(t, 1)
	f.write("plugin/b.ts", "export default async () => ({})\n")
	f.write("plugins/.hidden.js", "")
	f.write("tool/a.js", "")
	f.write("tools/c.ts", "")
	f.write("tools/c.mjs", "")     // not loaded
	f.write("tool/below/d.ts", "") // not loaded
	f.write("lib/e.ts", "")
	f.write("opencode.json", `{
	  // people comment
	  "plugin": ["./extra/rel.ts", "../up.ts", "npm-package@1", "@scope/x", ["./tuple.ts", {"a": 1,}], "file:///tmp/x.ts", "/abs.js", "{env:PLUGIN}"],
	}`)
	f.write("opencode.jsonc", `{"plugins": [{"package": "./two.ts"}], "x": "http://no.comment"}`)
	f.write("config.json", `{"plugin": "none"}`)
	r := f.inspect()
	want := []string{
		"../up.ts", "/abs.js", "config.json", "extra/rel.ts", "file:///tmp/x.ts", "plugin/b.ts", "plugins/.hidden.js",
		"tool/a.js", "tools/c.ts", "tuple.ts", "two.ts", "{env:PLUGIN}",
	}
	if diff := cmp.Diff(want, r.Local); diff != "" {
		t.Error(diff)
	}
	if r.Removable() != nil || r.Shrinkable() == nil || r.State != Full {
		t.Errorf("%+v, %v", r, r.Removable())
	}
}

func TestNeeds(t *testing.T) {
	f := full(t, 1)
	f.write("plugin/a.ts", "import { tool } from '@opencode-ai/plugin'\nimport x from './lib/x'\nimport 'zod'\n")
	f.write("skill/deep/er/run.MJS", "require('left-pad')\n")
	f.write("plugin/node_modules/x/index.js", "import 'y'\n") // the user's own
	f.write("agent/text.md", "import 'nothing'\n")
	f.write("lib/large.ts", strings.Repeat(" ", maxSource+1))
	f.must(os.Symlink("/nowhere.ts", f.path("plugin/link.ts")))
	f.must(os.Symlink(t.TempDir(), f.path("tool")))
	f.must(os.Symlink(t.TempDir(), f.path("docs")))
	r := f.inspect()
	want := []Need{
		{File: "lib/large.ts", Unsure: "is too large, so nobody knows what it imports"},
		{File: "plugin/a.ts", Import: "@opencode-ai/plugin"},
		{File: "plugin/a.ts", Import: "zod"},
		{File: "plugin/link.ts", Unsure: "is a link, behind which nothing is read"},
		{File: "plugin/node_modules/x/index.js", Import: "y"},
		{File: "skill/deep/er/run.MJS", Import: "left-pad"},
		{File: "tool", Unsure: "is a link, behind which nothing is read"},
	}
	if diff := cmp.Diff(want, r.Needs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"plugin/a.ts", "plugin/link.ts", "tool"}, r.Local); diff != "" {
		t.Error(diff)
	}
	if err := r.Removable(); err == nil || r.State != Full {
		t.Errorf("%s, %v", r.State, err)
	}
	f.must(os.RemoveAll(f.path("lib")))
	if err := f.inspect().Removable(); err == nil || err.Error() != `plugin/a.ts imports "@opencode-ai/plugin", so the packages are needed` {
		t.Error(err)
	}
}

func TestTooMuchToRead(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	for range maxSources + 1 {
		file, err := os.CreateTemp(f.dir, "*.ts")
		f.must(err)
		file.Close()
	}
	r := f.inspect()
	if len(r.Needs) != 1 || !strings.Contains(r.Removable().Error(), "comes after 2000 other sources") {
		t.Errorf("%+v", r.Needs)
	}
	f = newFolder(t)
	for range maxAllSource/maxSource + 1 {
		file, err := os.CreateTemp(f.dir, "*.ts")
		f.must(err)
		f.must(file.Truncate(maxSource)) // zeros: not plain text
		file.Close()
	}
	r = f.inspect()
	if !strings.Contains(r.Needs[len(r.Needs)-1].Unsure+r.Needs[0].Unsure+unsures(r), "32 MiB of other sources") {
		t.Errorf("%+v", r.Needs)
	}
}

func unsures(r Report) string {
	var all strings.Builder
	for _, n := range r.Needs {
		all.WriteString(n.Unsure + "\n")
	}
	return all.String()
}

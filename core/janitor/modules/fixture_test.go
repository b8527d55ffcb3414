package modules

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// killedEnv makes this binary the process that TestKilled kills.
const killedEnv = "MODULES_TEST_KILLED"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(killedEnv); ok {
		os.Exit(killed(job))
	}
	os.Exit(m.Run())
}

const (
	packageContent = "{\n  \"dependencies\": {\n    \"@opencode-ai/plugin\": \"1.18.33\"\n  }\n}\n"
	ignoreContent  = "node_modules\npackage.json\npackage-lock.json\nbun.lock\n.gitignore"
)

// installed are the packages of a fixture.
var installed = []string{
	"@opencode-ai/plugin", "@opencode-ai/sdk", "effect", "zod", "which", "which/node_modules/isexe", "toml",
}

// configFolder is one of OpenCode's, in a test.
type configFolder struct {
	t    testing.TB
	dir  string
	root *os.Root
}

func newFolder(t testing.TB) *configFolder {
	t.Helper()
	f := &configFolder{t: t, dir: t.TempDir()}
	root, err := os.OpenRoot(f.dir)
	f.must(err)
	t.Cleanup(func() { root.Close() })
	f.root = root
	return f
}

// full is a folder as OpenCode leaves it, with so many files in each package.
func full(t testing.TB, files int) *configFolder {
	t.Helper()
	f := newFolder(t)
	f.install(files)
	f.write("agent/reviewer.md", "---\ndescription: reviews\n---\nimport nothing\n")
	return f
}

func (f *configFolder) install(files int) {
	f.t.Helper()
	f.write(packageName, packageContent)
	f.write(ignoreName, ignoreContent)
	packages := map[string]any{"": map[string]any{"dependencies": map[string]string{pluginPackage: "1.18.33"}}}
	for _, name := range installed {
		path := modulesName + "/" + name
		packages[path] = map[string]string{"version": "1.18.33", "resolved": "https://registry.npmjs.org/" + name}
		f.write(path+"/package.json", fmt.Sprintf("{%q:%q}", "name", name))
		for i := range files - 1 {
			f.write(fmt.Sprintf("%s/dist/%d/file.js", path, i), "import x from 'zod'\n")
		}
	}
	f.write(modulesName+"/.bin/other", "#!/bin/sh\n")
	if runtime.GOOS != "windows" {
		f.must(os.Symlink("../which/bin/which.js", f.path(modulesName+"/.bin/which")))
	}
	f.write(lockName, lock(packages))
	delete(packages, "")
	f.write(modulesName+"/"+hiddenLockName, lock(packages))
}

func lock(packages map[string]any) string {
	text, _ := json.MarshalIndent(map[string]any{"name": ".opencode", "lockfileVersion": 3, "packages": packages}, "", "  ")
	return string(text) + "\n"
}

func (f *configFolder) path(name string) string {
	return filepath.Join(f.dir, filepath.FromSlash(name))
}

func (f *configFolder) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *configFolder) write(name, content string) {
	f.t.Helper()
	f.must(os.MkdirAll(filepath.Dir(f.path(name)), 0o755))
	f.must(os.WriteFile(f.path(name), []byte(content), 0o644))
}

func (f *configFolder) has(name string) bool {
	_, err := os.Lstat(f.path(name))
	return err == nil
}

// names are the files and the empty folders, all below node_modules as one.
func (f *configFolder) names() []string {
	f.t.Helper()
	var names []string
	f.must(filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(f.dir, path)
		rel = filepath.ToSlash(rel)
		if rel == modulesName && d.IsDir() {
			entries, err := os.ReadDir(path)
			names = append(names, fmt.Sprintf("%s(%d)", rel, len(entries)))
			if err != nil {
				return err
			}
			return fs.SkipDir
		}
		if !d.IsDir() {
			names = append(names, rel)
		}
		return nil
	}))
	return names
}

func (f *configFolder) inspect() Report {
	f.t.Helper()
	r, err := Inspect(f.t.Context(), f.root, nil)
	f.must(err)
	return r
}

// checkRepairable fails if OpenCode or npm would take for whole what is not.
func (f *configFolder) checkRepairable(files int) {
	f.t.Helper()
	whole := map[string]bool{}
	for _, name := range installed {
		dir := modulesName + "/" + name
		if !f.has(dir) {
			continue
		}
		n := 0
		f.must(filepath.WalkDir(f.path(dir), func(path string, d fs.DirEntry, err error) error {
			inside := strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(f.path(dir)))
			if err == nil && !d.IsDir() && !strings.Contains(inside, "/node_modules/") {
				n++
			}
			return err
		}))
		if whole[name] = n == files; !whole[name] {
			f.t.Errorf("%s has %d of %d files, and npm takes it for whole", name, n, files)
		}
	}
	content, err := os.ReadFile(f.path(lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return // OpenCode installs
	}
	f.must(err)
	entries, err := os.ReadDir(f.path(modulesName))
	switch {
	case isSmall(content):
		if err != nil || len(entries) > 0 {
			f.t.Errorf("beside the small lock file is node_modules with %v, %v", entries, err)
		}
	case len(whole) != len(installed):
		f.t.Errorf("there is a lock file, and of the packages only %v", whole)
	}
}

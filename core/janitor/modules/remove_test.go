package modules

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRemove(t *testing.T) {
	f := full(t, 4)
	f.write("plugin/a.ts", "import fs from 'node:fs'\nexport default async () => ({})\n")
	r, err := Remove(t.Context(), f.root, nil)
	if err != nil || r.State != Full || r.Files < 4*len(installed) {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff([]string{"agent/reviewer.md", "plugin/a.ts"}, f.names()); diff != "" {
		t.Error(diff)
	}
	if r, err := Remove(t.Context(), f.root, nil); err != nil || r.State != Absent {
		t.Errorf("again: %+v, %v", r, err)
	}
}

func TestRemoveKeepsWhatPeopleWrote(t *testing.T) {
	f := full(t, 1)
	f.write(packageName, `{"dependencies":{"@opencode-ai/plugin":"^1.0.0"}}`)
	_, err := Remove(t.Context(), f.root, nil)
	f.must(err)
	// .gitignore hides the package.json.
	if diff := cmp.Diff([]string{".gitignore", "agent/reviewer.md", "package.json"}, f.names()); diff != "" {
		t.Error(diff)
	}
	f = full(t, 1)
	f.write(ignoreName, "node_modules\n")
	_, err = Remove(t.Context(), f.root, nil)
	f.must(err)
	if diff := cmp.Diff([]string{".gitignore", "agent/reviewer.md"}, f.names()); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveFollowsNoLink(t *testing.T) {
	f := full(t, 1)
	f.write("docs/plan.md", "mine\n")
	// Below what an earlier removal has moved away nothing is judged again.
	f.write(modulesName+"/"+trashName+"/zod/x.js", "")
	f.must(os.Symlink(f.path("docs"), f.path(modulesName+"/"+trashName+"/absolute")))
	f.must(os.Symlink("../../docs", f.path(modulesName+"/"+trashName+"/relative")))
	_, err := Remove(t.Context(), f.root, nil)
	f.must(err)
	if diff := cmp.Diff([]string{"agent/reviewer.md", "docs/plan.md"}, f.names()); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveNoticesChanges(t *testing.T) {
	for name, change := range map[string]func(*configFolder){
		"lock":    func(f *configFolder) { f.write(lockName, `{"packages":{"":{"dependencies":{"mine":"1"}}}}`) },
		"package": func(f *configFolder) { f.write(modulesName+"/mine/index.js", "") },
		"link": func(f *configFolder) {
			f.must(os.RemoveAll(f.path(modulesName)))
			f.must(os.Symlink(t.TempDir(), f.path(modulesName)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := full(t, 1)
			s, err := look(t.Context(), f.root, nil)
			f.must(err)
			change(f)
			if err := s.remove(t.Context(), f.root); err == nil || !strings.Contains(err.Error(), "meanwhile") {
				t.Error(err)
			}
			f.checkRepairable(1)
			if name == "package" && !f.has(modulesName+"/mine/index.js") || name == "lock" && !f.has(lockName) {
				t.Error(f.names())
			}
		})
	}
}

// untracked is a folder of which git tracks nothing.
func untracked(context.Context) (func(string) bool, error) {
	return func(string) bool { return false }, nil
}

func TestShrinkAndRegrow(t *testing.T) {
	f := full(t, 4)
	f.write(bunLockName, `{"workspaces":{"":{}}}`)
	r, err := Shrink(t.Context(), f.root, nil)
	if err != nil || r.State != Full {
		t.Errorf("%+v, %v", r, err)
	}
	small := []string{".gitignore", "agent/reviewer.md", "node_modules(0)", "package-lock.json", "package.json"}
	if diff := cmp.Diff(small, f.names()); diff != "" {
		t.Error(diff)
	}
	r, err = Shrink(t.Context(), f.root, nil)
	if err != nil || r.State != Small || r.Version != "1.18.33" {
		t.Errorf("again: %+v, %v", r, err)
	}
	if done, err := Regrow(t.Context(), f.root, untracked); done || err != nil {
		t.Errorf("nobody needs it: %v, %v", done, err)
	}
	f.write("tool/a.ts", "")
	if r := f.inspect(); r.State != Small || r.Shrinkable() == nil {
		t.Errorf("%+v", r)
	}
	if done, err := Regrow(t.Context(), f.root, untracked); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if diff := cmp.Diff([]string{".gitignore", "agent/reviewer.md", "package.json", "tool/a.ts"}, f.names()); diff != "" {
		t.Error(diff)
	}
	if done, err := Regrow(t.Context(), f.root, untracked); done || err != nil {
		t.Errorf("again: %v, %v", done, err)
	}
	if _, err := Shrink(t.Context(), f.root, nil); err == nil || f.has(lockName) {
		t.Errorf("a local tool: %v", err)
	}
}

func TestShrinkNothing(t *testing.T) {
	f := newFolder(t)
	if _, err := Shrink(t.Context(), f.root, nil); err != nil {
		t.Error(err)
	}
	if r := f.inspect(); r.State != Small || r.Version != "*" {
		t.Errorf("%+v", r)
	}
	if _, err := Remove(t.Context(), f.root, nil); err != nil || len(f.names()) > 0 {
		t.Errorf("%v, %v", f.names(), err)
	}
}

// The lock file says that all is well, so it does not appear beside what an
// OpenCode installs meanwhile.
func TestShrinkWhileOpenCodeInstalls(t *testing.T) {
	f := full(t, 1)
	s, err := look(t.Context(), f.root, nil)
	f.must(err)
	f.must(s.clear(t.Context(), f.root))
	f.write(modulesName+"/zod/package.json", "")
	f.write(modulesName+"/"+temporaryName, "")
	if err := s.settle(t.Context(), f.root); err == nil || f.has(lockName) {
		t.Errorf("%v, %v", f.names(), err)
	}
}

func TestRegrowLeavesOtherLocks(t *testing.T) {
	for name, content := range map[string]string{
		"OpenCode's":     lock(map[string]any{"": map[string]any{"dependencies": map[string]string{pluginPackage: "1"}}}),
		"a similar one":  strings.Replace(string(smallLock("1")), "}}}}", `,"mine":"1"}}}}`, 1),
		"one without us": `{"lockfileVersion":3,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"1.18.33"}}}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write("tool/a.ts", "import 'zod'")
			f.write(lockName, content)
			if done, err := Regrow(t.Context(), f.root, untracked); done || err != nil || !f.has(lockName) {
				t.Errorf("%v, %v", done, err)
			}
		})
	}
}

// countdown is a context that ends when it has been asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// An end at any moment leaves what OpenCode repairs and the next call finishes.
func TestInterrupted(t *testing.T) {
	const files = 2
	offset := map[string]int{"remove": 0, "shrink": 1}
	for name, do := range actions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Both do the same until the end, so each tries every other moment.
			for n := offset[name]; ; n += 2 {
				f := full(t, files)
				_, err := do(&countdown{t.Context(), n}, f.root, nil)
				if err == nil {
					if n < files*len(installed) {
						t.Errorf("ctx was asked %d times only", n)
					}
					return
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				f.checkRepairable(files)
				if _, err := do(t.Context(), f.root, nil); err != nil {
					t.Fatalf("after %d steps: %v", n, err)
				}
				f.checkDone(name)
				if t.Failed() {
					t.Fatalf("after %d steps", n)
				}
			}
		})
	}
}

var actions = map[string]func(context.Context, *os.Root, func(string) bool) (Report, error){
	"remove": Remove,
	"shrink": Shrink,
}

func (f *configFolder) checkDone(action string) {
	f.t.Helper()
	want := []string{"agent/reviewer.md"}
	if action == "shrink" {
		want = []string{".gitignore", "agent/reviewer.md", "node_modules(0)", "package-lock.json", "package.json"}
	}
	if diff := cmp.Diff(want, f.names()); diff != "" {
		f.t.Error(diff)
	}
}

// killed is the process that TestKilled kills: it does what it is told, and
// says when it begins.
func killed(job string) int {
	action, dir, _ := strings.Cut(job, "|")
	root, err := os.OpenRoot(dir)
	if err == nil {
		fmt.Println("begins")
		_, err = actions[action](context.Background(), root, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// kill -9 at any moment, again and again on the same folder.
func TestKilled(t *testing.T) {
	t.Parallel()
	const files = 40
	var kills, met int
	for name, do := range actions {
		// How long it takes to the end says when to kill.
		f := full(t, files)
		start := time.Now()
		_, err := do(t.Context(), f.root, nil)
		f.must(err)
		whole := time.Since(start)
		for range 4 {
			f := full(t, files)
			for range 4 {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), killedEnv+"="+name+"|"+f.dir)
				out, err := cmd.StdoutPipe()
				f.must(err)
				f.must(cmd.Start())
				_, err = out.Read(make([]byte, 1)) // it begins
				f.must(err)
				timer := time.AfterFunc(rand.N(whole), func() { _ = cmd.Process.Kill() })
				if err := cmd.Wait(); err != nil {
					kills++
				}
				timer.Stop()
				if f.has(modulesName+"/"+trashName) || !f.has(lockName) && f.has(modulesName) {
					met++
				}
				f.checkRepairable(files)
			}
			_, err := do(t.Context(), f.root, nil)
			f.must(err)
			f.checkDone(name)
		}
	}
	t.Logf("%d kills, %d of them in the middle", kills, met)
	if met == 0 {
		t.Error("no kill met a folder in the middle of the work")
	}
}

package janitor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
)

// installed writes what OpenCode installs, a little of it.
func (s *scene) installed() {
	s.Helper()
	s.write("package.json", "{\n  \"dependencies\": {\n    \"@opencode-ai/plugin\": \"1.18.33\"\n  }\n}\n", 0)
	lock := `{"name":".opencode","lockfileVersion":3,"requires":true,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"1.18.33"}},"node_modules/@opencode-ai/plugin":{"version":"1.18.33"}}}`
	s.write("package-lock.json", lock, 0)
	s.write("node_modules/.package-lock.json", `{"name":".opencode","lockfileVersion":3,"requires":true,"packages":{"node_modules/@opencode-ai/plugin":{"version":"1.18.33"}}}`, 0)
	s.write("node_modules/@opencode-ai/plugin/package.json", `{"name":"@opencode-ai/plugin","version":"1.18.33"}`, 0)
}

func (s *scene) packages() modules.State {
	s.Helper()
	r, err := s.janitor.Packages(s.Context(), s.dir, Keep, true)
	if err != nil {
		s.Fatal(err)
	}
	return r.State
}

// session opens the project, works in it and leaves it.
func (s *scene) session(want Modules, work func(j *Janitor)) {
	s.Helper()
	j := New(s.janitor.o)
	done := make(chan struct{})
	go func() { defer close(done); j.Run(s.Context()) }()
	set := Defaults()
	set.Modules = want
	j.Open(s.dir, s.dir, set)
	work(j)
	j.Close(s.dir)
	if err := j.Gone(s.Context(), s.dir); err != nil {
		s.Error(err)
	}
	if err := j.Stop(context.Background()); err != nil {
		s.Error(err)
	}
	<-done
}

func (s *scene) is(want modules.State, why string) {
	s.Helper()
	if got := s.packages(); got != want {
		s.Errorf("%s: %s, want %s", why, got, want)
	}
}

// look reports what a janitor does about the project's packages.
func (s *scene) look(j *Janitor) (watched, held bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := j.projects[s.dir].packages
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.watching != nil, k.user != nil
}

func TestPackagesBecomeWhatIsWanted(t *testing.T) {
	s := newScene(t)
	nothing := func(*Janitor) {}
	s.installed()
	s.is(modules.Full, "installed")
	s.session(Keep, nothing)
	s.is(modules.Full, "keep")
	s.session(Shrink, nothing)
	s.is(modules.Small, "shrink")
	s.session(Keep, nothing)
	s.is(modules.Small, "keep does not undo what harms nobody")
	s.session(Remove, nothing)
	s.is(modules.Absent, "remove")
	s.installed()
	s.session(Remove, func(*Janitor) {
		s.write("plugins/p.ts", `import { tool } from "@opencode-ai/plugin"`, 0)
	})
	s.is(modules.Full, "remove, with a plugin that needs them")
}

// eventually waits until a condition holds.
func (s *scene) eventually(what string, holds func() bool) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			s.Fatal("never: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestALocalPluginUndoesTheSmallForm(t *testing.T) {
	for name, add := range map[string]func(s *scene){
		"a plugin in a new folder": func(s *scene) { s.write("plugin/p.ts", "export default {}", 0) },
		"a tool":                   func(s *scene) { s.write("tools/t.ts", "export default {}", 0) },
		"a plugin by its path":     func(s *scene) { s.write("opencode.json", `{"plugin":["./p.ts"]}`, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.installed()
			if err := os.MkdirAll(filepath.Join(s.dir, ".opencode", "tools"), 0o755); err != nil {
				t.Fatal(err)
			}
			s.session(Shrink, func(*Janitor) {})
			s.is(modules.Small, "shrink")
			told := make(chan string, 9)
			s.janitor.o.Tell = func(text string) { told <- text }
			s.session(Shrink, func(j *Janitor) {
				s.eventually("it is watched", func() bool {
					watched, _ := s.look(j)
					return watched
				})
				add(s)
				<-told
				if state := s.packages(); state == modules.Small {
					t.Error("the small form stays")
				}
			})
			// Nor does it come while there is one, or stay if one came meanwhile.
			s.is(modules.Absent, "with a local plugin")
		})
	}
}

func TestAPluginThatCameWhileClosedUndoesItToo(t *testing.T) {
	s := newScene(t)
	s.installed()
	s.session(Shrink, func(*Janitor) {})
	s.write("plugin/p.ts", "export default {}", 0)
	told := make(chan string, 9)
	s.janitor.o.Tell = func(text string) { told <- text }
	s.session(Keep, func(*Janitor) { <-told })
	s.is(modules.Absent, "undone")
}

func TestPackagesStayWhileAnotherHasTheProjectOpen(t *testing.T) {
	for first, left := range map[Modules]modules.State{Remove: modules.Absent, Keep: modules.Full} {
		s := newScene(t)
		s.installed()
		s.session(first, func(j *Janitor) {
			s.eventually("it is held", func() bool {
				_, held := s.look(j)
				return held
			})
			if _, err := s.janitor.Packages(t.Context(), s.dir, Remove, false); err == nil {
				t.Error("they are taken by hand")
			}
			s.session(Remove, func(*Janitor) {})
			s.is(modules.Full, "the other one is open")
		})
		s.is(left, "the last one is closed")
	}
}

func TestLeavingDoesNotWaitForOthers(t *testing.T) {
	s := newScene(t)
	s.installed()
	other, err := newPackages(s.dir, s.state, nil).lock()
	if err != nil {
		t.Fatal(err)
	}
	if held, err := other.TryLock(); err != nil || !held {
		t.Fatal(held, err)
	}
	defer func() { _ = other.Close() }()
	began := time.Now()
	s.session(Remove, func(j *Janitor) {
		s.eventually("it waits", func() bool {
			j.mu.Lock()
			defer j.mu.Unlock()
			k := j.projects[s.dir].packages
			if !k.mu.TryLock() {
				return true
			}
			k.mu.Unlock()
			return false
		})
	})
	if took := time.Since(began); took > userLimit/2 {
		t.Errorf("it took %s", took)
	}
}

// A closed project holds nothing, whether or not it is opened again.
func TestAClosedProjectHoldsNothing(t *testing.T) {
	s := newScene(t)
	s.installed()
	s.session(Shrink, func(*Janitor) {}) // so that there is something to watch
	s.session(Shrink, func(j *Janitor) {
		for range 3 {
			s.eventually("it is watched and held", func() bool {
				watched, held := s.look(j)
				return watched && held
			})
			j.Used(s.dir)
			j.Close(s.dir)
			s.eventually("nothing is watched or held", func() bool {
				watched, held := s.look(j)
				return !watched && !held
			})
			j.mu.Lock()
			if !j.projects[s.dir].due.IsZero() {
				t.Error("a pass is planned")
			}
			j.mu.Unlock()
			j.Open(s.dir, s.dir, Settings{Modules: Shrink, Every: Defaults().Every})
		}
	})
	s.is(modules.Small, "in the end")
}

// With the packages small or gone, all that is left of an overgrown folder is small,
// node_modules included.
func TestAnOvergrownFolderIsSmallAltogether(t *testing.T) {
	for _, want := range []Modules{Shrink, Remove} {
		t.Run(string(want), func(t *testing.T) {
			s := newScene(t)
			s.users()
			if want == Shrink { // there is none without local plugins
				for _, local := range []string{"plugin", "plugins", "tool", "tools"} {
					if err := os.RemoveAll(filepath.Join(s.dir, ".opencode", local)); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := s.tree()
			s.archives(380)
			s.installed()
			for i := range 300 {
				s.write(fmt.Sprintf("node_modules/@opencode-ai/plugin/dist/%d.js", i), strings.Repeat("x", 4000), 50*day)
			}
			s.clean(Defaults())
			s.session(want, func(*Janitor) {})
			if files, bytes := s.size(); files >= 200 || bytes >= 2<<20 {
				t.Errorf("%d files, %d bytes", files, bytes)
			}
			after := s.tree()
			for name, sum := range before {
				if after[name] != sum {
					t.Errorf("%s is %q", name, after[name])
				}
			}
			s.is(map[Modules]modules.State{Shrink: modules.Small, Remove: modules.Absent}[want], "the packages")
		})
	}
}

// README: packages stay if git tracks a package file.
func TestPackagesStayIfGitTracksPackageJSON(t *testing.T) {
	for _, want := range []Modules{Remove, Shrink} {
		s := newScene(t)
		s.installed()
		s.git("init", "-q")
		s.git("add", "-f", ".opencode/package.json")
		before := s.tree()
		r, err := s.janitor.Packages(t.Context(), s.dir, want, false)
		if err == nil || r.State != modules.Foreign {
			t.Errorf("%s: %s, %v", want, r.State, err)
		}
		if diff := cmp.Diff(before, s.tree()); diff != "" {
			t.Errorf("%s: %s", want, diff)
		}
	}
}

// A lock file that git tracks by now is its user's, too.
func TestTheSmallLockThatGitTracksStays(t *testing.T) {
	s := newScene(t)
	s.installed()
	s.session(Shrink, func(*Janitor) {})
	s.git("init", "-q")
	s.git("add", "-f", ".opencode/package-lock.json")
	s.write("plugin/p.ts", "export default {}", 0)
	s.janitor.Open(s.dir, s.dir, Defaults())
	s.turn(s.janitor)
	s.janitor.Close(s.dir)
	s.turn(s.janitor)
	if _, err := os.Stat(filepath.Join(s.dir, ".opencode", "package-lock.json")); err != nil {
		t.Error(err)
	}
}

// A directory that was closed and is open again keeps its janitor, whenever it is
// noticed that it was closed for long.
func TestGoneComesTooLate(t *testing.T) {
	s := newScene(t)
	s.write("x", "", 0)
	s.janitor.Open(s.dir, s.dir, Defaults())
	s.janitor.Close(s.dir)
	s.janitor.Open(s.dir, s.dir, Defaults()) // while Gone is on its way
	if err := s.janitor.Gone(t.Context(), s.dir); err != nil {
		t.Fatal(err)
	}
	s.janitor.Used(s.dir)
	if p := s.janitor.projects[s.dir]; p == nil || p.due.IsZero() {
		t.Error("nobody cleans it any more")
	}
}

// turn does what Run does of packages until there is nothing to be done.
func (s *scene) turn(j *Janitor) {
	for {
		p, look, _ := j.following()
		if p == nil || !look {
			return
		}
		j.tend(s.Context(), p)
	}
}

// Turned off while it was closed for a moment, it holds and watches nothing.
func TestTurnedOffItHoldsNothing(t *testing.T) {
	s := newScene(t)
	s.installed()
	s.session(Shrink, func(*Janitor) {})
	j := New(s.janitor.o)
	set := Defaults()
	set.Modules = Shrink
	j.Open(s.dir, s.dir, set)
	s.turn(j)
	if watched, held := s.look(j); !watched || !held {
		t.Fatal(watched, held)
	}
	j.Close(s.dir)
	set.Off = true
	j.Open(s.dir, s.dir, set)
	s.turn(j)
	if watched, _ := s.look(j); watched {
		t.Error("it is watched")
	}
	j.Close(s.dir)
	if err := j.Gone(t.Context(), s.dir); err != nil {
		t.Error(err)
	}
}

package delegate

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// The rules about depth are about sessions, whoever made them: an agent that
// OpenCode's own task tool has called is as deep as one of ours.
func TestDepthBoundsEverySession(t *testing.T) {
	for name, c := range map[string]struct {
		depth    int // of the session that asks
		settings func(*Settings)
		refused  bool
	}{
		"above terminalDepth": {1, func(*Settings) {}, false},
		"at terminalDepth":    {2, func(*Settings) {}, true},
		"beyond it":           {3, func(*Settings) {}, true},
		"above maxDepth":      {2, func(s *Settings) { s.Terminal = 9 }, false},
		"at maxDepth":         {3, func(s *Settings) { s.Terminal = 9 }, true},
		"beyond maxDepth":     {4, func(s *Settings) { s.Terminal = 9 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, seconds, func(t *testing.T, r *rig) {
				r.configure(c.settings)
				ended := r.launch("1 before")
				r.wait(ended)
				r.sleep(time.Minute)
				from := r.main
				for range c.depth {
					from = r.session(from)
				}
				_, err := r.engine.Delegate(t.Context(), r.below(from, "1 deep"))
				if errors.Is(err, ErrRefused) != c.refused || !c.refused && err != nil {
					t.Errorf("launch: %v; refused should be %v", err, c.refused)
				}
				_, err = r.engine.DelegateResume(t.Context(), string(ended), r.below(from, "1 again"))
				if errors.Is(err, ErrRefused) != c.refused || !c.refused && err != nil {
					t.Errorf("resume: %v; refused should be %v", err, c.refused)
				}
				if n := len(r.host.History(from)); c.depth > 0 && n != 0 {
					t.Errorf("its session was told in %d messages", n)
				}
			})
		})
	}
}

// The session of an agent that OpenCode's own task tool has called is over with
// its turn: nobody is there to be told later.
func TestASubagentDelegatesOnlyWhileItWaits(t *testing.T) {
	for name, headless := range map[string]bool{"with a window": false, "headless": true} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, seconds, func(t *testing.T, r *rig) {
				if headless {
					r.engine.Headless()
				}
				sub := r.session(r.main)
				if _, err := r.engine.Launch(t.Context(), r.below(sub, "1 background")); !errors.Is(err, ErrRefused) {
					t.Errorf("in the background: %v, want ErrRefused", err)
				}
				got, err := r.engine.Delegate(t.Context(), r.below(sub, "1 sync"))
				if err != nil {
					t.Fatal(err)
				}
				r.want(got, task.Completed, "answer to 1 sync")
				if n := len(r.tasksOf(sub)); n != 1 {
					t.Errorf("it has %d tasks, one was refused", n)
				}
			})
		})
	}
}

func TestARefusedSubagentLeavesNothingBehind(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.MaxTree, s.MaxOpen = 1, 1 })
		sub := r.session(r.main)
		for range 3 {
			if _, err := r.engine.Launch(t.Context(), r.below(sub, "1 background")); !errors.Is(err, ErrRefused) {
				t.Errorf("in the background: %v, want ErrRefused", err)
			}
		}
		// One at a time fits into the tree, and one below each session.
		r.want(r.wait(r.launch("1 main")), task.Completed, "answer")
		if _, err := r.engine.Delegate(t.Context(), r.below(sub, "1 sync")); err != nil {
			t.Error(err)
		}
	})
}

// What a child session may do: its parent's rules, and ours.
func TestTheRulesOfAChild(t *testing.T) {
	for name, c := range map[string]struct {
		mode     task.Mode
		terminal int
		further  bool // it may delegate
	}{
		"a plain task":                       {task.Normal, 2, false},
		"a fractal one":                      {task.Fractal, 2, true},
		"a fractal one at the terminalDepth": {task.Fractal, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, seconds, func(t *testing.T, r *rig) {
				r.configure(func(s *Settings) { s.Terminal = c.terminal })
				r.main = r.session("",
					host.Rule{Permission: "external_directory", Pattern: "/data/*", Action: "allow"},
					host.Rule{Permission: "webfetch", Pattern: "*", Action: "deny"},
					host.Rule{Permission: "edit", Pattern: "*", Action: "allow"})
				s := r.spec("30 x")
				s.Mode = c.mode
				id := r.begin(s)
				synctest.Wait()
				rules := r.rules(r.get(id).Session)
				for name, want := range map[string]string{
					"question":           "deny", // nobody looks at it
					"external_directory": "allow",
					"webfetch":           "deny",
					"edit":               "",
				} {
					if rules[name] != want {
						t.Errorf("%s: %q, want %q", name, rules[name], want)
					}
				}
				for _, name := range []string{"delegate_task", "delegate_tasks"} {
					if denied := rules[name] == "deny"; denied == c.further {
						t.Errorf("%s is denied: %v", name, denied)
					}
				}
			})
		})
	}
}

package delegate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Ends, questions and clashes are all toasts, or none is.
func TestToastsCanBeTurnedOff(t *testing.T) {
	for name, c := range map[string]struct {
		what func(*rig)
	}{
		"the end of a task": {func(r *rig) { r.wait(r.launch("1")) }},
		"a question": {func(r *rig) {
			id := r.launch("60")
			synctest.Wait()
			r.host.Ask(r.get(id).Session, ask)
		}},
		"a question below a task": {func(r *rig) {
			id := r.launch("60")
			synctest.Wait()
			r.host.Ask(r.session(r.get(id).Session), ask)
		}},
		"an edit of the same file": {func(r *rig) {
			for range 2 {
				id := r.launch("60")
				synctest.Wait()
				r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.get(id).Session, Part: "tool", Call: host.ToolCall{ID: "call_1", Tool: "edit", Status: "completed", Files: []string{"a.go"}}})
			}
		}},
	} {
		for _, on := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				play(t, 5, seconds, func(t *testing.T, r *rig) {
					r.configure(func(s *Settings) { s.Toasts = on })
					c.what(r)
					r.sleep(5 * time.Second)
					if n := len(r.host.Toasts()); n > 0 != on {
						t.Errorf("with toasts %v: %d toasts", on, n)
					}
				})
			})
		}
	}
}

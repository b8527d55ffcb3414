package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The sidecar dies in the middle of a mission: the next one goes on with it.
func TestAMissionOutlivesItsSidecar(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, quick))
	session := s.session()
	ctx := deadline(t, limit)
	s.slash(session, "task", "Build it.", plan(2), workers(1), "@say launched", "@tag held\n@gate on\n@say one is done", workers(2), "@say launched the other", "@say both are done")
	if err := s.Model.WaitLoad(ctx, "held", 1); err != nil {
		t.Fatal(err)
	}
	s.kill(s.sidecar())
	s.wait("another sidecar runs", func() bool {
		now, err := s.Sidecars()
		return err == nil && len(now) == 1
	})
	s.Model.Open("on")
	all := s.said(session, "both are done")
	s.contains("the status", s.comesTo(session, "done"), "2 of 2 items of todo.md done", "Continuations: 1 of")
	if n := len(continued(all)); n != 1 {
		t.Errorf("it was gone on with %d times\n%s", n, transcriptOf(all))
	}
}

// OpenCode ends in the middle of a mission: the next one goes on with it once its
// person says something, and not before.
func TestAMissionOutlivesOpenCode(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]any{"missionCountdown": "10m"})
	s := serve(t, r)
	session := s.session()
	s.slash(session, "task", "Build it.", plan(1), "@say planned", "@say hello again", todoCall("update", "S1", "completed"), "@say it is built")
	s.wait("it counts down", func() bool {
		for _, e := range s.events.All() {
			if e.Type == "tui.toast.show" && strings.Contains(string(e.Properties), "It goes on in 10m") {
				return true
			}
		}
		return false
	})
	s.events.Close()
	if err := s.Server.Stop(deadline(t, limit)); err != nil {
		t.Fatal(err)
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(r.Dir, "opencode.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write("opencode.json", strings.Replace(string(config), "10m", "100ms", 1)); err != nil {
		t.Fatal(err)
	}
	s = serve(t, r)
	all, err := s.Messages(deadline(t, limit), session, 0)
	if err != nil || len(continued(all)) != 0 {
		t.Errorf("it went on by itself (%v):\n%s", err, transcriptOf(all))
	}
	s.prompt(session, "where were we")
	all = s.said(session, "it is built")
	s.contains("the status", s.comesTo(session, "done"), "1 of 1 items of todo.md done")
	if n := len(continued(all)); n != 1 {
		t.Errorf("it was gone on with %d times\n%s", n, transcriptOf(all))
	}
}

package e2e

import (
	"encoding/json"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// A task that asks for permission waits for a person, but not for ever.
func TestQuestionsForPermission(t *testing.T) {
	s := serve(t, newRig(t, map[string]any{"permissionTimeout": "3s"}))
	script := []string{`@call read {"filePath":"/etc/hostname"}`, "@say read it"}
	t.Run("nobody answers", func(t *testing.T) {
		s := s.in(t)
		session := s.session()
		s.prompt(session, Delegate(true, script...), "@say launched")
		s.contains("the wake", s.told(session, 1), "[ERROR]", "nobody answered its question for permission (external_directory")
	})
	t.Run("a person answers", func(t *testing.T) {
		s := s.in(t)
		ctx := deadline(t, limit)
		session := s.session()
		after := s.events.Len()
		s.prompt(session, Delegate(true, script...), "@say launched")
		asked, err := s.events.Wait(ctx, after, hosttest.OfType("permission.asked"))
		if err != nil {
			t.Fatal(err)
		}
		var question struct{ ID string }
		if err := json.Unmarshal(asked.Properties, &question); err != nil {
			t.Fatal(err)
		}
		answer := map[string]string{"response": "once"}
		if err := s.Do(ctx, "POST", "/session/"+asked.Session+"/permissions/"+question.ID, answer, nil); err != nil {
			t.Fatal(err)
		}
		s.contains("the wake", s.told(session, 1), "[DONE]", "read it")
	})
	t.Run("the sidecar dies meanwhile", func(t *testing.T) {
		s := s.in(t)
		session := s.session()
		after := s.events.Len()
		s.prompt(session, Delegate(true, script...), "@say launched")
		if _, err := s.events.Wait(deadline(t, limit), after, hosttest.OfType("permission.asked")); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.sidecar(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.contains("the wake", s.told(session, 1), "[ERROR]", "nobody answered its question for permission (external_directory")
	})
}

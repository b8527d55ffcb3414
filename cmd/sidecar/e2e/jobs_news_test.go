package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// A session that asked for it is woken when its command has ended, also by the
// sidecar after the one that ran it.
func TestTheEndOfACommandWakesItsSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		crash   bool
		want    []string
	}{
		"it ends by itself":            {"sleep 0.5; echo built; exit 3", false, []string{"[ERROR] ", "exit code 3", "built"}},
		"the sidecar that ran it dies": {"echo begun; sleep 300", true, []string{"[INTERRUPTED] ", "the sidecar that ran it died"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, newRig(t, nil))
			session := s.session()
			calls := s.prompt(session, Call("run_background", map[string]any{"command": c.command, "notify": true}), "@say launched")
			if len(calls) != 1 || calls[0].State.Status != "completed" {
				t.Fatalf("calls: %+v", calls)
			}
			id := jobID.FindString(calls[0].State.Output)
			s.contains("the tool's answer", calls[0].State.Output, "[RUNNING] job_", "You will be told")
			if c.crash {
				s.kill(s.sidecar())
			}
			var told []hosttest.Message
			all, err := s.WaitMessages(deadline(t, limit), session, func(all []hosttest.Message) bool {
				told = slices.DeleteFunc(slices.Clone(all), func(m hosttest.Message) bool {
					return m.Info.Role != "user" || !strings.Contains(m.Text(), "] "+id)
				})
				return len(told) > 0 && slices.ContainsFunc(all, func(m hosttest.Message) bool {
					return m.Info.ParentID == told[0].Info.ID && m.Info.Finish == "stop"
				})
			})
			if err != nil {
				t.Fatalf("not told: %v", err)
			}
			s.contains("the wake", told[0].Text(), append(c.want, id)...)
			if agent := all[len(all)-1].Info.Agent; agent != "build" || len(told) != 1 {
				t.Errorf("told %d times; the wake runs as %q, want the session's own agent", len(told), agent)
			}
		})
	}
}

// `opencode run` ends when the commands have whose end somebody waits for, and
// prints what the model makes of them.
func TestRunWaitsForItsCommands(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	res, err := r.RunAndWait(deadline(t, limit), strings.Join([]string{
		Call("run_background", map[string]any{"command": "sleep 1.5; echo 'all 12 tests pass'", "notify": true}), "@say launched", "@say the tests have run",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 || !strings.Contains(res.Stdout, "launched") || !strings.Contains(res.Stdout, "the tests have run") {
		t.Errorf("exit code %d, printed:\n%s\n%s", res.Code, res.Stdout, res.Stderr)
	}
	if !slices.ContainsFunc(r.Model.Requests(), func(q hosttest.Request) bool {
		last := q.Messages[len(q.Messages)-1].Text
		return strings.Contains(last, "[DONE] job_") && strings.Contains(last, "all 12 tests pass")
	}) {
		t.Error("the model was not told of the command")
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
}

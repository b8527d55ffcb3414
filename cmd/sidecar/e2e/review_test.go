package e2e

import (
	"slices"
	"strings"
	"testing"
)

// With the option, Reviewer checks what Worker did, in a task that the same
// session is told of; without it nobody does.
func TestReview(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options map[string]any
		agents  string
	}{
		"off": {nil, "Worker"}, "on": {map[string]any{"review": true}, "Reviewer Worker"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, newRig(t, c.options))
			session := s.session()
			s.prompt(session, DelegateWith(map[string]any{"agent": "Worker", "description": "build part 1"}, "@say part 1 is built"), "@say launched")
			texts := s.told(session, len(strings.Fields(c.agents)))
			s.contains("the wake", texts, "part 1 is built")
			var agents []string
			for _, child := range s.idle(session) {
				agents = append(agents, child.Agent)
			}
			if name == "on" {
				s.contains("the wake", texts, "Reviewer checks it in task_", "review: build part 1")
				asked := ""
				for _, q := range s.Model.Requests() {
					if q.Parent == session {
						asked += strings.Join(q.Texts("user"), "\n")
					}
				}
				s.contains("the reviewer's prompt", asked, "Check what another agent did.", "It reports:\n\npart 1 is built")
			}
			slices.Sort(agents)
			if got := strings.Join(agents, " "); got != c.agents {
				t.Errorf("the agents were %q, want %q", got, c.agents)
			}
		})
	}
}

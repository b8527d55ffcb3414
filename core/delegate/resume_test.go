package delegate

import (
	"errors"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// The session of a task has the rules that it was created with, so a session with
// rules of its own cannot have it go on.
func TestRulesOfAnotherSessionForbidAResume(t *testing.T) {
	for name, c := range map[string]struct {
		rule    host.Rule
		refused bool
	}{
		"it denies something": {host.Rule{Permission: "bash", Pattern: "*", Action: "deny"}, true},
		"it allows something": {host.Rule{Permission: "bash", Pattern: "*", Action: "allow"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, seconds, func(t *testing.T, r *rig) {
				id := r.launch("1 first")
				r.wait(id)
				r.sleep(time.Minute)
				_, err := r.engine.Resume(t.Context(), string(id), r.below(r.session("", c.rule), "1 again"))
				if errors.Is(err, ErrRefused) != c.refused {
					t.Errorf("resume: %v; refused should be %v", err, c.refused)
				}
				if !c.refused {
					r.want(r.wait(id), task.Completed, "again")
				}
			})
		})
	}
}

// A request of the command line that came too late is not about the next attempt.
func TestAResumedTaskIsNotStoppedByAnOldRequest(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		id := r.launch("1 first")
		was := r.wait(id)
		r.sleep(time.Minute)
		if _, err := r.store.Update(t.Context(), id, r.get(id).Fence(), func(t *task.Task) { t.Stop = "stopped at the command line" }); err != nil {
			t.Fatal(err)
		}
		if _, err := r.engine.Resume(t.Context(), string(id), r.spec("60 again")); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Completed, "again")
		if got := r.get(id); got.Attempt != was.Attempt+1 {
			t.Errorf("attempt %d", got.Attempt)
		}
	})
}

// The race that a task was in is over when it is resumed.
func TestAResumedRacerRacesNoMore(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		race := func(prompt string) task.ID {
			s := r.spec(prompt)
			s.Mode, s.Group, s.Wake = task.Race, "g", task.WakeAll
			return r.begin(s)
		}
		winner, loser := race("1 winner"), race("60 loser")
		r.want(r.wait(winner), task.Completed, "winner")
		r.want(r.wait(loser), task.Cancelled, "first in their race")
		r.sleep(time.Minute)
		for _, id := range []task.ID{loser, winner} {
			if _, err := r.engine.Resume(t.Context(), string(id), r.spec("5 again")); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []task.ID{loser, winner} {
			got := r.wait(id)
			r.want(got, task.Completed, "again")
			if got.Mode != task.Normal {
				t.Errorf("its mode is %q", got.Mode)
			}
		}
	})
}

func TestABudgetForbidsAResume(t *testing.T) {
	play(t, 1, used(100), func(t *testing.T, r *rig) {
		id := r.launch("1 first")
		r.wait(id)
		r.sleep(time.Minute)
		for tokens, refused := range map[int64]bool{100: true, 1000: false} {
			r.configure(func(s *Settings) { s.Task = Budget{Tokens: tokens} })
			_, err := r.engine.Resume(t.Context(), string(id), r.spec("1 again"))
			if errors.Is(err, ErrRefused) != refused {
				t.Errorf("with a budget of %d: %v; refused should be %v", tokens, err, refused)
			}
			if err == nil {
				r.want(r.wait(id), task.Completed, "again")
				r.sleep(time.Minute)
				break // it has used more since
			}
		}
	})
}

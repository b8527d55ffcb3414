package delegate

import (
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// A session that a resumed task has again is no spare one.
func TestThePoolLeavesTheSessionOfAResumedTaskAlone(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Pool = true })
		r.launch("30 keeps the parent known")
		first := r.spec("5 first")
		first.Priority = task.High
		a := r.begin(first)
		r.sleep(31 * time.Second)
		blocker := r.spec("20 blocker")
		blocker.Mode = task.Fractal // which takes no session of a plain task
		b := r.begin(blocker)
		r.want(r.wait(a), task.Completed, "first")
		r.sleep(time.Second)
		if _, err := r.engine.Resume(t.Context(), string(a), r.spec("5 again")); err != nil {
			t.Fatal(err)
		}
		other := r.spec("5 other")
		other.Priority = task.High // it comes first
		c := r.begin(other)
		r.want(r.wait(b), task.Completed, "blocker")
		r.want(r.wait(c), task.Completed, "other")
		r.want(r.wait(a), task.Completed, "again")
		if r.get(a).Session == r.get(c).Session {
			t.Error("two tasks had one session at a time")
		}
	})
}

func TestThePoolKeepsAFewSessionsOfEachAgent(t *testing.T) {
	play(t, 20, seconds, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Pool = true })
		wave := func() map[string]bool {
			var ids []task.ID
			sessions := map[string]bool{}
			for range 2 * poolPerAgent {
				ids = append(ids, r.begin(r.spec("5 x")))
			}
			for _, id := range ids {
				sessions[r.wait(id).Session] = true
			}
			return sessions
		}
		r.launch("60 keeps the parent known")
		first, again := wave(), 0
		for session := range wave() {
			if first[session] {
				again++
			}
		}
		if again != poolPerAgent {
			t.Errorf("%d sessions were used again, want %d", again, poolPerAgent)
		}
	})
}

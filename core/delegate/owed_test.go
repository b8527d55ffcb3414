package delegate

import (
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// What a resumed task is owed by its dead process it is owed by the next one, too.
func TestACrashAfterAResumeLosesNothingThatATaskIsOwed(t *testing.T) {
	for _, at := range []time.Duration{0, 100 * time.Millisecond, time.Second, 4 * time.Second} {
		t.Run(at.String(), func(t *testing.T) {
			play(t, 5, nil, func(t *testing.T, r *rig) {
				r.delegates("3000 inner")
				id := r.outer()
				r.sleep(10 * time.Second)
				r.die()
				r.sleep(time.Second)
				r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
				if _, err := r.engine.Resume(t.Context(), string(id), r.spec("5 go on")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(at)
				r.kill()
				r.start("host-2")
				got := r.wait(id)
				r.want(got, task.Completed, "answer to")
				r.sleep(time.Hour)
				if inner := r.tasksOf(got.Session)[0]; !inner.Told {
					t.Errorf("nobody is ever told of %s", inner.ID)
				}
			})
		})
	}
}

// The session of a subagent is over with its turn, also if its call took so long
// that it was given the id instead of the result.
func TestASubagentsCallThatIsHandedBackStartsNoTurnInADeadSession(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		sub := r.session(r.main)
		got, err := r.engine.Delegate(t.Context(), r.below(sub, "400 x"))
		if err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(got.ID), task.Completed, "x")
		r.sleep(time.Minute)
		if n := len(r.host.History(sub)); n > 0 {
			t.Errorf("a turn was begun in the subagent's session, which is over: %d messages", n)
		}
	})
}

// A store that is busy while the dead are judged makes no answer an interruption.
func TestABusyStoreWhileTheDeadAreJudgedLosesNoAnswer(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("10 x")
		r.sleep(2 * time.Second)
		r.kill()
		r.sleep(20 * time.Second)
		r.owners.set("host-1", false)
		session, store, fails := r.get(id).Session, r.store, times(1)
		r.store = faulty{Store: store, list: func(q task.Query) error {
			if q.Parent == session && fails() {
				return errBusy
			}
			return nil
		}}
		r.start("host-2")
		r.sleep(time.Minute)
		r.store = store
		r.want(r.get(id), task.Completed, "answer to 10 x")
	})
}

// A person can end a task of a dead process whose session nobody can read.
func TestATaskThatCannotBeJudgedCanBeCancelled(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("10 x")
		r.sleep(2 * time.Second)
		r.kill()
		r.owners.set("host-1", false)
		r.host.Close()
		r.host.Fault(failing("Messages", 1_000_000))
		r.start("host-2")
		r.sleep(time.Hour)
		got, err := r.engine.Cancel(t.Context(), id, "enough")
		if err != nil || !got.State.Terminal() {
			t.Errorf("it is %s for ever (%v)", got.State, err)
		}
		r.host.Fault(nil)
	})
}

package delegate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// What an earlier sidecar, or a dead process, has left is taken over or judged
// although something goes wrong meanwhile.

func TestAStoreThatFailsWhileTasksAreTakenOverLosesNone(t *testing.T) {
	for name, fails := range map[string]func(task.Query) bool{
		"the open ones":   func(q task.Query) bool { return q.Owner != "" && len(q.States) > 0 },
		"the untold ones": func(q task.Query) bool { return q.Owner != "" && q.Untold },
		"the tree of one": func(q task.Query) bool { return q.Root != "" },
		"anything":        func(task.Query) bool { return true },
	} {
		for _, n := range []int32{1, 5} {
			t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
				play(t, 5, seconds, func(t *testing.T, r *rig) {
					a, b, ended := r.launch("30 a"), r.launch("30 b"), r.launch("3 ended")
					r.sleep(2 * time.Second)
					r.kill()
					r.sleep(3 * time.Second)
					hiccup, store := times(n), r.store
					r.store = faulty{Store: store, list: func(q task.Query) error {
						if fails(q) && hiccup() {
							return errBusy
						}
						return nil
					}}
					r.start("host-1")
					r.sleep(10 * time.Minute)
					r.store = store
					for _, id := range []task.ID{a, b, ended} {
						got := r.get(id)
						r.want(got, task.Completed, "answer")
						if !got.Told {
							t.Errorf("%s was not told", id)
						}
						if n := r.prompts(got.Session); n != 1 {
							t.Errorf("%s: %d prompts in its session", id, n)
						}
					}
				})
			})
		}
	}
}

// A session that cannot be read proves nothing: its task is judged later.
func TestAHiccupWhileTheDeadAreJudgedLosesNoAnswer(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("10 x")
		r.sleep(2 * time.Second)
		r.kill()
		r.sleep(20 * time.Second) // it is answered, and nobody has stored that
		r.owners.set("host-1", false)
		r.host.Fault(failing("Messages", 2))
		r.start("host-2")
		r.sleep(time.Second)
		if got := r.get(id); got.State != task.Running {
			t.Errorf("it became %s (%s) although its session could not be read", got.State, got.Error)
		}
		r.sleep(time.Minute)
		r.want(r.get(id), task.Completed, "answer to 10 x")
	})
}

func TestATaskOfADeadProcessWhoseSessionWasDeletedIsJudgedAtOnce(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("10 x")
		r.sleep(2 * time.Second)
		session := r.get(id).Session
		r.kill()
		r.host.Delete(session)
		r.owners.set("host-1", false)
		r.host.Close()
		r.start("host-2")
		r.sleep(time.Second)
		r.want(r.get(id), task.Interrupted, "OpenCode process ended")
	})
}

// Nor is it looked at for ever: later whoever asks for the task has it judged.
func TestASessionThatStaysUnreadableIsLeftToWhoAsks(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("10 x")
		r.sleep(2 * time.Second)
		r.kill()
		r.sleep(20 * time.Second)
		r.owners.set("host-1", false)
		r.host.Fault(failing("Messages", 1_000_000))
		looks := r.host.Calls("Messages")
		r.start("host-2")
		r.sleep(time.Hour)
		if n := r.host.Calls("Messages") - looks; n < 25 || n > 35 {
			t.Errorf("it was read %d times, want about 30", n)
		}
		if got := r.get(id); got.State != task.Running {
			t.Errorf("it became %s (%s) although nobody knows how it ended", got.State, got.Error)
		}
		r.host.Fault(nil)
		got, err := r.engine.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		r.want(got.Task, task.Completed, "answer to 10 x")
	})
}

func TestTheDeadAreFoundBehindASwarm(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		id := r.launch("old")
		r.sleep(time.Second)
		r.kill()
		r.owners.set("host-1", false)
		r.start("host-2")
		r.engine.reaping <- struct{}{} // the look at the opening comes a moment late
		for range 1000 {
			r.launch("new")
		}
		<-r.engine.reaping
		r.sleep(time.Minute)
		if _, err := r.engine.List(t.Context(), task.Query{Worktree: dir, Limit: 50}); err != nil {
			t.Fatal(err)
		}
		r.want(r.get(id), task.Interrupted, "OpenCode process ended")
	})
}

// Its process lived when this one looked for dead ones.
func TestATaskIsResumedAsSoonAsItsProcessHasDied(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("3000 x")
		r.sleep(2 * time.Second)
		r.kill()
		r.start("host-2")
		r.sleep(time.Second)
		if _, err := r.engine.Resume(t.Context(), string(id), r.spec("1 go on")); !errors.Is(err, ErrRunning) {
			t.Errorf("while its process lives: %v", err)
		}
		r.owners.set("host-1", false)
		r.host.Close()
		if _, err := r.engine.Resume(t.Context(), string(id), r.spec("1 go on")); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Completed, "answer to 1 go on")
	})
}

// The caps count what was taken over.
func TestTasksThatAreTakenOverCountAgainstTheirTree(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		first := r.launch("60 a")
		r.launch("60 b")
		r.sleep(time.Second)
		r.kill()
		r.settings = func(s *Settings) { s.MaxTree = 2 }
		r.start("host-1")
		if _, err := r.engine.Launch(t.Context(), r.spec("c")); !errors.Is(err, ErrRefused) {
			t.Errorf("beyond the cap: %v", err)
		}
		r.wait(first)
		r.sleep(time.Second)
		if _, err := r.engine.Launch(t.Context(), r.spec("1 d")); err != nil {
			t.Errorf("with room in the tree: %v", err)
		}
	})
}

// The sidecar has died between the end of a task and those of its own.
func TestATaskOfAnEndedOneIsNotTakenOver(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.delegates("3000 inner")
		outer := r.outer()
		r.sleep(5 * time.Second)
		r.kill()
		was := r.get(outer)
		if _, err := r.store.Update(t.Context(), outer, was.Fence(), func(t *task.Task) { t.State, t.Ended = task.Cancelled, time.Now() }); err != nil {
			t.Fatal(err)
		}
		r.start("host-1")
		r.sleep(20 * time.Second)
		inner := r.tasksOf(was.Session)[0]
		r.want(inner, task.Cancelled, "the task that asked for it ended")
		if !inner.Told {
			t.Error("somebody is still to be told of it")
		}
	})
}

// A task goes on when OpenCode opens its directory again, not before, and not for
// ever.
func TestATaskWaitsUntilItsDirectoryIsOpenedAgain(t *testing.T) {
	for name, opened := range map[string]bool{"it is": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, seconds, func(t *testing.T, r *rig) {
				s := newShut(r.host)
				r.through(s)
				r.engine.WorkspaceOpened(t.Context(), away, dir, r.engine.config(dir))
				var ids []task.ID
				for range 3 { // the third waits for a slot
					spec := r.below(r.host.Open(away), "60 x")
					spec.Directory = away
					ids = append(ids, r.begin(spec))
				}
				r.sleep(time.Second)
				r.kill()
				s.close(away)
				r.start("host-1")
				r.sleep(5 * time.Second)
				for _, id := range ids {
					if got := r.get(id); got.State.Terminal() {
						t.Fatalf("%s is %s (%s) before its directory was opened", id, got.State, got.Error)
					}
				}
				if !opened {
					r.sleep(time.Minute)
					for _, id := range ids {
						r.want(r.get(id), task.Interrupted, "did not open its workspace again")
					}
					s.open() // or its session could not be looked at
					return
				}
				s.open()
				r.engine.WorkspaceOpened(t.Context(), away, dir, r.engine.config(dir))
				for _, id := range ids {
					r.want(r.wait(id), task.Completed, "answer")
				}
			})
		})
	}
}

// It had its slot, and does not stand in line like one that never ran.
func TestATaskThatIsTakenOverIsNotOverdue(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		first, second := r.launch("60 a"), r.launch("60 b")
		r.sleep(time.Second)
		r.kill()
		r.max, r.settings = 1, func(s *Settings) { s.Queue = 10 * time.Second }
		r.start("host-1")
		r.want(r.wait(first), task.Completed, "answer")
		r.want(r.wait(second), task.Completed, "answer")
	})
}

func TestWhatADeadProcessHasLeftIsArchived(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		id := r.launch("60 x")
		r.sleep(time.Second)
		r.kill()
		r.settings = func(s *Settings) { s.Archive = true }
		r.start("host-2") // while the first one lives
		r.sleep(time.Second)
		var kept shelf
		r.engine.archive = &kept
		r.owners.set("host-1", false)
		r.host.Close()
		if _, err := r.engine.List(t.Context(), task.Query{Worktree: dir, Limit: 10}); err != nil {
			t.Fatal(err)
		}
		r.want(r.get(id), task.Interrupted, "OpenCode process ended")
		if n := len(kept.of(id)); n != 1 {
			t.Errorf("archived %d times", n)
		}
	})
}

// A result that nobody waits for is not told, also if its process is dead.
func TestNobodyIsToldOfWhatADeadProcessKeptQuietAbout(t *testing.T) {
	play(t, 2, seconds, func(t *testing.T, r *rig) {
		quiet := r.spec("60 quiet")
		quiet.Wake, quiet.Background = task.WakeNone, false
		id, other := r.begin(quiet), r.launch("60 other")
		r.sleep(time.Second)
		r.die()
		r.sleep(time.Second)
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.sleep(time.Minute)
		if r.get(id).Told || !r.get(other).Told {
			t.Errorf("told of the quiet one: %v, of the other: %v", r.get(id).Told, r.get(other).Told)
		}
		r.want(r.get(id), task.Interrupted, "OpenCode process ended")
	})
}

// used has each answer cost as much.
func used(n int64) func(host.Prompt, host.Session) fake.Reply {
	return func(p host.Prompt, s host.Session) fake.Reply {
		reply := seconds(p, s)
		reply.Usage = host.Usage{Output: n}
		return reply
	}
}

// What a task has used is what all of its attempts have, whoever looked after them.
func TestUsageIsCarriedAcross(t *testing.T) {
	for name, c := range map[string]struct {
		between func(*rig, task.ID)
		want    int64
	}{
		"a resume": {func(r *rig, id task.ID) {
			r.wait(id)
			r.sleep(time.Minute)
			if _, err := r.engine.Resume(r.Context(), string(id), r.spec("5 again")); err != nil {
				r.Fatal(err)
			}
		}, 200},
		"a crash after a resume": {func(r *rig, id task.ID) {
			r.wait(id)
			r.sleep(time.Minute)
			if _, err := r.engine.Resume(r.Context(), string(id), r.spec("5 again")); err != nil {
				r.Fatal(err)
			}
			r.sleep(time.Second)
			r.kill()
			r.start("host-1")
		}, 200},
		"the end of its process": {func(r *rig, id task.ID) {
			r.sleep(time.Second)
			r.kill()
			r.sleep(time.Minute) // it is answered all the same
			r.owners.set("host-1", false)
			r.start("host-2")
			r.sleep(time.Second)
		}, 100},
		"the end of its process after a resume": {func(r *rig, id task.ID) {
			r.wait(id)
			r.sleep(time.Minute)
			if _, err := r.engine.Resume(r.Context(), string(id), r.spec("5 again")); err != nil {
				r.Fatal(err)
			}
			r.sleep(time.Second)
			r.kill()
			r.sleep(time.Minute)
			r.owners.set("host-1", false)
			r.start("host-2")
			r.sleep(time.Second)
		}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, used(100), func(t *testing.T, r *rig) {
				id := r.launch("5 first")
				c.between(r, id)
				got := r.wait(id)
				r.want(got, task.Completed, "answer")
				if got.Usage.Tokens() != c.want {
					t.Errorf("%d tokens, want %d", got.Usage.Tokens(), c.want)
				}
			})
		})
	}
}

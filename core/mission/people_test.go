package mission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// The word of a person wins at every moment, also while it is judged whether to go
// on, and while the continuation is stored.
func TestThePersonWinsAtAnyMoment(t *testing.T) {
	asks := func(*rig, host.Prompt) fake.Reply { return fake.Reply{After: time.Second, Text: "Which one?"} }
	t.Run("an answer while the question is judged", func(t *testing.T) {
		play(t, five, asks, func(r *rig) {
			r.command("task", "build it")
			var once atomic.Bool
			r.tasks.set(func(t *tasks) {
				t.asked = func() {
					if !once.Swap(true) {
						r.answer = works
						r.say("the red one")
					}
				}
			})
			r.after(time.Minute)
			r.stands(Done, "5 of 5")
		})
	})
	t.Run("/task while the end is judged", func(t *testing.T) {
		play(t, five, words, func(r *rig) {
			r.settings.Idle = 1
			r.open()
			r.command("task", "build it")
			r.after(5800 * time.Millisecond)
			r.sent(1)
			var once atomic.Bool
			r.tasks.set(func(t *tasks) {
				t.asked = func() {
					if !once.Swap(true) {
						r.answer = works
						r.tasks.set(func(t *tasks) { t.asked = nil })
						r.command("task", "")
					}
				}
			})
			r.after(time.Minute)
			r.stands(Done, "5 of 5")
		})
	})
	for name, interfere := range map[string]func(r *rig){
		"a message": func(r *rig) { r.say("wait") },
		"/stop":     func(r *rig) { r.driver.Command(context.Background(), r.dir, r.session, "stop", "") },
		"the end":   func(r *rig) { r.driver.Stop(context.Background()) },
		"a new turn": func(r *rig) {
			r.driver.Event(r.dir, host.Event{Type: host.EventSessionStatus, Session: r.session, Status: "busy"})
		},
		"a reload":    func(r *rig) { r.driver.WorkspaceClosed(r.dir) },
		"another one": func(r *rig) { r.taken("host-2", "") },
		"/stop there": func(r *rig) { r.taken("host-1", "host-2") },
	} {
		t.Run(name+" while a continuation is stored", func(t *testing.T) {
			play(t, five, func(r *rig, p host.Prompt) fake.Reply {
				if strings.Contains(p.Text, "wait") {
					return fake.Reply{Hang: true}
				}
				return words(r, p)
			}, func(r *rig) {
				var writes atomic.Int32
				r.storing(func(ctx context.Context, rec record.Record) (record.Record, error) {
					if writes.Add(1) == 2 {
						interfere(r)
					}
					return r.store.Put(ctx, rec)
				})
				r.command("task", "build it")
				r.after(9 * time.Second)
				if name == "a new turn" { // it was none: what was judged is judged again
					if n := len(r.continuations()); n > 1 {
						t.Errorf("%d were sent", n)
					}
					return
				}
				r.sent(0)
			})
		})
	}
}

// taken is another process that takes the stored mission, or ends it there.
func (r *rig) taken(owner, halted string) {
	rec, err := r.store.Get(context.Background(), Kind, r.session)
	if err != nil {
		r.Fatal(err)
	}
	s, err := decode(rec.Body)
	if err != nil {
		r.Fatal(err)
	}
	if rec.Owner = owner; halted != "" {
		s.Phase, s.Halted, rec.Open = Stopped, halted, false
	}
	if rec.Body, err = s.encode(); err != nil {
		r.Fatal(err)
	}
	if _, err := r.store.Put(context.Background(), rec); err != nil {
		r.Fatal(err)
	}
}

// What a person stopped stays so, whatever the store does meanwhile.
func TestAStopHoldsWithoutTheStore(t *testing.T) {
	for name, put := range map[string]func(r *rig, broken *atomic.Bool) func(context.Context, record.Record) (record.Record, error){
		"it fails": func(r *rig, broken *atomic.Bool) func(context.Context, record.Record) (record.Record, error) {
			return func(ctx context.Context, rec record.Record) (record.Record, error) {
				if broken.Load() {
					return record.Record{}, errors.New("no space")
				}
				return r.store.Put(ctx, rec)
			}
		},
		"it is slow": func(r *rig, broken *atomic.Bool) func(context.Context, record.Record) (record.Record, error) {
			return func(ctx context.Context, rec record.Record) (record.Record, error) {
				if broken.Load() {
					select {
					case <-time.After(3 * time.Second):
					case <-ctx.Done():
						return record.Record{}, ctx.Err()
					}
				}
				return r.store.Put(ctx, rec)
			}
		},
		"it did what it does not admit": func(r *rig, broken *atomic.Bool) func(context.Context, record.Record) (record.Record, error) {
			return func(ctx context.Context, rec record.Record) (record.Record, error) {
				stored, err := r.store.Put(ctx, rec)
				if broken.Load() {
					return record.Record{}, context.DeadlineExceeded
				}
				return stored, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, five, func(r *rig, p host.Prompt) fake.Reply {
				if strings.Contains(p.Text, "template of task") {
					return fake.Reply{Hang: true}
				}
				return words(r, p)
			}, func(r *rig) {
				var broken atomic.Bool
				r.storing(put(r, &broken))
				r.command("task", "build it")
				r.after(2 * time.Second)
				broken.Store(true)
				r.command("stop", "")
				if n := r.host.Calls("Abort"); n != 1 {
					t.Errorf("the running turn was aborted %d times", n)
				}
				r.after(500 * time.Millisecond)
				broken.Store(false)
				r.say("thanks")
				r.after(time.Hour)
				r.sent(0)
				r.stands(Stopped, "you stopped it")
			})
		})
	}
}

// /stop in another window ends a mission, /task does not take it away.
func TestAnotherWindow(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		other := New(Options{Store: r.store, Host: r.host, Tasks: r.tasks, Todos: unwatched{r.todos}, Lives: func(o string) bool { return o == "host-1" }})
		other.Serve("host-2")
		other.WorkspaceOpened(context.Background(), r.dir, r.dir, r.settings)
		for command, want := range map[string]string{"task": "another OpenCode process drives", "status": "driven by another OpenCode process"} {
			if text, err := other.Command(context.Background(), r.dir, r.session, command, "mine"); err != nil || !strings.Contains(text, want) {
				t.Errorf("/%s says %q, %v", command, text, err)
			}
		}
		if text, err := other.Command(context.Background(), r.dir, r.session, "stop", ""); err != nil || !strings.Contains(text, "was stopped") {
			t.Errorf("/stop says %q, %v", text, err)
		}
		r.after(time.Minute)
		r.sent(0)
		r.stands(Stopped, "you stopped it")
		r.answer = works
		r.command("task", "")
		r.after(time.Minute)
		r.stands(Done, "5 of 5")
	})
}

// Esc counts wherever it meets the turn.
func TestEsc(t *testing.T) {
	hang := func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true} }
	for name, c := range map[string]struct {
		reply func(*rig, host.Prompt) fake.Reply
		esc   func(r *rig)
	}{
		"before the answer begins": {func(*rig, host.Prompt) fake.Reply { return fake.Reply{Hang: true, Silent: true} }, func(r *rig) { r.host.Interrupt(r.session) }},
		"with news of a task behind it": {hang, func(r *rig) {
			_ = r.host.Prompt(context.Background(), r.dir, host.Prompt{Session: r.session, MessageID: "msg_user_late", NoReply: true, Synthetic: true, Text: "A task has ended"})
			r.host.Interrupt(r.session)
		}},
		"while no sidecar runs": {hang, func(r *rig) {
			r.stop()
			r.host.Interrupt(r.session)
			r.after(300 * time.Millisecond)
			r.start("host-1")
		}},
		"of which no event tells": {hang, func(r *rig) {
			r.host.Filter = func(host.Event) int { return 0 }
			r.host.Interrupt(r.session)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, five, c.reply, func(r *rig) {
				r.command("task", "build it")
				r.after(2 * time.Second)
				c.esc(r)
				r.after(time.Minute)
				r.sent(0)
				r.stands(Paused, "you stopped its turn")
			})
		})
	}
}

// A paused mission goes on after a message that no hook told of.
func TestAnAnswerWithoutItsHook(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply { return fake.Reply{After: time.Second, Text: "Which one?"} }, func(r *rig) {
		r.command("task", "build it")
		r.after(10 * time.Second)
		r.stands(Paused, "asks you")
		r.answer = works
		_ = r.host.Prompt(context.Background(), r.dir, host.Prompt{Session: r.session, MessageID: "msg_person_9", Text: "red", Agent: "Commander"})
		r.driver.Event(r.dir, host.Event{Type: host.EventMessage, Session: r.session, MessageID: "msg_person_9", Role: host.User, Created: time.Now()})
		r.after(time.Minute)
		r.stands(Done, "5 of 5")
	})
}

func TestAPauseThatOpenCodeCausedEndsWithTheNextMessage(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" {
				return errors.New("no")
			}
			return nil
		})
		r.after(time.Hour)
		r.stands(Paused, "takes no message")
		r.host.Fault(nil)
		r.answer = works
		r.say("go on")
		r.after(time.Minute)
		r.stands(Done, "5 of 5")
	})
}

// A plan is not carried out, by no mission that is under way either.
func TestAPlanPausesTheMission(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		r.command("plan", "something else")
		r.after(time.Minute)
		r.sent(0)
		r.stands(Paused, "you asked for a plan")
		r.answer = works
		r.say("do it")
		r.after(time.Minute)
		r.stands(Done, "5 of 5")
	})
}

// Who answers /status does not take the mission over.
func TestTheMissionKeepsItsAgent(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		r.speaker = "build"
		r.command("status", "")
		r.after(6 * time.Second)
		for _, c := range r.continuations() {
			if c.Agent != "Commander" || c.Model.ID != "m" {
				t.Errorf("%s goes to %s, %v", c.ID, c.Agent, c.Model)
			}
		}
		if len(r.continuations()) == 0 {
			t.Error("none was sent")
		}
		n := len(r.continuations())
		r.say("now you") // to build: that is the person's choice
		r.after(6 * time.Second)
		if all := r.continuations(); len(all) <= n || all[len(all)-1].Agent != "build" {
			t.Errorf("after a word to build: %+v", all)
		}
	})
}

func TestAsks(t *testing.T) {
	for text, want := range map[string]bool{
		"Which one, A or B? Please tell me.": true, "Which one?\n\n1. red\n2. blue": true, "**Shall I go on?**": true, "続けますか？": true,
		"(a) red or (b) blue?\n(a) red\n(b) blue\n": true, "Done.": false, "Was it right? Yes.\n\nAll is done.": false,
		"It calls a?.b and `x ? y : z` now.": false, "": false, "See https://example.com/?q=1 for more.": false,
	} {
		if asks(text) != want {
			t.Errorf("%q is a question: %t", text, !want)
		}
	}
}

// More of OpenCode's todos than a record holds cost the mission nothing.
func TestManyTodos(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		var list []host.Todo
		for i := range 400 {
			list = append(list, host.Todo{Content: fmt.Sprintf("%d %s", i, strings.Repeat("<x>", 50)), Status: "pending"})
		}
		r.driver.Event(r.dir, host.Event{Type: host.EventTodo, Session: r.session, Todos: list})
		r.after(2 * time.Second)
		r.command("stop", "")
		r.say("thanks")
		r.after(time.Hour)
		r.sent(0)
		r.stands(Stopped, "you stopped it")
	})
}

// Distinct calls are progress, also if the events that tell their arguments are
// lost.
func TestCallsWithoutEvents(t *testing.T) {
	n := 0
	play(t, five, func(*rig, host.Prompt) fake.Reply {
		n++
		return fake.Reply{After: time.Second, Text: "edited", Calls: []host.ToolCall{{ID: fmt.Sprint("c", n), Tool: "edit", Input: fmt.Sprintf(`{"f":%d}`, n)}}}
	}, func(r *rig) {
		r.host.Filter = func(e host.Event) int {
			if e.Type == host.EventPart {
				return 0
			}
			return 1
		}
		r.command("task", "build it")
		r.after(time.Minute)
		r.stands(Active, "")
	})
}

// What was used before the mission is not its own, and nothing counts twice.
func TestSpending(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply {
		return fake.Reply{After: time.Second, Text: "x", Usage: host.Usage{Input: 100_000}}
	}, func(r *rig) {
		r.say("before")
		r.after(10 * time.Second)
		r.settings.Tokens = 50_000
		r.open()
		r.answer = words
		if _, err := r.driver.Command(context.Background(), r.dir, r.session, "task", "build"); err != nil {
			t.Fatal(err)
		}
		r.after(time.Second) // the hook of another plugin takes its time
		r.say("build")
		r.after(8 * time.Second)
		r.stands(Active, "")

		s, state := newSpending(), State{}
		use := func(message string, tokens int64) { s.note(message, time.Now(), host.Usage{Input: tokens}) }
		use("a", 60)
		use("a", 100)
		begun := time.Now()
		s.fold(&state)
		s.note("a", begun, host.Usage{Input: 130}) // the end of it came late
		time.Sleep(time.Millisecond)
		use("b", 100)
		s.fold(&state)
		s.note("a", begun, host.Usage{Input: 130})
		s.note("b", time.Now().Add(-time.Millisecond), host.Usage{Input: 100})
		if s.fold(&state); state.Used.Input != 230 {
			t.Errorf("counted %d tokens, want 230", state.Used.Input)
		}
	})
}

// A continuation that did not get through is sent even if it is the last allowed.
func TestTheLastContinuationIsSentToo(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.settings.Iterations = 1
		r.open()
		r.command("task", "build it")
		r.after(1100 * time.Millisecond)
		var tries atomic.Int32
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && tries.Add(1) == 1 {
				return errors.New("lost")
			}
			return nil
		})
		r.after(time.Minute)
		r.sent(1)
		r.stands(Stopped, "gone on once")
	})
}

// `opencode run` is over at its first idle, so there is one chance to go on.
func TestHeadlessHasOneChance(t *testing.T) {
	play(t, five, func(r *rig, p host.Prompt) fake.Reply {
		reply := works(r, p)
		r.driver.Transform(context.Background(), r.session, p.MessageID) // before the turn's last step
		return reply
	}, func(r *rig) {
		r.driver.Headless()
		r.command("task", "build it")
		var lost atomic.Bool
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && !lost.Swap(true) {
				return errors.New("lost")
			}
			return nil
		})
		r.tasks.set(func(t *tasks) { // what is asked of it after the turn comes too late
			t.asked = func() {
				r.driver.Event(r.dir, host.Event{Type: host.EventSessionStatus, Session: r.session, Status: "busy"})
			}
		})
		r.after(time.Minute)
		r.sent(4)
		r.stands(Done, "5 of 5")
	})
}

// News of the tasks waits for the person who stopped their mission.
func TestStopHoldsTheNews(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.tasks.set(func(t *tasks) { t.open = []delegate.Open{{ID: "task_1"}} })
		r.after(time.Second)
		r.command("stop", "")
		if r.tasks.held != 1 {
			t.Errorf("held back %d times", r.tasks.held)
		}
	})
}

// A bug in the affairs of one mission ends neither the others nor in a loop.
func TestABugPausesItsMission(t *testing.T) {
	play(t, five, words, func(r *rig) {
		bugs := 0
		r.tasks.set(func(t *tasks) {
			t.asked = func() {
				if bugs++; bugs > 1 {
					panic("a bug")
				}
			}
		})
		r.command("task", "build it")
		r.after(time.Hour)
		if bugs != 2 {
			t.Errorf("it was met %d times", bugs-1)
		}
		r.tasks.set(func(t *tasks) { t.asked = nil })
		if text := r.command("status", ""); !strings.Contains(text, "paused (a bug") {
			t.Errorf("/status says %q", text)
		}
		r.after(2 * time.Second)
		r.answer = works
		r.say("go on")
		r.after(time.Minute)
		r.stands(Done, "5 of 5")
		if !strings.Contains(r.read(), "- [x] five") {
			t.Errorf("%s is %q", todo.Path, r.read())
		}
	})
}

package mission

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

const five = "- [ ] one\n- [ ] two\n- [ ] three\n- [ ] four\n- [ ] five\n"

func TestAMissionGoesOnUntilItsListIsDone(t *testing.T) {
	play(t, five, works, func(r *rig) {
		if text := r.command("task", "build it"); text != "" {
			t.Errorf("a new mission's own text is replaced by %q", text)
		}
		r.after(time.Minute)
		r.sent(4) // the first item was done in the command's own turn
		r.stands(Done, "5 of 5 items of todo.md done")
		if !r.toasted("Done: 5 of 5") {
			t.Errorf("no toast says so: %v", r.host.Toasts())
		}
		all := r.continuations()
		if len(all) == 0 {
			return
		}
		if !strings.Contains(all[0].Text(), "continuation 1 of at most 100: 1 of 5 items of todo.md done") || all[0].Agent != "Commander" || all[0].Model.ID != "m" {
			t.Errorf("the first is %+v", all[0])
		}
		r.say("thank you")
		r.after(time.Minute)
		r.sent(4)
	})
}

// Nothing is sent before the session has rested for the countdown.
func TestAContinuationWaitsForTheCountdown(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(time.Second + restFor + 3*time.Second - time.Millisecond)
		r.sent(0)
		r.after(2 * time.Millisecond)
		r.sent(1)
		if !r.toasted("It goes on in 3s: 0 of 5") {
			t.Errorf("no toast counts down: %v", r.host.Toasts())
		}
	})
}

func TestTheWordOfAPersonEndsTheCountdown(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(3 * time.Second)
		r.answer = func(*rig, host.Prompt) fake.Reply { return fake.Reply{After: time.Minute, Text: "as you say"} }
		r.say("wait, use another colour")
		r.after(time.Minute)
		r.sent(0)
		r.after(restFor + 3*time.Second + time.Millisecond)
		r.sent(1)
	})
}

func TestStop(t *testing.T) {
	for name, while := range map[string]time.Duration{"in the countdown": 3 * time.Second, "while it works": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			play(t, five, words, func(r *rig) {
				r.command("task", "build it")
				r.after(while)
				text := r.command("stop", "")
				if !strings.Contains(text, "stopped after 0 continuations, with 0 of 5 items") {
					t.Errorf("it says %q", text)
				}
				r.after(time.Hour)
				r.sent(0)
				r.stands(Stopped, "you stopped it")
				aborted := 0
				for _, m := range r.host.History(r.session) {
					if m.Error.Aborted() {
						aborted++
					}
				}
				if busy := while < time.Second; busy != (aborted == 1) {
					t.Errorf("%d turns were aborted", aborted)
				}
			})
		})
	}
}

func TestStopWithoutAMission(t *testing.T) {
	play(t, five, words, func(r *rig) {
		if text := r.command("stop", ""); !strings.Contains(text, "no mission to stop") {
			t.Errorf("it says %q", text)
		}
		r.after(time.Minute)
		r.sent(0)
	})
}

// /stop leaves the tasks alone, /cancel does not.
func TestCancelEndsTheTasksToo(t *testing.T) {
	for _, command := range []string{"stop", "cancel"} {
		play(t, five, words, func(r *rig) {
			r.tasks.set(func(t *tasks) { t.open = []delegate.Open{{ID: "task_1"}, {ID: "task_2"}} })
			r.command("task", "build it")
			r.after(time.Second)
			text := r.command(command, "")
			if want := map[string]string{"stop": "2 background tasks go on", "cancel": "2 background tasks were cancelled"}[command]; !strings.Contains(text, want) {
				t.Errorf("/%s says %q", command, text)
			}
			if (r.tasks.cancelled != "") != (command == "cancel") {
				t.Errorf("/%s cancelled: %q", command, r.tasks.cancelled)
			}
			r.stands(Stopped, "you stopped it")
		})
	}
}

// After Esc, a question or a refusal a person has the word.
func TestAMissionPausesForAPerson(t *testing.T) {
	for name, c := range map[string]struct {
		reply  fake.Reply
		abort  bool
		reason string
	}{
		"esc":      {fake.Reply{Hang: true}, true, "you stopped its turn"},
		"question": {fake.Reply{After: time.Second, Text: "There are two ways.\n**Which one do you want?**"}, false, "asks you something"},
		"refusal":  {fake.Reply{After: time.Second, Finish: "tool-calls"}, false, "a call was refused"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, five, func(*rig, host.Prompt) fake.Reply { return c.reply }, func(r *rig) {
				r.command("task", "build it")
				r.after(2 * time.Second)
				if c.abort {
					r.host.Interrupt(r.session)
				}
				r.after(time.Hour)
				r.sent(0)
				r.stands(Paused, c.reason)
				if !r.toasted("Paused: "+c.reason) && !r.toasted(c.reason) {
					t.Errorf("no toast says so: %v", r.host.Toasts())
				}
				r.answer = words
				r.command("status", "") // is no answer to it
				r.after(time.Minute)
				r.sent(0)
				r.answer = works
				r.say("the second")
				r.after(time.Minute)
				r.sent(4)
				r.stands(Done, "")
			})
		})
	}
}

// The original's loop ended at any word of the agent's, and never by its limit.
func TestAMissionOfWhichNothingComesStops(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(3)
		r.stands(Stopped, "nothing came of the last 3 turns, and 0 of 5 items of todo.md done")
		if all := r.continuations(); !strings.Contains(all[2].Text(), "Nothing came of the last 2 turns") || strings.Contains(all[0].Text(), "Nothing came") {
			t.Errorf("the prompts are %q and %q", all[0].Text(), all[2].Text())
		}
	})
}

// The same calls again are no progress, new ones are.
func TestOnlyNewCallsAreProgress(t *testing.T) {
	call := func(input string) func(*rig, host.Prompt) fake.Reply {
		return func(*rig, host.Prompt) fake.Reply {
			return fake.Reply{After: time.Second, Text: "reading", Calls: []host.ToolCall{{Tool: "read", Input: input}}}
		}
	}
	play(t, five, call(`{"path":"a"}`), func(r *rig) {
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(3)
		r.stands(Stopped, "nothing came")
	})
	n := 0
	play(t, five, func(r *rig, p host.Prompt) fake.Reply {
		n++
		return call(strings.Repeat("x", n))(r, p)
	}, func(r *rig) {
		r.settings.Iterations = 20
		r.open()
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(20)
		r.stands(Stopped, "gone on 20 times")
	})
}

func TestBudgets(t *testing.T) {
	spend := func(r *rig, p host.Prompt) fake.Reply {
		r.write(todo.Path, r.read()+"- [ ] more\n") // progress, for ever
		return fake.Reply{After: time.Second, Text: "spent", Usage: host.Usage{Input: 600, Output: 400, Cost: 0.5}}
	}
	for name, c := range map[string]struct {
		change func(*Settings)
		tasks  task.Usage
		sent   int
		reason string
	}{
		"tokens":              {func(s *Settings) { s.Tokens = 3500 }, task.Usage{}, 3, "4000 tokens of the 3500"},
		"dollars":             {func(s *Settings) { s.Cost = 1.5 }, task.Usage{}, 2, "$1.5 of the $1.5"},
		"tokens of its tasks": {func(s *Settings) { s.Tokens = 3500 }, task.Usage{Input: 3000}, 0, "4000 tokens of the 3500"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, five, spend, func(r *rig) {
				r.tasks.set(func(t *tasks) { t.spent = task.Usage{Input: 50_000} }) // before the mission
				c.change(&r.settings)
				r.open()
				r.command("task", "build it")
				r.tasks.set(func(t *tasks) { t.spent = t.spent.Plus(c.tasks) })
				r.after(time.Hour)
				r.sent(c.sent)
				r.stands(Stopped, c.reason)
			})
		})
	}
}

// A provider that fails is given more and more time, and then left alone.
func TestAProviderThatFailsPausesTheMission(t *testing.T) {
	play(t, five, func(*rig, host.Prompt) fake.Reply {
		return fake.Reply{After: time.Second, Error: &host.MessageError{Name: "APIError", Message: "overloaded", Status: 529}}
	}, func(r *rig) {
		r.command("task", "build it")
		r.after(time.Second + restFor + 6*time.Second - time.Millisecond)
		r.sent(0)
		r.after(time.Hour)
		r.sent(2)
		r.stands(Paused, "3 turns in a row failed: overloaded")
	})
}

func TestTasksComeFirst(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.tasks.set(func(t *tasks) {
			t.open = []delegate.Open{{ID: "task_1", Agent: "Worker", Description: "do three", Running: true}}
		})
		r.command("task", "build it")
		r.after(time.Hour)
		r.sent(0)
		add := r.driver.Transform(context.Background(), r.session, "msg_person_1")
		if len(add) != 1 || !strings.Contains(add[0].Text, "- [ ] three\n    → task_1 (Worker) runs: do three\n- [ ] four") {
			t.Errorf("the list is told as %+v", add)
		}
		r.tasks.set(func(t *tasks) { t.open, t.untold = nil, true })
		r.after(time.Minute)
		r.sent(0)
		r.tasks.set(func(t *tasks) { t.untold = false })
		r.after(lookEvery + restFor + 3*time.Second + time.Millisecond) // no event told of it
		if len(r.continuations()) == 0 {
			t.Error("it does not go on")
		}
	})
}

func TestGates(t *testing.T) {
	for name, c := range map[string]struct{ file, text, reason string }{
		"checklist": {checklistPath, "# Check\n- [x] **V1**: builds\n- [ ] **V2**: starts\n", "1 of 2 of verification-checklist.md open"},
		"issues":    {issuesPath, "# Issues\n<!-- none\nso far -->\nWorker and Planner disagree about the port.\n", "sync-issues.md not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, "- [x] one\n", words, func(r *rig) {
				r.write(c.file, c.text)
				r.command("task", "build it")
				r.after(10 * time.Second)
				if all := r.continuations(); len(all) == 0 || !strings.Contains(all[0].Text(), c.reason) || !strings.Contains(all[0].Text(), c.file) {
					t.Errorf("continuations: %+v", all)
				}
				r.write(c.file, "# Check\n<!-- nothing -->\n- [x] **V2**: starts\n")
				r.after(time.Minute)
				r.stands(Done, "1 of 1")
			})
		})
	}
}

// An unfinished list that is nested, half-way or cancelled counts as what it is.
func TestAllKindsOfItemsCount(t *testing.T) {
	play(t, "* [x] a\n  + [/] b\n```\n- [ ] not me\n```\n- [-] c\n", words, func(r *rig) {
		r.command("task", "build it")
		r.after(6 * time.Second)
		r.sent(1)
		r.write(todo.Path, "* [x] a\n  + [X] b\n```\n- [ ] not me\n```\n- [-] c\n")
		r.after(time.Minute)
		r.stands(Done, "3 of 3")
	})
}

func TestWithoutAListThereIsNothingToDrive(t *testing.T) {
	play(t, "", words, func(r *rig) {
		r.command("task", "what is 2 and 2")
		r.after(time.Minute)
		r.sent(0)
		r.stands(Done, "no todo list")
	})
}

// A list that is gone is not a list that is done; one that an editor saves just now
// is not gone.
func TestAListThatGoesAway(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(5 * time.Second)
		r.sent(1)
		r.write(todo.Path, "")
		r.after(time.Second + restFor)
		r.write(todo.Path, five)
		r.after(lookEvery + restFor + 3*time.Second)
		r.sent(2)
		r.write(todo.Path, "")
		r.after(time.Minute)
		r.stands(Paused, "list is gone")
	})
}

func TestAListThatCannotBeReadPausesTheMission(t *testing.T) {
	play(t, "- [ ] a\x00\xff\xfe\n", words, func(r *rig) {
		r.command("task", "build it")
		r.after(time.Minute)
		r.sent(0)
		r.stands(Paused, "todo.md")
	})
}

// Events are hints, and can be lost.
func TestLostEvents(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.host.Filter = func(host.Event) int { return 0 }
		r.command("task", "build it")
		r.after(2 * time.Minute)
		r.stands(Done, "5 of 5")
	})
}

func TestDoubledEvents(t *testing.T) {
	play(t, five, works, func(r *rig) {
		r.host.Filter = func(host.Event) int { return 2 }
		r.command("task", "build it")
		r.after(2 * time.Minute)
		r.sent(4)
		r.stands(Done, "5 of 5")
	})
}

func TestASessionThatIsDeletedTakesItsMissionAlong(t *testing.T) {
	play(t, five, words, func(r *rig) {
		r.command("task", "build it")
		r.after(2 * time.Second)
		r.host.Delete(r.session)
		r.after(time.Minute)
		if _, err := r.store.Get(context.Background(), Kind, r.session); err == nil {
			t.Error("its mission is still stored")
		}
	})
}

// The summary is told to sessions with a mission only, and survives compaction.
func TestTheListIsToldToMissionsOnly(t *testing.T) {
	play(t, five, words, func(r *rig) {
		if add := r.driver.Transform(context.Background(), r.session, "msg_x"); add != nil {
			t.Errorf("without a mission: %+v", add)
		}
		if c := r.driver.Compacting(r.session); c != nil {
			t.Errorf("without a mission: %+v", c)
		}
		r.command("task", "build the whole thing")
		add := r.driver.Transform(context.Background(), r.session, "msg_x")
		if len(add) != 1 || add[0].MessageID != "msg_x" || !strings.HasPrefix(add[0].Text, "todo.md: 0 of 5 done, 5 pending\n- [ ] one\n") {
			t.Errorf("with one: %+v", add)
		}
		r.check()
		if add := r.driver.Transform(context.Background(), r.session, "msg_x"); len(add) != 1 || !strings.HasPrefix(add[0].Text, "todo.md: 1 of 5 done") {
			t.Errorf("after an edit: %+v", add)
		}
		if c := strings.Join(r.driver.Compacting(r.session), "\n"); !strings.Contains(c, "build the whole thing") || !strings.Contains(c, "- [ ] two") {
			t.Errorf("a compaction keeps %q", c)
		}
	})
}

// OpenCode's own list goes into todo.md, during a mission only.
func TestTodosAreMerged(t *testing.T) {
	todos := func(r *rig, list ...host.Todo) {
		r.driver.Event(r.dir, host.Event{Type: host.EventTodo, Session: r.session, Todos: list})
		r.after(time.Millisecond)
	}
	play(t, "- [ ] one\n- [ ] two\n", words, func(r *rig) {
		todos(r, host.Todo{Content: "one", Status: "completed"})
		if r.read() != "- [ ] one\n- [ ] two\n" {
			t.Errorf("without a mission: %q", r.read())
		}
		r.command("task", "build it")
		todos(r, host.Todo{Content: " one ", Status: "completed"}, host.Todo{Content: "a new one", Status: "in_progress"})
		if got := r.read(); !strings.HasPrefix(got, "- [x] one\n- [ ] two\n") || !strings.Contains(got, "Agent") || !strings.Contains(got, "- [/] a new one") {
			t.Errorf("merged: %q", got)
		}
		r.write(todo.Path, strings.Replace(r.read(), "- [x] one", "- [ ] one", 1)) // a person wants it done again
		todos(r, host.Todo{Content: "one", Status: "completed"}, host.Todo{Content: "a new one", Status: "completed"})
		if got := r.read(); !strings.HasPrefix(got, "- [ ] one\n") || !strings.Contains(got, "- [x] a new one") {
			t.Errorf("after a person's edit: %q", got)
		}
		todos(r) // vanished items change nothing
		if got := r.read(); !strings.HasPrefix(got, "- [ ] one\n- [ ] two\n") {
			t.Errorf("after an empty list: %q", got)
		}
	})
	play(t, "", words, func(r *rig) {
		todos(r, host.Todo{Content: "one", Status: "pending"})
		r.command("task", "build it")
		todos(r, host.Todo{Content: "one", Status: "pending"})
		if got := r.read(); !strings.Contains(got, "- [ ] one") {
			t.Errorf("made in a mission: %q", got)
		}
	})
}

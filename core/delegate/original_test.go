package delegate

import (
	"context"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// What the original TypeScript plugin did wrong and no other test here is about.
// Others say so in their comments.

// tools calls the engine's tools as the main session's agent does.
func (r *rig) tools() func(name, args string) (tool.Result, error) {
	r.Helper()
	registry, err := tool.NewRegistry(Tools(r.engine, func(string) (workspace.Workspace, error) {
		return workspace.Workspace{Directory: dir, Worktree: dir}, nil
	})...)
	if err != nil {
		r.Fatal(err)
	}
	return func(name, args string) (tool.Result, error) {
		return registry.Call(r.Context(), name, tool.Call{SessionID: r.main}, []byte(args))
	}
}

// shelf is an archive in memory.
type shelf struct {
	mu    sync.Mutex
	tasks []task.Task
}

func (s *shelf) Append(t task.Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tasks = append(s.tasks, t)
	return nil
}

// of returns what was archived of a task.
func (s *shelf) of(id task.ID) []task.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.tasks), func(t task.Task) bool { return t.ID != id })
}

// In the original the poller and the event handler each ended a task that both
// had seen end: its parent was told twice, and it started two reviewers.
func TestAnEndThatIsSeenInManyWaysIsOneEnd(t *testing.T) {
	for _, late := range []string{"nothing", "a cancel", "the end of the workspace"} {
		t.Run(late, func(t *testing.T) {
			play(t, 1, after(10*time.Second), func(t *testing.T, r *rig) {
				kept := &shelf{}
				r.engine.archive = kept
				r.configure(func(s *Settings) { s.Archive = true })
				r.host.Filter = func(host.Event) int { return 3 }
				// Every look takes a while, so that they overlap.
				r.host.Fault(func(_ context.Context, call string) error {
					if call == "Messages" || call == "Statuses" {
						time.Sleep(50 * time.Millisecond)
					}
					return nil
				})
				id, next := r.launch("1"), r.launch("2")
				synctest.Wait()
				time.Sleep(10 * time.Second)
				idle := host.Event{Type: host.EventSessionIdle, Session: r.get(id).Session}
				for range 5 {
					go r.engine.Event(dir, idle)
					go r.engine.look(context.Background(), dir)
				}
				switch late {
				case "a cancel":
					go func() { _, _ = r.engine.Cancel(context.Background(), id, "at the same time") }()
				case "the end of the workspace":
					go func() { _ = r.engine.WorkspaceGone(context.Background(), dir) }()
				}
				r.wait(id)
				r.wait(next)
				r.sleep(time.Minute)
				if n := r.host.HighWater(); n != 1 {
					t.Errorf("%d tasks ran at once with one slot", n)
				}
				told := 0
				for _, w := range r.wakes() {
					told += strings.Count(w.Text(), string(id))
				}
				if n := len(kept.of(id)); told != 1 || n != 1 {
					t.Errorf("told %d times, archived %d times", told, n)
				}
				if n := r.host.Calls("CreateSession"); n > 2 {
					t.Errorf("%d sessions for two tasks", n)
				}
			})
		})
	}
}

// The original dropped the idle events of a task's first three seconds, and with
// them the end of a short one.
func TestTheEndOfAShortTaskIsSeenAtOnce(t *testing.T) {
	play(t, 1, after(400*time.Millisecond), func(t *testing.T, r *rig) {
		start := time.Now()
		r.want(r.wait(r.launch("x")), task.Completed, "answer to x")
		if late := time.Since(start) - 400*time.Millisecond; late > 50*time.Millisecond {
			t.Errorf("its end was seen %s late", late)
		}
	})
}

// The original took no notice of the argument resume; and the timer that cleaned
// up after a task's first attempt deleted it while it ran again.
func TestAResumedTaskOutlivesTheCleanupOfItsEarlierAttempt(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Timeout, s.Silence = 48*time.Hour, 48*time.Hour })
		id := r.begin(r.spec("1"))
		r.wait(id)
		r.sleep(23 * time.Hour)
		args := fmt.Sprintf(`{"agent":"general","description":"again","prompt":"36000 again","background":true,"resume":%q}`, id)
		if res, err := r.tools()("delegate_task", args); err != nil || !strings.Contains(res.Output, "[RESUME] "+string(id)) {
			t.Fatalf("%s, %v", res.Output, err)
		}
		r.sleep(2 * time.Hour) // the first attempt ended more than a day ago
		for range memstore.Keep + 1 {
			r.wait(r.begin(r.spec("0")))
		}
		if got := r.get(id); got.State != task.Running || got.Attempt != 2 {
			t.Fatalf("the resumed task is %s, attempt %d", got.State, got.Attempt)
		}
		r.want(r.wait(id), task.Completed, "answer to 36000 again")
	})
}

// The original read a field of the task that it had failed to launch, and so
// answered for all of them with an error of its own.
func TestALaunchThatFailsIsThatTasksFailureOnly(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(sessionless{r.host})
		res, err := r.tools()("delegate_tasks", `{"tasks":[
			{"agent":"general","description":"one","prompt":"1"},
			{"agent":"nobody","description":"two","prompt":"2"},
			{"agent":"explore","description":"three","prompt":"3"},
			{"agent":"general","description":"four","prompt":"4"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(res.Output, "3 of 4 tasks launched") || !strings.Contains(res.Output, `[ERROR] tasks[1] "two" was not launched`) {
			t.Errorf("the caller was told\n%s", res.Output)
		}
		r.sleep(time.Minute)
		text := ""
		for _, w := range r.wakes() {
			text += w.Text()
		}
		for _, want := range []string{"answer to 1", "answer to 4", "[ERROR]", "no session for explore"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in what the parent was told:\n%s", want, text)
			}
		}
	})
}

// sessionless refuses sessions for explore.
type sessionless struct{ *fake.OpenCode }

func (s sessionless) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	if n.Agent == "explore" {
		return host.Session{}, &host.CallError{Call: "session.create", Status: 400, Message: "no session for explore"}
	}
	return s.OpenCode.CreateSession(ctx, d, n)
}

// In the original a result could be read for ten minutes, and its archive had the
// beginning of the prompt in its place, below whatever directory was the current
// one.
func TestAResultCanBeReadInWholeForADay(t *testing.T) {
	long := strings.Repeat("all of this is the result. ", 5000) + "the end"
	play(t, 5, child(fake.Reply{Text: long}), func(t *testing.T, r *rig) {
		kept := &shelf{}
		r.engine.archive = kept
		r.configure(func(s *Settings) { s.Archive = true })
		id := r.launch("work")
		r.wait(id)
		r.sleep(24*time.Hour - time.Minute)
		r.wait(r.launch("another"))
		res, err := r.tools()("get_task_result", fmt.Sprintf(`{"taskId":%q}`, id))
		if err != nil || !strings.Contains(res.Output, long) {
			t.Errorf("after a day %d bytes are read, %v; the result has %d", len(res.Output), err, len(long))
		}
		if got := kept.of(id); len(got) != 1 || got[0].Result != long || got[0].Worktree != dir {
			t.Errorf("archived %d times, or not all of the result, or for another worktree", len(got))
		}
	})
}

// The original kept the sessions of cancelled tasks for reuse although they might
// still be at work, and deleted all sessions at its end, busy ones too.
func TestASessionThatDidNotAnswerIsNeitherReusedNorDeleted(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "bad":
			return fake.Reply{Error: &host.MessageError{Name: "UnknownError", Message: "no"}}
		}
		return fake.Reply{Hang: true}
	}
	play(t, 5, answer, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Pool, s.Silence = true, time.Minute })
		cancelled, silent, failed := r.launch("1"), r.launch("2"), r.launch("bad")
		synctest.Wait()
		if _, err := r.engine.Cancel(t.Context(), cancelled, "enough"); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(failed), task.Failed, "no")
		r.want(r.wait(silent), task.Timeout, "no sign of life")
		next := r.launch("3")
		synctest.Wait()
		var sessions []string
		for _, id := range []task.ID{cancelled, silent, failed, next} {
			session := r.get(id).Session
			if slices.Contains(sessions, session) {
				t.Errorf("%s was used twice", session)
			}
			sessions = append(sessions, session)
		}
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, session := range sessions {
			if _, err := r.host.Session(t.Context(), dir, session); err != nil {
				t.Errorf("after the stop: %v", err)
			}
		}
	})
}

// The original had fifteen loops that looked for work ten times a second, for ever.
func TestAnIdleEngineWakesForNothing(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.wait(r.launch("x"))
		r.sleep(time.Minute)
		before := scheduled()
		r.sleep(24 * time.Hour)
		// One loop that looks once a minute would be seen 1,440 times.
		if n := scheduled() - before; n > 1000 {
			t.Errorf("goroutines were woken %d times in a day without tasks", n)
		}
	})
}

// scheduled counts how often goroutines of this process began to run. The runtime
// counts one in eight.
func scheduled() (n uint64) {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	for _, count := range sample[0].Value.Float64Histogram().Counts {
		n += 8 * count
	}
	return n
}

// The original reused the objects of tasks while others still held them, and
// never forgot a task that had failed or run into its time limit.
func TestTasksThatEndedBadlyAreForgottenAndWhatWasReadStays(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		switch {
		case s.Parent == "":
			return fake.Reply{Text: "thanks"}
		case p.Text == "bad":
			return fake.Reply{Error: &host.MessageError{Name: "UnknownError", Message: "no"}}
		case p.Text == "hang":
			return fake.Reply{Hang: true}
		}
		return fake.Reply{Text: "answer to " + p.Text}
	}
	play(t, 5, answer, func(t *testing.T, r *rig) {
		ids := []task.ID{r.launch("bad"), r.launch("hang"), r.launch("hang"), r.launch("good")}
		synctest.Wait()
		if _, err := r.engine.Cancel(t.Context(), ids[1], "enough"); err != nil {
			t.Fatal(err)
		}
		var read []task.Task
		for i, state := range []task.State{task.Failed, task.Cancelled, task.Timeout, task.Completed} {
			got := r.wait(ids[i])
			r.want(got, state, "")
			read = append(read, got)
		}
		good := read[3]
		if _, err := r.engine.Resume(t.Context(), string(good.ID), r.spec("something else")); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(good.ID), task.Completed, "something else")
		if good.Attempt != 1 || good.Prompt != "good" || good.Result != "answer to good" || len(good.Past) != 0 {
			t.Errorf("what was read before the second attempt has become %+v", good)
		}
		r.sleep(2 * time.Minute)
		if runs, sessions, open := len(r.engine.runs), len(r.engine.bySession), len(r.engine.trees); runs+sessions+open > 0 {
			t.Errorf("the engine still holds %d tasks, %d sessions and %d trees", runs, sessions, open)
		}
		r.sleep(memstore.MaxAge)
		r.wait(r.launch("good"))
		for _, id := range ids {
			if got, err := r.store.Get(t.Context(), id); err == nil {
				t.Errorf("a task that was %s a day ago is still kept", got.State)
			}
		}
	})
}

// In the original the keys of providers and models matched nothing, those of
// agents were in lower case on one side only, priorities were ignored, and a
// limit that was raised let nobody in.
func TestTheLimitsOfAgentsProvidersAndModelsHold(t *testing.T) {
	for _, key := range []limit.Key{{}, limit.ForAgent("Worker"), limit.ForProvider("p"), limit.ForModel("p", "big")} {
		t.Run(key.String(), func(t *testing.T) {
			play(t, 50, child(fake.Reply{After: time.Minute, Text: "ok"}), func(t *testing.T, r *rig) {
				set := func(n int) {
					t.Helper()
					if _, err := r.limits.SetLimit(key, n); err != nil {
						t.Fatal(err)
					}
				}
				set(1)
				r.host.Known = append(r.host.Known, host.Agent{Name: "Worker", Mode: "subagent"})
				begin := func(agent string, priority task.Priority) task.ID {
					s := r.spec("work")
					s.Agent, s.Priority, s.Message = agent, priority, "msg_user_"+r.main // which names the model
					return r.begin(s)
				}
				first := begin("Worker", task.NormalPriority)
				low, normal, high := begin("worker", task.Low), begin("WORKER", task.NormalPriority), begin("Worker", task.High)
				r.sleep(time.Second)
				state := func(want string) {
					t.Helper()
					var got []string
					for _, id := range []task.ID{first, high, normal, low} {
						got = append(got, string(r.get(id).State))
					}
					if strings.Join(got, " ") != want {
						t.Errorf("the states are %q, want %q", got, want)
					}
				}
				state("running pending pending pending")
				r.wait(first)
				r.sleep(time.Second)
				state("completed running pending pending")
				set(2)
				r.sleep(0)
				state("completed running running pending")
				for _, id := range []task.ID{high, normal, low} {
					r.wait(id)
				}
				if n := r.host.HighWater(); n != 2 {
					t.Errorf("%d at once, the limit was 2", n)
				}
			})
		})
	}
}

// The original ended tasks after 24 hours, said that it was after 30 minutes, and
// let their sessions go on.
func TestAnOverdueTaskIsStoppedAndSaysByWhichLimit(t *testing.T) {
	for _, timeout := range []time.Duration{90 * time.Second, 45 * time.Minute, 24 * time.Hour} {
		t.Run(timeout.String(), func(t *testing.T) {
			play(t, 1, child(fake.Reply{ToolFor: 100 * time.Hour}), func(t *testing.T, r *rig) {
				r.configure(func(s *Settings) { s.Timeout = timeout })
				got := r.wait(r.launch("x"))
				r.want(got, task.Timeout, "longer than "+timeout.String())
				if ran := got.Ended.Sub(got.Started); ran < timeout || ran > timeout+time.Minute {
					t.Errorf("it ran for %s", ran)
				}
				r.sleep(0) // its parent is told in a turn of no time
				if busy, err := r.host.Statuses(t.Context(), dir); err != nil || len(busy) > 0 {
					t.Errorf("still at work: %v, %v", busy, err)
				}
			})
		})
	}
}

// The original started a reviewer after each task of a Worker, whether anybody
// wanted one or not, and took the modes race and fractal for normal.
func TestOnlyWhatIsAskedForRuns(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		for _, name := range []string{"Worker", "Reviewer", "Planner"} {
			r.host.Known = append(r.host.Known, host.Agent{Name: name, Mode: "subagent"})
		}
		call := r.tools()
		for i := range 5 {
			if _, err := call("delegate_task", fmt.Sprintf(`{"agent":"Worker","description":"w","prompt":"part %d","background":true}`, i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := call("delegate_task", `{"agent":"Worker","description":"w","prompt":"x","background":true,"mode":"swarm"}`); err == nil {
			t.Error("a mode that does not exist was accepted")
		}
		r.sleep(time.Hour)
		page, err := r.store.List(t.Context(), task.Query{Limit: 100})
		if err != nil || len(page.Tasks) != 5 || page.Totals[task.Completed] != 5 {
			t.Errorf("%d tasks, %v, %v; five were asked for", len(page.Tasks), page.Totals, err)
		}
		if n := r.host.Calls("CreateSession"); n != 5 {
			t.Errorf("%d sessions for five tasks", n)
		}
	})
}

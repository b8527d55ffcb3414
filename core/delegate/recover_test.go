package delegate

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// prompts counts the messages in a session that start a turn of a task.
func (r *rig) prompts(session string) (n int) {
	for _, m := range r.host.History(session) {
		if m.Role == host.User {
			n++
		}
	}
	return n
}

func TestTasksGoOnAfterACrash(t *testing.T) {
	play(t, 2, after(10*time.Second), func(t *testing.T, r *rig) {
		running, other, waiting := r.launch("1"), r.launch("2"), r.launch("3")
		r.sleep(3 * time.Second)
		r.kill()
		r.sleep(time.Second)
		r.start("host-1")
		for _, id := range []task.ID{running, other, waiting} {
			r.want(r.wait(id), task.Completed, "answer to")
			if n := r.prompts(r.get(id).Session); n != 1 {
				t.Errorf("%s: its session has %d prompts, want 1", id, n)
			}
		}
		r.sleep(time.Minute)
		told := ""
		for _, w := range r.wakes() {
			told += w.Text()
		}
		for _, id := range []task.ID{running, other, waiting} {
			if n := strings.Count(told, string(id)); n != 1 {
				t.Errorf("%s was told %d times", id, n)
			}
		}
		if n := r.host.HighWater(); n > 2 {
			t.Errorf("%d at once", n)
		}
	})
}

func TestWhatEndedWhileTheSidecarWasDeadIsTold(t *testing.T) {
	play(t, 2, after(time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.kill()
		r.sleep(time.Hour)
		r.start("host-1")
		r.want(r.wait(id), task.Completed, "answer to 1")
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// Each step between two things that are stored or sent is a moment to die at.
func TestACrashAtEachStep(t *testing.T) {
	steps := map[string]func(call string, n int) bool{
		"creating the session": func(call string, n int) bool { return call == "CreateSession" && n == 1 },
		"sending the prompt":   func(call string, n int) bool { return call == "Prompt" && n == 1 },
		"waking the parent":    func(call string, n int) bool { return call == "Prompt" && n == 2 },
		"reading the answer":   func(call string, n int) bool { return call == "Messages" && n == 3 },
		"reading the parent":   func(call string, n int) bool { return call == "Agents" && n == 1 },
	}
	for name, here := range steps {
		for _, late := range []bool{false, true} { // before and after OpenCode has done it
			t.Run(name, func(t *testing.T) {
				play(t, 2, after(time.Second), func(t *testing.T, r *rig) {
					ctx, cancel := context.WithCancel(t.Context())
					reached := make(chan struct{})
					var mu sync.Mutex
					calls, hit := map[string]int{}, false
					r.host.Fault(func(ctx context.Context, call string) error {
						mu.Lock()
						calls[call]++
						now := !hit && here(call, calls[call])
						hit = hit || now
						mu.Unlock()
						if now {
							close(reached)
							if !late {
								<-ctx.Done()
								return ctx.Err()
							}
						}
						return nil
					})
					var id task.ID
					launched := make(chan struct{})
					engine := r.engine
					go func() {
						defer close(launched)
						made, err := engine.Launch(ctx, Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "1", Background: true})
						if err == nil {
							id = made.ID
						}
					}()
					<-reached
					cancel()
					r.kill()
					r.host.Fault(nil)
					<-launched
					r.sleep(time.Second)
					r.start("host-1")
					r.sleep(time.Minute)
					page, err := r.store.List(t.Context(), task.Query{Limit: 10})
					if err != nil {
						t.Fatal(err)
					}
					if id != "" && len(page.Tasks) != 1 {
						t.Fatalf("%d tasks, want the one that was acknowledged", len(page.Tasks))
					}
					for _, got := range page.Tasks {
						r.want(r.get(got.ID), task.Completed, "answer to 1")
						if n := r.prompts(got.Session); n != 1 {
							t.Errorf("%d prompts in its session", n)
						}
						told := 0
						for _, w := range r.wakes() {
							told += strings.Count(w.Text(), string(got.ID))
						}
						if told != 1 {
							t.Errorf("told %d times", told)
						}
					}
				})
			})
		}
	}
}

func TestADeadOwnersTasksAreInterruptedAndToldWhenAPersonSpeaks(t *testing.T) {
	answer := child(fake.Reply{ToolFor: time.Second, Hang: true})
	play(t, 2, answer, func(t *testing.T, r *rig) {
		first, second := r.launch("1"), r.launch("2")
		third := r.launch("3") // waits
		r.sleep(3 * time.Second)
		r.kill()
		r.owners.set("host-1", false)
		r.host.Close() // OpenCode has ended, and with it the turns
		r.start("host-2")
		r.sleep(time.Second)
		for _, id := range []task.ID{first, second, third} {
			got := r.get(id)
			r.want(got, task.Interrupted, "OpenCode process ended")
			if got.Told {
				t.Errorf("%s counts as told", id)
			}
		}
		r.sleep(time.Hour)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("%d turns that nobody asked for", n)
		}
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.host.Say(r.main, "msg_person", "where were we?")
		r.sleep(time.Minute)
		w := r.wakes()
		if len(w) != 1 {
			t.Fatalf("told in %d messages, want one", len(w))
		}
		for _, id := range []task.ID{first, second, third} {
			if !strings.Contains(w[0].Text(), string(id)) {
				t.Errorf("%s is missing in what the session was told", id)
			}
			if !r.get(id).Told {
				t.Errorf("%s does not count as told", id)
			}
		}
		history := r.host.History(r.main)
		if last := history[len(history)-1]; last.ID != "msg_person" {
			t.Errorf("the last message is %s: being told must come first and start no turn", last.ID)
		}
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person2")
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestATaskThatFinishedAsItsOwnerDiedIsCompleted(t *testing.T) {
	play(t, 2, after(time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.kill()
		r.sleep(time.Minute) // OpenCode outlives the sidecar for a while
		r.owners.set("host-1", false)
		r.start("host-2")
		r.sleep(time.Second)
		r.want(r.get(id), task.Completed, "answer to 1")
	})
}

func TestOtherProcessesShowAndCancelButDoNotJudge(t *testing.T) {
	play(t, 2, after(time.Hour/2), func(t *testing.T, r *rig) {
		id := r.launch("1")
		r.sleep(time.Second)
		first, firstLife, firstLimits, firstCancel := r.engine, r.life, r.limits, r.cancel
		r.start("host-2")
		second := r.engine
		r.hears.Store(first)
		defer func() { // the rig ends the first
			stop, done := context.WithTimeout(context.Background(), time.Minute)
			defer done()
			if err := second.Stop(stop); err != nil {
				t.Error(err)
			}
		}()
		secondCancel, secondLimits := r.cancel, r.limits
		defer func() {
			secondCancel()
			_, _ = secondLimits.Close(context.Background())
			r.engine, r.life, r.limits, r.cancel = first, firstLife, firstLimits, firstCancel
		}()
		page, err := second.List(t.Context(), task.Query{Worktree: dir, Limit: 10})
		if err != nil || len(page.Tasks) != 1 || page.Tasks[0].State != task.Running {
			t.Fatalf("the second process lists %+v, %v", page.Tasks, err)
		}
		if s := second.Standing(&page.Tasks[0]); !s.Elsewhere {
			t.Error("it does not say that the task is another process's")
		}
		got, err := second.Cancel(t.Context(), id, "cancelled from the other window")
		if err != nil || got.State != task.Cancelled {
			t.Fatalf("cancel from another process: %+v, %v", got, err)
		}
		r.want(got, task.Cancelled, "from the other window")
	})
}

func TestASyncCallThatTheCrashCutOffIsToldLater(t *testing.T) {
	play(t, 2, after(10*time.Second), func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		engine := r.engine
		go func() {
			defer close(done)
			_, _ = engine.Delegate(ctx, Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "1"})
		}()
		r.sleep(time.Second)
		r.kill()
		cancel()
		<-done
		r.start("host-1")
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("told %d times of a result that its caller never got", n)
		}
	})
}

func TestAQuestionAskedWhileTheSidecarWasDeadIsRefused(t *testing.T) {
	play(t, 2, child(fake.Reply{ToolFor: 6 * time.Minute, Text: "done without"}), func(t *testing.T, r *rig) {
		id := r.launch("1")
		r.sleep(time.Second)
		r.kill()
		r.host.Ask(r.get(id).Session, host.Question{ID: "per_1", Permission: "bash", Patterns: []string{"rm *"}})
		r.start("host-1")
		r.sleep(time.Second)
		if _, asks := r.standing(id); asks != "bash rm *" {
			t.Errorf("it shows as asking for %q", asks)
		}
		r.wait(id)
		if n := r.host.Calls("ReplyPermission:reject"); n != 1 {
			t.Errorf("refused %d times", n)
		}
	})
}

// replaced is a store whose file another one has taken the place of.
type replaced struct {
	mu  sync.Mutex
	now task.Store
}

func (s *replaced) by(next task.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = next
}

func (s *replaced) store() task.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *replaced) Create(ctx context.Context, t task.Task) error { return s.store().Create(ctx, t) }
func (s *replaced) Get(ctx context.Context, id task.ID) (task.Task, error) {
	return s.store().Get(ctx, id)
}
func (s *replaced) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	return s.store().Update(ctx, id, at, change)
}
func (s *replaced) List(ctx context.Context, q task.Query) (task.Page, error) {
	return s.store().List(ctx, q)
}
func (s *replaced) Close() error { return s.store().Close() }

func TestAResultOutlivesItsRecord(t *testing.T) {
	play(t, 1, after(10*time.Second), func(t *testing.T, r *rig) {
		s := &replaced{now: r.store}
		r.life.Store = s
		id := r.launch("work")
		r.sleep(time.Second)
		s.by(memstore.New())
		r.sleep(5 * time.Minute)
		got, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Completed, "answer to work")
		if wakes := r.wakes(); len(wakes) != 1 || !strings.Contains(wakes[0].Text(), "answer to work") {
			t.Errorf("the parent was told %d times", len(wakes))
		}
	})
}

// A person's message waits for no more than its hook may take, however many tasks
// dead processes have left and however slow OpenCode is.
func TestJudgingTheDeadHoldsNobodyUp(t *testing.T) {
	play(t, 50, after(10*time.Minute), func(t *testing.T, r *rig) {
		for range 50 {
			r.launch("1")
		}
		r.sleep(3 * time.Second)
		r.kill()
		r.owners.set("host-1", false)
		r.host.Fault(func(context.Context, string) error { time.Sleep(100 * time.Millisecond); return nil })
		r.start("host-2")
		time.Sleep(5 * time.Millisecond)
		start := time.Now()
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		if took := time.Since(start); took > hookLimit+200*time.Millisecond {
			t.Errorf("the person waited for %s", took)
		}
		r.sleep(time.Minute)
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_again")
		told := ""
		for _, w := range r.wakes() {
			told += w.Text()
		}
		if n := strings.Count(told, "task_"); n < 50 {
			t.Errorf("%d of 50 interrupted tasks were told", n)
		}
		r.host.Fault(nil)
	})
}

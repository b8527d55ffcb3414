package delegate

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// failing answers the first n prompts of each child session with an error, and
// then with an answer.
func failingTurns(n int, err host.MessageError) func(host.Prompt, host.Session) fake.Reply {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(p host.Prompt, s host.Session) fake.Reply {
		if s.Parent == "" {
			return fake.Reply{Text: "thanks"}
		}
		mu.Lock()
		defer mu.Unlock()
		if seen[s.ID]++; seen[s.ID] <= n {
			e := err
			return fake.Reply{After: time.Second, Error: &e}
		}
		return fake.Reply{After: time.Second, Text: fmt.Sprintf("answer of %s to %q", p.Model, p.Text)}
	}
}

var (
	overloaded = host.MessageError{Name: "APIError", Message: "overloaded", Status: 529, Retryable: true}
	limited    = host.MessageError{Name: "APIError", Message: "slow down", Status: 429, Retryable: true, RetryAfter: 5 * time.Minute}
	forbidden  = host.MessageError{Name: "APIError", Message: "bad key 429 overloaded", Status: 401}
)

func TestAFailedProviderIsTriedAgainInTheSameSession(t *testing.T) {
	play(t, 1, failingTurns(2, overloaded), func(t *testing.T, r *rig) {
		id := r.launch("work")
		r.sleep(1500 * time.Millisecond)
		if got := r.get(id); got.State != task.Pending || got.Attempt != 2 {
			t.Fatalf("after the first failure it is %s, attempt %d", got.State, got.Attempt)
		}
		for _, k := range r.limits.Stats() {
			if k.InUse != 0 {
				t.Error("it holds its slot while it waits")
			}
		}
		got := r.wait(id)
		r.want(got, task.Completed, "Go on with the task")
		if got.Attempt != 3 || len(got.Past) != 2 || got.Past[0].State != task.Failed || !strings.Contains(got.Past[0].Error, "overloaded") {
			t.Errorf("attempt %d, past %+v", got.Attempt, got.Past)
		}
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// The original tried again without end, and held the slot while it waited.
func TestAttemptsAreBounded(t *testing.T) {
	play(t, 1, failingTurns(100, overloaded), func(t *testing.T, r *rig) {
		got := r.wait(r.launch("work"))
		r.want(got, task.Failed, "overloaded")
		if got.Attempt != 3 {
			t.Errorf("%d attempts, want 3", got.Attempt)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	play(t, 1, failingTurns(1, limited), func(t *testing.T, r *rig) {
		start := time.Now()
		r.want(r.wait(r.launch("work")), task.Completed, "answer")
		if took := time.Since(start); took < 5*time.Minute || took > 6*time.Minute {
			t.Errorf("it took %s, the provider asked for 5 minutes", took)
		}
	})
}

// The original knew errors by their words: "429" anywhere in a text was a rate
// limit.
func TestErrorsAreJudgedByTypeNotByWords(t *testing.T) {
	for _, e := range []host.MessageError{
		forbidden,
		{Name: "UnknownError", Message: "rate limit 429"},
		{Name: "ContextOverflowError", Message: "overloaded"},
		{Name: "APIError", Message: "timeout 503", Status: 400},
	} {
		play(t, 1, failingTurns(1, e), func(t *testing.T, r *rig) {
			got := r.wait(r.launch("work"))
			r.want(got, task.Failed, e.Message)
			if got.Attempt != 1 {
				t.Errorf("%+v was tried %d times", e, got.Attempt)
			}
		})
	}
}

func TestAFallbackModelTakesOver(t *testing.T) {
	for _, e := range []host.MessageError{forbidden, limited, overloaded} {
		play(t, 1, failingTurns(1, e), func(t *testing.T, r *rig) {
			r.configure(func(s *Settings) { s.Fallback = map[string][]string{"*": {"q/other", "q/third/x"}} })
			start := time.Now()
			got := r.wait(r.launch("work"))
			r.want(got, task.Completed, "answer of q/other")
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("another model took %s to take over", took)
			}
		})
	}
}

func TestAFailingModelIsLeftAloneAndNewTasksUseTheFallback(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if p.Model.String() == "bad/m" {
			e := overloaded
			return fake.Reply{After: time.Second, Error: &e}
		}
		return fake.Reply{After: time.Second, Text: "answer of " + p.Model.String()}
	}
	play(t, 1, answer, func(t *testing.T, r *rig) {
		r.host.Known = []host.Agent{{Name: "general", Mode: "subagent", Model: host.Model{Provider: "bad", ID: "m"}}}
		r.configure(func(s *Settings) { s.Attempts = 1 })
		for range 5 {
			r.want(r.wait(r.launch("x")), task.Failed, "overloaded")
		}
		waiting := r.launch("y")
		r.sleep(10 * time.Second)
		got := r.get(waiting)
		if s := r.engine.Standing(&got); got.State != task.Pending || s.Breaker == "" || s.Until.IsZero() {
			t.Errorf("after five failures the next is %s, %+v", got.State, s)
		}
		r.configure(func(s *Settings) { s.Fallback = map[string][]string{"general": {"good/m"}} })
		r.want(r.wait(r.launch("z")), task.Completed, "good/m")
		if _, err := r.engine.Cancel(t.Context(), waiting, "enough"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCancelWhileATryIsAwaited(t *testing.T) {
	play(t, 1, failingTurns(1, limited), func(t *testing.T, r *rig) {
		id := r.launch("work")
		r.sleep(time.Minute)
		got, err := r.engine.Cancel(t.Context(), id, "enough")
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Cancelled, "enough")
		r.sleep(time.Hour)
		if n := r.prompts(got.Session); n != 1 {
			t.Errorf("%d prompts", n)
		}
	})
}

func TestACrashWhileATryIsAwaited(t *testing.T) {
	play(t, 1, failingTurns(1, limited), func(t *testing.T, r *rig) {
		start := time.Now()
		id := r.launch("work")
		r.sleep(time.Minute)
		r.kill()
		r.start("host-1")
		got := r.wait(id)
		r.want(got, task.Completed, "answer")
		if took := time.Since(start); took < 5*time.Minute {
			t.Errorf("the provider's wish was forgotten: %s", took)
		}
	})
}

func TestTheWaitForASlotCanHaveADeadline(t *testing.T) {
	play(t, 1, after(10*time.Minute), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Queue = time.Minute })
		running, waiting := r.launch("1"), r.launch("2")
		r.want(r.wait(waiting), task.Timeout, "waited for a slot")
		r.want(r.wait(running), task.Completed, "answer")
	})
}

func message(session, id string, u host.Usage) host.Event {
	return host.Event{Type: host.EventMessage, Session: session, MessageID: id, Role: host.Assistant, Usage: u}
}

func TestABudgetStopsATask(t *testing.T) {
	play(t, 2, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Task = Budget{Tokens: 1000, Cost: 1} })
		tokens, cost := r.launch("1"), r.launch("2")
		synctest.Wait()
		s := r.get(tokens).Session
		r.engine.Event(dir, message(s, "msg_1", host.Usage{Input: 300, Output: 200}))
		r.engine.Event(dir, message(s, "msg_1", host.Usage{Input: 600, Output: 300})) // it grows
		synctest.Wait()
		if got := r.get(tokens); got.State != task.Running {
			t.Fatalf("stopped at 900 of 1000 tokens: %s", got.Error)
		}
		r.engine.Event(dir, message(s, "msg_2", host.Usage{CacheRead: 100}))
		got := r.wait(tokens)
		r.want(got, task.Failed, "1000 tokens")
		if got.Usage.Tokens() != 1000 || got.Usage.Input != 600 {
			t.Errorf("usage %+v", got.Usage)
		}
		r.engine.Event(dir, message(r.get(cost).Session, "msg_3", host.Usage{Cost: 1.25}))
		r.want(r.wait(cost), task.Failed, "$1.25")
	})
}

func TestTheBudgetOfASessionStopsAllOfItsTasksAndLaunches(t *testing.T) {
	play(t, 1, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Tree = Budget{Tokens: 1000} })
		first := r.launch("1")
		synctest.Wait()
		r.engine.Event(dir, message(r.get(first).Session, "msg_1", host.Usage{Input: 600}))
		if _, err := r.engine.Cancel(t.Context(), first, "enough"); err != nil {
			t.Fatal(err)
		}
		running, waiting := r.launch("2"), r.launch("3")
		synctest.Wait()
		r.engine.Event(dir, message(r.get(running).Session, "msg_2", host.Usage{Input: 400}))
		r.want(r.wait(running), task.Failed, "1000 tokens")
		r.want(r.wait(waiting), task.Failed, "1000 tokens")
		if _, err := r.engine.Launch(t.Context(), r.spec("4")); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "1000 tokens") {
			t.Errorf("launched beyond the budget: %v", err)
		}
	})
}

func TestARunawayIsStopped(t *testing.T) {
	call := func(session string, n int, input string) host.Event {
		return host.Event{Type: host.EventPart, Session: session, MessageID: "msg_1", Part: "tool",
			Call: host.ToolCall{ID: fmt.Sprint("call_", n), Tool: "bash", Status: "running", Input: input}}
	}
	play(t, 2, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Calls, s.Repeats = 20, 5 })
		loop, busy := r.launch("1"), r.launch("2")
		synctest.Wait()
		s := r.get(loop).Session
		for n := range 4 {
			r.engine.Event(dir, call(s, n, `{"command":"ls"}`))
			r.engine.Event(dir, call(s, n, `{"command":"ls"}`)) // running, then completed
		}
		r.engine.Event(dir, call(s, 90, `{"command":"pwd"}`))
		synctest.Wait()
		if got := r.get(loop); got.State != task.Running {
			t.Fatalf("stopped early: %s", got.Error)
		}
		for n := 10; n < 15; n++ {
			r.engine.Event(dir, call(s, n, `{"command":"ls"}`))
		}
		r.want(r.wait(loop), task.Failed, "same call 5 times in a row")
		s = r.get(busy).Session
		for n := range 20 {
			r.engine.Event(dir, call(s, n, fmt.Sprint(n)))
		}
		r.want(r.wait(busy), task.Failed, "20 tool calls")
	})
}

func TestTwoTasksThatEditTheSameFileAreReported(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		one, two, alone := r.begin(r.spec("10 one")), r.begin(r.spec("20 two")), r.begin(r.spec("20 alone"))
		synctest.Wait()
		edit := func(id task.ID, path string) {
			r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.get(id).Session, MessageID: "msg_1", Part: "tool",
				Call: host.ToolCall{ID: "call_" + string(id) + path, Tool: "edit", Status: "running", Files: []string{path}}})
		}
		edit(one, "a.go")
		edit(two, dir+"/sub/../a.go")
		edit(alone, "b.go")
		got := r.get(one)
		if s := r.engine.Standing(&got); !strings.Contains(s.Shares, string(two)) || !strings.Contains(s.Shares, "a.go") {
			t.Errorf("list_tasks would say %q", s.Shares)
		}
		r.want(r.wait(one), task.Completed, "")
		r.want(r.wait(two), task.Completed, "")
		r.want(r.wait(alone), task.Completed, "")
		r.sleep(time.Minute)
		text := ""
		for _, w := range r.wakes() {
			text += w.Text()
		}
		if strings.Count(text, "edited the same files at the same time") != 2 {
			t.Errorf("the parent was told\n%s", text)
		}
		if r.get(alone).Note != "" {
			t.Error("a task that edited alone has a note")
		}
	})
}

func TestACompactionKeepsWhatIsOpenAndUnread(t *testing.T) {
	play(t, 1, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		ended, running, waiting := r.begin(r.spec("1")), r.begin(r.spec("100")), r.begin(r.spec("100"))
		read := r.begin(r.spec("1"))
		r.wait(ended)
		synctest.Wait()
		if _, err := r.engine.Cancel(t.Context(), read, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.engine.told(t.Context(), read); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(r.engine.Compacting(t.Context(), r.main), "\n")
		for _, id := range []task.ID{ended, running, waiting} {
			if !strings.Contains(text, string(id)) {
				t.Errorf("%s is lost in %q", id, text)
			}
		}
		if strings.Contains(text, string(read)) {
			t.Error("a task whose result was read is carried along")
		}
		if add := r.engine.Compacting(t.Context(), "ses_other"); len(add) > 0 {
			t.Errorf("a session without tasks gets %q", add)
		}
	})
}

// The original gave the session of one parent's task to another parent's, with
// all that had been said in it.
func TestThePoolReusesOnlyWhatIsItsOwn(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		session := func(s Spec) string {
			got := r.wait(r.begin(s))
			r.want(got, task.Completed, "answer")
			return got.Session
		}
		if a, b := session(r.spec("1")), session(r.spec("1")); a == b {
			t.Fatal("a session was reused although nobody asked for it")
		}
		r.configure(func(s *Settings) { s.Pool = true })
		first := session(r.spec("1"))
		if again := session(r.spec("1")); again != first {
			t.Error("not reused")
		}
		other := r.spec("1")
		other.Agent = "explore"
		if session(other) == first {
			t.Error("reused across agents")
		}
		other = r.spec("1")
		other.Parent = r.host.Open(dir)
		if session(other) == first {
			t.Error("reused across parents")
		}
		r.host.Say(first, "msg_person", "hello there")
		if session(r.spec("1")) == first {
			t.Error("reused although a person has spoken in it")
		}
		second := session(r.spec("1"))
		r.sleep(6 * time.Minute)
		if session(r.spec("1")) == second {
			t.Error("reused after its time")
		}
		uses := map[string]int{}
		for range 30 {
			uses[session(r.spec("1"))]++
		}
		for s, n := range uses {
			if n > poolReuses+1 {
				t.Errorf("%s was used %d times", s, n)
			}
		}
	})
}

// OpenCode shows the error of a turn a moment before the turn is over, and starts
// none for a prompt that comes in between.
func TestTheNextAttemptWaitsForTheEndOfTheLast(t *testing.T) {
	tries := 0
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if tries++; tries == 1 {
			return fake.Reply{Error: &host.MessageError{Name: "APIError", Status: 401, Message: "no"}, Lingers: 2 * time.Second}
		}
		return fake.Reply{Text: "the other model's answer"}
	}
	play(t, 1, answer, func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Fallback = map[string][]string{"*": {"q/other"}} })
		start := time.Now()
		r.want(r.wait(r.launch("1")), task.Completed, "the other model's answer")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestASwallowedPromptIsRememberedOnce(t *testing.T) {
	for name, answers := range map[string]bool{"and then answered": true, "in vain": false} {
		t.Run(name, func(t *testing.T) {
			answer := func(p host.Prompt, s host.Session) fake.Reply {
				if s.Parent != "" && (p.Text == "1" || !answers) {
					return fake.Reply{Silent: true}
				}
				return fake.Reply{Text: "the answer"}
			}
			play(t, 1, answer, func(t *testing.T, r *rig) {
				got := r.wait(r.launch("1"))
				if answers {
					r.want(got, task.Completed, "the answer")
				} else {
					r.want(got, task.Interrupted, "neither work nor an answer")
				}
				if n := r.prompts(got.Session); n != 2 {
					t.Errorf("its session has %d prompts, want its own and a reminder", n)
				}
			})
		})
	}
}

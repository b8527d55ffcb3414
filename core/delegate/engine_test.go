package delegate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

func TestATaskRunsAndItsParentIsToldOnce(t *testing.T) {
	play(t, 10, after(3*time.Second), func(t *testing.T, r *rig) {
		id := r.launch("count the files")
		r.want(r.wait(id), task.Completed, "answer to count the files")
		r.sleep(time.Minute)
		wakes := r.wakes()
		if len(wakes) != 1 {
			t.Fatalf("the parent was told %d times, want once", len(wakes))
		}
		w := wakes[0]
		if !strings.Contains(w.Text(), string(id)) || !strings.Contains(w.Text(), "answer to count the files") {
			t.Errorf("the parent was told %q", w.Text())
		}
		if w.Agent != "build" || w.Model != (host.Model{Provider: "p", ID: "big", Variant: "high"}) {
			t.Errorf("the wake runs as %s with %s, want the parent's own agent and model", w.Agent, w.Model)
		}
		if !r.get(id).Told {
			t.Error("the task is not marked as told")
		}
		if n := len(r.host.Toasts()); n != 1 {
			t.Errorf("%d toasts, want 1", n)
		}
	})
}

// In the original each task that finished freed two slots, and was told twice if
// its end was seen twice.
func TestTheLimitIsNeverExceeded(t *testing.T) {
	for _, events := range []string{"as they are", "doubled", "dropped"} {
		t.Run(events, func(t *testing.T) {
			answer := func(p host.Prompt, s host.Session) fake.Reply {
				return fake.Reply{After: time.Duration(100+rand.IntN(5000)) * time.Millisecond, Text: "ok"}
			}
			play(t, 2, answer, func(t *testing.T, r *rig) {
				r.host.Filter = func(host.Event) int {
					return map[string]int{"as they are": 1, "doubled": 2, "dropped": 0}[events]
				}
				var ids []task.ID
				for i := range 24 {
					ids = append(ids, r.launch(fmt.Sprint(i)))
				}
				for _, id := range ids {
					r.want(r.wait(id), task.Completed, "ok")
				}
				if n := r.host.HighWater(); n != 2 {
					t.Errorf("%d child sessions ran at once, limit 2", n)
				}
				r.sleep(time.Minute)
				told := 0
				for _, w := range r.wakes() {
					told += strings.Count(w.Text(), "[DONE]")
				}
				if told != 24 {
					t.Errorf("the parent was told of %d tasks, want 24, each once", told)
				}
			})
		})
	}
}

// The original needed 10 s to see the end of a task of half a second.
func TestTheEndIsSeenWithoutEvents(t *testing.T) {
	play(t, 10, after(500*time.Millisecond), func(t *testing.T, r *rig) {
		r.host.Filter = func(host.Event) int { return 0 }
		start := time.Now()
		r.wait(r.launch("x"))
		if late := time.Since(start) - 500*time.Millisecond; late > time.Second {
			t.Errorf("the end was seen %s late, want 1 s at most", late)
		}
	})
}

func TestNothingIsPolledWhenNothingRuns(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.wait(r.launch("x"))
		r.sleep(20 * time.Second)
		before := r.host.Calls("Statuses")
		r.sleep(24 * time.Hour)
		if n := r.host.Calls("Statuses") - before; n != 0 {
			t.Errorf("%d looks at the status in a day without tasks", n)
		}
	})
}

// The original told of tasks that completed only, took an error for an answer, and
// left the session of a task at work whose time was over.
func TestHowTasksEnd(t *testing.T) {
	for name, c := range map[string]struct {
		reply fake.Reply
		state task.State
		text  string
	}{
		"answer":          {fake.Reply{Text: "yes"}, task.Completed, "yes"},
		"after a tool":    {fake.Reply{Text: "yes", ToolFor: time.Minute, After: time.Second}, task.Completed, "yes"},
		"provider error":  {fake.Reply{Error: &host.MessageError{Name: "APIError", Message: "no credit", Status: 402}}, task.Failed, "no credit (HTTP 402)"},
		"cut off":         {fake.Reply{Text: "half", Finish: "length"}, task.Failed, "half"},
		"content filter":  {fake.Reply{Text: "bad", Finish: "content-filter"}, task.Failed, "content filter"},
		"empty":           {fake.Reply{}, task.Failed, "without an answer"},
		"no such model":   {fake.Reply{Silent: true, Error: &host.MessageError{Name: "UnknownError", Message: "Model not found"}}, task.Failed, "Model not found"},
		"no sign at all":  {fake.Reply{Silent: true}, task.Interrupted, "neither work nor an answer"},
		"hangs":           {fake.Reply{Hang: true}, task.Timeout, "no sign of life for 15m"},
		"runs for ever":   {fake.Reply{ToolFor: 100 * time.Hour}, task.Timeout, "longer than 1h"},
		"ends on a tool":  {fake.Reply{Finish: "tool-calls"}, task.Failed, "without an answer"},
		"an odd ending":   {fake.Reply{Text: "x", Finish: "other"}, task.Failed, `"other"`},
		"ends in silence": {fake.Reply{After: time.Minute, Silent: true}, task.Interrupted, "10 minutes"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 1, child(c.reply), func(t *testing.T, r *rig) {
				got := r.wait(r.launch("x"))
				r.want(got, c.state, c.text)
				if got.Ended.Before(got.Started) {
					t.Error("ended before it started")
				}
				if c.state == task.Timeout && r.host.Calls("Abort") == 0 {
					t.Error("the session of a timed-out task was not aborted")
				}
				r.sleep(time.Minute)
				if n := len(r.wakes()); n != 1 {
					t.Errorf("the parent was told %d times of a task that ended in %s", n, c.state)
				}
			})
		})
	}
}

// The original took a task of which it knew nothing for one that had completed.
func TestATaskWithoutASignIsUncertain(t *testing.T) {
	play(t, 1, child(fake.Reply{Silent: true}), func(t *testing.T, r *rig) {
		id := r.launch("x")
		r.sleep(time.Minute)
		if got := r.get(id); got.State != task.Running || !got.Uncertain {
			t.Errorf("after a minute it is %s, uncertain %v", got.State, got.Uncertain)
		}
	})
}

// An idle event can be an old one. The original believed those that came later
// than three seconds after the start.
func TestAnEarlyIdleEventProvesNothing(t *testing.T) {
	play(t, 1, after(30*time.Second), func(t *testing.T, r *rig) {
		id := r.launch("x")
		synctest.Wait()
		session := r.get(id).Session
		for range 3 {
			r.engine.Event(dir, host.Event{Type: host.EventSessionIdle, Session: session})
			synctest.Wait()
			if got := r.get(id); got.State != task.Running {
				t.Fatalf("an early idle event made it %s", got.State)
			}
		}
		r.want(r.wait(id), task.Completed, "answer")
	})
}

func TestAPersonInTheChildDoesNotCompleteIt(t *testing.T) {
	answered := func(user, assistant string) []host.Message {
		return []host.Message{
			{ID: user, Role: host.User, Parts: []host.Part{{Type: "text", Text: "?"}}},
			{ID: assistant, Role: host.Assistant, Parent: user, Finish: "stop", Completed: time.Now(), Parts: []host.Part{{Type: "text", Text: assistant}}},
		}
	}
	ours := host.Message{ID: "ours", Role: host.User}
	open := host.Message{ID: "a1", Role: host.Assistant, Parent: "ours"}
	tool := host.Message{ID: "a1", Role: host.Assistant, Parent: "ours", Finish: "tool-calls", Completed: time.Now()}
	for name, c := range map[string]struct {
		messages []host.Message
		state    task.State
		text     string
	}{
		"a person before us":             {append(answered("p0", "hi"), ours, open), "", ""},
		"a person before us, no answer":  {append(answered("p0", "hi"), ours), "", ""},
		"our answer, then a person's":    {append(append([]host.Message{}, answered("ours", "done")...), answered("p1", "more")...), task.Completed, "done"},
		"a person joins our turn":        {append([]host.Message{ours, tool}, answered("p1", "both")...), task.Completed, "both"},
		"our prompt is not there":        {answered("p0", "hi"), "", ""},
		"the summary is not the answer":  {[]host.Message{ours, tool, {ID: "c", Role: host.User, Parts: []host.Part{{Type: "compaction"}}}, {ID: "s", Role: host.Assistant, Parent: "c", Summary: true, Finish: "stop", Completed: time.Now(), Parts: []host.Part{{Type: "text", Text: "summary"}}}}, "", ""},
		"the continuation is the answer": {append([]host.Message{ours, tool, {ID: "c", Role: host.User, Parts: []host.Part{{Type: "compaction"}}}, {ID: "s", Role: host.Assistant, Parent: "c", Summary: true, Finish: "stop", Completed: time.Now()}}, answered("go on", "rest")...), task.Completed, "rest"},
	} {
		t.Run(name, func(t *testing.T) {
			if v := judge(c.messages, "ours"); v.state != c.state || v.text != c.text && c.state != "" {
				t.Errorf("judged %q %q, want %q %q", v.state, v.text, c.state, c.text)
			}
		})
	}
}

// The original freed a slot for a waiting task that it removed, though it never
// had one, and did not abort a task that ran.
func TestCancel(t *testing.T) {
	play(t, 1, after(time.Hour/2), func(t *testing.T, r *rig) {
		first, second := r.launch("1"), r.launch("2")
		synctest.Wait()
		if v, _ := r.engine.Get(t.Context(), second); v.Position != 1 {
			t.Errorf("the waiting task has place %d, want 1", v.Position)
		}
		got, err := r.engine.Cancel(t.Context(), second, "no longer needed")
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Cancelled, "no longer needed")
		if n := r.host.Calls("Abort"); n != 0 {
			t.Errorf("%d aborts for a task that never ran", n)
		}
		got, err = r.engine.Cancel(t.Context(), first, "stop")
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Cancelled, "stop")
		if n := r.host.Calls("Abort"); n != 1 {
			t.Errorf("%d aborts, want 1", n)
		}
		if _, err := r.engine.Cancel(t.Context(), first, "again"); !errors.Is(err, ErrEnded) {
			t.Errorf("second cancel: %v, want ErrEnded", err)
		}
		if _, err := r.engine.Cancel(t.Context(), "task_nope", ""); !errors.Is(err, task.ErrNotFound) {
			t.Errorf("unknown id: %v, want ErrNotFound", err)
		}
		third := r.launch("3")
		synctest.Wait()
		if got := r.get(third); got.State != task.Running {
			t.Errorf("the slot is not free again: %s", got.State)
		}
	})
}

func TestAnUnconfirmedStopIsSaid(t *testing.T) {
	play(t, 1, after(time.Hour/2), func(t *testing.T, r *rig) {
		r.host.IgnoreAbort = true
		id := r.launch("x")
		synctest.Wait()
		got, err := r.engine.Cancel(t.Context(), id, "stop")
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Cancelled, "not confirmed")
	})
}

func TestEscCancelsASynchronousTaskOnly(t *testing.T) {
	play(t, 5, after(time.Minute), func(t *testing.T, r *rig) {
		background := r.launch("background")
		ctx, esc := context.WithCancel(t.Context())
		var sync task.ID
		go func() {
			time.Sleep(10 * time.Second)
			page, _ := r.engine.List(r.Context(), task.Query{Limit: 1})
			sync = page.Tasks[0].ID
			esc()
		}()
		_, err := r.engine.Delegate(ctx, Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "sync"})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Delegate after Esc: %v", err)
		}
		synctest.Wait()
		r.want(r.get(sync), task.Cancelled, "the user stopped")
		r.want(r.wait(background), task.Completed, "answer to background")
	})
}

// In the original a synchronous task always took five minutes.
func TestSynchronousDelegation(t *testing.T) {
	play(t, 5, func(p host.Prompt, s host.Session) fake.Reply {
		if p.Text == "long" {
			return fake.Reply{After: 20 * time.Minute / 2, Text: "at last"}
		}
		return fake.Reply{After: time.Second / 2, Text: "quick"}
	}, func(t *testing.T, r *rig) {
		start := time.Now()
		got, err := r.engine.Delegate(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "General", Prompt: "short"})
		if err != nil {
			t.Fatal(err)
		}
		r.want(got, task.Completed, "quick")
		if over := time.Since(start) - time.Second/2; over > 100*time.Millisecond {
			t.Errorf("took %s longer than its prompt", over)
		}
		got, err = r.engine.Delegate(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "long"})
		if err != nil || got.State != task.Running {
			t.Fatalf("after the wait: %s, %v; want the running task", got.State, err)
		}
		r.want(r.wait(got.ID), task.Completed, "at last")
		r.sleep(time.Minute)
		if w := r.wakes(); len(w) != 1 || !strings.Contains(w[0].Text(), string(got.ID)) {
			t.Errorf("handed-back task: %d wakes", len(w))
		}
	})
}

func TestLaunchesThatAreRefused(t *testing.T) {
	play(t, 5, after(time.Hour/2), func(t *testing.T, r *rig) {
		spec := Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "nobody", Prompt: "x", Background: true}
		if _, err := r.engine.Launch(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "explore, general") {
			t.Errorf("unknown agent: %v", err)
		}
		spec.Agent = "title"
		if _, err := r.engine.Launch(t.Context(), spec); err == nil {
			t.Error("OpenCode's own hidden agent was accepted")
		}
		id := r.launch("x")
		synctest.Wait()
		spec.Agent, spec.Parent = "general", r.get(id).Session
		if _, err := r.engine.Launch(t.Context(), spec); !errors.Is(err, ErrRefused) {
			t.Errorf("a child delegates: %v, want ErrRefused", err)
		}
		spec.Parent = "ses_nope"
		if _, err := r.engine.Launch(t.Context(), spec); !host.NotFound(err) {
			t.Errorf("unknown parent: %v", err)
		}
		r.configure(func(s *Settings) { s.MaxOpen = 1 })
		spec.Parent = r.main
		if _, err := r.engine.Launch(t.Context(), spec); !errors.Is(err, ErrRefused) {
			t.Errorf("over maxTasksPerSession: %v", err)
		}
		r.engine.Refuse()
		if _, err := r.engine.Launch(t.Context(), spec); !errors.Is(err, ErrStopping) {
			t.Errorf("in a shutdown: %v", err)
		}
	})
}

// Depth is counted over real parents, whoever made the sessions.
func TestDepthIsByLineage(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		parent := r.main
		for range 3 {
			s, err := r.host.CreateSession(t.Context(), dir, host.NewSession{Parent: parent})
			if err != nil {
				t.Fatal(err)
			}
			parent = s.ID
		}
		r.configure(func(s *Settings) { s.Terminal = 10 })
		spec := Spec{Directory: dir, Worktree: dir, Parent: parent, Message: "msg_a", Agent: "general", Prompt: "x"}
		if _, err := r.engine.Launch(t.Context(), spec); !errors.Is(err, ErrRefused) {
			t.Errorf("at depth 4: %v, want ErrRefused", err)
		}
		s, _ := r.host.Session(t.Context(), dir, parent)
		spec.Parent = s.Parent
		got, err := r.engine.Launch(t.Context(), spec)
		if err != nil || got.Depth != 3 {
			t.Errorf("depth %d, %v; want 3", got.Depth, err)
		}
	})
}

func TestAChildGetsNoMoreRightsThanItsParent(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		parent, err := r.host.CreateSession(t.Context(), dir, host.NewSession{Permission: []host.Rule{
			{Permission: "bash", Pattern: "*", Action: "deny"}, {Permission: "edit", Pattern: "*", Action: "allow"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		r.main = parent.ID
		id := r.launch("x")
		synctest.Wait()
		child, err := r.host.Session(t.Context(), dir, r.get(id).Session)
		if err != nil {
			t.Fatal(err)
		}
		denied := map[string]bool{}
		for _, rule := range child.Permission {
			denied[rule.Permission] = rule.Action == "deny"
		}
		for _, name := range []string{"bash", "task", "todowrite", "delegate_task", "delegate_tasks"} {
			if !denied[name] {
				t.Errorf("%s is not denied to the child", name)
			}
		}
		if _, ok := denied["edit"]; ok {
			t.Error("an allow rule was passed on")
		}
		if child.Metadata["opencode-sidecar.task"] != string(id) {
			t.Errorf("the child session does not name its task: %v", child.Metadata)
		}
	})
}

func TestStopEndsEverything(t *testing.T) {
	play(t, 3, after(time.Hour/2), func(t *testing.T, r *rig) {
		var ids []task.ID
		for range 10 {
			ids = append(ids, r.launch("x"))
		}
		synctest.Wait()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			r.want(r.get(id), task.Interrupted, "shut down")
		}
		if n := r.host.Calls("Abort"); n != 3 {
			t.Errorf("%d aborts for 3 running tasks", n)
		}
		if n := r.host.Calls("CreateSession"); n != 3 {
			t.Errorf("%d sessions were created, 3 before the stop", n)
		}
	})
}

func TestAClosedWorkspaceInterruptsItsTasks(t *testing.T) {
	play(t, 3, after(time.Hour/2), func(t *testing.T, r *rig) {
		id := r.launch("x")
		synctest.Wait()
		if err := r.engine.WorkspaceGone(t.Context(), "/elsewhere"); err != nil {
			t.Fatal(err)
		}
		if got := r.get(id); got.State != task.Running {
			t.Fatalf("another workspace's end made it %s", got.State)
		}
		if err := r.engine.WorkspaceGone(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		r.want(r.get(id), task.Interrupted, "closed the workspace")
	})
}

// OpenCode aborts everything when it re-reads its configuration.
func TestAReloadedWorkspaceInterrupts(t *testing.T) {
	play(t, 3, after(time.Hour/2), func(t *testing.T, r *rig) {
		id, other := r.launch("x"), r.launch("y")
		synctest.Wait()
		r.host.Interrupt(r.get(other).Session)
		r.want(r.wait(other), task.Cancelled, "stopped")
		r.host.Interrupt(r.get(id).Session) // the abort comes first
		r.sleep(100 * time.Millisecond)
		r.engine.WorkspaceClosed(dir)
		r.want(r.wait(id), task.Interrupted, "reloaded")
	})
}

// The original swallowed the error of a launch and stopped to look at all after
// one look that failed.
func TestAHostThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		call  string
		err   error
		state task.State
		text  string
	}{
		"no session":      {"CreateSession", &host.CallError{Call: "session.create", Status: 500, Message: "boom"}, task.Failed, "boom"},
		"prompt refused":  {"Prompt", &host.CallError{Call: "session.promptAsync", Status: 400, Message: "bad"}, task.Failed, "bad"},
		"reading hiccups": {"Messages", &host.CallError{Call: "session.messages", Message: "hiccup"}, task.Completed, "answer"},
		"status hiccups":  {"Statuses", &host.CallError{Call: "session.status", Message: "hiccup"}, task.Completed, "answer"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 3, after(time.Second), func(t *testing.T, r *rig) {
				var failed atomic.Int32
				r.host.Fault(func(_ context.Context, call string) error {
					if call == c.call && failed.Add(1) <= 3 {
						return c.err
					}
					return nil
				})
				r.want(r.wait(r.launch("x")), c.state, c.text)
			})
		})
	}
}

// A prompt whose acknowledgement was lost is looked up, not sent again.
func TestALostAcknowledgementIsNoSecondPrompt(t *testing.T) {
	play(t, 3, after(time.Second), func(t *testing.T, r *rig) {
		prompts := 0
		inner := r.host
		r.through(lossy{inner, &prompts})
		got := r.wait(r.launch("x"))
		r.want(got, task.Completed, "answer")
		prompt := inner.History(got.Session)[0]
		if len(prompt.Parts) != 1 {
			t.Errorf("the prompt was sent %d times, want once", len(prompt.Parts))
		}
	})
}

// lossy carries out the first prompt but loses the answer.
type lossy struct {
	*fake.OpenCode
	prompts *int
}

func (l lossy) Prompt(ctx context.Context, directory string, p host.Prompt) error {
	err := l.OpenCode.Prompt(ctx, directory, p)
	if *l.prompts++; *l.prompts == 1 {
		return context.DeadlineExceeded
	}
	return err
}

// The lease's own end: a run whose goroutine no longer looks after it.
func TestALeaseThatIsNotRenewedEndsItsTask(t *testing.T) {
	play(t, 1, after(10*time.Hour), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Timeout, s.Silence = 24*time.Hour, 24*time.Hour })
		r.host.Fault(func(ctx context.Context, call string) error {
			if call == "Messages" { // hangs, and whoever asks with it
				<-ctx.Done()
			}
			return nil
		})
		id := r.launch("x")
		next := r.launch("next")
		r.sleep(time.Second)
		r.host.Emit(dir, host.Event{Type: host.EventSessionIdle, Session: r.get(id).Session})
		r.sleep(limit.DefaultMaxLease - 10*time.Second)
		if got := r.get(id); got.State != task.Running {
			t.Fatalf("ended early: %s", got.State)
		}
		r.sleep(30 * time.Second)
		r.want(r.get(id), task.Timeout, "lease")
		if got := r.get(next); got.State != task.Running {
			t.Errorf("the slot was not freed: next is %s", got.State)
		}
	})
}

func TestCalmFollowsTheLastTask(t *testing.T) {
	play(t, 2, after(10*time.Second), func(t *testing.T, r *rig) {
		calm := make(chan time.Time, 10)
		r.engine.calm = func() { calm <- time.Now() }
		r.launch("1")
		r.sleep(5 * time.Second)
		r.launch("2")
		r.sleep(9 * time.Second) // the first has ended, the second has not
		if n := len(calm); n != 0 {
			t.Errorf("called %d times while a task is open", n)
		}
		r.sleep(time.Hour)
		if n := len(calm); n != 1 {
			t.Errorf("called %d times, want once", n)
		}
	})
}

package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// a parent turn with >32 steps: agent and model of the wake
func TestALongTurnsWakeKeepsAgentAndModel(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(padded{r.host, r.main})
		r.wait(r.launch("1"))
		r.sleep(10 * time.Second)
		w := r.wakes()
		if len(w) != 1 || w[0].Agent != "build" || w[0].Model.Variant != "high" {
			t.Errorf("woken %d times as %+v", len(w), w)
		}
	})
}

// padded makes main's last 40 messages assistant steps.
type padded struct {
	*fake.OpenCode
	main string
}

func (p padded) Messages(ctx context.Context, d, id string, limit int) ([]host.Message, error) {
	if id != p.main {
		return p.OpenCode.Messages(ctx, d, id, limit)
	}
	all, err := p.OpenCode.Messages(ctx, d, id, 1000)
	var out []host.Message
	out = append(out, all...)
	for i := range 40 {
		out = append(out, host.Message{ID: fmt.Sprintf("msg_pad%d", i), Role: host.Assistant, Agent: "build", Model: host.Model{Provider: "p", ID: "big", Variant: "high"}, Finish: "tool-calls", Completed: time.Now()})
	}
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return out, err
}

// the hook's deadline cuts the tell; then 40 steps: told twice?
func TestATellThatIsCutOffIsNotRepeated(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.host.Interrupt(r.main)
		r.wait(id)
		r.sleep(10 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		r.through(cutPrompt{r.host, cancel})
		r.engine.UserSpoke(ctx, dir, r.main, "msg_person")
		r.host.SetBusy(r.main, true)
		r.host.Say(r.main, "msg_person", "hi")
		r.through(padded{r.host, r.main})
		r.host.SetBusy(r.main, false)
		r.sleep(20 * time.Second)
		if len(r.wakes()) != 1 {
			t.Error("told more than once")
		}
	})
}

// cutPrompt delivers and then the caller's ctx ends.
type cutPrompt struct {
	*fake.OpenCode
	cancel func()
}

func (c cutPrompt) Prompt(ctx context.Context, d string, p host.Prompt) error {
	err := c.OpenCode.Prompt(ctx, d, p)
	c.cancel()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// a launch that is in flight when Stop begins
func TestALaunchThatMeetsAStopIsRefused(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		gate := make(chan struct{})
		r.host.Fault(func(ctx context.Context, call string) error {
			if call == "Agents" {
				<-gate
			}
			return nil
		})
		got := make(chan error, 1)
		go func() {
			_, err := r.engine.Launch(context.Background(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "x", Background: true})
			got <- err
		}()
		synctest.Wait()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(gate)
		err := <-got
		r.sleep(time.Second)
		if err == nil {
			t.Error("a launch after Stop was accepted")
		}
	})
}

// after WorkspaceGone: polling for ever
func TestAClosedDirectoryIsNotPolled(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		id := r.launch("1")
		synctest.Wait()
		r.host.Fault(func(_ context.Context, call string) error { return host.ErrWorkspaceClosed })
		r.engine.WorkspaceClosed(dir)
		_ = r.engine.WorkspaceGone(t.Context(), dir)
		r.wait(id)
		n := r.host.Calls("Statuses")
		r.sleep(time.Hour)
		if r.host.Calls("Statuses")-n > 10 {
			t.Error("polls a closed directory for ever")
		}
		r.host.Fault(nil)
		r.sleep(10 * time.Second)
	})
}

// Esc'd synchronous task stays unsettled
func TestATaskStoppedByEscIsSettled(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { synctest.Wait(); time.Sleep(time.Second); cancel() }()
		_, _ = r.engine.Delegate(ctx, Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "x"})
		p, _ := r.store.List(t.Context(), task.Query{Limit: 5})
		if !p.Tasks[0].Told {
			t.Error("never settled: memstore keeps it for ever")
		}
	})
}

// Transform's hook call is cancelled in the middle of Prompt: is the result lost?
func TestAHeldTurnThatIsCutOffLosesNoResult(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		id := r.launch("1")
		synctest.Wait()
		r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: "msg_a1", Part: "step-finish", Reason: "stop"})
		synctest.Wait()
		r.wait(id)
		time.Sleep(gather)
		w := r.wakes()
		if len(w) != 1 {
			t.Fatalf("%d continuations", len(w))
		}
		ctx, cancel := context.WithCancel(t.Context())
		r.through(cutPrompt{r.host, cancel})
		r.engine.Transform(ctx, r.main, w[0].ID)
		r.through(r.host)
		// the model answered without results; the turn ends
		r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: "msg_a2", Part: "step-finish", Reason: "stop"})
		r.sleep(time.Second)
		if len(r.wakes()) < 2 {
			t.Error("the result never reaches a turn: run ends without it")
		}
		r.host.SetBusy(r.main, false)
	})
}

// silence + a read error = silence is never checked again
func TestAReadErrorDoesNotEndTheWatchOverSilence(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		id := r.launch("1")
		r.sleep(14 * time.Minute)
		var fine atomic.Bool
		r.host.Fault(func(_ context.Context, call string) error {
			if !fine.Load() && call == "Messages" {
				return errors.New("hiccup")
			}
			return nil
		})
		r.sleep(90 * time.Second)
		fine.Store(true)
		r.sleep(30 * time.Minute)
		got := r.get(id)
		if !got.State.Terminal() {
			t.Error("silence was lost")
		}
	})
}

// message.updated of the aborted turn's own user message resets held
func TestAnOldMessageDoesNotEndTheHold(t *testing.T) {
	play(t, 5, after(10*time.Second), func(t *testing.T, r *rig) {
		id := r.launch("1") // the parent entry is made here, after its user message came
		synctest.Wait()
		r.host.Interrupt(r.main)
		r.engine.Event(dir, host.Event{Type: host.EventMessage, Session: r.main, MessageID: "msg_user_" + r.main, Role: host.User}) // e.g. its summary is written
		r.wait(id)
		r.sleep(time.Minute)
		if len(r.wakes()) != 0 {
			t.Error("a turn nobody asked for")
		}
	})
}

// idle event arrives before session.error on abort
func TestAnAbortBetweenLookAndPromptIsRespected(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.wait(r.launch("1"))
		r.sleep(time.Minute)
		r.through(slowStatus{r.host})
		r.host.SetBusy(r.main, false) // idle first
		time.Sleep(time.Millisecond)
		r.engine.Event(dir, host.Event{Type: host.EventSessionError, Session: r.main, Error: &host.MessageError{Name: "MessageAbortedError"}})
		r.sleep(time.Minute)
		if len(r.wakes()) != 0 {
			t.Error("a turn nobody asked for: held came between look and prompt")
		}
	})
}

type slowStatus struct{ *fake.OpenCode }

func (s slowStatus) Statuses(ctx context.Context, d string) (map[string]host.Status, error) {
	m, err := s.OpenCode.Statuses(ctx, d)
	time.Sleep(5 * time.Millisecond)
	return m, err
}

// childRules when session.get fails
func TestWithoutTheParentsRulesNothingRuns(t *testing.T) {
	play(t, 5, child(fake.Reply{Text: "x"}), func(t *testing.T, r *rig) {
		r.wait(r.launch("warm up"))
		r.sleep(rulesFor)
		sessions := r.host.Calls("CreateSession")
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Session" {
				return errors.New("hiccup")
			}
			return nil
		})
		_, err := r.engine.Launch(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "x"})
		if err == nil || r.host.Calls("CreateSession") != sessions {
			t.Errorf("launched without the parent's deny rules (err %v)", err)
		}
		r.host.Fault(nil)
	})
}

// Parallel tool calls are the normal case.
func TestTheCapHoldsForParallelLaunches(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.MaxOpen = 5 })
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Agents" {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		for range 20 {
			go func() {
				_, _ = r.engine.Launch(context.Background(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "general", Prompt: "x", Background: true})
			}()
		}
		r.sleep(time.Second)
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		if r.engine.parents[r.main].open > 5 {
			t.Error("cap exceeded")
		}
	})
}

// cancel before the turn shows
type lateTurn struct{ *fake.OpenCode }

func (l lateTurn) Prompt(ctx context.Context, d string, p host.Prompt) error {
	go func() { time.Sleep(300 * time.Millisecond); _ = l.OpenCode.Prompt(context.Background(), d, p) }()
	return nil
}
func TestACancelBeforeTheTurnBeginsStopsIt(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.through(lateTurn{r.host})
		id := r.launch("1")
		synctest.Wait()
		got, _ := r.engine.Cancel(t.Context(), id, "x")
		r.sleep(time.Minute)
		m, _ := r.host.Statuses(t.Context(), dir)
		if len(m) != 0 && !strings.Contains(got.Error, "not confirmed") {
			t.Errorf("orphan runs: %v", m)
		}
		r.host.Close()
	})
}

// Esc leaves created session etc. 5000 pending Stop
func TestAStopTellsNobody(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		for range 5000 {
			r.launch("x")
		}
		synctest.Wait()
		prompts, sessions := r.host.Calls("Prompt"), r.host.Calls("CreateSession")
		start := time.Now()
		if err := r.engine.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		r.sleep(time.Minute)
		if n := r.host.Calls("Prompt"); n != prompts {
			t.Errorf("%d prompts after the stop", n-prompts)
		}
		if n := r.host.Calls("CreateSession"); n != sessions {
			t.Errorf("%d sessions after the stop", n-sessions)
		}
		if d := time.Since(start) - time.Minute; d > 2*time.Second {
			t.Errorf("5,000 tasks took %s to end", d)
		}
	})
}

// lateWake takes the first wake only after its call has timed out.
type lateWake struct {
	*fake.OpenCode
	main  string
	tries *atomic.Int32
}

func (l lateWake) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if p.Session != l.main || l.tries.Add(1) > 1 {
		return l.OpenCode.Prompt(ctx, d, p)
	}
	time.AfterFunc(70*time.Second, func() { _ = l.OpenCode.Prompt(context.Background(), d, p) })
	time.Sleep(60 * time.Second)
	return errors.New("no answer within 1m0s")
}

func TestAWakeThatArrivesLateIsNoSecondTurn(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(lateWake{r.host, r.main, new(atomic.Int32)})
		r.wait(r.launch("1"))
		r.sleep(3 * time.Minute)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("%d messages, want one", n)
		}
	})
}

// swallow accepts wakes that name an agent, and stores nothing: as OpenCode does
// when the agent is gone.
type swallow struct {
	*fake.OpenCode
	main string
}

func (l swallow) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if p.Session == l.main && p.Agent != "" {
		return nil
	}
	return l.OpenCode.Prompt(ctx, d, p)
}

func TestAWakeThatWasSwallowedGoesWithoutItsAgent(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(swallow{r.host, r.main})
		id := r.launch("1")
		r.wait(id)
		r.sleep(time.Second)
		if r.get(id).Told {
			t.Error("marked told although nothing was stored")
		}
		r.sleep(time.Minute)
		if w := r.wakes(); len(w) != 1 || !r.get(id).Told {
			t.Errorf("%d messages, told %v", len(w), r.get(id).Told)
		}
	})
}

// panicky has a bug in the way of one task.
type panicky struct{ *fake.OpenCode }

func (p panicky) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	if n.Agent == "explore" {
		panic("boom")
	}
	return p.OpenCode.CreateSession(ctx, d, n)
}

func TestABugInOneTaskEndsThatTaskOnly(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(panicky{r.host})
		other := r.launch("1")
		bad, err := r.engine.Launch(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, Agent: "explore", Prompt: "x", Background: true})
		if err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(bad.ID), task.Failed, "a bug of the sidecar")
		r.want(r.wait(other), task.Completed, "answer")
	})
}

func TestAnAbortReleasesAHeldTurnAtOnce(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		r.launch("x")
		synctest.Wait()
		r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: "a1", Part: "step-finish", Reason: "stop"})
		synctest.Wait()
		start := time.Now()
		time.AfterFunc(50*time.Millisecond, func() {
			r.engine.Event(dir, host.Event{Type: host.EventSessionError, Session: r.main, Error: &host.MessageError{Name: "MessageAbortedError"}})
		})
		r.hold(r.wakes()[0].ID)
		if d := time.Since(start); d > 60*time.Millisecond {
			t.Errorf("released %s after the start, the abort came after 50ms", d)
		}
	})
}

// What a sidecar that crashed left running is stopped by the next one.
func TestTasksOfACrashedSidecarAreStopped(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		mine := r.launch("mine")
		synctest.Wait()
		start := func(metadata map[string]string) string {
			s, err := r.host.CreateSession(t.Context(), dir, host.NewSession{Parent: r.main, Metadata: metadata})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.host.Prompt(t.Context(), dir, host.Prompt{Session: s.ID, MessageID: "msg_" + s.ID, Text: "x"}); err != nil {
				t.Fatal(err)
			}
			return s.ID
		}
		ended := r.launch("ended")
		if _, err := r.engine.Cancel(t.Context(), ended, "done with it"); err != nil {
			t.Fatal(err)
		}
		lost, person := start(map[string]string{taskKey: "task_12345678"}), start(nil)
		reused := start(map[string]string{taskKey: string(ended)})
		r.engine.Respawned()
		r.configure(func(*Settings) {})
		r.sleep(settleLimit + 2*sweepAgain)
		busy, err := r.host.Statuses(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]bool{lost: false, person: true, reused: true, r.get(mine).Session: true} {
			if _, got := busy[id]; got != want {
				t.Errorf("%s is busy: %v, want %v", id, got, want)
			}
		}
		told := 0
		for _, w := range r.wakes() {
			told += strings.Count(w.Text(), "task_12345678")
		}
		if told != 1 {
			t.Errorf("the parent was told %d times of the task that was lost", told)
		}
		again := start(map[string]string{taskKey: "task_87654321"}) // a person's, by now
		r.configure(func(*Settings) {})
		r.sleep(time.Second)
		if busy, _ := r.host.Statuses(t.Context(), dir); busy[again].Type == "" {
			t.Error("a later open of the workspace stopped a session again")
		}
	})
}

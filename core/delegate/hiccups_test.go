package delegate

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// one transient failure of the wake -> default agent
func TestAHiccupDoesNotSwitchTheAgent(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		var failed atomic.Int32
		id := r.launch("1")
		synctest.Wait()
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Prompt" && failed.Add(1) <= 1 {
				return errors.New("connection reset")
			}
			return nil
		})
		r.wait(id)
		r.sleep(time.Minute)
		w := r.wakes()
		if len(w) != 1 || w[0].Agent != "build" || w[0].Model.ID != "big" {
			t.Errorf("%d wakes, agent %q model %+v", len(w), w[0].Agent, w[0].Model)
		}
	})
}

type stamped struct {
	*fake.OpenCode
	at time.Time
}

func (s stamped) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	m, err := s.OpenCode.Messages(ctx, d, id, n)
	for i := range m {
		if m[i].ID == "msg_person" {
			m[i].Created = s.at
		}
	}
	return m, err
}

// user speaks after an abort; a task ends before the user's turn shows busy
func TestAPersonWhoSpokeEndsTheHold(t *testing.T) {
	var hang atomic.Bool
	hang.Store(true)
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		if s.Parent == "" {
			return fake.Reply{Hang: hang.Load(), Text: "ok"}
		}
		return fake.Reply{After: 10 * time.Second, Text: "res"}
	}
	play(t, 5, answer, func(t *testing.T, r *rig) {
		_ = r.host.Prompt(t.Context(), dir, host.Prompt{Session: r.main, MessageID: "msg_q", Text: "q", Agent: "build", Model: host.Model{Provider: "p", ID: "big"}})
		id := r.launch("1")
		synctest.Wait()
		time.Sleep(5 * time.Second)
		r.host.Interrupt(r.main)
		time.Sleep(4990 * time.Millisecond)
		hang.Store(false)
		// the user's next message: hook, stored, event; its turn begins 50 ms later
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.through(stamped{r.host, time.Now()})
		r.host.Say(r.main, "msg_person", "go on")
		r.wait(id) // ends 10 ms later
		r.sleep(40 * time.Millisecond)
		// user's turn runs and ends normally
		_ = r.host.Prompt(t.Context(), dir, host.Prompt{Session: r.main, MessageID: "msg_person2", Text: "turn", Agent: "build", Model: host.Model{Provider: "p", ID: "big"}})
		r.sleep(time.Hour)
		if n := len(r.wakes()); n != 1 {
			t.Errorf("%d wakes an hour after the user's own turn was over, want 1 (told %v)", n, r.get(id).Told)
		}
	})
}

// two questions; the later one is answered
func TestEveryOpenQuestionIsRefused(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Silence = 3 * time.Hour; s.Timeout = 5 * time.Hour })
		id := r.launch("x")
		synctest.Wait()
		s := r.get(id).Session
		r.engine.Event(dir, host.Event{Type: host.EventPermission, Session: s, Question: host.Question{ID: "per_1", Permission: "bash"}})
		r.engine.Event(dir, host.Event{Type: host.EventPermission, Session: s, Question: host.Question{ID: "per_2", Permission: "bash"}})
		r.engine.Event(dir, host.Event{Type: host.EventReplied, Session: s, Question: host.Question{ID: "per_2"}})
		r.sleep(2 * time.Hour)
		_, asks := r.standing(id)
		if n := r.host.Calls("ReplyPermission:reject"); n == 0 {
			t.Errorf("per_1 waits for 2 h: refused %d times, shown as asking for %q", n, asks)
		}
	})
}

func orphan(t *testing.T, r *rig) string {
	s, _ := r.host.CreateSession(t.Context(), dir, host.NewSession{Parent: r.main, Metadata: map[string]string{taskKey: "task_12345678"}})
	_ = r.host.Prompt(t.Context(), dir, host.Prompt{Session: s.ID, MessageID: "msg_" + s.ID, Text: "x"})
	return s.ID
}

// sweep: Statuses fails once
func TestTheSweepLooksUntilItHasSeen(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		id := orphan(t, r)
		r.engine.Respawned()
		r.host.Fault(failing("Statuses", 1))
		r.configure(func(*Settings) {})
		r.sleep(time.Minute)
		r.configure(func(*Settings) {})
		r.sleep(time.Hour)
		if busy, _ := r.host.Statuses(t.Context(), dir); busy[id].Type != "" {
			t.Error("the orphan runs on after an hour, although the workspace was opened again")
		}
	})
}

// sweep: the orphan's turn begins a moment after the prompt was accepted
func TestTheSweepSeesATurnThatBeginsLate(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		var id string
		go func() { time.Sleep(500 * time.Millisecond); id = orphan(t, r) }()
		r.engine.Respawned()
		r.configure(func(*Settings) {})
		r.sleep(time.Hour)
		if busy, _ := r.host.Statuses(t.Context(), dir); busy[id].Type != "" {
			t.Error("the orphan runs on")
		}
	})
}

// sweep: a person works in the session of a task that ended under the dead sidecar
func TestTheSweepLeavesPeopleAlone(t *testing.T) {
	play(t, 5, func(p host.Prompt, s host.Session) fake.Reply {
		return fake.Reply{Hang: p.Text == "person", Text: "done"}
	}, func(t *testing.T, r *rig) {
		id := orphan(t, r) // answered at once: the task has ended
		r.sleep(time.Second)
		_ = r.host.Prompt(t.Context(), dir, host.Prompt{Session: id, MessageID: "msg_person", Text: "person"})
		r.engine.Respawned()
		r.configure(func(*Settings) {})
		r.sleep(time.Minute)
		if busy, _ := r.host.Statuses(t.Context(), dir); busy[id].Type == "" {
			t.Error("the person's turn was aborted")
		}
		for _, w := range r.wakes() {
			t.Log(w.Text())
		}
	})
}

// store error other than not found
type sickStore struct {
	task.Store
	sick *atomic.Bool
}

func (s sickStore) Get(ctx context.Context, id task.ID) (task.Task, error) {
	if s.sick.Load() {
		return task.Task{}, errors.New("database is locked")
	}
	return s.Store.Get(ctx, id)
}

func TestTheSweepNeedsProof(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		var sick atomic.Bool
		r.engine.store = sickStore{r.store, &sick}
		id := r.launch("mine")
		synctest.Wait()
		sick.Store(true)
		r.engine.Respawned()
		r.configure(func(*Settings) {})
		r.sleep(100 * time.Millisecond)
		sick.Store(false)
		r.sleep(time.Second)
		if got := r.get(id); got.State.Terminal() {
			t.Errorf("our own running task was aborted: %s %s", got.State, got.Error)
		}
	})
}

// a background turn: headless, first Messages fails -> agent of continuation
func TestAContinuationKeepsTheAgent(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		r.host.Fault(failing("Messages", 1))
		_, err := r.engine.Launch(t.Context(), Spec{Directory: dir, Worktree: dir, Parent: r.main, ParentAgent: "plan", Message: "msg_a", Agent: "general", Prompt: "x", Background: true})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: "a1", Part: "step-finish", Reason: "stop"})
		synctest.Wait()
		if w := r.wakes(); len(w) != 1 || w[0].Agent != "plan" {
			t.Errorf("continued %d times as %q, want plan", len(w), w[0].Agent)
		}
		r.host.Interrupt(r.main)
	})
}

// Stop while a prompt hangs
func TestAStopOutrunsAHungPrompt(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.host.Fault(func(ctx context.Context, call string) error {
			if call == "Prompt" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		id := r.launch("x")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		err := r.engine.Stop(ctx)
		if err != nil || !r.get(id).State.Terminal() {
			t.Errorf("Stop: %v; state %s", err, r.get(id).State)
		}
		r.sleep(time.Minute)
	})
}

// a Cancel is under way (abort ignored) when Stop begins
func TestAStopHurriesACancel(t *testing.T) {
	play(t, 5, child(fake.Reply{Hang: true}), func(t *testing.T, r *rig) {
		r.host.IgnoreAbort = true
		id := r.launch("x")
		synctest.Wait()
		go func() { _, _ = r.engine.Cancel(context.Background(), id, "x") }()
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		err := r.engine.Stop(ctx)
		if err != nil || !r.get(id).State.Terminal() {
			t.Errorf("Stop: %v; state %s", err, r.get(id).State)
		}
		r.sleep(time.Minute)
	})
}

var _ = strings.Contains

type panicToast struct {
	*fake.OpenCode
	n *atomic.Int32
}

func (p panicToast) Toast(ctx context.Context, d string, n host.Toast) error {
	if p.n.Add(1) == 1 {
		panic("boom")
	}
	return nil
}

func TestABugWhileTellingLosesNoResult(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.through(panicToast{r.host, new(atomic.Int32)})
		r.wait(r.launch("1"))
		r.sleep(time.Minute)
		id := r.launch("2")
		r.wait(id)
		r.sleep(time.Hour)
		if len(r.wakes()) != 2 {
			t.Errorf("after one panic the parent is never told again: %d wakes, told %v", len(r.wakes()), r.get(id).Told)
		}
	})
}

type noted struct {
	*fake.OpenCode
	prompts *[]host.Prompt
}

func (n noted) Prompt(ctx context.Context, d string, p host.Prompt) error {
	*n.prompts = append(*n.prompts, p)
	return n.OpenCode.Prompt(ctx, d, p)
}

func TestHeldResultsKeepTheAgent(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		var prompts []host.Prompt
		r.through(noted{r.host, &prompts})
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		_ = r.host.Prompt(t.Context(), dir, host.Prompt{Session: r.main, NoReply: true, MessageID: "msg_x"})
		msg := host.Message{}
		_ = msg
		r.launch("1")
		synctest.Wait()
		r.engine.mu.Lock()
		p := r.engine.parents[r.main]
		p.agent, p.model = "plan", host.Model{Provider: "p", ID: "big"}
		r.engine.mu.Unlock()
		r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: "a1", Part: "step-finish", Reason: "stop"})
		synctest.Wait()
		w := r.wakes()
		r.hold(w[len(w)-1].ID)
		last := prompts[len(prompts)-1]
		if last.Agent != "plan" || last.Model.ID != "big" {
			t.Errorf("results stored into the continuation as agent %q, model %+v", last.Agent, last.Model)
		}
		r.host.SetBusy(r.main, false)
	})
}

// reads fail right after a wake was stored: the next, unrelated wake has no agent
func TestASwallowedWakeDoesNotSwitchLaterOnes(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		var bad atomic.Bool
		r.host.Fault(func(_ context.Context, call string) error {
			if call == "Messages" && bad.Load() {
				return errors.New("slow")
			}
			return nil
		})
		r.through(badAfter{r.host, r.main, &bad})
		r.wait(r.launch("1"))
		r.sleep(10 * time.Second)
		bad.Store(false)
		r.through(r.host)
		r.sleep(time.Minute)
		r.host.SetBusy(r.main, false)
		r.wait(r.launch("2"))
		r.sleep(time.Minute)
		for i, w := range r.wakes() {
			if w.Agent != "build" {
				t.Errorf("wake %d went as %q", i+1, w.Agent)
			}
		}
	})
}

type badAfter struct {
	*fake.OpenCode
	main string
	bad  *atomic.Bool
}

func (b badAfter) Prompt(ctx context.Context, d string, p host.Prompt) error {
	err := b.OpenCode.Prompt(ctx, d, p)
	if p.Session == b.main {
		b.bad.Store(true)
	}
	return err
}

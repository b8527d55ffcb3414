package delegate

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// reviewing has what general did checked by explore.
func reviewing(s *Settings) { s.Reviewers = map[string]string{"general": "explore"} }

// reviews are the tasks of explore.
func (r *rig) reviews() []task.Task {
	r.Helper()
	page, err := r.store.List(context.Background(), task.Query{Parent: r.main, Limit: 100, Texts: true})
	if err != nil {
		r.Fatal(err)
	}
	var list []task.Task
	for _, t := range page.Tasks {
		if t.Agent == "explore" {
			list = append(list, t)
		}
	}
	return list
}

// What a task did is checked only if somebody wants that, and once. The original
// started a reviewer for each end that it saw.
func TestReviewsAreOptIn(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.wait(r.launch("work"))
		if n := len(r.reviews()); n != 0 {
			t.Errorf("%d reviews nobody asked for", n)
		}
		r.configure(reviewing)
		id := r.launch("work again")
		done := r.wait(id)
		r.sleep(time.Minute)
		list := r.reviews()
		if len(list) != 1 || list[0].ID != done.Review || list[0].State != task.Completed || !strings.Contains(list[0].Prompt, "work again") || !strings.Contains(list[0].Prompt, done.Result) {
			t.Fatalf("reviews: %+v", list)
		}
		if !strings.Contains(done.Note, "explore checks it in "+string(done.Review)) {
			t.Errorf("its note says %q", done.Note)
		}
		told := ""
		for _, m := range r.wakes() {
			told += m.Text()
		}
		if strings.Count(told, "[DONE] "+string(done.Review)) != 1 {
			t.Errorf("its parent was told: %s", told)
		}
	})
}

func TestWhatIsNotReviewed(t *testing.T) {
	play(t, 10, func(p host.Prompt, _ host.Session) fake.Reply {
		if strings.Contains(p.Text, "fail") {
			return fake.Reply{After: time.Second, Error: &host.MessageError{Name: "APIError", Message: "no", Status: 400}}
		}
		return fake.Reply{After: time.Second, Text: "done"}
	}, func(t *testing.T, r *rig) {
		r.configure(reviewing)
		r.wait(r.launch("fail"))
		if _, err := r.engine.Delegate(context.Background(), Spec{Directory: dir, Parent: r.main, Agent: "general", Prompt: "wait for me"}); err != nil {
			t.Fatal(err)
		}
		none, err := r.engine.Launch(context.Background(), Spec{Directory: dir, Parent: r.main, Agent: "general", Prompt: "quiet", Background: true, Wake: task.WakeNone})
		if err != nil {
			t.Fatal(err)
		}
		r.wait(none.ID)
		r.sleep(time.Minute)
		if list := r.reviews(); len(list) != 0 {
			t.Errorf("reviews: %+v", list)
		}
	})
}

// A crash between the end of a task and its review loses none.
func TestAReviewOutlivesACrash(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.settings = reviewing
		r.configure(reviewing)
		r.life.fatal = "explore"
		id := r.launch("work")
		r.sleep(2 * time.Second)
		done := r.get(id)
		if done.Review == "" || len(r.reviews()) != 0 {
			t.Fatalf("%+v, %+v", done, r.reviews())
		}
		r.kill()
		r.start("host-1")
		r.sleep(time.Minute)
		if list := r.reviews(); len(list) != 1 || list[0].ID != done.Review || list[0].State != task.Completed {
			t.Errorf("reviews: %+v", list)
		}
	})
}

// A review takes the place of the task that it checks.
func TestAReviewFitsTheCaps(t *testing.T) {
	for name, cap := range map[string]func(*Settings){
		"of the session": func(s *Settings) { s.MaxOpen = 1 }, "of the tree": func(s *Settings) { s.MaxTree = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
				r.configure(func(s *Settings) { reviewing(s); cap(s) })
				r.wait(r.launch("work"))
				r.sleep(time.Minute)
				if n := len(r.reviews()); n != 1 {
					t.Errorf("%d reviews", n)
				}
			})
		})
	}
}

// A review that cannot be is not announced.
func TestAReviewWithoutItsAgent(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.configure(func(s *Settings) { s.Reviewers = map[string]string{"general": "Nobody"} })
		r.wait(r.launch("work"))
		r.sleep(time.Minute)
		told := ""
		for _, m := range r.wakes() {
			told += m.Text()
		}
		if strings.Contains(told, "checks it in") || !strings.Contains(told, `Nobody does not check it: there is no agent "Nobody"`) {
			t.Errorf("told: %s", told)
		}
	})
}

// Without a model of its own a reviewer works with that of the work.
func TestAReviewHasAModel(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.configure(reviewing)
		_ = r.host.Prompt(context.Background(), dir, host.Prompt{Session: r.main, MessageID: "msg_ask", Text: "go", Agent: "build", Model: host.Model{Provider: "p", ID: "big"}})
		r.sleep(5 * time.Second)
		history := r.host.History(r.main)
		work, err := r.engine.Launch(r.Context(), Spec{
			Directory: dir, Worktree: dir, Parent: r.main, Message: history[len(history)-1].ID, Agent: "general", Prompt: "work", Background: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		done := r.wait(work.ID)
		r.sleep(time.Minute)
		if list := r.reviews(); len(list) != 1 || done.Model.ID == "" || list[0].Model != done.Model {
			t.Errorf("the work had %v, the reviews are %+v", done.Model, list)
		}
	})
}

// Who cancels everything between the end of a task and its review gets no review.
func TestCancellingMeetsAReview(t *testing.T) {
	play(t, 10, after(time.Second), func(t *testing.T, r *rig) {
		r.configure(reviewing)
		cancelled := make(chan int, 1)
		r.life.Store = &hooking{Store: r.life.Store, ended: func() {
			go func() { cancelled <- r.engine.CancelOf(r.main, "you cancelled") }()
			time.Sleep(time.Millisecond)
		}}
		r.launch("work")
		r.sleep(time.Minute)
		if n, list := <-cancelled, r.reviews(); n != 1 || len(list) != 0 {
			t.Errorf("%d were cancelled, the reviews are %+v", n, list)
		}
	})
}

// hooking calls ended when a task with a review has been stored as completed.
type hooking struct {
	task.Store
	ended func()
	once  sync.Once
}

func (h *hooking) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	t, err := h.Store.Update(ctx, id, at, change)
	if err == nil && t.Review != "" && t.State == task.Completed {
		h.once.Do(h.ended)
	}
	return t, err
}

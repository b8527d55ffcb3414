package delegate

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

var ask = host.Question{ID: "per_1", Permission: "external_directory", Patterns: []string{"/etc/*"}}

func TestAQuestionThatNobodyAnswersIsRefused(t *testing.T) {
	play(t, 5, after(10*time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("x")
		synctest.Wait()
		session := r.get(id).Session
		r.engine.Event(dir, host.Event{Type: host.EventPermission, Session: session, Question: ask})
		r.sleep(4 * time.Minute)
		if _, asks := r.standing(id); asks != "external_directory /etc/*" {
			t.Errorf("it shows as asking for %q", asks)
		}
		if n := r.host.Calls("ReplyPermission:reject"); n != 0 {
			t.Fatal("refused before its time")
		}
		r.sleep(time.Minute)
		if n := r.host.Calls("ReplyPermission:reject"); n != 1 {
			t.Fatalf("refused %d times, want once", n)
		}
		if _, asks := r.standing(id); asks != "" {
			t.Errorf("still shown as asking for %q", asks)
		}
		if _, err := r.engine.Cancel(t.Context(), id, "enough"); err != nil {
			t.Fatal(err)
		}
		r.want(r.get(id), task.Cancelled, "nobody answered its question for permission (external_directory /etc/*) within 5m")
	})
}

func TestAQuestionThatIsAnsweredIsLeftAlone(t *testing.T) {
	play(t, 5, after(10*time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("x")
		synctest.Wait()
		session := r.get(id).Session
		r.engine.Event(dir, host.Event{Type: host.EventPermission, Session: session, Question: ask})
		r.sleep(time.Minute)
		r.engine.Event(dir, host.Event{Type: host.EventReplied, Session: session, Question: host.Question{ID: "per_1"}})
		r.want(r.wait(id), task.Completed, "answer")
		if n := r.host.Calls("ReplyPermission:reject"); n != 0 {
			t.Errorf("refused %d times after a person had answered", n)
		}
	})
}

func TestARefusalThatFailsIsTriedAgain(t *testing.T) {
	play(t, 5, after(time.Hour/2), func(t *testing.T, r *rig) {
		id := r.launch("x")
		synctest.Wait()
		r.engine.Event(dir, host.Event{Type: host.EventPermission, Session: r.get(id).Session, Question: ask})
		r.host.Fault(failing("ReplyPermission:reject", 2))
		r.sleep(6 * time.Minute)
		if n := r.host.Calls("ReplyPermission:reject"); n != 3 {
			t.Errorf("%d tries, want 3", n)
		}
	})
}

// OpenCode's own task tool has agents of its own below a task: their questions
// hold up the task.
func TestAQuestionBelowATaskIsTheTasks(t *testing.T) {
	for name, reply := range map[string]bool{"a person answers it": true, "nobody does": false} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, child(fake.Reply{ToolFor: 8 * time.Minute, Text: "cut", Finish: "length"}), func(t *testing.T, r *rig) {
				id := r.launch("x")
				synctest.Wait()
				sub := r.session(r.session(r.get(id).Session))
				r.host.Ask(sub, ask)
				r.sleep(time.Second)
				if _, asks := r.standing(id); asks != "external_directory /etc/*" {
					t.Errorf("it shows as asking for %q", asks)
				}
				refusals := 1
				if reply {
					refusals = 0
					if err := r.host.ReplyPermission(t.Context(), dir, sub, ask.ID, "once"); err != nil {
						t.Fatal(err)
					}
					r.sleep(time.Second)
					if _, asks := r.standing(id); asks != "" {
						t.Errorf("answered, and still shown as asking for %q", asks)
					}
				}
				got := r.wait(id)
				r.want(got, task.Failed, "cut off")
				if n := r.host.Calls("ReplyPermission:reject"); n != refusals {
					t.Errorf("refused %d times, want %d", n, refusals)
				}
				if said := strings.Contains(got.Error, "nobody answered"); said == reply {
					t.Errorf("its error is %q", got.Error)
				}
			})
		})
	}
}

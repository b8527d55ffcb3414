package delegate

import (
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestWhatOthersMayKnowOfASession(t *testing.T) {
	play(t, 1, after(time.Minute), func(t *testing.T, r *rig) {
		if r.engine.Unsettled(r.main) || r.engine.OpenOf(r.main) != nil || r.engine.CancelOf(r.main, "no") != 0 {
			t.Error("a session without tasks has some")
		}
		first := r.launch("one")
		r.sleep(time.Second)
		second := r.launch("two")
		r.sleep(time.Second)
		open := r.engine.OpenOf(r.main)
		if len(open) != 2 || open[0].ID != first || !open[0].Running || open[1].ID != second || open[1].Running || !r.engine.Unsettled(r.main) {
			t.Errorf("open: %+v", open)
		}
		r.sleep(5 * time.Minute)
		if r.engine.Unsettled(r.main) {
			t.Error("it is unsettled for ever")
		}
		if spent, err := r.engine.Spent(t.Context(), r.main); err != nil || spent != (task.Usage{}) {
			t.Errorf("spent %+v, %v", spent, err)
		}
	})
}

// Who cancels the tasks of a session tells it: no turn is paid for that.
func TestCancelOfWakesNobody(t *testing.T) {
	play(t, 1, after(time.Minute), func(t *testing.T, r *rig) {
		ids := []task.ID{r.launch("one"), r.launch("two")}
		r.sleep(time.Second)
		if n := r.engine.CancelOf(r.main, "you cancelled it"); n != 2 {
			t.Errorf("%d tasks were cancelled", n)
		}
		r.sleep(10 * time.Minute)
		for _, id := range ids {
			if now := r.get(id); now.State != task.Cancelled || !now.Told || now.Error != "you cancelled it" {
				t.Errorf("%+v", now)
			}
		}
		if n := len(r.wakes()); n != 0 {
			t.Errorf("its session was told %d times", n)
		}
	})
}

// Held news comes with the next message of a person, not with that of the command
// that holds it.
func TestHold(t *testing.T) {
	play(t, 1, after(time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("one")
		r.sleep(time.Second)
		r.engine.Hold(r.main, dir)
		r.host.Say(r.main, "msg_command", "stopped") // the hook of which says that nobody has spoken
		r.sleep(time.Hour)
		if n := len(r.wakes()); n != 0 || r.get(id).Told {
			t.Fatalf("told %d times", n)
		}
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.sleep(time.Minute)
		texts := ""
		for _, m := range r.wakes() {
			texts += m.Text()
		}
		if strings.Count(texts, "[DONE] "+string(id)) != 1 || !r.get(id).Told {
			t.Errorf("told: %q", texts)
		}
	})
}

// A session that has not been told of everything is not settled.
func TestNewsIsUnsettled(t *testing.T) {
	play(t, 1, after(time.Minute), func(t *testing.T, r *rig) {
		id := r.launch("one")
		r.host.SetBusy(r.main, true)
		r.sleep(2 * time.Minute)
		if now := r.get(id); now.State != task.Completed || now.Told || !r.engine.Unsettled(r.main) {
			t.Errorf("%s, told %t, unsettled %t", now.State, now.Told, r.engine.Unsettled(r.main))
		}
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		if !r.get(id).Told || r.engine.Unsettled(r.main) {
			t.Error("it is told, and still unsettled")
		}
	})
}

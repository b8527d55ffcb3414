package delegate

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// held answers tasks as seconds does; the turns of the main session are held, and
// the test plays the model.
func held(p host.Prompt, s host.Session) fake.Reply {
	if s.Parent == "" {
		return fake.Reply{Hang: true}
	}
	return seconds(p, s)
}

// turnEnds is the event that the main session's turn is about to end.
func (r *rig) turnEnds(messageID string) {
	r.engine.Event(dir, host.Event{Type: host.EventPart, Session: r.main, MessageID: messageID, Part: "step-finish", Reason: "stop"})
	synctest.Wait()
}

// dying is an OpenCode whose sidecar dies as soon as it has taken a message.
type dying struct {
	*fake.OpenCode
	at   string
	life *life
}

func (d dying) Prompt(ctx context.Context, dir string, p host.Prompt) error {
	err := d.OpenCode.Prompt(ctx, dir, p)
	if p.MessageID == d.at {
		d.life.dead.Store(true)
	}
	return err
}

func TestResultsThatAreInAMessageAreNotToldAgainAfterACrash(t *testing.T) {
	for name, c := range map[string]struct {
		prompts []string
		hiccups int32 // when it is looked for
	}{
		"nothing else is open":            {[]string{"3 x"}, 0},
		"another task is":                 {[]string{"3 x", "30 y"}, 0},
		"the message cannot be read once": {[]string{"3 x", "30 y"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 10, held, func(t *testing.T, r *rig) {
				r.engine.Headless()
				r.host.SetBusy(r.main, true)
				var ids []task.ID
				for _, prompt := range c.prompts {
					ids = append(ids, r.launch(prompt))
				}
				r.sleep(time.Second)
				r.turnEnds("msg_a1")
				r.through(dying{r.host, r.wakes()[0].ID, r.life})
				r.hold(r.wakes()[0].ID)
				r.through(r.host)
				r.kill()
				r.start("host-1")
				r.engine.Headless()
				r.sleep(2 * time.Second)
				r.host.Fault(failing("Messages", c.hiccups))
				for _, message := range []string{"msg_a2", "msg_a3", "msg_a4"} {
					r.turnEnds(message)
					last := r.wakes()[len(r.wakes())-1]
					if again := r.hold(last.ID); slices.ContainsFunc(again, func(text string) bool { return strings.Contains(text, string(ids[0])) }) {
						t.Errorf("the model is told again: %q", again)
					}
				}
				for _, id := range ids {
					told := 0
					for _, w := range r.wakes() {
						told += strings.Count(w.Text(), "[DONE] "+string(id))
					}
					if told != 1 || !r.get(id).Told {
						t.Errorf("%s is %s and was told %d times", id, r.get(id).State, told)
					}
				}
				r.host.Interrupt(r.main)
			})
		})
	}
}

// "No background task is left" would be the last word of the run.
func TestAnUnreadableResultIsNotTakenForNone(t *testing.T) {
	play(t, 10, held, func(t *testing.T, r *rig) {
		var broken atomic.Bool
		r.life.Store = faulty{Store: r.store, get: func(task.ID) error {
			if broken.Load() {
				return errBusy
			}
			return nil
		}}
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		id := r.launch("3 x")
		r.sleep(time.Second)
		r.turnEnds("msg_a1")
		r.sleep(4 * time.Second)
		broken.Store(true)
		time.AfterFunc(5*time.Second, func() { broken.Store(false) })
		var all string
		for n := 1; n < 5 && !r.get(id).Told; n++ {
			w := r.wakes()
			all += strings.Join(r.hold(w[len(w)-1].ID), "\n")
			time.Sleep(2 * time.Second)
			r.turnEnds("msg_b" + string(rune('0'+n)))
		}
		if strings.Contains(all, "No background task is left") {
			t.Errorf("the model was told that nothing is left: %q", all)
		}
		if !strings.Contains(all, "answer to 3 x") {
			t.Errorf("the model was not told of the result: %q", all)
		}
		r.host.Interrupt(r.main)
	})
}

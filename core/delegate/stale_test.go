package delegate

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// slowAnswers is an OpenCode whose answers about messages take a while on their
// way: they say how things were when it was asked.
type slowAnswers struct {
	*fake.OpenCode
	of *atomic.Pointer[string] // the session, nil for none
}

func (s slowAnswers) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	messages, err := s.OpenCode.Messages(ctx, d, id, n)
	if of := s.of.Load(); of != nil && *of == id && n != recent && !ourLast(messages) {
		time.Sleep(2 * time.Second)
	}
	return messages, err
}

// ourLast reports whether a message of ours is among the last two.
func ourLast(messages []host.Message) bool {
	return slices.ContainsFunc(messages[max(0, len(messages)-2):], synthetic)
}

// What was read before the session got another message is not its last word.
func TestAnAnswerThatIsOldNewsIsNotTheResult(t *testing.T) {
	for name, c := range map[string]struct {
		prompts []string
		more    func(*rig, task.ID)
		want    string
	}{
		"told of its own task": {[]string{"5 one"}, func(*rig, task.ID) {}, "ended"},
		"sent a message": {nil, func(r *rig, id task.ID) {
			if _, err := r.engine.Send(r.Context(), id, "20 more"); err != nil {
				r.Fatal(err)
			}
		}, "answer to 20 more"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 2, nil, func(t *testing.T, r *rig) {
				s := slowAnswers{r.host, new(atomic.Pointer[string])}
				r.through(s)
				r.delegates(c.prompts...)
				answer := r.host.Answer
				r.host.Answer = func(p host.Prompt, s host.Session) fake.Reply {
					reply := answer(p, s)
					if s.Parent == r.main && reply.After == 0 {
						reply.After = 3 * time.Second
					}
					return reply
				}
				id := r.outer()
				r.sleep(time.Second)
				session := r.get(id).Session
				if len(c.prompts) > 0 {
					r.sleep(3 * time.Second)
				}
				s.of.Store(&session)
				if len(c.prompts) == 0 {
					time.Sleep(2500 * time.Millisecond) // its first answer is there, and on its way to us
				}
				c.more(r, id)
				r.want(r.wait(id), task.Completed, c.want)
			})
		})
	}
}

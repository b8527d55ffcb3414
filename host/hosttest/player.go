package hosttest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errClosed is returned by a step that the model's Close has cut short.
var errClosed = errors.New("the scripted model was closed")

// player plays one step of a script.
type player struct {
	model   *Model
	answer  *answer
	attempt int // how many requests for this step came before
}

// play returns how the answer ended. An error means that nobody reads it.
func (p player) play(ctx context.Context, s step) (string, error) {
	for _, m := range s.moves {
		if m.fail != nil {
			if m.fail.model != "" && m.fail.model != p.answer.req.Model {
				continue
			}
			if m.fail.times == 0 || p.attempt < m.fail.times {
				return p.fail(*m.fail)
			}
			p.attempt -= m.fail.times
			continue
		}
		outcome, err := p.move(ctx, m)
		if outcome != "" || err != nil {
			return outcome, err
		}
	}
	switch e := s.end; {
	case e.fail != nil:
		return p.fail(*e.fail)
	case e.hang:
		if err := p.answer.begin(); err != nil {
			return "", err
		}
		return "", p.until(ctx, nil)
	default:
		calls := make([]call, len(e.calls))
		for i, c := range e.calls {
			args, err := resolveArgs(c.args, p.answer.req.Messages)
			if err != nil {
				return refuse(p.answer, err)
			}
			calls[i] = call{tool: c.tool, args: args}
		}
		return e.finish, p.answer.finish(e.finish, calls)
	}
}

// move plays one move. An outcome means that it ended the answer.
func (p player) move(ctx context.Context, m move) (string, error) {
	switch {
	case m.usage != nil:
		p.answer.usage = *m.usage
	case m.gate != "":
		return "", p.until(ctx, p.model.gate(m.gate))
	case m.wait > 0:
		return "", p.sleep(ctx, m.wait)
	case m.chunks > 0:
		for i := range m.chunks {
			if err := p.answer.say(fmt.Sprintf("%d ", i+1)); err != nil {
				return "", err
			}
			if err := p.sleep(ctx, m.over/time.Duration(m.chunks)); err != nil {
				return "", err
			}
		}
	default:
		text, err := resolve(m.text, p.answer.req.Messages)
		if err != nil {
			return refuse(p.answer, err)
		}
		return "", p.answer.say(text)
	}
	return "", nil
}

func (p player) fail(f failure) (string, error) {
	return fmt.Sprintf("fail %d", f.status), p.answer.fail(f)
}

func (p player) sleep(ctx context.Context, d time.Duration) error {
	elapsed := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(elapsed) })
	defer timer.Stop()
	return p.until(ctx, elapsed)
}

// until blocks until ready is closed (a nil channel never is), the client has
// gone or the model is closed.
func (p player) until(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-p.model.closing:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

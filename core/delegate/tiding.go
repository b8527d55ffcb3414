package delegate

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// tiding is what a session is told once: how a task of its ended, or news.
type tiding interface {
	// name is its id, which a message that tells it contains.
	name() string
	// wake is the id of the message that may have told it, empty if none can.
	wake() string
	// mark stores under which message it is told. With an error that message must
	// not be sent; it is errMoved if another process tells it.
	mark(ctx context.Context, e *Engine, wake string) error
	// settle takes it out of the outbox and stores that the session knows it.
	settle(ctx context.Context, e *Engine) error
}

var errMoved = errors.New("another process tells it just now")

// ended is a task that has ended.
type ended struct{ task.Task }

func (t ended) name() string { return string(t.ID) }
func (t ended) wake() string { return t.WakeID }

func (t ended) mark(ctx context.Context, e *Engine, wake string) error {
	marked, err := e.store.Update(ctx, t.ID, t.Fence(), func(now *task.Task) {
		if now.WakeID == t.WakeID { // else another process tells it just now
			now.WakeID = wake
		}
	})
	if err == nil && marked.WakeID != wake {
		err = errMoved
	}
	return err
}

func (t ended) settle(ctx context.Context, e *Engine) error {
	_, err := e.tellOf(ctx, t.Task)
	return err
}

// untold loads what of an outbox the parent does not know yet.
func (e *Engine) untold(ctx context.Context, p *parent, dues []due) []tiding {
	var tidings []tiding
	for _, d := range dues {
		if d.news != nil {
			tidings = append(tidings, d.news)
			continue
		}
		t, err := e.store.Get(ctx, task.ID(d.id))
		if err != nil && !errors.Is(err, task.ErrNotFound) {
			e.log.Error().Err(err).Str("task", d.id).Msg("ended task not readable")
			continue
		}
		if err != nil || t.Told || !t.State.Terminal() { // forgotten, read, or resumed meanwhile
			e.mu.Lock()
			p.remove(d.id)
			e.mu.Unlock()
			continue
		}
		tidings = append(tidings, ended{t})
	}
	return tidings
}

// mark stores under which message tidings are told, all at once, so that the
// store can commit them together. False means that the message must not be sent.
func (e *Engine) mark(ctx context.Context, tidings []tiding, wake string) bool {
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, t := range tidings {
		if t.wake() == wake {
			continue
		}
		all.Go(func() {
			err := t.mark(ctx, e, wake)
			if err != nil {
				failed.Store(true)
			}
			if err != nil && !errors.Is(err, errMoved) {
				e.log.Error().Err(err).Str("of", t.name()).Msg("wake not stored, so not sent")
			}
		})
	}
	all.Wait()
	return !failed.Load()
}

// settle notes that the parent knows tidings, all at once.
func (e *Engine) settle(ctx context.Context, tidings []tiding) {
	var all sync.WaitGroup
	for _, t := range tidings {
		all.Go(func() {
			if err := t.settle(ctx, e); err != nil {
				e.log.Error().Err(err).Str("of", t.name()).Msg("delivery not stored")
			}
		})
	}
	all.Wait()
}

// wording is the message that tells tidings: of all tasks together, then news one by
// one.
func wording(tidings []tiding) string {
	var tasks []task.Task
	var all []*news
	for _, t := range tidings {
		switch t := t.(type) {
		case ended:
			tasks = append(tasks, t.Task)
		case *news:
			all = append(all, t)
		}
	}
	var parts []string
	size := 0
	if len(tasks) > 0 {
		parts = append(parts, digest(tasks))
		size = len(parts[0])
	}
	for _, n := range all {
		text := n.Text
		if size > digestAll {
			text = n.brief()
		}
		parts = append(parts, text)
		size += len(text)
	}
	return strings.Join(parts, "\n\n")
}

package delegate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// toastDelay is how long a toast waits for others: a person can read one.
const toastDelay = time.Second

// notice is what the next toast in a directory says. The engine's mu guards it.
type notice struct {
	ended map[task.State]int
	last  task.Task // the newest that ended
	asks  []string
}

// noticeLocked returns the notice of a directory, and has it shown a moment later.
func (e *Engine) noticeLocked(directory string) *notice {
	n := e.notices[directory]
	if n == nil {
		n = &notice{ended: map[task.State]int{}}
		e.notices[directory] = n
		time.AfterFunc(toastDelay, func() { // ends with the process at the latest
			e.mu.Lock()
			e.noted = append(e.noted, directory)
			e.mu.Unlock()
			poke(e.signal)
		})
	}
	return n
}

// noteLocked tells people that a task has ended, warnLocked that one waits for them.
func (e *Engine) noteLocked(r *run, t task.Task) {
	if !e.configLocked(r.directory).Toasts {
		return
	}
	n := e.noticeLocked(r.directory)
	n.ended[t.State]++
	n.last = t
}

func (e *Engine) warnLocked(r *run, q host.Question) {
	if !e.configLocked(r.directory).Toasts {
		return
	}
	n := e.noticeLocked(r.directory)
	n.asks = append(n.asks, fmt.Sprintf("%s (%s) asks for permission: %s", r.id, r.agent, clip(q.String(), 120)))
}

// toast shows what has been noted in a directory.
func (e *Engine) toast(ctx context.Context, directory string) {
	e.mu.Lock()
	n := e.notices[directory]
	delete(e.notices, directory)
	running, waiting := 0, 0
	for _, r := range e.runs {
		switch {
		case r.directory != directory:
		case r.session != "":
			running++
		default:
			waiting++
		}
	}
	closed := e.places[directory].closed || e.stopped
	e.mu.Unlock()
	if n == nil || closed {
		return
	}
	note := host.Toast{Title: "Background tasks", Variant: "success", Duration: 5 * time.Second, Message: n.text(running, waiting)}
	if n.ended[task.Completed] < n.count() || len(n.asks) > 0 {
		note.Variant = "warning"
	}
	_ = e.host.Toast(ctx, directory, note) // a courtesy
}

func (n *notice) count() (all int) {
	for _, ended := range n.ended {
		all += ended
	}
	return all
}

func (n *notice) text(running, waiting int) string {
	var parts []string
	if n.count() == 1 {
		parts = append(parts, fmt.Sprintf("%s: %s", n.last.Description, n.last.State))
	} else {
		for _, state := range task.States() {
			if ended := n.ended[state]; ended > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", ended, state))
			}
		}
	}
	if n.count() > 0 && running > 0 {
		parts = append(parts, fmt.Sprintf("%d running", running))
	}
	if n.count() > 0 && waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", waiting))
	}
	text := strings.Join(parts, ", ")
	if len(n.asks) > 0 {
		text = strings.TrimPrefix(text+"\n"+strings.Join(n.asks, "\n"), "\n")
	}
	return text
}

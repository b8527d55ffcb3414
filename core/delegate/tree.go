package delegate

import (
	"context"
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A tree is all tasks below one session that a person opened. The engine's mu
// guards it; it is forgotten when none of its tasks is open.
type tree struct {
	open int
	used task.Usage // by all of its tasks, ended ones included
}

// join counts a task against its tree, if the tree has room and money left.
func (e *Engine) join(ctx context.Context, root string, settings Settings) error {
	e.mu.Lock()
	_, known := e.trees[root]
	e.mu.Unlock()
	var used task.Usage
	if !known {
		page, err := e.store.List(ctx, task.Query{Root: root})
		if err != nil {
			return fmt.Errorf("what this session has used could not be read: %w", err)
		}
		used = page.Usage
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	tr := e.trees[root]
	if tr == nil {
		tr = &tree{used: used}
	}
	if tr.open >= settings.MaxTree {
		return fmt.Errorf("%w: %d tasks are open below this session, the most that maxTasksPerTree allows; wait for some to end or cancel them", ErrRefused, tr.open)
	}
	if why := settings.Tree.exceeded(tr.used); why != "" {
		return fmt.Errorf("%w: the tasks of this session have used %s; no more are started", ErrRefused, why)
	}
	tr.open++
	e.trees[root] = tr
	return nil
}

// leaveLocked takes a task off its tree.
func (e *Engine) leaveLocked(root string) {
	if tr := e.trees[root]; tr != nil {
		if tr.open--; tr.open == 0 {
			delete(e.trees, root)
		}
	}
}

// exceeded says which part of the budget is used up, "" if none is.
func (b Budget) exceeded(u task.Usage) string {
	switch {
	case b.Tokens > 0 && u.Tokens() >= b.Tokens:
		return fmt.Sprintf("%d tokens, their budget is %d", u.Tokens(), b.Tokens)
	case b.Cost > 0 && u.Cost >= b.Cost:
		return fmt.Sprintf("$%.4g, their budget is $%.4g", u.Cost, b.Cost)
	}
	return ""
}

// spendLocked takes note of what a message of a run's session has used so far,
// and condemns the runs whose budget that exceeds.
func (e *Engine) spendLocked(r *run, message string, u host.Usage) {
	if u == (host.Usage{}) {
		return
	}
	now, was := task.Usage(u), r.used[message]
	if now == was {
		return
	}
	if r.used == nil {
		r.used = map[string]task.Usage{}
	}
	r.used[message] = now
	r.total = r.total.Plus(now).Plus(was.Negative())
	settings := e.configLocked(r.directory)
	if why := settings.Task.exceeded(r.before.Plus(r.total)); why != "" {
		e.ending = append(e.ending, doomed{r, &ending{state: task.Failed, reason: "it was stopped: it has used " + why}})
		poke(e.signal)
	}
	tr := e.trees[r.root]
	if tr == nil {
		return
	}
	tr.used = tr.used.Plus(now).Plus(was.Negative())
	if why := settings.Tree.exceeded(tr.used); why != "" {
		for _, other := range e.runs {
			if other.root == r.root {
				e.ending = append(e.ending, doomed{other, &ending{state: task.Failed, reason: "it was stopped: the tasks of its main session have used " + why}})
			}
		}
		poke(e.signal)
	}
}

// account takes note of what all messages of an attempt have used, which events
// may have told already.
func (e *Engine) account(r *run, messages []host.Message, messageID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ours := false
	for _, m := range messages {
		ours = ours || m.ID == messageID
		if ours && m.Role == host.Assistant {
			e.spendLocked(r, m.ID, m.Usage)
		}
	}
}

// calledLocked takes note of a tool call in a message and condemns a run that
// makes too many of them, or the same again and again.
func (e *Engine) calledLocked(r *run, message string, call host.ToolCall) {
	id := message + " " + call.ID // providers may count their calls anew in each step
	if call.Status == "pending" || r.seen[id] {
		return
	}
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	r.seen[id] = true
	if made := call.Tool + " " + call.Input; made == r.call {
		r.repeats++
	} else {
		r.call, r.repeats = made, 1
	}
	settings, reason := e.configLocked(r.directory), ""
	switch {
	case settings.Repeats > 0 && r.repeats >= settings.Repeats:
		reason = fmt.Sprintf("it was stopped: it made the same call %d times in a row (%s)", r.repeats, clip(r.call, 200))
	case settings.Calls > 0 && len(r.seen) >= settings.Calls:
		reason = fmt.Sprintf("it was stopped: it made %d tool calls, and maxToolCalls is %d", len(r.seen), settings.Calls)
	}
	if reason != "" {
		e.ending = append(e.ending, doomed{r, &ending{state: task.Failed, reason: reason}})
		poke(e.signal)
	}
}

package task

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// The errors that a Store wraps.
var (
	ErrNotFound = errors.New("no such task")
	ErrExists   = errors.New("a task with this id exists")
	ErrStale    = errors.New("the task has moved on")
)

// Store keeps tasks. It is safe for concurrent use; every backend passes
// core/task/storetest. Tasks go in and out by value.
type Store interface {
	// Create stores a new task; ErrExists if the id is taken. When it returns,
	// the task is as durable as the backend can make it.
	Create(ctx context.Context, t Task) error
	// Get returns a task, or ErrNotFound.
	Get(ctx context.Context, id ID) (Task, error)
	// Update applies change to the task if it still stands at the fence, and
	// returns the task as stored. Otherwise it changes nothing and returns the
	// task as it stands with ErrStale. change may run more than once and must
	// not call the store. A state change that the machine does not allow is a
	// *TransitionError.
	Update(ctx context.Context, id ID, at Fence, change func(*Task)) (Task, error)
	// List returns the newest tasks that match and the totals of all that match.
	// Prompts and results are read only when asked for: they are most of a task.
	List(ctx context.Context, q Query) (Page, error)
	// Close releases the backend. Later calls fail.
	Close() error
}

// Query filters a list. Zero fields filter nothing.
type Query struct {
	Worktree string
	Parent   string
	Session  string // the child session
	Group    string
	Root     string // the session at the top
	Owner    string
	States   []State // any of these
	Untold   bool    // only tasks whose parent does not have the outcome
	Stop     bool    // only tasks that somebody outside of the owner wants to end
	Limit    int     // tasks returned; 0 means none, only totals
	Texts    bool    // return Prompt, Result and Past too; they are left empty without
}

// Matches reports whether t passes the filter.
func (q Query) Matches(t *Task) bool {
	return (q.Worktree == "" || q.Worktree == t.Worktree) &&
		(q.Parent == "" || q.Parent == t.Parent) &&
		(q.Session == "" || q.Session == t.Session) &&
		(q.Group == "" || q.Group == t.Group) &&
		(q.Root == "" || q.Root == t.Root) &&
		(q.Owner == "" || q.Owner == t.Owner) &&
		(!q.Stop || t.Stop != "") &&
		(!q.Untold || !t.Told) &&
		(len(q.States) == 0 || slices.Contains(q.States, t.State))
}

// Page is the answer to a List.
type Page struct {
	Tasks  []Task // newest first, by the order of Create
	Totals map[State]int
	// Usage is the sum over all that match; only a query with a Root has it.
	Usage Usage
}

// follows reports whether next begins an attempt after t's in a lawful way: it is
// pending, and Past tells how t's ended, which it may have done just now (a
// failure that is tried again is never seen as the end of the task).
func (t *Task) follows(next *Task) bool {
	if next.Attempt != t.Attempt+1 || next.State != Pending || len(next.Past) != len(t.Past)+1 {
		return false
	}
	last := next.Past[len(t.Past)].State
	return last.Terminal() && (t.State == last || !t.State.Terminal() && t.State.CanBecome(last))
}

// Apply runs change on a copy of t and checks what no change may do: alter the
// identity, or take a way that the state machine does not have. Backends call
// it inside their transaction.
func Apply(t Task, change func(*Task)) (Task, error) {
	next := t
	change(&next)
	if next.ID != t.ID || !next.Created.Equal(t.Created) {
		return t, fmt.Errorf("task %s: an update must not change its identity", t.ID)
	}
	if next.Attempt == t.Attempt && next.State != t.State && !t.State.CanBecome(next.State) {
		return t, &TransitionError{t.ID, t.State, next.State}
	}
	if next.Attempt != t.Attempt && !t.follows(&next) {
		return t, &TransitionError{t.ID, t.State, next.State}
	}
	return next, nil
}

// Package task is the domain of delegated work: what a task is, which states it
// goes through, and the Store that keeps it. Running tasks is core/delegate's job.
package task

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// ID names a task: `task_` and 8 hex digits.
type ID string

// NewID returns a random id. Ids are short for the models' sake; a Store
// refuses one that it holds already.
func NewID() ID {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return ID("task_" + hex.EncodeToString(b[:]))
}

// State is where an attempt stands.
type State string

// The states. A terminal state is final for its attempt.
const (
	Pending     State = "pending"     // waits for a slot
	Running     State = "running"     // holds a slot
	Completed   State = "completed"   // a finished answer to this attempt's prompt was seen
	Failed      State = "error"       // the turn failed, or ended without an answer
	Timeout     State = "timeout"     // a deadline passed and the session was stopped
	Cancelled   State = "cancelled"   // somebody stopped it
	Interrupted State = "interrupted" // its process or workspace went away, or its fate stayed unknown
)

// States lists all states in the order in which they are shown.
func States() []State {
	return []State{Pending, Running, Completed, Failed, Timeout, Cancelled, Interrupted}
}

// Terminal reports whether s is an end state.
func (s State) Terminal() bool { return s != Pending && s != Running }

// CanBecome reports whether an attempt may go from s to next.
func (s State) CanBecome(next State) bool {
	switch s {
	case Pending:
		return next == Running || next.Terminal() && next != Completed
	case Running:
		return next.Terminal()
	}
	return false
}

// Task is one delegated piece of work.
type Task struct {
	ID        ID
	Directory string // the workspace's directory, for calls to the host
	Worktree  string // the canonical worktree: tasks of other worktrees are not listed
	Owner     string // the OpenCode process that runs it; only the owner judges a task
	Parent    string // the session that asked for it
	Session   string // the child session, "" until it was created
	Agent     string
	Model     host.Model
	// Description is the short name that people see, Prompt what the agent reads.
	Description string
	Prompt      string
	Group       string
	Background  bool
	Depth       int // 1 for a child of a session that a person opened

	// Attempt counts from 1. MessageID is the prompt of this attempt; it is
	// stored before it is sent, so that it is never sent twice.
	Attempt   int
	MessageID string

	State State
	// Uncertain marks a running task of which OpenCode shows neither work nor an answer.
	Uncertain bool
	Result    string // the answer, or of a task that did not complete what it had written
	Error     string // one sentence for people, "" if it completed

	Created time.Time
	Started time.Time
	Ended   time.Time

	// Told is set once the parent has the outcome. WakeID is the message that
	// carries it, stored before it is sent.
	Told   bool
	WakeID string
}

// Fence says where the caller believes a task to stand. An update whose fence
// does not match changes nothing: a late event of an older attempt is harmless.
type Fence struct {
	Attempt int
	State   State
}

// Fence returns where t stands.
func (t Task) Fence() Fence { return Fence{t.Attempt, t.State} }

// TransitionError is a change that the state machine does not allow.
type TransitionError struct {
	ID       ID
	From, To State
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("task %s cannot go from %s to %s", e.ID, e.From, e.To)
}

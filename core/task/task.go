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
	Root        string // the session that a person opened, at the top of Parent's lineage
	Depth       int    // 1 for a child of Root
	Mode        Mode
	Priority    Priority
	Wake        Wake

	// Attempt counts from 1. MessageID is the prompt of this attempt; it is
	// stored before it is sent, so that it is never sent twice. Past holds the
	// attempts before it, oldest first.
	Attempt   int
	MessageID string
	Past      []Attempt `json:",omitempty"`
	// Retries is how many of them were tries of our own since somebody last asked
	// for the task, NotBefore the earliest start of a pending one.
	Retries   int
	NotBefore time.Time

	State State
	// Uncertain marks a running task of which OpenCode shows neither work nor an answer.
	Uncertain bool
	Result    string // the answer, or of a task that did not complete what it had written
	Error     string // one sentence for people, "" if it completed
	Note      string // what else its parent should know
	// Review is the id of the task that checks what this one did, chosen when it
	// ended; "" for none.
	Review ID `json:",omitempty"`

	// Usage is what all attempts together have used.
	Usage Usage
	// Stop is why somebody outside of the owner's process wants it to end, ""
	// while nobody does: the owner reads it and cancels the task.
	Stop string

	Created time.Time
	Started time.Time
	Ended   time.Time

	// Told is set once the parent has the outcome. WakeID is the message that
	// carries it, stored before it is sent.
	Told   bool
	WakeID string
}

// Attempt is an attempt that has ended and was followed by another.
type Attempt struct {
	MessageID      string
	Model          host.Model
	State          State
	Result         string
	Error          string
	Started, Ended time.Time
}

// Over returns t's present attempt, ended in the given way, as a past one.
// The caller appends it to Past of the next one.
func (t Task) Over(state State, result, reason string, ended time.Time) Attempt {
	return Attempt{MessageID: t.MessageID, Model: t.Model, State: state, Result: result, Error: reason, Started: t.Started, Ended: ended}
}

// Usage is what the model calls of a task have used. Tokens are the provider's
// count as OpenCode reports it, Cost is in US dollars.
type Usage struct {
	Input, Output, Reasoning, CacheRead, CacheWrite int64
	Cost                                            float64
}

// Tokens is the sum of all kinds.
func (u Usage) Tokens() int64 {
	return u.Input + u.Output + u.Reasoning + u.CacheRead + u.CacheWrite
}

// Plus returns the sum of two usages.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		u.Input + v.Input, u.Output + v.Output, u.Reasoning + v.Reasoning,
		u.CacheRead + v.CacheRead, u.CacheWrite + v.CacheWrite, u.Cost + v.Cost,
	}
}

// Mode is how a task runs. The zero value is Normal.
type Mode string

// The modes.
const (
	Normal  Mode = ""
	Race    Mode = "race"    // the first of its group that completes ends the others
	Fractal Mode = "fractal" // its agent may delegate further
)

// Priority orders tasks that wait for a slot. The zero value is normal.
type Priority string

// The priorities.
const (
	High           Priority = "high"
	NormalPriority Priority = ""
	Low            Priority = "low"
)

// Wake is when the parent is told. The zero value is WakeEach.
type Wake string

// The policies of waking.
const (
	WakeEach Wake = ""     // when the task has ended, with those that end about then
	WakeAll  Wake = "all"  // when all tasks of its group (or, without one, of its parent) have
	WakeNone Wake = "none" // never: it can be read with get_task_result
)

// Negative is what Plus takes away.
func (u Usage) Negative() Usage {
	return Usage{-u.Input, -u.Output, -u.Reasoning, -u.CacheRead, -u.CacheWrite, -u.Cost}
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

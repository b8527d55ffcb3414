// Package host holds OpenCode as values: sessions, messages, agents, events.
// It knows what OpenCode says, not how to ask: the calls are in host/client,
// behind small interfaces that the core packages declare themselves.
package host

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// NewSession describes a session to create.
type NewSession struct {
	Parent     string
	Title      string
	Agent      string
	Metadata   map[string]string
	Permission []Rule
}

// Session is a session of OpenCode.
type Session struct {
	ID         string
	Parent     string // "" for a session that a person opened
	Title      string
	Agent      string
	Permission []Rule
	Metadata   map[string]string
}

// Rule is one rule of OpenCode's permission system; later rules win.
type Rule struct {
	Permission string
	Pattern    string
	Action     string // allow | ask | deny
}

// Model names a model of a provider. The zero value means "OpenCode decides".
type Model struct {
	Provider string
	ID       string
	Variant  string
}

// String returns provider/model, or "" for the zero value.
func (m Model) String() string {
	if m.ID == "" {
		return ""
	}
	return m.Provider + "/" + m.ID
}

// Prompt is a user message of ours. OpenCode starts no second turn for a
// message id that it knows, but appends the text to that message: so never send
// one again without having looked it up (opencode-facts 9.1).
type Prompt struct {
	Session   string
	MessageID string
	Agent     string
	Model     Model
	Text      string
	// NoReply stores the message without starting a turn.
	NoReply bool
	// Synthetic marks text that no person typed.
	Synthetic bool
}

// Agent is an agent that OpenCode knows.
type Agent struct {
	Name        string
	Description string
	Mode        string // primary | subagent | all
	Hidden      bool
	Model       Model
	Permission  []Rule // later rules win
}

// Toast is a short notice in the TUI.
type Toast struct {
	Title    string
	Message  string
	Variant  string // info | success | warning | error
	Duration time.Duration
}

// Ask is a question to OpenCode's permission rules, on behalf of a tool call.
// Where the rules say "ask", OpenCode puts it to the user.
type Ask struct {
	Permission string         // edit, bash, external_directory, ...
	Patterns   []string       // what the call is about to touch, each judged by itself
	Always     []string       // what the user allows by answering "always"
	Metadata   map[string]any // for the dialog: of edit, filepath and diff
}

// Status is what a session that is not idle does.
type Status struct {
	Type    string // busy | retry
	Message string
	Attempt int
}

// Role tells who wrote a message.
type Role string

// The roles of messages.
const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one message of a session. A turn of several steps has one
// assistant message per step, all with the same Parent.
type Message struct {
	ID        string
	Session   string
	Role      Role
	Parent    string // assistant: the user message that it answers
	Agent     string
	Model     Model
	Finish    string // assistant, when finished: stop | tool-calls | length | content-filter | error | other | unknown
	Summary   bool   // assistant: the summary of a compaction
	Error     *MessageError
	Created   time.Time
	Completed time.Time // zero while it is being written
	Usage     Usage     // assistant: so far
	Parts     []Part
}

// Usage is what a message of an assistant has used: tokens as its provider
// counts them, and US dollars.
type Usage struct {
	Input, Output, Reasoning, CacheRead, CacheWrite int64
	Cost                                            float64
}

// Text joins the text parts that belong to the answer (or prompt) itself.
func (m Message) Text() string {
	var s string
	for _, p := range m.Parts {
		if p.Type != "text" || p.Text == "" {
			continue
		}
		if s != "" {
			s += "\n"
		}
		s += p.Text
	}
	return s
}

// Part is one part of a message.
type Part struct {
	Type      string // text | tool | compaction | step-finish | ...
	Text      string
	Synthetic bool
	Tool      string
	Call      string // tool: the id of the call
	Status    string // tool: pending | running | completed | error
}

// MessageError is how OpenCode says that a turn failed.
type MessageError struct {
	Name    string
	Message string
	Status  int // HTTP status of the provider, 0 if there was none
	// Retryable is OpenCode's own judgement of a provider's error, RetryAfter what
	// the provider asked for, 0 if it did not.
	Retryable  bool
	RetryAfter time.Duration
}

// Aborted reports whether somebody stopped the turn.
func (e *MessageError) Aborted() bool { return e != nil && e.Name == "MessageAbortedError" }

// Error says what failed in one line.
func (e *MessageError) Error() string {
	switch {
	case e.Message == "":
		return e.Name
	case e.Status != 0:
		return fmt.Sprintf("%s (HTTP %d)", e.Message, e.Status)
	}
	return e.Message
}

// CallError is a call to OpenCode that OpenCode refused or that failed on the
// way. Every error of host/client's calls wraps one, or a context's error.
type CallError struct {
	Call    string // such as session.create
	Status  int    // HTTP status, 0 if none came back
	Name    string // OpenCode's own name of the error
	Message string
}

func (e *CallError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("OpenCode refused %s: %s (HTTP %d)", e.Call, e.Message, e.Status)
	}
	return fmt.Sprintf("OpenCode did not carry out %s: %s", e.Call, e.Message)
}

// ErrWorkspaceClosed is wrapped by calls for a directory that OpenCode has closed.
var ErrWorkspaceClosed = errors.New("the workspace is closed")

// NotFound reports whether err says that the session or message does not exist.
func NotFound(err error) bool {
	e, ok := errors.AsType[*CallError](err)
	return ok && (e.Status == http.StatusNotFound || e.Name == "NotFoundError")
}

// NotAllowed reports whether err says that the permission rules, or the user
// whom they had asked, do not allow what an Ask was about.
func NotAllowed(err error) bool {
	e, ok := errors.AsType[*CallError](err)
	if !ok {
		return false
	}
	switch e.Name {
	case "PermissionDeniedError", "PermissionRejectedError", "PermissionCorrectedError":
		return true
	}
	return false
}

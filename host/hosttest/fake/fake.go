// Package fake is an OpenCode in memory, for tests of speed and of faults. It
// behaves like the real one where it matters to the engine (opencode-facts, and
// the end-to-end tests hold it to that): prompts are answered step by step under
// their message id, a message that comes meanwhile joins at the next step, a known
// message id starts no second turn, status lists only busy sessions, events are
// hints that a test may drop or double. It outlives the engines that use it.
package fake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Reply is how the model answers one prompt.
type Reply struct {
	After  time.Duration
	Text   string
	Finish string // stop if empty
	Error  *host.MessageError
	// Silent ends the turn without any assistant message.
	Silent bool
	// Hang never answers: only an abort ends the turn. If there are calls, it is
	// the last one that never ends.
	Hang bool
	// Calls are made before the answer, one after the other, each in a step of its
	// own. Their Files are told when they have completed.
	Calls []host.ToolCall
	// ToolFor is how long each of the calls runs; without Calls, one of bash does.
	ToolFor time.Duration
	// Lingers is how long the session stays busy when all is said. A prompt that
	// comes then is stored and gets no turn; the real one does so after an error.
	Lingers time.Duration
	// Usage is what each step that finishes reports.
	Usage host.Usage
}

// OpenCode is the fake. Set the exported fields before it is used.
type OpenCode struct {
	// Answer scripts the model; it may block no longer than a moment.
	Answer func(p host.Prompt, s host.Session) Reply
	// Emit takes events; nil drops them all. Filter may drop or double them: it
	// returns how often the event is delivered.
	Emit   func(directory string, e host.Event)
	Filter func(e host.Event) int
	// IgnoreAbort makes sessions go on after an abort.
	IgnoreAbort bool
	// Known lists the agents.
	Known []host.Agent

	mu        sync.Mutex
	sessions  map[string]*session
	busy      map[string]*session
	turning   map[string]*session // those with a turn, also deleted ones
	calls     map[string]int
	inFlight  int
	highest   int
	next      int
	toasts    []host.Toast
	questions map[string][]host.Question // by session
	fault     func(ctx context.Context, call string) error
	owner     map[string]string // message id → session
	wg        sync.WaitGroup
}

type session struct {
	host.Session
	directory string
	messages  []host.Message
	busy      bool
	queue     []host.Prompt
	abort     chan struct{}
}

// New returns a fake with the agents general and explore.
func New(answer func(host.Prompt, host.Session) Reply) *OpenCode {
	return &OpenCode{
		Answer:   answer,
		Known:    []host.Agent{{Name: "general", Mode: "subagent"}, {Name: "explore", Mode: "subagent"}, {Name: "title", Mode: "primary", Hidden: true}},
		sessions: map[string]*session{}, busy: map[string]*session{}, turning: map[string]*session{}, calls: map[string]int{}, owner: map[string]string{}, questions: map[string][]host.Question{},
	}
}

// Fault sets what is asked before each call, by its method name: an error fails
// the call. It may block on ctx to play a host that hangs; nil ends it.
func (o *OpenCode) Fault(fault func(ctx context.Context, call string) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = fault
}

// Open creates a session that a person opened, with one user message that names
// an agent and a model, and returns its id.
func (o *OpenCode) Open(directory string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.add(directory, host.NewSession{Title: "main"})
	s.messages = append(s.messages, host.Message{
		ID: fmt.Sprintf("msg_user_%s", s.ID), Session: s.ID, Role: host.User, Agent: "build",
		Model: host.Model{Provider: "p", ID: "big", Variant: "high"}, Created: time.Now(),
		Parts: []host.Part{{Type: "text", Text: "hello"}},
	})
	return s.ID
}

func (o *OpenCode) add(directory string, n host.NewSession) *session {
	o.next++
	s := &session{
		Session:   host.Session{ID: fmt.Sprintf("ses_%d", o.next), Parent: n.Parent, Title: n.Title, Agent: n.Agent, Metadata: n.Metadata, Permission: n.Permission},
		directory: directory, abort: make(chan struct{}),
	}
	o.sessions[s.ID] = s
	return s
}

// Close ends all turns and waits for them.
func (o *OpenCode) Close() {
	o.mu.Lock()
	o.IgnoreAbort = false
	for _, s := range o.turning {
		o.stopLocked(s)
	}
	o.mu.Unlock()
	o.wg.Wait()
}

func (o *OpenCode) stopLocked(s *session) {
	select {
	case <-s.abort:
	default:
		close(s.abort)
	}
}

// Calls returns how often a method was called.
func (o *OpenCode) Calls(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[name]
}

// HighWater returns the most child sessions that were busy at one time.
func (o *OpenCode) HighWater() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.highest
}

// History returns the messages of a session.
func (o *OpenCode) History(id string) []host.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sessions[id].messages)
}

// Toasts returns what was shown.
func (o *OpenCode) Toasts() []host.Toast {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.toasts)
}

// SetBusy makes a session look busy, as while its user's turn runs; false ends
// that turn and emits the idle event.
func (o *OpenCode) SetBusy(id string, busy bool) {
	o.mu.Lock()
	s := o.sessions[id]
	o.busyLocked(s, busy)
	directory := s.directory
	o.mu.Unlock()
	if !busy {
		o.emit(directory, host.Event{Type: host.EventSessionIdle, Session: id})
	}
}

// Say stores a message of a person without a turn.
func (o *OpenCode) Say(id, messageID, text string) {
	o.mu.Lock()
	s := o.sessions[id]
	s.messages = append(s.messages, host.Message{ID: messageID, Session: id, Role: host.User, Agent: "plan", Created: time.Now(), Parts: []host.Part{{Type: "text", Text: text}}})
	directory := s.directory
	o.mu.Unlock()
	o.emit(directory, host.Event{Type: host.EventMessage, Session: id, MessageID: messageID, Role: host.User, Created: time.Now()})
}

// Delete removes a session and its children, as a person can; their turns go on
// unseen.
func (o *OpenCode) Delete(id string) {
	o.mu.Lock()
	s := o.sessions[id]
	delete(o.sessions, id)
	var children []string
	for child, c := range o.sessions {
		if c.Parent == id {
			children = append(children, child)
		}
	}
	o.mu.Unlock()
	slices.Sort(children)
	for _, child := range children {
		o.Delete(child)
	}
	if s != nil {
		o.emit(s.directory, host.Event{Type: host.EventSessionDeleted, Session: id})
	}
}

// Interrupt is a person's Esc in a session.
func (o *OpenCode) Interrupt(id string) {
	o.mu.Lock()
	s := o.sessions[id]
	o.mu.Unlock()
	o.emit(s.directory, host.Event{Type: host.EventSessionError, Session: id, Error: &host.MessageError{Name: "MessageAbortedError"}})
	_ = o.Abort(context.Background(), s.directory, id)
}

func (o *OpenCode) emit(directory string, e host.Event) {
	if o.Emit == nil {
		return
	}
	times := 1
	if o.Filter != nil {
		times = o.Filter(e)
	}
	for range times {
		o.Emit(directory, e)
	}
}

func (o *OpenCode) enter(ctx context.Context, call string) error {
	o.mu.Lock()
	o.calls[call]++
	fault := o.fault
	o.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, call); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (o *OpenCode) find(call, id string) (*session, error) {
	s := o.sessions[id]
	if s == nil {
		return nil, &host.CallError{Call: call, Status: 404, Name: "NotFoundError", Message: "Session not found: " + id}
	}
	return s, nil
}

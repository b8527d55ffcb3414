// Package fake is an OpenCode in memory, for tests of speed and of faults. It
// behaves like the real one where it matters to the engine (opencode-facts, and
// the end-to-end tests hold it to that): prompts are answered step by step under
// their message id, a known message id starts no second turn, status lists only
// busy sessions, events are hints that a test may drop or double.
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
	// Hang never answers: only an abort ends the turn.
	Hang bool
	// ToolFor keeps a tool call running for that long before the answer.
	ToolFor time.Duration
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

	mu       sync.Mutex
	sessions map[string]*session
	busy     map[string]*session
	turning  map[string]*session // those with a turn, also deleted ones
	calls    map[string]int
	inFlight int
	highest  int
	next     int
	toasts   []host.Toast
	fault    func(ctx context.Context, call string) error
	owner    map[string]string // message id → session
	wg       sync.WaitGroup
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
		sessions: map[string]*session{}, busy: map[string]*session{}, turning: map[string]*session{}, calls: map[string]int{}, owner: map[string]string{},
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

// Delete removes a session, as a person can; its turn goes on unseen.
func (o *OpenCode) Delete(id string) {
	o.mu.Lock()
	s := o.sessions[id]
	delete(o.sessions, id)
	o.mu.Unlock()
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

// CreateSession implements delegate.Host.
func (o *OpenCode) CreateSession(ctx context.Context, directory string, n host.NewSession) (host.Session, error) {
	if err := o.enter(ctx, "CreateSession"); err != nil {
		return host.Session{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.add(directory, n).Session, nil
}

// Session implements delegate.Host.
func (o *OpenCode) Session(ctx context.Context, directory, id string) (host.Session, error) {
	if err := o.enter(ctx, "Session"); err != nil {
		return host.Session{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s, err := o.find("session.get", id)
	if err != nil {
		return host.Session{}, err
	}
	return s.Session, nil
}

// Prompt implements delegate.Host.
func (o *OpenCode) Prompt(ctx context.Context, directory string, p host.Prompt) error {
	if err := o.enter(ctx, "Prompt"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s, err := o.find("session.promptAsync", p.Session)
	if err != nil {
		return err
	}
	if owner, known := o.owner[p.MessageID]; known {
		for i, m := range o.sessions[owner].messages {
			if m.ID == p.MessageID {
				o.sessions[owner].messages[i].Parts = append(m.Parts, host.Part{Type: "text", Text: p.Text, Synthetic: p.Synthetic})
			}
		}
		return nil
	}
	o.owner[p.MessageID] = s.ID
	s.messages = append(s.messages, host.Message{
		ID: p.MessageID, Session: s.ID, Role: host.User, Agent: p.Agent, Model: p.Model, Created: time.Now(),
		Parts: []host.Part{{Type: "text", Text: p.Text, Synthetic: p.Synthetic}},
	})
	if p.NoReply {
		return nil
	}
	s.queue = append(s.queue, p)
	if !s.busy {
		o.busyLocked(s, true)
		if s.Parent != "" {
			o.inFlight++
			o.highest = max(o.highest, o.inFlight)
		}
		s.abort = make(chan struct{})
		o.turning[s.ID] = s
		o.wg.Go(func() { o.turn(s) })
	}
	return nil
}

// turn plays a session's queue until it is empty or aborted.
func (o *OpenCode) turn(s *session) {
	for {
		o.mu.Lock()
		if len(s.queue) == 0 {
			o.idleLocked(s)
			o.mu.Unlock()
			o.emit(s.directory, host.Event{Type: host.EventSessionIdle, Session: s.ID})
			return
		}
		p := s.queue[len(s.queue)-1] // the newest is answered, for all
		s.queue = nil
		abort := s.abort
		o.mu.Unlock()
		if !o.step(s, p, abort) {
			return
		}
	}
}

func (o *OpenCode) busyLocked(s *session, busy bool) {
	if s.busy = busy; busy {
		o.busy[s.ID] = s
	} else {
		delete(o.busy, s.ID)
	}
}

func (o *OpenCode) idleLocked(s *session) {
	o.busyLocked(s, false)
	delete(o.turning, s.ID)
	if s.Parent != "" {
		o.inFlight--
	}
}

// step answers one prompt; false means that the turn was aborted.
func (o *OpenCode) step(s *session, p host.Prompt, abort chan struct{}) bool {
	reply := o.Answer(p, s.Session)
	answer := host.Message{ID: "msg_answer_" + p.MessageID, Session: s.ID, Role: host.Assistant, Parent: p.MessageID, Agent: p.Agent, Model: p.Model, Created: time.Now()}
	put := func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for i, m := range s.messages {
			if m.ID == answer.ID {
				s.messages[i] = answer
				return
			}
		}
		s.messages = append(s.messages, answer)
	}
	wait := func(d time.Duration) bool {
		if d <= 0 && !reply.Hang {
			select {
			case <-abort:
				return false
			default:
				return true
			}
		}
		var timer <-chan time.Time
		if !reply.Hang {
			t := time.NewTimer(d)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-abort:
			return false
		case <-timer:
			return true
		}
	}
	alive := true
	if reply.ToolFor > 0 {
		answer.Parts = []host.Part{{Type: "tool", Tool: "bash", Status: "running"}}
		put()
		o.emit(s.directory, host.Event{Type: host.EventPart, Session: s.ID, MessageID: answer.ID, Part: "tool"})
		if alive = wait(reply.ToolFor); alive {
			answer.Parts[0].Status, answer.Finish, answer.Completed = "completed", "tool-calls", time.Now()
			put()
			answer.ID, answer.Parts, answer.Finish, answer.Completed = answer.ID+"_2", nil, "", time.Time{}
		}
	} else if !reply.Silent {
		put()
	}
	alive = alive && wait(reply.After)
	answer.Completed = time.Now()
	switch {
	case !alive:
		answer.Error = &host.MessageError{Name: "MessageAbortedError", Message: "Aborted"}
	case reply.Error != nil:
		answer.Error = reply.Error
	default:
		answer.Finish = reply.Finish
		if answer.Finish == "" {
			answer.Finish = "stop"
		}
		if reply.Text != "" {
			answer.Parts = append(answer.Parts, host.Part{Type: "text", Text: reply.Text})
		}
	}
	if !reply.Silent {
		put()
	}
	if !alive {
		o.mu.Lock()
		o.idleLocked(s)
		o.mu.Unlock()
		o.emit(s.directory, host.Event{Type: host.EventSessionError, Session: s.ID, Error: answer.Error})
		o.emit(s.directory, host.Event{Type: host.EventSessionIdle, Session: s.ID})
		o.emit(s.directory, host.Event{Type: host.EventSessionIdle, Session: s.ID})
	} else {
		if reply.Error != nil {
			o.emit(s.directory, host.Event{Type: host.EventSessionError, Session: s.ID, Error: reply.Error})
		}
		o.emit(s.directory, host.Event{Type: host.EventPart, Session: s.ID, MessageID: answer.ID, Part: "step-finish", Reason: answer.Finish})
	}
	return alive
}

// Abort implements delegate.Host.
func (o *OpenCode) Abort(ctx context.Context, directory, id string) error {
	if err := o.enter(ctx, "Abort"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s, err := o.find("session.abort", id)
	if err != nil {
		return err
	}
	if !o.IgnoreAbort {
		o.stopLocked(s)
	}
	return nil
}

// Messages implements delegate.Host.
func (o *OpenCode) Messages(ctx context.Context, directory, id string, limit int) ([]host.Message, error) {
	if err := o.enter(ctx, "Messages"); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s, err := o.find("session.messages", id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.messages[max(0, len(s.messages)-limit):]), nil
}

// Statuses implements delegate.Host.
func (o *OpenCode) Statuses(ctx context.Context, directory string) (map[string]host.Status, error) {
	if err := o.enter(ctx, "Statuses"); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]host.Status{}
	for id, s := range o.busy {
		if s.directory == directory {
			out[id] = host.Status{Type: "busy"}
		}
	}
	return out, nil
}

// Agents implements delegate.Host.
func (o *OpenCode) Agents(ctx context.Context, directory string) ([]host.Agent, error) {
	if err := o.enter(ctx, "Agents"); err != nil {
		return nil, err
	}
	return slices.Clone(o.Known), nil
}

// Toast implements delegate.Host.
func (o *OpenCode) Toast(ctx context.Context, directory string, t host.Toast) error {
	if err := o.enter(ctx, "Toast"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.toasts = append(o.toasts, t)
	return nil
}

// ReplyPermission implements delegate.Host: it emits the reply.
func (o *OpenCode) ReplyPermission(ctx context.Context, directory, session, question, response string) error {
	if err := o.enter(ctx, "ReplyPermission:"+response); err != nil {
		return err
	}
	o.emit(directory, host.Event{Type: host.EventReplied, Session: session, Question: host.Question{ID: question}})
	return nil
}

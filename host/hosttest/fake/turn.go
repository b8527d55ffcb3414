package fake

import (
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// turn plays a session's prompts until none is left or it is aborted.
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
		a := answer{o: o, s: s, prompt: p, abort: s.abort}
		o.mu.Unlock()
		if !a.play() {
			return
		}
		if a.reply.Lingers > 0 {
			a.wait(a.reply.Lingers, false)
			o.mu.Lock()
			s.queue = nil
			o.mu.Unlock()
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

// answer is what the model makes of one prompt: a step for each call, each with
// a message of its own, and one for the text.
type answer struct {
	o       *OpenCode
	s       *session
	prompt  host.Prompt
	abort   chan struct{}
	reply   Reply
	steps   int
	message host.Message // of the step that is being played
}

// play answers the prompt, or as much of it as is played before a newer message
// takes over: a step begins with all messages that are there, and answers the
// newest. False means that the turn was aborted.
func (a *answer) play() bool {
	a.reply = a.o.Answer(a.prompt, a.s.Session)
	calls := a.reply.Calls
	if len(calls) == 0 && a.reply.ToolFor > 0 {
		calls = []host.ToolCall{{Tool: "bash", Input: `{"command":"work"}`}}
	}
	for i, c := range calls {
		a.begin()
		if !a.call(c, a.reply.Hang && i == len(calls)-1) {
			return a.aborted()
		}
		a.finish("tool-calls")
		if a.overtaken() {
			return true
		}
	}
	return a.last()
}

// last plays the step that has the text.
func (a *answer) last() bool {
	r := a.reply
	if !r.Silent {
		a.begin()
	}
	if !a.wait(r.After, r.Hang) {
		return a.aborted()
	}
	reason := r.Finish
	switch {
	case r.Error != nil:
		a.message.Error, reason = r.Error, ""
	case reason == "":
		reason = "stop"
	}
	if r.Error == nil && r.Text != "" {
		a.message.Parts = []host.Part{{Type: "text", Text: r.Text}}
	}
	if !r.Silent {
		a.finish(reason)
	}
	if r.Error != nil {
		a.o.emit(a.s.directory, host.Event{Type: host.EventSessionError, Session: a.s.ID, Error: r.Error})
	}
	return true
}

// begin stores the message of a new step.
func (a *answer) begin() {
	a.steps++
	id := "msg_answer_" + a.prompt.MessageID
	if a.steps > 1 {
		id = fmt.Sprintf("%s_%d", id, a.steps)
	}
	p := a.prompt
	a.message = host.Message{ID: id, Session: a.s.ID, Role: host.Assistant, Parent: p.MessageID, Agent: p.Agent, Model: p.Model, Created: time.Now()}
	a.put()
}

// call plays a tool call; false means that it was aborted.
func (a *answer) call(c host.ToolCall, hang bool) bool {
	if c.ID == "" {
		c.ID = "call_" + a.message.ID
	}
	part := host.Part{Type: "tool", Tool: c.Tool, Call: c.ID}
	files := c.Files
	tell := func(status string) {
		c.Status, part.Status, c.Files = status, status, nil
		if status == "completed" {
			c.Files = files
		}
		a.message.Parts = []host.Part{part}
		a.put()
		a.emit(host.Event{Type: host.EventPart, Part: "tool", Call: c})
	}
	tell("running")
	if !a.wait(a.reply.ToolFor, hang) {
		tell("error")
		return false
	}
	tell("completed")
	return true
}

// finish completes the message of the step. A failed one has no reason.
func (a *answer) finish(reason string) {
	a.message.Finish, a.message.Completed = reason, time.Now()
	if reason != "" {
		a.message.Usage = a.reply.Usage
	}
	a.put()
	if reason != "" {
		a.emit(host.Event{Type: host.EventPart, Part: "step-finish", Reason: reason})
	}
	a.emit(host.Event{Type: host.EventMessage, Role: host.Assistant, Created: a.message.Created, Usage: a.message.Usage})
}

// aborted ends the turn; it returns false.
func (a *answer) aborted() bool {
	err := &host.MessageError{Name: "MessageAbortedError", Message: "Aborted"}
	if a.message.ID != "" {
		a.message.Error = err
		a.finish("")
	}
	a.o.mu.Lock()
	a.o.idleLocked(a.s)
	a.o.mu.Unlock()
	a.o.emit(a.s.directory, host.Event{Type: host.EventSessionError, Session: a.s.ID, Error: err})
	for range 2 {
		a.o.emit(a.s.directory, host.Event{Type: host.EventSessionIdle, Session: a.s.ID})
	}
	return false
}

// overtaken reports whether a newer message waits for the next step.
func (a *answer) overtaken() bool {
	a.o.mu.Lock()
	defer a.o.mu.Unlock()
	return len(a.s.queue) > 0
}

// wait lets time pass; false means that the turn was aborted.
func (a *answer) wait(d time.Duration, hang bool) bool {
	var done <-chan time.Time
	switch {
	case hang:
	case d > 0:
		t := time.NewTimer(d)
		defer t.Stop()
		done = t.C
	default:
		select {
		case <-a.abort:
			return false
		default:
			return true
		}
	}
	select {
	case <-a.abort:
		return false
	case <-done:
		return true
	}
}

// put stores the message as it is now.
func (a *answer) put() {
	m := a.message
	m.Parts = append([]host.Part(nil), m.Parts...)
	a.o.mu.Lock()
	defer a.o.mu.Unlock()
	for i, old := range a.s.messages {
		if old.ID == m.ID {
			a.s.messages[i] = m
			return
		}
	}
	a.s.messages = append(a.s.messages, m)
}

// emit emits an event of the message of the step.
func (a *answer) emit(e host.Event) {
	e.Session, e.MessageID = a.s.ID, a.message.ID
	a.o.emit(a.s.directory, e)
}

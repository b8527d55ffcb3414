package delegate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// `opencode run` ends at the main session's first idle and drops its children.
// So when a turn is about to end while tasks are open, a continuation is sent at
// once, and the turn that it starts is held before it asks the model, until
// results are there to go with it (opencode-facts 9.2).

const (
	// holdSlice is how long one call of Transform waits: well below the shim's
	// deadline for a hook, so that a dead sidecar holds a turn up only that long.
	holdSlice = 400 * time.Millisecond
	// gather is how long results wait for others that end about now.
	gather = 250 * time.Millisecond
)

// Append is text to add to a message before the model reads it.
type Append struct {
	MessageID string
	Text      string
}

// continueTurn sends the message that keeps the main session going.
func (e *Engine) continueTurn(ctx context.Context, p *parent) {
	e.mu.Lock()
	ending := p.turnEnding
	text := p.continuation()
	none, held, child := p.outstanding() == 0 && len(p.outbox) == 0, !p.held.IsZero(), p.depth > 0 || e.bySession[p.session] != nil
	p.continued = ending
	e.mu.Unlock()
	if held || child || none {
		return
	}
	// The message must be there before the session is idle, so nothing is asked
	// or looked up first; results, also those that are there, come in Transform.
	prompt := host.Prompt{Session: p.session, MessageID: e.ids.Next(), Synthetic: true, Text: text}
	e.mu.Lock()
	prompt.Agent, prompt.Model = p.agent, p.model
	p.remember(prompt.MessageID)
	p.holding = prompt.MessageID
	e.mu.Unlock()
	err := e.host.Prompt(ctx, p.directory, prompt)
	if err != nil && !e.arrived(ctx, p.directory, p.session, prompt.MessageID) { // a known id is safe to repeat
		err = e.host.Prompt(ctx, p.directory, prompt)
	}
	if err != nil {
		e.log.Error().Err(err).Str("session", p.session).Msg("the turn could not be continued, so its tasks end with it")
	}
}

// Transform is called before a turn asks its model; messageID is the last user
// message. It returns text to add, or again = true while results are awaited.
func (e *Engine) Transform(ctx context.Context, session, messageID string) (add []Append, again bool) {
	e.mu.Lock()
	p := e.parents[session]
	if p == nil {
		e.mu.Unlock()
		return nil, false
	}
	add = slices.Clone(p.late)
	holds := p.holding != "" && p.holding == messageID
	e.mu.Unlock()
	if !holds {
		return add, false
	}
	if !e.gathered(ctx, p) {
		return add, ctx.Err() == nil
	}
	e.mu.Lock()
	dues, _ := p.tellable()
	e.mu.Unlock()
	tidings := e.unsaid(ctx, p, e.untold(ctx, p, dues), messageID)
	if len(tidings) == 0 {
		e.mu.Lock()
		p.holding = ""
		none := p.outstanding() == 0 && len(p.outbox) == 0 // else they are only unreadable
		e.mu.Unlock()
		if none {
			add = append(add, Append{messageID, "No background task is left."})
		}
		return add, false
	}
	result := Append{messageID, wording(tidings)}
	e.mark(ctx, tidings, messageID) // after a crash, what is in the message counts
	// A prompt with a known message id starts no turn; its text joins the message.
	// It also rewrites the message's agent and model, so they have to be named.
	e.mu.Lock()
	more := host.Prompt{Session: session, MessageID: messageID, Agent: p.agent, Model: p.model, Text: result.Text, Synthetic: true}
	e.mu.Unlock()
	if err := e.host.Prompt(ctx, p.directory, more); err != nil {
		e.log.Warn().Err(err).Str("session", session).Msg("results not stored in their message")
		e.mu.Lock()
		p.late = append(p.late, result)
		e.mu.Unlock()
	}
	if ctx.Err() != nil {
		return nil, false // the shim has given up on us: the next continuation tells
	}
	e.mu.Lock()
	p.holding = ""
	e.mu.Unlock()
	e.settle(ctx, tidings)
	return append(add, result), false
}

// unsaid leaves out that of which an earlier message than this one has told:
// a sidecar that died in between could not store that.
func (e *Engine) unsaid(ctx context.Context, p *parent, tidings []tiding, messageID string) []tiding {
	var told []tiding
	rest := slices.DeleteFunc(tidings, func(t tiding) bool {
		if t.wake() == "" || t.wake() == messageID {
			return false
		}
		m, err := e.find(ctx, p.directory, p.session, t.wake())
		known := err == nil && strings.Contains(m.Text(), t.name())
		if known {
			told = append(told, t)
		}
		return known || err != nil // it may have been told: looked for again
	})
	e.settle(ctx, told)
	return rest
}

// gathered waits for up to holdSlice until a held turn may go on: all tasks have
// ended, or some have and no other joined them for a moment.
func (e *Engine) gathered(ctx context.Context, p *parent) bool {
	slice := time.NewTimer(holdSlice)
	defer slice.Stop()
	for {
		e.mu.Lock()
		over := p.outstanding() == 0 || !p.held.IsZero() || p.deleted
		dues, _ := p.tellable()
		some, rest := len(dues) > 0, gather-time.Since(p.arrived)
		e.mu.Unlock()
		if over || some && rest <= 0 {
			return true
		}
		var calm <-chan time.Time
		if some {
			calm = time.After(rest)
		}
		select {
		case <-p.bell:
		case <-calm:
		case <-slice.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// continuation is what such a message says.
func (p *parent) continuation() string {
	open, ended := p.open, len(p.outbox)
	switch {
	case len(p.expected) > 0:
		return "Work in the background is still going on. Results follow here as they arrive."
	case open == 0 && slices.ContainsFunc(p.outbox, func(d due) bool { return d.news != nil }):
		return "Work in the background has ended. Its results follow here."
	case open == 0:
		return "Background tasks have ended. Their results follow here."
	case open == 1 && ended == 0:
		return "One background task is still running. Its result follows here."
	}
	return fmt.Sprintf("%d background tasks are still running. Results follow here as they arrive.", open)
}

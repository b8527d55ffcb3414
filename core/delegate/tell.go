package delegate

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// wake tells an idle parent what has ended, in one message of ours with the
// parent's own agent and model. A busy parent is left alone: its idle event, or
// the periodic look, comes back here. One that is busy for too long gets the
// message into its running turn.
func (e *Engine) wake(ctx context.Context, p *parent) {
	e.mu.Lock()
	dues, since := p.tellable()
	held, asleep := !p.held.IsZero(), e.bySession[p.session]
	late := time.Since(since) > e.configLocked(p.directory).Deferral
	needy := asleep != nil && asleep.suspended
	// One that waits in a call has no use for the slot that its own tasks may need.
	unfit := e.unfitLocked(p) || asleep != nil && asleep.blocked > 0
	e.mu.Unlock()
	if len(dues) == 0 || held || unfit {
		return
	}
	if needy { // for what follows, unless it is busy all the same
		if statuses, err := e.host.Statuses(ctx, p.directory); err != nil {
			return
		} else if _, busy := statuses[p.session]; !busy && e.regain(ctx, asleep) != nil {
			return
		}
	}
	var (
		ask      sync.WaitGroup
		messages []host.Message
		unread   error
	)
	unread = errBug
	ask.Go(func() {
		e.guard("wake", func() { messages, unread = e.host.Messages(ctx, p.directory, p.session, recent) })
	})
	statuses, err := e.host.Statuses(ctx, p.directory)
	ask.Wait()
	if _, busy := statuses[p.session]; err != nil || busy && !late {
		return
	} else if busy {
		e.tell(ctx, p, dues, messages, unread, true)
		e.rouse(ctx, p)
		return
	}
	e.tell(ctx, p, dues, messages, unread, e.aside(ctx, p, dues))
}

// unfitLocked reports whether a session is that of a task which must not be told of
// its own tasks now: it is ending or, between two attempts, is told when the next
// one comes to rest.
func (e *Engine) unfitLocked(p *parent) bool {
	r := e.bySession[p.session]
	return p.over || r != nil && (r.cancel == nil || r.decided || r.finishing)
}

// rouse starts a turn in a session that got a message of ours without one, because
// it was busy, and whose turn was over just before.
func (e *Engine) rouse(ctx context.Context, p *parent) {
	statuses, err := e.host.Statuses(ctx, p.directory)
	if _, busy := statuses[p.session]; err != nil || busy {
		return
	}
	messages, err := e.host.Messages(ctx, p.directory, p.session, recent)
	if err != nil || len(messages) == 0 || !AbortedAt(messages).IsZero() {
		return
	}
	prompt := host.Prompt{Session: p.session, MessageID: e.ids.Next(), Synthetic: true, Text: "This came as your turn ended: please go on with it."}
	prompt.Agent, prompt.Model = lastSpeaker(messages)
	e.mu.Lock()
	unwanted := !p.ours(messages[len(messages)-1].ID) || !p.held.IsZero() || p.deleted || e.stopped || e.unfitLocked(p)
	p.remember(prompt.MessageID)
	if r := e.bySession[p.session]; r != nil && !unwanted {
		r.steering++
		defer func() {
			e.mu.Lock()
			r.steering--
			r.turned++
			e.mu.Unlock()
		}()
	}
	e.mu.Unlock()
	if unwanted {
		return
	}
	if err := e.host.Prompt(ctx, p.directory, prompt); err != nil {
		e.log.Warn().Err(err).Str("session", p.session).Msg("it has results that it was not told to read")
	}
}

// recent is how many messages of a parent are read to find one of ours.
const recent = 32

// tell delivers what is due in one message. The id of that message is stored
// before it is sent and looked up, among the parent's messages, before anything
// is sent again.
func (e *Engine) tell(ctx context.Context, p *parent, dues []due, messages []host.Message, err error, noReply bool) {
	tidings := e.untold(ctx, p, dues)
	if len(tidings) == 0 {
		return
	}
	if host.NotFound(err) {
		e.mu.Lock()
		p.deleted = true
		p.again = true
		e.mu.Unlock()
		return
	}
	if err != nil {
		return
	}
	if at := AbortedAt(messages); !noReply && !at.IsZero() { // of which there is not always an event
		e.mu.Lock()
		p.held = at
		e.mu.Unlock()
		return
	}
	id, tidings := e.batch(ctx, p, tidings)
	if len(tidings) == 0 {
		return
	}
	if !e.mark(ctx, tidings, id) {
		return
	}
	prompt := host.Prompt{Session: p.session, MessageID: id, NoReply: noReply, Synthetic: true, Text: wording(tidings)}
	e.mu.Lock()
	if p.missed == 0 { // else OpenCode may no longer know them, and swallows such a prompt
		prompt.Agent, prompt.Model = lastSpeaker(messages)
	}
	p.remember(id)
	unwanted := !noReply && (!p.held.IsZero() || p.deleted || e.stopped) || e.unfitLocked(p) // since we first looked
	if unwanted {
		e.mu.Unlock()
		return
	}
	sending := make(chan struct{})
	p.sending = sending
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		p.sending = nil
		if r := e.bySession[p.session]; r != nil {
			r.turned++
		}
		e.mu.Unlock()
		close(sending)
	}()
	err = e.host.Prompt(ctx, p.directory, prompt)
	// Accepted is not stored: a prompt with an agent that is gone is swallowed.
	if stored, unread := e.arrives(ctx, p.directory, p.session, id); !stored {
		e.log.Warn().Err(cmp.Or(err, unread)).Str("session", p.session).Msg("parent not told yet")
		if err == nil && unread == nil { // swallowed, not lost on the way
			e.mu.Lock()
			p.missed++
			e.mu.Unlock()
		}
		return
	}
	e.mu.Lock()
	p.missed = 0
	p.again = p.again || len(p.outbox) > len(tidings)
	e.mu.Unlock()
	e.settle(ctx, tidings)
}

// batch picks what goes with one message, and its id. What an earlier
// try has delivered is told; what it may still deliver goes again under the same
// id, for which OpenCode starts no second turn; the rest goes with a new one.
func (e *Engine) batch(ctx context.Context, p *parent, tidings []tiding) (id string, chosen []tiding) {
	tried := map[string][]tiding{}
	for _, t := range tidings {
		tried[t.wake()] = append(tried[t.wake()], t)
	}
	fresh := tried[""]
	delete(tried, "")
	for wake, together := range tried {
		m, err := e.delivered(ctx, p, wake)
		if err != nil {
			continue // it may be there: never sent blindly, but looked for again
		}
		if m.ID == "" {
			id, chosen = wake, together
			continue
		}
		text := m.Text()
		var told []tiding
		for _, t := range together {
			if strings.Contains(text, t.name()) {
				told = append(told, t)
			} else { // the message was there before, and they did not get into it
				fresh = append(fresh, t)
			}
		}
		e.settle(ctx, told)
		e.mu.Lock()
		p.missed = 0
		e.mu.Unlock()
	}
	if len(chosen) > 0 {
		return id, chosen
	}
	return e.ids.Next(), fresh
}

// delivered looks for a message of ours. One that an earlier sidecar has sent may
// be on its way still.
func (e *Engine) delivered(ctx context.Context, p *parent, wake string) (host.Message, error) {
	e.mu.Lock()
	ours := p.ours(wake)
	e.mu.Unlock()
	if !ours {
		if found, err := e.arrives(ctx, p.directory, p.session, wake); !found {
			return host.Message{}, err
		}
	}
	return e.find(ctx, p.directory, p.session, wake)
}

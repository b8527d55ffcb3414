package fake

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

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
	if p.NoReply && !s.busy {
		return nil
	}
	s.queue = append(s.queue, p) // a busy session answers those without a reply too
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

// Abort implements delegate.Host.
func (o *OpenCode) Abort(ctx context.Context, directory, id string) error {
	if err := o.enter(ctx, "Abort"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sessions[id]
	if s == nil {
		s = o.turning[id] // deleted; OpenCode takes the abort of any id
	}
	if s != nil && !o.IgnoreAbort {
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
	o.mu.Lock()
	o.questions[session] = slices.DeleteFunc(o.questions[session], func(q host.Question) bool { return q.ID == question })
	o.mu.Unlock()
	o.emit(directory, host.Event{Type: host.EventReplied, Session: session, Question: host.Question{ID: question}})
	return nil
}

// Ask has a session wait for a permission.
func (o *OpenCode) Ask(id string, q host.Question) {
	o.mu.Lock()
	o.questions[id] = append(o.questions[id], q)
	directory := o.sessions[id].directory
	o.mu.Unlock()
	o.emit(directory, host.Event{Type: host.EventPermission, Session: id, Question: q})
}

// Questions implements delegate.Host.
func (o *OpenCode) Questions(ctx context.Context, directory string) (map[string][]host.Question, error) {
	if err := o.enter(ctx, "Questions"); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string][]host.Question{}
	for session, open := range o.questions {
		if len(open) > 0 {
			out[session] = slices.Clone(open)
		}
	}
	return out, nil
}

// Children implements delegate.Host.
func (o *OpenCode) Children(ctx context.Context, directory, id string) ([]host.Session, error) {
	if err := o.enter(ctx, "Children"); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.find("session.children", id); err != nil {
		return nil, err
	}
	var out []host.Session
	for _, s := range o.sessions {
		if s.Parent == id {
			out = append(out, s.Session)
		}
	}
	slices.SortFunc(out, func(a, b host.Session) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

package transcript

import (
	"encoding/json"
	"fmt"
	"slices"
)

// look is a live look-up that waits for its answer.
type look struct {
	id        any
	call      Entry // with tokens
	key       string
	workspace string
}

// lookUp answers a look-up, or holds it until the transcript shows the answer.
func (r *replay) lookUp(e Entry, id any) error {
	call := e
	call.Body = r.names.clone().tokenize(r.lexer, e.Body)
	l := look{id, call, readKey(call.Method, call.Body), text(field(call.Body, "workspace"))}
	first, known := r.first[thingKey(call.Method, call.Body)]
	switch {
	case known: // to look at it a second time, or at more of it, may depend on a timer
		r.done[first] = true
	case e.Method == methodStatus: // always known
	case r.closed[l.workspace], r.closes(l.workspace):
		// The recorded sidecar may just have found the workspace closed before.
	default:
		return r.unexpected(e)
	}
	if r.closed[l.workspace] {
		return r.reply(id, gone(l.workspace))
	}
	answer, ok := r.host.look(call)
	if !ok || e.Method != methodStatus && r.comes(l.key) {
		r.held = append(r.held, l)
		return nil
	}
	return r.reply(id, answer)
}

// comes reports whether the recorded sidecar is about to get a new answer to a
// look-up: it has asked, or asks before anything else is sent than events and
// answers. Waiting for it gives the live sidecar the same answer. What the sidecar
// has to say before it asks is not waited for: it may need an answer to say it.
func (r *replay) comes(key string) bool {
	asked := map[string]bool{}
	open := true
	for i, e := range r.t.Entries {
		same := e.Kind == Call && e.Sidecar && readKey(e.Method, e.Body) == key
		switch {
		case i >= r.at && !e.Sidecar && !e.answers() && e.Kind != Notice:
			open = false
		case i >= r.at && e.Sidecar && !isRead(e.Method) && !r.done[i] && !r.optional(i):
			open = false
		case same && (i < r.at || open):
			asked[e.ID] = true
		case e.answers() && asked[e.ID] && i >= r.at:
			return true
		}
	}
	return false
}

// shown takes note of a recorded answer and gives it to the look-ups that wait
// for it.
func (r *replay) shown(call, e Entry) error {
	r.host.answered(call, e)
	waiting := r.held
	r.held = nil
	for _, h := range waiting {
		answer, ok := r.host.look(h.call)
		if !ok || r.comes(h.key) && h.key != readKey(call.Method, call.Body) {
			r.held = append(r.held, h)
		} else if err := r.reply(h.id, answer); err != nil {
			return err
		}
	}
	return nil
}

// optional reports whether an entry of the sidecar need not come.
func (r *replay) optional(i int) bool {
	e := r.t.Entries[i]
	switch {
	case e.Method == methodCancel:
		return true // it has given up on a look-up
	case e.Kind == Call && isRead(e.Method):
		return e.Method == methodStatus || r.first[thingKey(e.Method, e.Body)] != i
	}
	return false
}

// close refuses look-ups in a workspace from now on, as the shim does.
func (r *replay) close(workspace string) error {
	r.closed[workspace] = true
	waiting := r.held
	r.held = nil
	for _, h := range waiting {
		if h.workspace != workspace {
			r.held = append(r.held, h)
		} else if err := r.reply(h.id, gone(workspace)); err != nil {
			return err
		}
	}
	return nil
}

// gone is the shim's answer for a workspace that is closed.
func gone(workspace string) Entry {
	return Entry{Kind: Error, Body: map[string]any{
		"code": json.Number("-32010"), "message": fmt.Sprintf("the workspace %s is closed", workspace),
		"data": map[string]any{"kind": "not-found"},
	}}
}

// closes reports whether the host closes a workspace later on.
func (r *replay) closes(workspace string) bool {
	return slices.ContainsFunc(r.t.Entries[r.at:], func(e Entry) bool {
		return e.Method == methodClose && text(field(e.Body, "workspace")) == workspace
	})
}

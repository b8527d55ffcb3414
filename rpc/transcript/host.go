package transcript

import (
	"encoding/json"
	"maps"
)

// hostState is OpenCode as the transcript has shown it so far: the latest
// answer to each look-up, and which sessions are busy.
type hostState struct {
	answers map[string]Entry // by readKey, and by thingKey
	busy    map[string]any   // status by session token, of all workspaces
}

func newHostState() *hostState {
	return &hostState{answers: map[string]Entry{}, busy: map[string]any{}}
}

// readKey names a look-up by its method and parameters.
func readKey(method string, params any) string { return method + " " + compact(params) }

// thingKey names what a look-up is about, however much of it is asked for.
func thingKey(method string, params any) string {
	return method + " of " + compact([]any{field(params, "workspace"), field(params, "path")})
}

// event follows what an event says about the state of a session, so that the
// status is true at any time and not only when the recorded sidecar asked.
func (h *hostState) event(e Entry) {
	properties := field(e.Body, "properties")
	session := text(field(properties, "sessionID"))
	switch text(field(e.Body, "type")) {
	case "session.status":
		if status := field(properties, "status"); text(field(status, "type")) != "idle" {
			h.busy[session] = status
			return
		}
		delete(h.busy, session)
	case "session.idle":
		delete(h.busy, session)
	case "session.deleted":
		delete(h.busy, session)
		delete(h.busy, text(field(properties, "info", "id")))
	}
}

// answered takes note of a recorded answer to a look-up.
func (h *hostState) answered(call, e Entry) {
	h.answers[readKey(call.Method, call.Body)] = e
	h.answers[thingKey(call.Method, call.Body)] = e
	if call.Method != methodStatus {
		return
	}
	if sessions, ok := e.Body.(map[string]any); ok && e.Kind == Result {
		h.busy = maps.Clone(sessions)
	}
}

// look answers a look-up, or says that the transcript has not shown it yet.
func (h *hostState) look(call Entry) (Entry, bool) {
	e, ok := h.answers[readKey(call.Method, call.Body)]
	if call.Method == methodStatus && (!ok || e.Kind == Result) {
		return Entry{Kind: Result, Body: maps.Clone(h.busy)}, true
	}
	if ok {
		return e, true
	}
	// It was recorded with another limit, if at all.
	e, ok = h.answers[thingKey(call.Method, call.Body)]
	list, isList := e.Body.([]any)
	if limit, isNumber := field(call.Body, "query", "limit").(json.Number); isList && isNumber {
		if n, err := limit.Int64(); err == nil && n > 0 && int64(len(list)) > n {
			e.Body = list[int64(len(list))-n:]
		}
	}
	return e, ok
}

// busyAt says, for each prompt of the sidecar, whether its session was busy when
// it was recorded.
func busyAt(entries []Entry) map[int]bool {
	h, out := newHostState(), map[int]bool{}
	calls := map[string]Entry{}
	for i, e := range entries {
		switch {
		case e.Method == methodEvent:
			h.event(e)
		case e.Kind == Call:
			calls[e.ID] = e
			if e.Method == methodPrompt {
				_, out[i] = h.busy[text(field(e.Body, "path", "id"))]
			}
		case e.answers() && calls[e.ID].Method == methodStatus:
			h.answered(calls[e.ID], e)
		}
	}
	return out
}

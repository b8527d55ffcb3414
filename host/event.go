package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The types of events that the sidecar listens to. Events are hints: they can
// be lost, doubled or late, so whoever hears one looks at the truth.
const (
	EventSessionIdle    = "session.idle"
	EventSessionStatus  = "session.status"
	EventSessionError   = "session.error"
	EventSessionDeleted = "session.deleted"
	EventMessage        = "message.updated"
	EventPart           = "message.part.updated"
	EventTodo           = "todo.updated"
	EventPermission     = "permission.asked"
	EventReplied        = "permission.replied"
)

// EventFilter names what the shim forwards: for message.part.updated the part
// types, for the others everything. Text parts and deltas never cross.
func EventFilter() map[string][]string {
	return map[string][]string{
		EventSessionIdle:    {},
		EventSessionStatus:  {},
		EventSessionError:   {},
		EventSessionDeleted: {},
		EventMessage:        {},
		EventPart:           {"step-finish", "tool"},
		EventTodo:           {},
		EventPermission:     {},
		EventReplied:        {},
	}
}

// Event is one event of OpenCode's bus, reduced to what the sidecar reads.
type Event struct {
	Type      string
	Session   string
	MessageID string        // message.updated, message.part.updated
	Role      Role          // message.updated
	Created   time.Time     // message.updated: when the message was stored
	Part      string        // message.part.updated: the type of the part
	Reason    string        // step-finish: stop | tool-calls | ...
	Usage     Usage         // message.updated of an assistant: so far
	Call      ToolCall      // message.part.updated of a tool
	Status    string        // session.status: busy | idle | retry
	Error     *MessageError // session.error
	Question  Question      // permission.asked, permission.replied: which one
	Todos     []Todo        // todo.updated: the whole list
}

// Todo is an entry of OpenCode's own todo list of a session. It has no id.
type Todo struct {
	Content string `json:"content"`
	Status  string `json:"status"` // pending | in_progress | completed | cancelled
}

// ToolCall is a tool call that a session makes.
type ToolCall struct {
	ID     string
	Tool   string
	Status string // pending | running | completed | error
	// Input is the arguments in compact JSON with long ones shortened: enough to
	// tell calls apart, not to repeat them. It is there from running on.
	Input string
	// Files are the absolute paths that the call has changed. They are known when
	// it has completed, and only of OpenCode's own tools for editing.
	Files []string
}

// Question is a question for permission that a tool call waits for.
type Question struct {
	ID         string
	Permission string // bash, edit, external_directory, ...
	Patterns   []string
}

// String says what is asked for.
func (q Question) String() string {
	if len(q.Patterns) == 0 {
		return q.Permission
	}
	return q.Permission + " " + strings.Join(q.Patterns, ", ")
}

// ParseEvent reads the properties of an event as the shim has reduced them.
// Unknown fields are ignored.
func ParseEvent(kind string, properties []byte) (Event, error) {
	var p struct {
		SessionID  string   `json:"sessionID"`
		ID         string   `json:"id"`
		RequestID  string   `json:"requestID"`
		Permission string   `json:"permission"`
		Patterns   []string `json:"patterns"`
		Status     struct {
			Type string `json:"type"`
		} `json:"status"`
		Info struct {
			ID        string `json:"id"`
			SessionID string `json:"sessionID"`
			Role      Role   `json:"role"`
			Time      struct {
				Created int64 `json:"created"`
			} `json:"time"`
			Cost   float64     `json:"cost"`
			Tokens eventTokens `json:"tokens"`
		} `json:"info"`
		Part  eventPart   `json:"part"`
		Todos []Todo      `json:"todos"`
		Error *eventError `json:"error"`
	}
	if len(properties) > 0 {
		if err := json.Unmarshal(properties, &p); err != nil {
			return Event{}, fmt.Errorf("event %s: %w", kind, err)
		}
	}
	e := Event{Type: kind, Session: p.SessionID}
	switch kind {
	case EventSessionStatus:
		e.Status = p.Status.Type
	case EventSessionDeleted:
		if e.Session == "" {
			e.Session = p.Info.ID
		}
	case EventPermission:
		e.Question = Question{ID: p.ID, Permission: p.Permission, Patterns: p.Patterns}
	case EventTodo:
		e.Todos = p.Todos
	case EventReplied:
		e.Question.ID = p.RequestID
	case EventSessionError:
		if p.Error != nil {
			e.Error = p.Error.value(time.Now())
		}
	case EventMessage:
		e.MessageID, e.Role = p.Info.ID, p.Info.Role
		if p.Info.Time.Created > 0 {
			e.Created = time.UnixMilli(p.Info.Time.Created)
		}
		e.Usage = p.Info.Tokens.value(p.Info.Cost)
		if e.Session == "" {
			e.Session = p.Info.SessionID
		}
	case EventPart:
		e.MessageID, e.Part, e.Reason = p.Part.MessageID, p.Part.Type, p.Part.Reason
		if p.Part.Type == "tool" {
			e.Call = p.Part.call()
		}
		if e.Session == "" {
			e.Session = p.Part.SessionID
		}
	}
	return e, nil
}

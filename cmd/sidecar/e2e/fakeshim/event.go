package fakeshim

import "github.com/opencode-sidecar/opencode-sidecar/host"

// object is a JSON object.
type object map[string]any

// properties are an event's as OpenCode writes them: host.ParseEvent reads them.
func properties(e host.Event) object {
	out := object{"sessionID": e.Session}
	switch e.Type {
	case host.EventSessionStatus:
		out["status"] = object{"type": e.Status}
	case host.EventSessionDeleted:
		out["info"] = object{"id": e.Session}
	case host.EventSessionError:
		out["error"] = failure(e.Error)
	case host.EventMessage:
		head := object{"id": e.MessageID, "sessionID": e.Session, "role": e.Role}
		if !e.Created.IsZero() {
			head["time"] = object{"created": e.Created.UnixMilli()}
		}
		out["info"] = head
	case host.EventPart:
		out["part"] = object{"messageID": e.MessageID, "sessionID": e.Session, "type": e.Part, "reason": e.Reason}
	case host.EventPermission:
		out["id"], out["permission"], out["patterns"] = e.Question.ID, e.Question.Permission, e.Question.Patterns
	case host.EventReplied:
		out["requestID"] = e.Question.ID
	}
	return out
}

package fakeshim

import (
	"encoding/json"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

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
		if e.Role == host.Assistant {
			head["cost"], head["tokens"] = e.Usage.Cost, tokens(e.Usage)
		}
		if !e.Created.IsZero() {
			head["time"] = object{"created": e.Created.UnixMilli()}
		}
		out["info"] = head
	case host.EventPart:
		part := object{"messageID": e.MessageID, "sessionID": e.Session, "type": e.Part, "reason": e.Reason}
		if e.Part == "tool" {
			part["tool"], part["callID"], part["state"] = e.Call.Tool, e.Call.ID, state(e.Call)
		}
		out["part"] = part
	case host.EventPermission:
		out["id"], out["permission"], out["patterns"] = e.Question.ID, e.Question.Permission, e.Question.Patterns
	case host.EventReplied:
		out["requestID"] = e.Question.ID
	}
	return out
}

// state is how far a tool call has come. Files are told in the way of apply_patch,
// the one tool that changes several.
func state(c host.ToolCall) object {
	out := object{"status": c.Status}
	if c.Input != "" {
		out["input"] = json.RawMessage(c.Input)
	}
	var files []object
	for _, f := range c.Files {
		files = append(files, object{"filePath": f})
	}
	if len(files) > 0 {
		out["metadata"] = object{"files": files}
	}
	return out
}

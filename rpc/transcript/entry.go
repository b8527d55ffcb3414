package transcript

import "strings"

// Kind is what an entry is.
type Kind int

// The kinds of entries.
const (
	Call   Kind = iota // has an id, a method and parameters
	Notice             // has a method and parameters
	Result             // has the id of the call and the result
	Error              // has the id of the call and the error
	EOF                // the shim closed the pipe
	Exit               // the sidecar ended by itself
	Kill               // the sidecar was killed; what follows is between the shim and the next one
	File               // a person saved a file of the project
)

// Entry is one message, what somebody else did, or the end.
type Entry struct {
	Kind    Kind
	Sidecar bool   // who sent it
	ID      string // "3" of the shim's third call, "h3" of the sidecar's; "" if it has none
	Method  string // of calls and notifications
	// Body holds parameters, result or error as encoding/json decodes them, with
	// json.Number and with tokens in the place of what varies. Of a File it is the
	// path in the project and the text that it now holds.
	Body any
	Line int // in the file, from 1; 0 if it was not read from one
}

// answers reports whether e is an answer.
func (e Entry) answers() bool { return e.Kind == Result || e.Kind == Error }

// Transcript is the recording of one behaviour.
type Transcript struct {
	Name    string   // of the file, for reports
	Comment []string // the lines at the top, without their #
	Entries []Entry
}

// isRead reports whether a call of the sidecar only looks something up. How
// often and when it looks depends on timers.
func isRead(method string) bool {
	switch strings.TrimPrefix(method, "host/") {
	case "session.status", "session.messages", "session.get", "session.children", "session.todo", "app.agents":
		return true
	}
	return false
}

// The methods that replaying has to understand.
const (
	methodStatus    = "host/session.status"
	methodPrompt    = "host/session.promptAsync"
	methodTransform = "hook/messages.transform"
	methodEvent     = "event"
	methodClose     = "workspace/close"
	methodCancel    = "$/cancelRequest"
)

// field returns a nested field of a decoded JSON object, nil if there is none.
func field(v any, path ...string) any {
	for _, key := range path {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

package wire

// Codes of JSON-RPC 2.0 and of LSP, and our own from -32010 downwards.
const (
	CodeParse          = -32700 // the frame holds no JSON
	CodeInvalidRequest = -32600 // JSON, but no request
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602 // ErrorData.Field names the parameter
	CodeInternal       = -32603 // a panic or a bug; the stack is in the log
	CodeCancelled      = -32800 // the caller cancelled the request
	CodeNotInitialized = -32002 // anything before `initialize`
	CodeRefused        = -32010 // ErrorData.Kind says why
	CodeHost           = -32011 // a call to OpenCode failed
)

// Kind tells programs why a call failed, in a word that never changes.
type Kind string

// The kinds of errors.
const (
	KindParse           Kind = "parse"
	KindTooLarge        Kind = "too-large"        // the frame is over the size limit
	KindInvalidParams   Kind = "invalid-params"   // Field names the parameter
	KindNotInitialized  Kind = "not-initialized"  // call `initialize` first
	KindVersionMismatch Kind = "version-mismatch" // shim and sidecar are not a pair
	KindUnknownMethod   Kind = "unknown-method"
	KindUnknownTool     Kind = "unknown-tool"
	KindNotFound        Kind = "not-found" // no such task, workspace, ...
	KindConflict        Kind = "conflict"  // the thing is not in a state that allows this
	KindRefused         Kind = "refused"   // a limit or a rule forbids it
	KindShuttingDown    Kind = "shutting-down"
	KindCancelled       Kind = "cancelled"
	KindTimeout         Kind = "timeout"
	KindHost            Kind = "host" // OpenCode refused, failed or did not answer; Status holds the HTTP status
	KindInternal        Kind = "internal"
)

// ErrorData is the `data` of every error that the sidecar or the shim answers.
// The message of the error is one sentence for the user that says what to do.
type ErrorData struct {
	Kind   Kind   `json:"kind"`
	Field  string `json:"field,omitempty" doc:"the parameter that is wrong"`
	Status int    `json:"status,omitempty" doc:"HTTP status of a failed call to OpenCode"`
	Name   string `json:"name,omitempty" doc:"OpenCode's own name of the error"`
}

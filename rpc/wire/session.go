package wire

import "encoding/json"

// InitializeParams opens the handshake.
type InitializeParams struct {
	Version      string   `json:"version" doc:"version of the shim"`
	Protocol     int      `json:"protocol"`
	ManifestHash string   `json:"manifestHash" doc:"hash of the manifest that the shim was built with"`
	Host         HostInfo `json:"host"`
}

// HostInfo says what kind of OpenCode process the shim lives in.
type HostInfo struct {
	PID      int    `json:"pid"`
	Mode     string `json:"mode" doc:"run | serve | tui | other; run ends at the main session's first idle"`
	Restarts int    `json:"restarts,omitempty" doc:"how many sidecars of this process died before this one"`
}

// InitializeResult answers the handshake.
type InitializeResult struct {
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	ManifestHash string `json:"manifestHash"`
	PID          int    `json:"pid"`
}

// PingParams carries an arbitrary payload.
type PingParams struct {
	Payload json.RawMessage `json:"payload,omitempty"`
}

// CancelParams names a request of the sender.
type CancelParams struct {
	ID json.RawMessage `json:"id" doc:"the id of the request, a string or a number"`
}

// ShutdownReport tells how the shutdown went, phase by phase.
type ShutdownReport struct {
	Reason  string          `json:"reason"`
	TookMS  int64           `json:"tookMs"`
	Phases  []ShutdownPhase `json:"phases"`
	Skipped int             `json:"skipped,omitempty" doc:"handlers that the total budget left no time for"`
}

// ShutdownPhase is the outcome of one handler.
type ShutdownPhase struct {
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	TookMS   int64  `json:"tookMs"`
	Outcome  string `json:"outcome" doc:"ok | error | panic | timeout | skipped"`
	Error    string `json:"error,omitempty"`
}

// WorkspaceOpenParams opens a directory. The shim picks the id and names it in
// every later message; calls to the host carry it back.
type WorkspaceOpenParams struct {
	Workspace string          `json:"workspace" doc:"id chosen by the shim, unique in its process"`
	Directory string          `json:"directory"`
	Worktree  string          `json:"worktree,omitempty"`
	Project   string          `json:"project,omitempty" doc:"OpenCode's project id; clones of one repository share it"`
	Options   json.RawMessage `json:"options,omitempty" doc:"second element of the plugin tuple"`
}

// WorkspaceOpenResult tells what the open found.
type WorkspaceOpenResult struct {
	Reattached bool     `json:"reattached" doc:"the directory was open, or closed less than 10 s ago"`
	Warnings   []string `json:"warnings,omitempty" doc:"options that were ignored, and why"`
}

// WorkspaceCloseParams names an open workspace.
type WorkspaceCloseParams struct {
	Workspace string `json:"workspace"`
}

// ToolCallParams is one call of a tool by a model.
type ToolCallParams struct {
	Workspace string          `json:"workspace"`
	Tool      string          `json:"tool"`
	Args      json.RawMessage `json:"args"`
	SessionID string          `json:"sessionID"`
	MessageID string          `json:"messageID"`
	CallID    string          `json:"callID,omitempty"`
	Agent     string          `json:"agent"`
}

// ToolCallResult is what the model gets to read.
type ToolCallResult struct {
	Title    string         `json:"title,omitempty"`
	Output   string         `json:"output"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// CommandParams tells that a person has entered one of our commands. Commands of
// the user's own that have the same name never come here.
type CommandParams struct {
	Workspace string `json:"workspace"`
	Command   string `json:"command" doc:"the name, without the slash"`
	SessionID string `json:"sessionID"`
	Arguments string `json:"arguments" doc:"what stands behind the name, line breaks included"`
}

// CommandResult is what the session's agent reads.
type CommandResult struct {
	Text string `json:"text,omitempty" doc:"in place of the command's own text"`
}

// ChatMessageParams tells that a user message is about to be stored.
type ChatMessageParams struct {
	Workspace string `json:"workspace"`
	SessionID string `json:"sessionID"`
	MessageID string `json:"messageID,omitempty"`
	Agent     string `json:"agent,omitempty"`
}

// TransformParams names the turn that is about to ask its model.
type TransformParams struct {
	Workspace string `json:"workspace"`
	SessionID string `json:"sessionID"`
	MessageID string `json:"messageID" doc:"the last user message"`
}

// TransformResult adds text to a message, or asks to be called again at once.
type TransformResult struct {
	Append []AppendText `json:"append,omitempty"`
	Again  bool         `json:"again,omitempty" doc:"results are on their way: hold the turn and call again"`
}

// AppendText is a text part that the shim adds to a message in memory.
type AppendText struct {
	MessageID string `json:"messageID"`
	Text      string `json:"text"`
}

// CompactingParams names the session whose conversation is about to be summarised.
type CompactingParams struct {
	Workspace string `json:"workspace"`
	SessionID string `json:"sessionID"`
}

// CompactingResult is what the summary must not lose.
type CompactingResult struct {
	Context []string `json:"context,omitempty" doc:"paragraphs for the request of the summary"`
}

// EventParams is one event of OpenCode's bus.
type EventParams struct {
	Workspace  string          `json:"workspace"`
	Type       string          `json:"type"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

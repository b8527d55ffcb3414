package wire

import "encoding/json"

// WorkspaceParams addresses a workspace as a whole.
type WorkspaceParams struct {
	Workspace string `json:"workspace"`
}

// SessionPath is the path of a session's endpoints.
type SessionPath struct {
	ID string `json:"id"`
}

// SessionPathParams addresses one session.
type SessionPathParams struct {
	Workspace string      `json:"workspace"`
	Path      SessionPath `json:"path"`
}

// SessionCreateParams creates a session.
type SessionCreateParams struct {
	Workspace string            `json:"workspace"`
	Body      SessionCreateBody `json:"body"`
}

// SessionCreateBody is the body of `POST /session`.
type SessionCreateBody struct {
	ParentID   string            `json:"parentID,omitempty"`
	Title      string            `json:"title,omitempty"`
	Agent      string            `json:"agent,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	Permission []PermissionRule  `json:"permission,omitempty"`
}

// PermissionRule is one rule of OpenCode's permission system.
type PermissionRule struct {
	Permission string `json:"permission"`
	Pattern    string `json:"pattern"`
	Action     string `json:"action" doc:"allow | ask | deny"`
}

// SessionInfo is the part of a session that the sidecar reads.
type SessionInfo struct {
	ID         string           `json:"id"`
	ParentID   string           `json:"parentID,omitempty"`
	Title      string           `json:"title,omitempty"`
	Directory  string           `json:"directory,omitempty"`
	Agent      string           `json:"agent,omitempty"`
	Permission []PermissionRule `json:"permission,omitempty"`
	Metadata   json.RawMessage  `json:"metadata,omitempty"`
}

// SessionPromptParams sends a prompt.
type SessionPromptParams struct {
	Workspace string            `json:"workspace"`
	Path      SessionPath       `json:"path"`
	Body      SessionPromptBody `json:"body"`
}

// SessionPromptBody is the body of `POST /session/{id}/prompt_async`.
type SessionPromptBody struct {
	MessageID string     `json:"messageID"`
	Agent     string     `json:"agent,omitempty"`
	Model     *ModelRef  `json:"model,omitempty"`
	Variant   string     `json:"variant,omitempty"`
	System    string     `json:"system,omitempty"`
	NoReply   bool       `json:"noReply,omitempty"`
	Parts     []TextPart `json:"parts"`
}

// ModelRef names a model of a provider.
type ModelRef struct {
	ProviderID string `json:"providerID"`
	ModelID    string `json:"modelID"`
	Variant    string `json:"variant,omitempty"`
}

// TextPart is a text part of a prompt.
type TextPart struct {
	Type      string `json:"type" doc:"text"`
	Text      string `json:"text"`
	Synthetic bool   `json:"synthetic,omitempty" doc:"not typed by a person"`
}

// SessionMessagesParams reads the newest messages of a session.
type SessionMessagesParams struct {
	Workspace string        `json:"workspace"`
	Path      SessionPath   `json:"path"`
	Query     MessagesQuery `json:"query"`
	Parts     []string      `json:"parts,omitempty" doc:"part types to keep"`
}

// MessagesQuery is the query of `GET /session/{id}/message`.
type MessagesQuery struct {
	Limit int `json:"limit,omitempty"`
}

// MessageWithParts is one message.
type MessageWithParts struct {
	Info  MessageInfo   `json:"info"`
	Parts []MessagePart `json:"parts"`
}

// MessageInfo is the part of a message's head that the sidecar reads.
type MessageInfo struct {
	ID         string        `json:"id"`
	SessionID  string        `json:"sessionID"`
	Role       string        `json:"role" doc:"user | assistant"`
	ParentID   string        `json:"parentID,omitempty" doc:"assistant: the user message it answers"`
	Agent      string        `json:"agent,omitempty"`
	Model      *ModelRef     `json:"model,omitempty" doc:"user messages"`
	ProviderID string        `json:"providerID,omitempty" doc:"assistant messages"`
	ModelID    string        `json:"modelID,omitempty" doc:"assistant messages"`
	Variant    string        `json:"variant,omitempty"`
	Finish     string        `json:"finish,omitempty"`
	Summary    any           `json:"summary,omitempty" doc:"assistant: true for a compaction summary"`
	Error      *MessageError `json:"error,omitempty"`
	Cost       float64       `json:"cost,omitempty" doc:"assistant: US dollars for this message"`
	Tokens     *TokenCounts  `json:"tokens,omitempty" doc:"assistant: of this message"`
	Time       MessageTime   `json:"time"`
}

// TokenCounts is what the provider has counted for one assistant message.
type TokenCounts struct {
	Input     int64       `json:"input,omitempty"`
	Output    int64       `json:"output,omitempty"`
	Reasoning int64       `json:"reasoning,omitempty"`
	Cache     CacheCounts `json:"cache"`
}

// CacheCounts is what of the input came from the provider's cache or went into it.
type CacheCounts struct {
	Read  int64 `json:"read,omitempty"`
	Write int64 `json:"write,omitempty"`
}

// MessageTime holds Unix milliseconds.
type MessageTime struct {
	Created   int64 `json:"created,omitempty"`
	Completed int64 `json:"completed,omitempty"`
}

// MessageError is how OpenCode says that a turn failed.
type MessageError struct {
	Name string `json:"name"`
	Data struct {
		Message         string        `json:"message,omitempty"`
		StatusCode      int           `json:"statusCode,omitempty"`
		IsRetryable     bool          `json:"isRetryable,omitempty"`
		ResponseHeaders *RetryHeaders `json:"responseHeaders,omitempty"`
	} `json:"data"`
}

// RetryHeaders are the headers of a provider's error that say when to come back.
type RetryHeaders struct {
	AfterMS string `json:"retry-after-ms,omitempty"`
	After   string `json:"retry-after,omitempty" doc:"seconds or an HTTP date"`
}

// MessagePart is one part of a message.
type MessagePart struct {
	ID        string `json:"id,omitempty"`
	MessageID string `json:"messageID,omitempty"`
	Type      string `json:"type"`
	Text      string `json:"text,omitempty"`
	Synthetic bool   `json:"synthetic,omitempty"`
	Tool      string `json:"tool,omitempty"`
	CallID    string `json:"callID,omitempty" doc:"tool"`
	Reason    string `json:"reason,omitempty" doc:"step-finish"`
	// State is set on tool parts.
	State *ToolState `json:"state,omitempty"`
}

// ToolState is how far a tool call has come.
type ToolState struct {
	Status string `json:"status" doc:"pending | running | completed | error"`
}

// SessionStatus is what a session that is not idle does.
type SessionStatus struct {
	Type    string `json:"type" doc:"busy | retry"`
	Message string `json:"message,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
}

// Todo is one item of a session's todo list.
type Todo struct {
	Content  string `json:"content"`
	Status   string `json:"status"`
	Priority string `json:"priority"`
}

// AgentInfo is one agent that OpenCode knows.
type AgentInfo struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Mode        string `json:"mode,omitempty" doc:"primary | subagent | all"`
	Hidden      bool   `json:"hidden,omitempty"`
	// Model is set when the agent has one of its own.
	Model      *ModelRef        `json:"model,omitempty" doc:"the agent's own model"`
	Permission []PermissionRule `json:"permission,omitempty" doc:"later rules win"`
}

// PermissionQuestion is a question that a tool call of a session waits for.
type PermissionQuestion struct {
	ID         string   `json:"id"`
	SessionID  string   `json:"sessionID"`
	Permission string   `json:"permission"`
	Patterns   []string `json:"patterns,omitempty"`
}

// PermissionReplyParams answers a permission question of a session.
type PermissionReplyParams struct {
	Workspace string              `json:"workspace"`
	Path      PermissionReplyPath `json:"path"`
	Body      PermissionReplyBody `json:"body"`
}

// PermissionReplyPath names the question.
type PermissionReplyPath struct {
	ID           string `json:"id" doc:"the session"`
	PermissionID string `json:"permissionID"`
}

// PermissionReplyBody is the answer.
type PermissionReplyBody struct {
	Response string `json:"response" doc:"once | always | reject"`
}

// ToolAskParams asks on behalf of a running tool call.
type ToolAskParams struct {
	CallID     string         `json:"callID"`
	Permission string         `json:"permission"`
	Patterns   []string       `json:"patterns"`
	Always     []string       `json:"always"`
	Metadata   map[string]any `json:"metadata"`
}

// ToastParams shows a toast.
type ToastParams struct {
	Workspace string    `json:"workspace"`
	Body      ToastBody `json:"body"`
}

// ToastBody is the body of `POST /tui/show-toast`.
type ToastBody struct {
	Title    string `json:"title,omitempty"`
	Message  string `json:"message"`
	Variant  string `json:"variant" doc:"info | success | warning | error"`
	Duration int    `json:"duration,omitempty" doc:"milliseconds"`
}

// LogParams writes to OpenCode's log file.
type LogParams struct {
	Workspace string  `json:"workspace"`
	Body      LogBody `json:"body"`
}

// LogBody is the body of `POST /log`.
type LogBody struct {
	Service string         `json:"service"`
	Level   string         `json:"level" doc:"debug | info | warn | error"`
	Message string         `json:"message"`
	Extra   map[string]any `json:"extra,omitempty"`
}

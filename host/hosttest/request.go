package hosttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind tells what OpenCode wanted from the model.
type Kind string

// The kinds of requests.
const (
	Turn       Kind = "turn"
	Title      Kind = "title"      // a title for a new session
	Compaction Kind = "compaction" // a summary of a conversation
)

// Request is one chat-completions request that the model received.
type Request struct {
	Seq     int // from 1, in order of arrival
	Kind    Kind
	Start   time.Time
	End     time.Time // zero while it is being answered
	Outcome string    // finish reason, "fail STATUS", "gone" (the client left) or "closed"

	Session  string // OpenCode's session, from a header
	Parent   string // the session's parent, "" if it has none
	Model    string
	Stream   bool
	Messages []ChatMessage
	Tools    []Tool
	Header   http.Header

	Tag  string // of the script
	Step int    // of the script, from 0; -1 if none was played
}

// ChatMessage is one message of a request, its text parts joined with line breaks.
type ChatMessage struct {
	Role  string // system | user | assistant | tool
	Text  string
	Calls []ToolCall // of an assistant
	Call  string     // of a tool result: the id of the call it answers
}

// ToolCall is a call that the model made earlier.
type ToolCall struct {
	ID, Name, Arguments string
}

// Tool is a tool that the request offers.
type Tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Parameters  json.RawMessage `json:"parameters"` // JSON Schema
}

// Texts returns the texts of all messages of a role, oldest first.
func (r Request) Texts(role string) []string {
	var texts []string
	for _, m := range r.Messages {
		if m.Role == role {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// Last returns the text of the last message of a role, "" if there is none.
func (r Request) Last(role string) string {
	texts := r.Texts(role)
	if len(texts) == 0 {
		return ""
	}
	return texts[len(texts)-1]
}

// Tool returns an offered tool.
func (r Request) Tool(name string) (Tool, bool) {
	i := slices.IndexFunc(r.Tools, func(t Tool) bool { return t.Name == name })
	if i < 0 {
		return Tool{}, false
	}
	return r.Tools[i], true
}

// parseRequest decodes a request body.
func parseRequest(body []byte, header http.Header) (Request, error) {
	var in struct {
		Model    string `json:"model"`
		Stream   bool   `json:"stream"`
		Messages []struct {
			Role       string          `json:"role"`
			Content    json.RawMessage `json:"content"`
			ToolCallID string          `json:"tool_call_id"`
			ToolCalls  []struct {
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"messages"`
		Tools []struct {
			Function Tool `json:"function"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("chat-completions request: %w", err)
	}
	r := Request{
		Model:   in.Model,
		Stream:  in.Stream,
		Session: header.Get("x-session-id"),
		Parent:  header.Get("x-parent-session-id"),
		Header:  header,
		Step:    -1,
	}
	for _, m := range in.Messages {
		text, err := contentText(m.Content)
		if err != nil {
			return Request{}, fmt.Errorf("content of a %s message: %w", m.Role, err)
		}
		message := ChatMessage{Role: m.Role, Text: text, Call: m.ToolCallID}
		for _, c := range m.ToolCalls {
			message.Calls = append(message.Calls, ToolCall{c.ID, c.Function.Name, c.Function.Arguments})
		}
		r.Messages = append(r.Messages, message)
	}
	for _, t := range in.Tools {
		r.Tools = append(r.Tools, t.Function)
	}
	r.Kind = kindOf(r)
	return r, nil
}

// contentText reads a content that is null, a string or a list of parts.
func contentText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", err
	}
	var texts []string
	for _, p := range parts {
		if p.Type == "text" {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, "\n"), nil
}

// kindOf recognises OpenCode's own agents by their system prompt. They offer no
// tools; a request with tools is always a turn.
func kindOf(r Request) Kind {
	if len(r.Tools) > 0 {
		return Turn
	}
	system := strings.ToLower(strings.Join(r.Texts("system"), "\n"))
	switch {
	case strings.HasPrefix(system, "you are a title generator"):
		return Title
	case strings.Contains(system, "summarization agent"):
		return Compaction
	}
	return Turn
}

// play finds the script of a request and the step to play. The script is nil if
// no user message holds one, the step if all of them have been played.
func play(messages []ChatMessage) (*script, int, error) {
	answers := 0
	for _, m := range slices.Backward(messages) {
		switch m.Role {
		case "assistant":
			answers++
		case "user":
			s, err := parseScript(m.Text)
			if s != nil || err != nil {
				return s, answers, err
			}
		}
	}
	return nil, -1, nil
}

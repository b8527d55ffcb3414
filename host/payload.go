package host

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// longestRetry bounds what a provider can ask for: no sane one asks for more, and
// a larger number of seconds would overflow.
const longestRetry = 24 * time.Hour

// The types below match the keys of the payload without regard to case.

// eventTokens is the `tokens` of an assistant message.
type eventTokens struct {
	Input, Output, Reasoning int64
	Cache                    struct{ Read, Write int64 }
}

func (t eventTokens) value(cost float64) Usage {
	return Usage{Input: t.Input, Output: t.Output, Reasoning: t.Reasoning, CacheRead: t.Cache.Read, CacheWrite: t.Cache.Write, Cost: cost}
}

// eventError is the `error` of a session.error event.
type eventError struct {
	Name string
	Data struct {
		Message         string
		StatusCode      int
		IsRetryable     bool
		ResponseHeaders struct {
			AfterMS string `json:"retry-after-ms"`
			After   string `json:"retry-after"`
		}
	}
}

func (e eventError) value(at time.Time) *MessageError {
	d := e.Data
	return &MessageError{
		Name: e.Name, Message: d.Message, Status: d.StatusCode, Retryable: d.IsRetryable,
		RetryAfter: RetryAfter(d.ResponseHeaders.AfterMS, d.ResponseHeaders.After, at),
	}
}

// RetryAfter reads the headers retry-after-ms and retry-after (seconds or an HTTP
// date) of an answer that came at that time; the first wins, as it does in
// OpenCode. It is 0 if they say nothing, and 24 h at most.
func RetryAfter(ms, after string, at time.Time) time.Duration {
	for _, h := range []struct {
		value string
		unit  time.Duration
	}{{ms, time.Millisecond}, {after, time.Second}} {
		if n, err := strconv.ParseFloat(h.value, 64); err == nil && !math.IsNaN(n) {
			return time.Duration(min(max(n*float64(h.unit), 0), float64(longestRetry)))
		}
	}
	if date, err := http.ParseTime(after); err == nil {
		return min(max(date.Sub(at), 0), longestRetry)
	}
	return 0
}

// eventPart is the `part` of a message.part.updated event.
type eventPart struct {
	MessageID, SessionID string
	Type, Reason         string
	Tool, CallID         string
	State                struct {
		Status          string
		Input, Metadata json.RawMessage
	}
}

// edited is the metadata of the tools for editing, each of which says in its own
// way what it has changed, when it has completed.
type edited struct {
	FilePath string // write
	FileDiff struct {
		File string // edit
	}
	Files []struct {
		FilePath, MovePath string // apply_patch
	}
}

func (p eventPart) call() ToolCall {
	c := ToolCall{ID: p.CallID, Tool: p.Tool, Status: p.State.Status, Input: compact(p.State.Input)}
	if c.Status == "completed" {
		c.Files = p.changed()
	}
	return c
}

// changed lists the files of a call that has completed. Other tools can have
// metadata of the same names with another meaning.
func (p eventPart) changed() []string {
	switch p.Tool {
	case "edit", "write", "apply_patch":
	default:
		return nil
	}
	var m edited
	if json.Unmarshal(p.State.Metadata, &m) != nil {
		return nil // a plugin's tool that has taken the name
	}
	paths := []string{m.FilePath, m.FileDiff.File}
	for _, f := range m.Files {
		paths = append(paths, f.FilePath, f.MovePath)
	}
	var files []string
	for _, path := range paths {
		if path != "" {
			files = append(files, path)
		}
	}
	return files
}

// compact removes the space of a JSON text. An empty object, which a call has
// until its arguments are complete, is "".
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil || b.String() == "{}" {
		return ""
	}
	return b.String()
}

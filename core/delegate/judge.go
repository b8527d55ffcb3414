package delegate

import (
	"fmt"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// verdict is what the messages of a child session prove about one attempt.
type verdict struct {
	// state is the end state that is proven, "" while nothing is.
	state task.State
	// text is the answer, or what there is of it.
	text string
	// reason says in a sentence why it did not complete, err is OpenCode's own word
	// for that if it has one.
	reason string
	err    error
	// idle, if set, is the outcome should the session be idle: a message that
	// ended without saying how proves nothing while the turn may go on.
	idle *outcome
	// begun is set if there is an answer to the attempt at all.
	begun bool
	// toolRunning is true while a tool call of the attempt runs.
	toolRunning bool
	// size grows with everything that is written: a sign of life.
	size int
}

// judge reads the messages of a session, oldest first, for the attempt whose
// prompt is messageID. Completed needs proof: a finished assistant message that
// answers this prompt. OpenCode answers the newest user message, so one that
// joined the turn before it had an answer (a person's, or the continuation after
// a compaction) carries the answer to ours too; answers to what a person typed
// after our answer, or before our prompt, prove nothing. What came after our
// answer but was typed by nobody is ours (a further message to the task, or the
// results of its own tasks): then the turn that it starts has the answer.
func judge(messages []host.Message, messageID string) verdict {
	var v verdict
	ours := map[string]bool{}
	var last *host.Message
	answered := false
	for i := range messages {
		m := &messages[i]
		if m.Role == host.User {
			if answered && reopens(messages[:i], *m, *last) {
				answered, last = false, nil
			}
			if m.ID == messageID || len(ours) > 0 && !answered {
				ours[m.ID] = true
			}
			continue
		}
		if !ours[m.Parent] || m.Summary || answered || isOutput(messages, *m) {
			continue
		}
		last, v.begun = m, true
		for _, p := range m.Parts {
			v.size += len(p.Text) + 1
			v.toolRunning = v.toolRunning || p.Type == "tool" && (p.Status == "running" || p.Status == "pending")
		}
		if text := m.Text(); text != "" {
			v.text = text
		}
		answered = final(m)
	}
	if last == nil {
		return v
	}
	switch {
	case last.Error.Aborted():
		v.state, v.reason = task.Cancelled, "its session was stopped"
	case last.Error != nil:
		v.state, v.reason, v.err = task.Failed, last.Error.Error(), last.Error
	case !final(last):
		if !last.Completed.IsZero() {
			v.idle = &outcome{state: task.Failed, text: v.text, reason: "the turn ended after a tool call, without an answer"}
			if last.Finish == "" { // an abort between two tries of the provider leaves no error
				v.idle.state, v.idle.reason = task.Cancelled, "its session was stopped"
			}
		}
	case last.Finish == "length":
		v.state, v.reason = task.Failed, "the answer was cut off at the model's output limit"
	case last.Finish == "content-filter":
		v.state, v.reason = task.Failed, "the provider's content filter withheld the answer"
	case last.Finish == "error":
		v.state, v.reason = task.Failed, "the model's turn ended in an error"
	case strings.TrimSpace(last.Text()) == "":
		v.state, v.reason = task.Failed, "the turn finished without an answer"
	case last.Finish == "stop":
		v.state, v.text = task.Completed, last.Text()
	default:
		v.state, v.reason = task.Failed, fmt.Sprintf("the turn finished with %q instead of an answer", last.Finish)
	}
	return v
}

// final reports whether an assistant message ends its turn.
func final(m *host.Message) bool {
	return m.Error != nil || !m.Completed.IsZero() && m.Finish != "" && m.Finish != "tool-calls" && m.Finish != "unknown"
}

// reopens reports whether a message after the final one of an attempt asks for
// another answer, given those before it. Ours do, but an abort has thrown away
// what was queued until then. OpenCode's own do not: it may compact a conversation
// that has its answer, and then asks the model whether there is more to do.
func reopens(before []host.Message, m, last host.Message) bool {
	if !synthetic(m) || isCommand(m) || isContinuation(before, m) {
		return false
	}
	return !last.Error.Aborted() || m.Created.After(last.Completed)
}

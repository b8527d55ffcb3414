package delegate

import (
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// AbortedAt returns when the last turn of a session was stopped, zero if it was
// not. One that is stopped between two tries of its provider ends without an
// error; messages that were queued behind it stay without an answer. A person
// who has spoken since has ended the hold; one who ran a command has not.
func AbortedAt(messages []host.Message) time.Time {
	var spoke time.Time
	for _, m := range slices.Backward(messages) {
		if m.Role != host.Assistant {
			if spoke.IsZero() && byPerson(m) {
				spoke = m.Created
			}
			continue
		}
		if isOutput(messages, m) {
			continue
		}
		if spoke.After(m.Completed) {
			break
		}
		if m.Error.Aborted() || m.Error == nil && m.Finish == "" {
			return m.Completed
		}
		break
	}
	return time.Time{}
}

// byPerson reports whether somebody wrote a message to the model. Only what
// OpenCode or we write is synthetic as a whole; a message without a part that we
// know is a picture, a file or the like.
func byPerson(m host.Message) bool {
	return m.Role == host.User && !isCompaction(m) && !synthetic(m)
}

// synthetic reports whether a user message was written by OpenCode or by us.
func synthetic(m host.Message) bool {
	return m.Role == host.User && len(m.Parts) > 0 && !slices.ContainsFunc(m.Parts, func(p host.Part) bool {
		return p.Type != "text" || !p.Synthetic
	})
}

// isCompaction reports whether a user message asks for a compaction.
func isCompaction(m host.Message) bool {
	return m.Role == host.User && slices.ContainsFunc(m.Parts, func(p host.Part) bool { return p.Type == "compaction" })
}

// What OpenCode writes in a person's place. The API marks neither in another way
// that reaches us.
const (
	continues = "Continue if you have next steps"             // after a compaction that nobody asked for
	commanded = "The following tool was executed by the user" // before the output of a person's !command
)

// isContinuation reports whether a message is the one by which OpenCode goes on
// after a compaction, given those before it. Its words alone do not tell: a task
// can be sent the same ones.
func isContinuation(before []host.Message, m host.Message) bool {
	if !synthetic(m) || !strings.Contains(m.Text(), continues) {
		return false
	}
	for _, b := range slices.Backward(before) {
		if isCompaction(b) {
			return true
		}
		if b.Role == host.Assistant && !b.Summary {
			return false
		}
	}
	return false
}

// isCommand reports whether a user message announces a person's !command.
func isCommand(m host.Message) bool {
	return synthetic(m) && strings.HasPrefix(m.Text(), commanded)
}

// isOutput reports whether an assistant message, one of messages, is the output
// of a person's !command. No model wrote it: it has one tool call, no finish and
// no usage. So has a turn that was stopped between two tries of its provider,
// hence the look at what it answers.
func isOutput(messages []host.Message, m host.Message) bool {
	if m.Role != host.Assistant || m.Finish != "" || m.Error != nil || m.Usage != (host.Usage{}) || len(m.Parts) != 1 || m.Parts[0].Type != "tool" {
		return false
	}
	return slices.ContainsFunc(messages, func(u host.Message) bool { return u.ID == m.Parent && isCommand(u) })
}

// lastSpeaker returns the agent and model that a session runs with: a message of
// ours must not switch them. After a long turn only answers are in sight, which
// carry them as well; a compaction's summary has an agent of its own.
func lastSpeaker(messages []host.Message) (agent string, model host.Model) {
	for _, m := range slices.Backward(messages) {
		if m.Agent != "" && m.Model.ID != "" && !m.Summary {
			return m.Agent, m.Model
		}
	}
	return "", host.Model{}
}

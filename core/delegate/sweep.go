package delegate

import (
	"context"
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// taskKey is the metadata key under which a child session names its task.
const taskKey = "opencode-sidecar.task"

// Respawned is called when a sidecar of the same host died before this one: its
// tasks are unknown here, and their sessions run on with nobody to watch them.
func (e *Engine) Respawned() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swept = map[string]bool{}
}

// sweep stops what an earlier sidecar left running in a directory, and tells the
// parents without starting a turn. Status is per OpenCode process, so sessions of
// another window are never among them.
func (e *Engine) sweep(ctx context.Context, directory string) {
	statuses, err := e.host.Statuses(ctx, directory)
	if err != nil {
		e.log.Warn().Err(err).Str("directory", directory).Msg("what an earlier sidecar left running is not known")
		return
	}
	lost := map[string]string{} // by parent
	for id := range statuses {
		s, err := e.host.Session(ctx, directory, id)
		name := s.Metadata[taskKey]
		if err != nil || name == "" {
			continue
		}
		// A task of ours, or a session of one that has ended, which a person uses.
		if _, err := e.store.Get(ctx, task.ID(name)); err == nil {
			continue
		}
		line := fmt.Sprintf("\n[WARNING] %s (session %s)", name, id)
		if err := e.stopSession(ctx, directory, id, "", 0); err != nil {
			line += fmt.Sprintf("; that it stopped is not confirmed (%v)", err)
		}
		lost[s.Parent] += line
	}
	for session, lines := range lost {
		messages, err := e.host.Messages(ctx, directory, session, recent)
		if err != nil {
			continue
		}
		prompt := host.Prompt{
			Session: session, MessageID: e.ids.Next(), NoReply: true, Synthetic: true,
			Text: "The sidecar was restarted after a crash. These background tasks were stopped and their results are lost; what they had written is in their sessions:" + lines,
		}
		prompt.Agent, prompt.Model = lastSpeaker(messages)
		if err := e.host.Prompt(ctx, directory, prompt); err != nil {
			e.log.Warn().Err(err).Str("session", session).Msg("parent not told of tasks that were lost")
		}
	}
}

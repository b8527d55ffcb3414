package delegate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// taskKey is the metadata key under which a child session names its task.
const taskKey = "opencode-sidecar.task"

const (
	// sweepWindow is how soon after a respawn the shim opens the workspaces again
	// that the dead sidecar had.
	sweepWindow = 10 * time.Second
	// sweepAgain is the time between two looks, sweepLimit the end of looking.
	sweepAgain, sweepLimit = time.Second, time.Minute
)

// Respawned is called when a sidecar of the same host died before this one. What
// it has stored is taken over (see adopt); but sessions of tasks that the store
// does not know, because it was in memory or is damaged, run on with nobody to
// watch them.
func (e *Engine) Respawned() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.respawned = time.Now()
}

// sweep stops what an earlier sidecar left running in a directory, and tells the
// parents without starting a turn. It goes on looking until the turn of a prompt
// that was accepted just before the crash must have begun. Status is per OpenCode
// process, so sessions of another window are never among them.
func (e *Engine) sweep(ctx context.Context, directory string) {
	start := time.Now()
	lost := map[string]string{} // by parent
	for seen := false; time.Since(start) < sweepLimit && (!seen || time.Since(start) < settleLimit); {
		statuses, err := e.host.Statuses(ctx, directory)
		seen = err == nil
		for id := range statuses {
			s, err := e.orphan(ctx, directory, id)
			if err != nil {
				seen = false // look again
			}
			if err != nil || s.ID == "" {
				continue
			}
			line := fmt.Sprintf("\n[WARNING] %s (session %s)", s.Metadata[taskKey], id)
			if err := e.stopSession(ctx, directory, id, "", 0); err != nil {
				line += fmt.Sprintf("; that it stopped is not confirmed (%v)", err)
			}
			lost[s.Parent] += line
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepAgain):
		}
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

// orphan returns a session that runs a task nobody here knows; the zero session
// if it is none: of no task, of one of ours, or one in which a person works.
func (e *Engine) orphan(ctx context.Context, directory, id string) (host.Session, error) {
	s, err := e.host.Session(ctx, directory, id)
	if host.NotFound(err) {
		return host.Session{}, nil
	}
	name := s.Metadata[taskKey]
	if err != nil || name == "" {
		return host.Session{}, err
	}
	if _, err := e.store.Get(ctx, task.ID(name)); !errors.Is(err, task.ErrNotFound) {
		return host.Session{}, err
	}
	messages, err := e.host.Messages(ctx, directory, id, 1000)
	if err != nil {
		return host.Session{}, err
	}
	typed := 0 // our own prompt counts as typed
	for _, m := range messages {
		if byPerson(m) {
			typed++
		}
	}
	if typed > 1 {
		return host.Session{}, nil
	}
	return s, nil
}

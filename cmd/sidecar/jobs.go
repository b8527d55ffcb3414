package main

import (
	"context"
	"errors"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
)

// jobSettings are the options as background commands take them.
func jobSettings(o config.Options) job.Settings {
	return job.Settings{Limit: o.JobConcurrency, Timeout: o.JobTimeout, Buffer: o.JobBuffer, Logs: o.JobLogs, LogAge: o.JobLogAge}
}

// runJobs runs background commands until ctx ends. First it ends what a dead
// sidecar may have left running.
func (a *app) runJobs(ctx context.Context) {
	// Daemons that let go of their parents stay ours then, whatever they do to
	// their environment. Nobody else here starts sessions of their own.
	if err := a.keeper.Adopt(); err != nil && !errors.Is(err, proc.ErrUnsupported) {
		a.log.Warn().Err(err).Msg("daemons of background commands may outlive them")
	}
	recovered := make(chan struct{})
	go func() { // waited for below
		defer close(recovered)
		select {
		case <-a.owned:
		case <-ctx.Done():
			return
		}
		if n, err := a.jobs.Recover(ctx); err != nil {
			a.log.Warn().Err(err).Msg("background commands of an earlier sidecar")
		} else if n > 0 {
			a.log.Info().Int("commands", n).Msg("background commands of an earlier sidecar ended")
		}
	}()
	a.jobs.Run(ctx)
	<-recovered
}

// jobStarted takes note of a command of whose end a session is to be told.
func (a *app) jobStarted(j job.Job) {
	if j.Notify && j.Session != "" {
		a.tasks.Expect(j.Session, j.Directory, j.ID)
	}
}

// jobEnded tells people and the session that launched a command of its end.
func (a *app) jobEnded(ctx context.Context, j job.Job) {
	a.log.Info().Str("job", j.ID).Str("state", string(j.State)).Int("code", j.Code).Str("signal", j.Signal).Dur("took", j.Took()).Msg("background command ended")
	switch {
	case !j.Notify || j.Session == "":
		return
	case j.State == job.Killed: // by the session itself
		a.tasks.Forgo(j.Session, j.ID)
		return
	case j.State == job.Interrupted && a.ending():
		return
	}
	news := delegate.News{ID: j.ID, Session: j.Session, Directory: j.Directory, Worktree: j.Worktree, Text: a.jobs.Report(j.ID)}
	if err := a.tasks.Announce(ctx, news); err != nil {
		a.log.Error().Err(err).Str("job", j.ID).Msg("that a session is told of its command is not stored")
	}
}

// ending reports whether the shutdown has begun.
func (a *app) ending() bool {
	select {
	case <-a.lifecycle.Started():
		return true
	default:
		return false
	}
}

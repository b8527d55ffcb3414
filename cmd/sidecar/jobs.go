package main

import (
	"context"
	"errors"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/host"
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
			a.recoverJobs(ctx)
		case <-ctx.Done():
		}
	}()
	a.jobs.Run(ctx)
	<-recovered
}

// recoverJobs ends what dead sidecars have left running, and tries again as long as
// something is in the way.
func (a *app) recoverJobs(ctx context.Context) {
	for wait := time.Second; ; wait = min(4*wait, 5*time.Minute) {
		n, err := a.jobs.Recover(ctx)
		if n > 0 {
			a.log.Info().Int("commands", n).Msg("background commands of an earlier sidecar ended")
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		a.log.Warn().Err(err).Msg("background commands of an earlier sidecar")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// jobStarted takes note of a command of whose end a session is to be told.
func (a *app) jobStarted(j job.Job) {
	if j.Notify && j.Session != "" {
		a.tasks.Expect(j.Session, j.Directory, j.ID)
	}
}

// jobSeen takes note that the session which is to be told of a command's end has
// read of it.
func (a *app) jobSeen(ctx context.Context, j job.Job) { a.tasks.Forgo(ctx, j.Session, j.ID) }

// longJob is how long a command has to run for people to be told of its end.
const longJob = 30 * time.Second

// jobEnded tells people and the session that launched a command of its end.
func (a *app) jobEnded(ctx context.Context, j job.Job) {
	a.log.Info().Str("job", j.ID).Str("state", string(j.State)).Int("code", j.Code).Str("signal", j.Signal).Dur("took", j.Took()).Msg("background command ended")
	if a.toasts(j.Directory) && j.Took() >= longJob && j.State != job.Killed && j.State != job.Interrupted {
		note := host.Toast{Title: "Background command", Message: j.Brief(), Variant: "success", Duration: 5 * time.Second}
		if j.State != job.Done {
			note.Variant = "warning"
		}
		_ = a.host.Toast(ctx, j.Directory, note) // a courtesy
	}
	switch {
	case !j.Notify || j.Session == "":
		return
	case j.State == job.Killed && j.EndedBy == j.Session: // which knows, or is gone
		a.tasks.Forgo(ctx, j.Session, j.ID)
		return
	}
	news := delegate.News{ID: j.ID, Session: j.Session, Directory: j.Directory, Worktree: j.Worktree, Text: a.jobs.Report(j.ID)}
	if err := a.tasks.Announce(ctx, news); err != nil {
		a.log.Error().Err(err).Str("job", j.ID).Msg("that a session is told of its command is not stored")
	}
}

// toasts reports whether people want toasts in a directory.
func (a *app) toasts(directory string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.toasted[directory]
}

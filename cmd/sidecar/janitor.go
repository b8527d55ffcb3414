package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// newJanitor returns a janitor that works with a state folder. checkpoint and tell
// may be nil.
func newJanitor(state string, checkpoint func(context.Context) error, tell func(string), log zerolog.Logger) *janitor.Janitor {
	return janitor.New(janitor.Options{
		State: state, Trash: trash.New(filepath.Join(state, "trash")), Checkpoint: checkpoint, Tell: tell, Log: log,
		Exclusive: func(ctx context.Context, project string, do func() error) error {
			return todo.NewFile(project, state, nil).Exclusive(ctx, do)
		},
	})
}

// janitorSettings are the options of a workspace as the janitor takes them.
func janitorSettings(o config.Options) janitor.Settings {
	return janitor.Settings{
		Off: !o.Janitor, Modules: janitor.Modules(o.JanitorNodeModules), Delay: o.JanitorDelay,
		Files: o.JanitorFiles, Bytes: int64(o.JanitorBytes), Cap: o.JanitorFileCap,
		ArchiveAge: o.JanitorArchiveAge, HistoryAge: o.JanitorHistoryAge, DocumentBytes: int64(o.JanitorDocumentBytes), TrashAge: o.JanitorTrashAge,
		Every: map[janitor.Rule]time.Duration{
			janitor.History: o.JanitorHistoryEvery, janitor.Archives: o.JanitorArchiveEvery, janitor.Documents: o.JanitorDocumentEvery,
			janitor.Limits: o.JanitorLimitEvery, janitor.Checkpoint: o.JanitorCheckpointEvery,
		},
	}
}

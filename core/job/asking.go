package job

import (
	"context"
	"fmt"
	"os"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Asker asks OpenCode's permission rules on behalf of a running tool call. It
// returns nil once they allow what was asked; of a refusal, host.NotAllowed is
// true.
type Asker interface {
	Ask(ctx context.Context, callID string, q host.Ask) error
}

// allowed returns nil once the user's rules for bash allow a line, and those for
// foreign directories where it runs and what it names (opencode-facts 9.8).
func (t toolset) allowed(ctx context.Context, callID string, w workspace.Workspace, line, dir string) error {
	needs := NeedsOf(line, Place{Dir: dir, Roots: []string{w.Directory, w.Worktree}, Home: t.home, IsDir: isDir})
	about := map[string]any{"command": line, "cwd": dir, "background": true}
	if len(needs.External) > 0 {
		err := t.ask.Ask(ctx, callID, host.Ask{Permission: "external_directory", Patterns: needs.External, Always: needs.External, Metadata: about})
		if err != nil {
			return refusal("reaching outside of the project", err)
		}
	}
	if len(needs.Commands) > 0 {
		err := t.ask.Ask(ctx, callID, host.Ask{Permission: "bash", Patterns: needs.Commands, Always: needs.Always, Metadata: about})
		if err != nil {
			return refusal("this command", err)
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// refusal is what the model reads when nothing was run.
func refusal(what string, err error) error {
	if host.NotAllowed(err) {
		return &tool.Refusal{Err: fmt.Errorf("the user's rules do not allow %s, so nothing was done: %w", what, err)}
	}
	return fmt.Errorf("whether the user allows %s could not be asked, so nothing was done: %w", what, err)
}

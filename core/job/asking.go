package job

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

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

// errand is what somebody wants to be done.
type errand struct {
	line, dir string
	env       map[string]string
	input     string
}

// allowed returns nil once the user's rules for bash allow an errand, and those for
// foreign directories where it runs and what it names (opencode-facts 9.8).
func (t toolset) allowed(ctx context.Context, callID string, w workspace.Workspace, e errand) error {
	at := Place{Dir: e.dir, Roots: []string{w.Directory, w.Worktree}, Home: t.home, IsDir: isDir}
	needs := NeedsOf(e.line, at).with(e.env)
	if e.input != "" && runsShell(needs.Commands) { // which runs what it reads
		typed := NeedsOf(e.input, at)
		needs.External = append(needs.External, typed.External...)
		needs.Commands, needs.Always = append(needs.Commands, typed.Commands...), append(needs.Always, typed.Always...)
	}
	about := map[string]any{"command": e.line, "cwd": e.dir, "background": true}
	if len(e.env) > 0 {
		about["env"] = e.env
	}
	if e.input != "" {
		about["input"] = clip(e.input, maxAsked)
	}
	if len(needs.External) > 0 {
		err := t.ask.Ask(ctx, callID, host.Ask{Permission: "external_directory", Patterns: needs.External, Always: needs.External, Metadata: about})
		if err != nil {
			return refusal("reaching outside of the project", err)
		}
	}
	if err := t.ask.Ask(ctx, callID, host.Ask{Permission: "bash", Patterns: needs.Commands, Always: needs.Always, Metadata: about}); err != nil {
		return refusal("this command", err)
	}
	return nil
}

// maxAsked is how many characters of its input a question shows.
const maxAsked = 4000

// with puts variables before every command, as one would write it: they can make
// of any command another one.
func (n Needs) with(env map[string]string) Needs {
	var before strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value, err := syntax.Quote(env[name], syntax.LangBash)
		if err != nil {
			value = strconv.Quote(env[name])
		}
		before.WriteString(name + "=" + value + " ")
	}
	if before.Len() == 0 {
		return n
	}
	prefixed := make([]string, len(n.Commands))
	for i, c := range n.Commands {
		prefixed[i] = before.String() + c
	}
	n.Commands, n.Always = prefixed, slices.Clone(prefixed)
	return n
}

// runsShell reports whether one of some commands is a shell.
func runsShell(commands []string) bool {
	return slices.ContainsFunc(commands, func(c string) bool {
		return slices.ContainsFunc(strings.Fields(c), func(word string) bool { return slices.Contains(shells, path.Base(word)) })
	})
}

// shells run what they read.
var shells = []string{"sh", "bash", "zsh", "dash", "ash", "ksh", "mksh", "fish"}

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

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// bigPlan is a todo.md of so many lines, 58 bytes each: milestones, nested items
// in every state.
func bigPlan(lines int) string {
	var b strings.Builder
	for i := range lines {
		if i%50 == 0 {
			fmt.Fprintf(&b, "## M%d: A milestone of the plan with a name of some words\n", i/50)
			continue
		}
		fmt.Fprintf(&b, "%s- [%c] S%d.%d: the work that item %d asks for | size:S\n", strings.Repeat("  ", (i-1)%3), " x/-"[i%4], i/50, i%50, i)
	}
	return b.String()
}

// flatPlan is a todo.md of open items S1, S2 and so on. What is noted stands in
// the first one.
func flatPlan(items int, noted string) string {
	var b strings.Builder
	for i := range items {
		fmt.Fprintf(&b, "- [ ] S%d: part %d of the work%s\n", i+1, i+1, noted)
		noted = ""
	}
	return b.String()
}

// worktree makes a folder with a todo.md that nobody has touched for an hour.
func (b *bench) worktree(name, list string) (directory string, err error) {
	directory = filepath.Join(b.temp, name)
	if err := replaceTodo(directory, list); err != nil {
		return "", err
	}
	old := time.Now().Add(-time.Hour)
	return directory, os.Chtimes(filepath.Join(directory, todo.Path), old, old)
}

// replaceTodo puts another todo.md in the place of the old one, with a rename as
// editors do it.
func replaceTodo(directory, list string) error {
	path := filepath.Join(directory, todo.Path)
	return errors.Join(
		os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path+"~", []byte(list), 0o644),
		os.Rename(path+"~", path))
}

// startIn starts a sidecar whose first workspace is a folder that is really
// there. OpenCode's rules allow its agents everything; around is called with each
// call of the host's, and may be nil.
func (b *bench) startIn(ctx context.Context, state, directory string, around fakeshim.Around, options map[string]any) (*fakeShim, error) {
	hash, err := fakeshim.ManifestHash(b.root)
	if err != nil {
		return nil, err
	}
	process, err := fakeshim.Start(b.binary, state, nil)
	if err != nil {
		return nil, err
	}
	s := &fakeShim{fake: fake.New(func(host.Prompt, host.Session) fake.Reply { return fake.Reply{Text: "done"} })}
	router := fakeshim.Router(s.fake, directory, around)
	rpc.Handle(router, wire.HostToolAsk, func(context.Context, wire.ToolAskParams) (wire.Empty, error) { return wire.Empty{}, nil })
	s.Shim, err = fakeshim.Connect(ctx, process, router, fakeshim.Setup{Hash: hash, Directory: directory, Options: options})
	if err != nil {
		return nil, err
	}
	s.fake.Emit = func(_ string, e host.Event) { s.Emit(e) }
	return s, nil
}

// mission opens a session whose turn never ends, so that nothing goes on by
// itself, and starts a mission there. The directory is that of the sidecar's first
// workspace, whichever the mission is for.
func (s *fakeShim) mission(ctx context.Context, workspace, directory string) (session string, err error) {
	session = s.fake.Open(directory)
	s.fake.SetBusy(session, true)
	_, err = rpc.Invoke(ctx, s.Conn, wire.HookCommand, wire.CommandParams{Workspace: workspace, Command: "task", SessionID: session, Arguments: "Build all of it."})
	return session, err
}

// toasts passes on when toasts were shown.
func toasts() (fakeshim.Around, <-chan time.Time) {
	shown := make(chan time.Time, 100)
	return func(ctx context.Context, c fakeshim.Call, do func(context.Context) error) error {
		if c.Method == wire.HostToast.Name {
			shown <- time.Now()
		}
		return do(ctx)
	}, shown
}

// next returns when the next toast was shown.
func next(ctx context.Context, shown <-chan time.Time) (time.Time, error) {
	select {
	case at := <-shown:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("no toast tells of the edit: %w", context.Cause(ctx))
	}
}

package todo

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// The actions of update_todo.
const (
	actionUpdate = "update"
	actionAdd    = "add"
)

type updateArgs struct {
	Action  string `json:"action" jsonschema:"update sets the status of an item; add writes a new item"`
	Task    string `json:"task" jsonschema:"the item, by its id or its text; to add an item that is not below another, the text of the new one, in one line"`
	Status  string `json:"status,omitempty" jsonschema:"the new status, which update needs; progress is in_progress, and failed is cancelled: no work is left on the item"`
	Subtask string `json:"subtask,omitempty" jsonschema:"only to add: the text of the new item, in one line, which goes below the item that task names"`
	Version string `json:"version,omitempty" jsonschema:"the version of the list that you have read; if it has changed since, nothing is written and you are told what changed"`
}

// Asker asks OpenCode's permission rules on behalf of a running tool call. It
// returns nil once they allow what was asked; of a refusal, host.NotAllowed is
// true.
type Asker interface {
	Ask(ctx context.Context, callID string, q host.Ask) error
}

// toolset is the tool over a Sync.
type toolset struct {
	sync   *Sync
	lookup func(workspaceID string) (workspace.Workspace, error)
	ask    Asker
}

// Tools are the tools with which models work on the todo list. lookup maps the
// workspace id of a call to its workspace, whose worktree has to be open in the
// Sync.
func Tools(s *Sync, lookup func(id string) (workspace.Workspace, error), ask Asker) []tool.Tool {
	t := toolset{s, lookup, ask}
	return []tool.Tool{
		tool.New("update_todo",
			"Updates "+Path+", the plan that you share with the user: sets the status of one item, or adds one. The rest of the file stays as it is. Returns the progress and the version of the list.",
			t.update, tool.Enum("action", actionUpdate, actionAdd), tool.Length("task", 1, 0),
			tool.Enum("status", "pending", "progress", "completed", "failed", "in_progress", "cancelled")),
	}
}

func (t toolset) update(ctx context.Context, c tool.Call, a updateArgs) (tool.Result, error) {
	change, err := a.change()
	if err != nil {
		return tool.Result{}, err
	}
	w, err := t.lookup(c.Workspace)
	if err != nil {
		return tool.Result{}, err
	}
	tree, err := t.sync.tree(w.Worktree)
	if err != nil {
		return tool.Result{}, &tool.Refusal{Err: err}
	}
	t.sync.Watch(w.Worktree) //nolint:contextcheck // it outlives the call
	job := job{tree: tree, args: a, change: change, edit: Edit{Actor: c.Agent, Kind: a.Action, Expect: Version(strings.ToLower(a.Version))}}
	before, planned, err := job.plan()
	if err != nil {
		return tool.Result{}, job.explain(err)
	}
	if string(planned.content) == before.text { // nobody has to be asked for that
		return answer(before, planned), nil
	}
	if err := t.ask.Ask(ctx, c.CallID, question(tree.worktree, before, planned)); err != nil {
		return tool.Result{}, refusal(err)
	}
	after, made, err := job.write(ctx)
	if err != nil {
		return tool.Result{}, job.explain(err)
	}
	return answer(after, made), nil
}

// question is what the user may be asked before anything is written.
func question(worktree string, before *Document, planned outcome) host.Ask {
	path := filepath.Join(worktree, filepath.FromSlash(Path))
	return host.Ask{
		Permission: "edit",
		Patterns:   []string{Path},
		Always:     []string{Path},
		Metadata:   map[string]any{"filepath": path, "diff": patch(path, before.text, string(planned.content))},
	}
}

// answer tells the model what was done and where the list stands.
func answer(doc *Document, done outcome) tool.Result {
	progress := doc.Progress()
	said := tally(progress)
	return tool.Result{
		Title:    said,
		Output:   done.said + "\n" + said + ". Version " + doc.Version.Short() + ".",
		Metadata: map[string]any{"version": doc.Version.Short(), "done": progress.Done(), "total": progress.Total()},
	}
}

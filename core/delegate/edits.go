package delegate

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// edits is which open tasks have changed which file, by path. Two that change the
// same one at the same time overwrite each other without knowing, so both their
// parents are told. The engine's mu guards it.
type edits struct {
	by map[string][]*run
	// clashes are the files that pairs of tasks share, by the one that is told.
	clashes map[task.ID]map[task.ID][]string
}

// forget drops a run that has ended, but not what open ones shared with it.
func (x *edits) forget(r *run) {
	delete(x.clashes, r.id)
	for path, runs := range x.by {
		if runs = slices.DeleteFunc(runs, func(o *run) bool { return o == r }); len(runs) == 0 {
			delete(x.by, path)
		} else {
			x.by[path] = runs
		}
	}
}

func (x *edits) note(a, b task.ID, path string) {
	if x.clashes == nil {
		x.clashes = map[task.ID]map[task.ID][]string{}
	}
	if x.clashes[a] == nil {
		x.clashes[a] = map[task.ID][]string{}
	}
	x.clashes[a][b] = append(x.clashes[a][b], path)
}

// shared returns what the parent of a task must know about shared files.
func (x *edits) shared(id task.ID) string {
	var b strings.Builder
	for other, paths := range x.clashes[id] {
		slices.Sort(paths)
		more := ""
		if len(paths) > 10 {
			paths, more = paths[:10], fmt.Sprintf(" and %d more", len(paths)-10)
		}
		fmt.Fprintf(&b, "[WARNING] %s edited the same files at the same time: %s%s\n", other, strings.Join(paths, ", "), more)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// editedLocked takes note of the files that a tool call changes.
func (e *Engine) editedLocked(r *run, call host.ToolCall) {
	for _, path := range call.Files {
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.directory, path)
		}
		path = filepath.Clean(path)
		if slices.Contains(e.edits.by[path], r) {
			continue
		}
		for _, other := range e.edits.by[path] {
			e.edits.note(r.id, other.id, path)
			e.edits.note(other.id, r.id, path)
			if e.configLocked(r.directory).Toasts {
				n := e.noticeLocked(r.directory)
				n.asks = append(n.asks, fmt.Sprintf("%s and %s edit the same file: %s", other.id, r.id, path))
			}
		}
		if e.edits.by == nil {
			e.edits.by = map[string][]*run{}
		}
		e.edits.by[path] = append(e.edits.by[path], r)
	}
}

package mission

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// The other files that hold a mission open, by compat with the original: a
// checklist of what has to be verified, and conflicts that are not resolved.
const (
	checklistPath = ".opencode/verification-checklist.md"
	issuesPath    = ".opencode/sync-issues.md"
)

// gate is what stands between a mission and its end.
type gate struct {
	list      *todo.Document
	progress  todo.Progress // of todo.md
	checklist todo.Progress
	issues    bool
}

// driven reports whether there is anything to drive at all.
func (g gate) driven() bool { return g.progress.Total() > 0 || g.checklist.Total() > 0 || g.issues }

// open reports whether something is left to do.
func (g gate) open() bool { return g.progress.Open() > 0 || g.checklist.Open() > 0 || g.issues }

// String says how far it is: "3 of 5 items done".
func (g gate) String() string {
	p := g.progress
	text := fmt.Sprintf("%d of %d items of todo.md done", p.Done(), p.Total())
	if n := g.checklist.Open(); n > 0 {
		text += fmt.Sprintf(", %d of %d of verification-checklist.md open", n, g.checklist.Total())
	}
	if g.issues {
		text += ", sync-issues.md not empty"
	}
	return text
}

// version tells two states of everything that is to do apart.
func (g gate) version() string {
	return fmt.Sprintf("%s %+v %t", g.list.Version, g.checklist, g.issues)
}

// readGate reads the files. An error says which of them cannot be read, and why.
func (d *Driver) readGate(worktree string) (gate, error) {
	list, err := d.todos.Read(worktree)
	if err != nil {
		return gate{}, err
	}
	g := gate{list: list, progress: list.Progress()}
	root, err := os.OpenRoot(worktree)
	if err != nil {
		return gate{}, fmt.Errorf("the worktree: %w", err)
	}
	defer func() { _ = root.Close() }()
	checklist, err := readList(root, checklistPath)
	if err != nil {
		return gate{}, err
	}
	g.checklist = checklist.Progress()
	issues, err := readList(root, issuesPath)
	if err != nil {
		return gate{}, err
	}
	g.issues = unresolved(issues)
	return g, nil
}

// readList reads a file of the worktree; one that is not there is empty.
func readList(root *os.Root, name string) (*todo.Document, error) {
	content, err := readFile(root, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	doc, err := todo.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return doc, nil
}

func readFile(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name) // before it is opened: opening a pipe would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, todo.ErrNotRegular
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, todo.MaxSize+1)) // one more: Parse refuses what is too large
}

// unresolved reports whether sync-issues.md says anything besides headings,
// comments and items that are checked off.
func unresolved(doc *todo.Document) bool {
	if doc.Progress().Open() > 0 {
		return true
	}
	items := map[int]bool{}
	for item := range doc.All() {
		items[item.Line] = true
	}
	text, comment, n := string(doc.Bytes()), false, 0
	for line := range strings.Lines(text) {
		n++
		rest := strings.TrimSpace(line)
		for rest != "" {
			if comment {
				_, after, closed := strings.Cut(rest, "-->")
				comment, rest = !closed, strings.TrimSpace(after)
				continue
			}
			before, after, opened := strings.Cut(rest, "<!--")
			if before = strings.TrimSpace(before); before != "" && !strings.HasPrefix(before, "#") && !items[n] {
				return true
			}
			comment, rest = opened, after
		}
	}
	return false
}

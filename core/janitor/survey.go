package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// The places where files of ours may be, below the folder.
const (
	archiveDir   = "archive"
	tasksDir     = "archive/tasks"
	docsDir      = "docs"
	modulesDir   = "node_modules"
	historyName  = "archive/todo_history.jsonl"
	historyBegin = "archive/todo_history."
)

// kind is what a file of ours holds.
type kind uint8

const (
	taskArchive   kind = iota // ended tasks of a day
	liveHistory               // that todo.md's edits are noted in now
	plainHistory              // set aside and not packed
	packedHistory             // set aside and packed
	document                  // of the document cache
	leftover                  // of a process that was killed while it took or packed something
)

// String names the kind for people.
func (k kind) String() string {
	switch k {
	case taskArchive:
		return "archive of tasks"
	case document:
		return "cached document"
	case leftover:
		return "what is left of a cleaning that was killed"
	default:
		return "history of todo.md"
	}
}

// file is one that may be ours by its place and name.
type file struct {
	name string // below the folder, with slashes
	kind kind
	info fs.FileInfo
	used time.Time // as recorded: its last change, its name, its index
	back time.Time // when it was put back that had gone
	doc  entry     // of a document
}

// maxCandidates bounds what a survey holds. Who has more of them has the rest
// looked at once the first have gone.
const maxCandidates = 10_000

// survey is what is in a folder.
type survey struct {
	files   int // of anybody, OpenCode's packages aside
	ours    []file
	failed  []error // what could not be looked at, the first few
	skipped int     // and how many more
	theirs  []Stay  // what people have in the place of ours
}

var (
	taskArchiveName = regexp.MustCompile(`^tasks_(\d{4}-\d\d-\d\d)\.jsonl$`)
	// The stamp is a day, as opencode-orchestrator wrote it, or one of ours.
	oldHistoryName = regexp.MustCompile(`^todo_history\.(\d{4}-\d\d-\d\d)(?:T\d\d-\d\d-\d\dZ(?:-\d{1,4})?)?\.jsonl(\.gz)?$`)
)

// survey looks at everything in the folder once. Memory does not grow with what
// is in it.
func (f *folder) survey(ctx context.Context, l ledger) (*survey, error) {
	s := &survey{}
	docs, err := f.readIndex()
	if theirs, ok := errors.AsType[noIndex](err); ok {
		s.theirs = append(s.theirs, Stay{indexName, theirs.Error()})
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.fail(fmt.Errorf("the document cache is left alone: %w", err))
	}
	apart := map[string]bool{} // repositories of their own, of which git says no files here
	err = f.walk(ctx, modulesDir, func(dir string, e fs.DirEntry) {
		if e.Name() == ".git" && dir != "." && len(apart) < maxCandidates {
			apart[dir] = true
		}
		if e.IsDir() {
			return
		}
		s.files++
		if c, ok := candidate(dir, e.Name(), docs); ok && len(s.ours) < maxCandidates {
			info, err := f.root.Lstat(c.name)
			if err != nil || !info.Mode().IsRegular() {
				return
			}
			c.info, c.back = info, l.Used[c.name]
			for _, at := range []time.Time{info.ModTime(), c.back} {
				if c.used.Before(at) {
					c.used = at
				}
			}
			s.ours = append(s.ours, c)
		}
	}, s.fail)
	s.ours = slices.DeleteFunc(s.ours, func(c file) bool {
		return apart[path.Dir(c.name)] || apart[archiveDir] && path.Dir(c.name) == tasksDir
	})
	return s, err
}

func (s *survey) fail(err error) {
	if len(s.failed) == 5 {
		s.skipped++
		return
	}
	s.failed = append(s.failed, err)
}

// candidate reports whether a file may be ours by its place and name.
func candidate(dir, name string, docs *index) (file, bool) {
	c := file{name: path.Join(dir, name)}
	day := ""
	if (dir == tasksDir || dir == archiveDir || dir == docsDir) && trash.IsLeftover(name) || dir == archiveDir && packing.MatchString(name) || dir == docsDir && indexing.MatchString(name) {
		c.kind = leftover
		return c, true
	}
	switch dir {
	case tasksDir:
		m := taskArchiveName.FindStringSubmatch(name)
		if m == nil {
			return c, false
		}
		c.kind, day = taskArchive, m[1]
	case archiveDir:
		if c.name == historyName {
			c.kind = liveHistory
			return c, true
		}
		m := oldHistoryName.FindStringSubmatch(name)
		if m == nil {
			return c, false
		}
		c.kind, day = plainHistory, m[1]
		if m[2] != "" {
			c.kind = packedHistory
		}
	case docsDir:
		e, ok := docs.entry(name)
		c.kind, c.doc, c.used = document, e, e.Fetched
		return c, ok
	default:
		return c, false
	}
	at, err := time.Parse(time.DateOnly, day)
	c.used = at
	return c, err == nil
}

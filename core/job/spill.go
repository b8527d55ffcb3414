package job

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What a Spill does when it says nothing else.
const (
	DefaultSpillFile  = 64 << 20
	DefaultSpillTotal = 512 << 20
	DefaultSpillAge   = 7 * 24 * time.Hour
)

const (
	spillEnding = ".log"
	// spillRest is how long nobody must have written to a file that is removed to
	// make room: another process may still write to it.
	spillRest = 10 * time.Minute
)

// Spill keeps all output of commands in files of a folder, for the user alone.
// Files that are too old, or too much, are removed when a new one is made.
type Spill struct {
	// Folder holds nothing else; empty for no files. It is made when needed.
	Folder string
	// File is how many bytes one file may have: what comes later is only in memory.
	File int64
	// Total is how many bytes all of them may have before old ones are removed.
	Total int64

	age time.Duration // how old they may get
}

// keeping returns s for files that may get that old.
func (s Spill) keeping(age time.Duration) Spill {
	s.age = age
	return s
}

func (s Spill) maxFile() int64 { return cmp.Or(max(s.File, 0), DefaultSpillFile) }

// open makes the files for a command, if it wants any, and returns them and their
// common path. Without them a command runs all the same. Files of commands that
// still write to theirs stay.
func (s Spill) open(id string, spec Spec, writes func(id string) bool) (files [len(streams)]*os.File, path string) {
	if s.Folder == "" || !spec.Spill {
		return files, ""
	}
	if err := os.MkdirAll(s.Folder, 0o700); err != nil {
		return files, ""
	}
	s.prune(time.Now(), writes)
	path = filepath.Join(s.Folder, id)
	for i, stream := range streams {
		if stream == Stderr && spec.PTY != nil {
			continue
		}
		f, err := os.OpenFile(spillName(path, stream), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		if err != nil {
			closeAll(files[:])
			return [len(streams)]*os.File{}, ""
		}
		files[i] = f
	}
	return files, path
}

func spillName(path string, s Stream) string { return path + "." + string(s) + spillEnding }

// prune removes files of ours that are too old and, the oldest first, those that
// are too much.
func (s Spill) prune(now time.Time, writes func(id string) bool) {
	names, err := os.ReadDir(s.Folder)
	if err != nil {
		return
	}
	type file struct {
		name string
		size int64
		at   time.Time
	}
	var files []file
	for _, n := range names {
		info, err := n.Info()
		if id, _, _ := strings.Cut(n.Name(), "."); writes(id) {
			continue
		}
		if err == nil && info.Mode().IsRegular() && strings.HasPrefix(n.Name(), IDPrefix) && strings.HasSuffix(n.Name(), spillEnding) {
			files = append(files, file{n.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	total, limit := int64(0), cmp.Or(max(s.Total, 0), DefaultSpillTotal)
	age := max(s.age, spillRest)
	for _, f := range files {
		old := now.Sub(f.at)
		if total += f.size; old > age || total > limit && old > spillRest {
			_ = os.Remove(filepath.Join(s.Folder, f.name))
			total -= f.size
		}
	}
}

// recall reads what the file of a stream holds, as much as is kept in memory.
func recall(path string, s Stream, size int) (ring, error) {
	out := newRing(size)
	f, err := os.Open(spillName(path, s))
	if err != nil {
		return out, err
	}
	defer func() { _ = f.Close() }()
	_, err = io.CopyBuffer(struct{ io.Writer }{&out}, struct{ io.Reader }{f}, make([]byte, chunk))
	out.settle()
	return out, err
}

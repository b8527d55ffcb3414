// Package archive keeps ended tasks for people to read: one JSON object a line,
// in a file for each day below the worktree that the tasks belong to.
//
// The task store is the truth; an archive is a copy that users may grep, keep
// or delete. Prompts are not in it: files of a project get committed and
// shared, `sidecar forget` does not reach them, and a prompt often quotes what
// the task was never to give away. A task that is archived again, after a crash
// or when it was resumed, has another line; id and attempt tell them apart.
package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Folder is where the files are, below the worktree.
const Folder = ".opencode/archive/tasks"

// Archive appends ended tasks to the files of their worktrees. It holds nothing
// open and is safe for concurrent use, also by several processes.
type Archive struct{ zone *time.Location }

// New returns an archive whose days begin at midnight in zone, time.Local for
// people.
func New(zone *time.Location) *Archive { return &Archive{zone} }

// Append writes an ended task as one line of its worktree's file for the day on
// which it ended. Folder and file are created when they do not exist, for the
// user alone. The line goes out in a single write to the end of the file, so
// that lines of several processes never mix; it is not flushed to the disk.
//
// An error leaves the task unarchived and is one sentence for the log. Nothing
// outside of the worktree is ever written: a symbolic link that leads out of it
// is an error.
func (a *Archive) Append(t task.Task) (err error) {
	if !t.State.Terminal() || t.Ended.IsZero() {
		return fmt.Errorf("archiving %s: it has not ended", t.ID)
	}
	line, err := a.line(t)
	if err != nil {
		return fmt.Errorf("archiving %s: %w", t.ID, err)
	}
	name := Folder + "/tasks_" + t.Ended.In(a.zone).Format(time.DateOnly) + ".jsonl"
	if err := write(t.Worktree, name, line); err != nil {
		return fmt.Errorf("archiving %s in %s: %w", t.ID, t.Worktree, err)
	}
	return nil
}

// write appends a line to the file of that name below the worktree.
func write(worktree, name string, line []byte) (err error) {
	root, err := os.OpenRoot(worktree)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	defer func() { err = explain(root, name, err) }()
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	// Opening a pipe would wait for its reader.
	if info, err := root.Stat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	// A line that is just being written looks unfinished too.
	if alone(file) {
		broken, err := unfinished(file)
		if err != nil {
			return err
		}
		if broken {
			line = append([]byte{'\n'}, line...)
		}
	}
	_, err = file.Write(line)
	return err
}

// unfinished reports whether the last line has no end, as a full disk or an
// editor leaves it: the next one must not be lost with it.
func unfinished(file *os.File) (bool, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] != '\n', nil
}

// explain names the symbolic link on the way to a file that could not be opened,
// if it is to blame.
func explain(root *os.Root, name string, err error) error {
	if err == nil {
		return nil
	}
	for at := range len(name) + 1 {
		if at < len(name) && name[at] != '/' {
			continue
		}
		info, lstatErr := root.Lstat(name[:at])
		if lstatErr != nil {
			break
		}
		if _, statErr := root.Stat(name[:at]); info.Mode()&os.ModeSymlink != 0 && statErr != nil {
			return fmt.Errorf("%s is a symbolic link that leads out of the worktree or nowhere; it is not followed: %w", name[:at], err)
		}
	}
	return err
}

// record is the form of a line. Names are never changed or reused, only added.
type record struct {
	ID          task.ID    `json:"id"`
	State       task.State `json:"state"`
	Attempt     int        `json:"attempt"`
	Agent       string     `json:"agent"`
	Model       string     `json:"model,omitempty"`
	Description string     `json:"description"`
	Group       string     `json:"group,omitempty"`
	Mode        string     `json:"mode,omitempty"`
	Priority    string     `json:"priority,omitempty"`
	Background  bool       `json:"background"`
	Depth       int        `json:"depth"`
	Directory   string     `json:"directory"`
	Parent      string     `json:"parentSession"`
	Root        string     `json:"rootSession,omitempty"`
	Session     string     `json:"session,omitempty"`
	Created     time.Time  `json:"created"`
	Started     time.Time  `json:"started,omitzero"`
	Ended       time.Time  `json:"ended"`
	Usage       usage      `json:"usage"`
	Error       string     `json:"error,omitempty"`
	Result      string     `json:"result"`
	Past        []attempt  `json:"pastAttempts,omitempty"`
}

type usage struct {
	Input      int64   `json:"inputTokens"`
	Output     int64   `json:"outputTokens"`
	Reasoning  int64   `json:"reasoningTokens"`
	CacheRead  int64   `json:"cacheReadTokens"`
	CacheWrite int64   `json:"cacheWriteTokens"`
	Cost       float64 `json:"costUSD"`
}

type attempt struct {
	State   task.State `json:"state"`
	Model   string     `json:"model,omitempty"`
	Started time.Time  `json:"started,omitzero"`
	Ended   time.Time  `json:"ended,omitzero"`
	Error   string     `json:"error,omitempty"`
	Result  string     `json:"result,omitempty"`
}

// line is the task as one line with its end.
func (a *Archive) line(t task.Task) ([]byte, error) {
	r := record{
		ID: t.ID, State: t.State, Attempt: t.Attempt, Agent: t.Agent, Model: t.Model.String(), Description: t.Description,
		Group: t.Group, Mode: string(t.Mode), Priority: string(t.Priority), Background: t.Background, Depth: t.Depth,
		Directory: t.Directory, Parent: t.Parent, Root: t.Root, Session: t.Session,
		Created: a.when(t.Created), Started: a.when(t.Started), Ended: a.when(t.Ended),
		Usage: usage(t.Usage), Error: t.Error, Result: t.Result,
	}
	for _, p := range t.Past {
		r.Past = append(r.Past, attempt{p.State, p.Model.String(), a.when(p.Started), a.when(p.Ended), p.Error, p.Result})
	}
	var b bytes.Buffer
	encode := json.NewEncoder(&b) // which ends the line
	encode.SetEscapeHTML(false)   // results are full of < and &
	if err := encode.Encode(r); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// when is a time as people of the zone read it, to the millisecond.
func (a *Archive) when(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.In(a.zone).Truncate(time.Millisecond)
}

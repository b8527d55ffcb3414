package todo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// HistoryPath is where a worktree's edits of the todo file are noted, one JSON
// object a line.
const HistoryPath = ".opencode/archive/todo_history.jsonl"

const (
	maxChanges    = 20  // of one edit
	maxChangeText = 500 // characters of a line
)

// HistoryEntry is one line of the history.
type HistoryEntry struct {
	Time  time.Time `json:"time"`
	Actor string    `json:"actor"`
	Kind  string    `json:"kind"`
	// Changes are the lines that changed, the first 20 of them, and More is how
	// many others did.
	Changes []LineChange `json:"changes"`
	More    int          `json:"more,omitempty"`
	// The version before is empty for a file that was made.
	VersionBefore Version `json:"versionBefore"`
	VersionAfter  Version `json:"versionAfter"`
}

// LineChange is a line that came, went, or became another.
type LineChange struct {
	// Line is where it is now, or where it was if it went, from 1.
	Line int `json:"line"`
	// Before is empty for a line that came, After for one that went.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// String tells the change to a reader.
func (c LineChange) String() string {
	switch {
	case c.Before == "":
		return fmt.Sprintf("line %d is new: %q", c.Line, c.After)
	case c.After == "":
		return fmt.Sprintf("line %d went: %q", c.Line, c.Before)
	default:
		return fmt.Sprintf("line %d was %q and is %q", c.Line, c.Before, c.After)
	}
}

// note writes an edit into the history. The edit is made; that it could not be
// noted is told as a warning.
func (f *File) note(at *target, e Edit, before, after *Document) {
	entry := HistoryEntry{
		Time: time.Now().UTC(), Actor: e.Actor, Kind: e.Kind,
		VersionBefore: before.Version, VersionAfter: after.Version,
	}
	entry.Changes, entry.More = diffLines(before.text, after.text)
	if err := appendLine(at.Root, entry); err != nil {
		f.warn(fmt.Errorf("%s was edited, but that could not be noted in its history: %w", Path, err))
	}
}

func appendLine(root *os.Root, entry HistoryEntry) error {
	line, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	if err := root.MkdirAll(filepath.Dir(HistoryPath), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(HistoryPath, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	line = append(line, '\n')
	if size, err := file.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := file.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...) // behind half a line of a process that was killed
		}
	}
	_, err = file.Write(line)
	return err
}

// diffLines lists the lines that differ, in the new text's order, those that
// went first. A line of which only the box or the bullet changed is one change.
// The order of lines that are in both does not count.
func diffLines(before, after string) (changes []LineChange, more int) {
	was, is := lines(before), lines(after)
	start := 0
	for start < len(was) && start < len(is) && was[start] == is[start] {
		start++
	}
	end := 0
	for end < len(was)-start && end < len(is)-start && was[len(was)-1-end] == is[len(is)-1-end] {
		end++
	}
	was, is = was[start:len(was)-end], is[start:len(is)-end]
	count := make(map[string]int)
	for _, line := range is {
		count[line]++
	}
	gone := make(map[string][]int) // in changes, by text, to find what a line was
	for i, line := range was {
		if count[line]--; count[line] < 0 {
			gone[LineText(line)] = append(gone[LineText(line)], len(changes))
			changes = append(changes, LineChange{Line: start + i + 1, Before: line})
		}
	}
	clear(count)
	for _, line := range was {
		count[line]++
	}
	for i, line := range is {
		if count[line]--; count[line] >= 0 {
			continue
		}
		change := LineChange{Line: start + i + 1, After: line}
		if text := LineText(line); len(gone[text]) > 0 {
			from := &changes[gone[text][0]]
			gone[text] = gone[text][1:]
			change.Before, from.Before = from.Before, ""
		}
		changes = append(changes, change)
	}
	changes = slices.DeleteFunc(changes, func(c LineChange) bool { // blank lines, and what became another
		return strings.TrimSpace(c.Before) == "" && strings.TrimSpace(c.After) == ""
	})
	if extra := len(changes) - maxChanges; extra > 0 {
		changes, more = changes[:maxChanges], extra
	}
	for i := range changes {
		changes[i].Before = clip(strings.ToValidUTF8(changes[i].Before, "\ufffd"), maxChangeText)
		changes[i].After = clip(strings.ToValidUTF8(changes[i].After, "\ufffd"), maxChangeText)
	}
	return changes, more
}

func lines(text string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
}

package trash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	// ErrNotPlain refuses what is not a regular file of its own: a folder, a link,
	// a pipe, a file with more than one name, or one behind a symbolic link.
	ErrNotPlain = errors.New("it is not a plain file")
	// ErrChanged refuses a file that is not, or no longer, what the caller has seen.
	ErrChanged = errors.New("it has changed")
	// ErrBusy is a batch that another process is working on.
	ErrBusy = errors.New("another process is working on it")
	// ErrNotFound is a batch that is not there; it is an fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("there is no such batch in the trash: %w", fs.ErrNotExist)
	// ErrTooLarge refuses what does not fit an index any more.
	ErrTooLarge = errors.New("the index of the batch cannot take it")
	// ErrDamaged is a batch that cannot be read.
	ErrDamaged = errors.New("the batch is damaged")
)

// maxBatches is how many batches are looked at together.
const maxBatches = 10_000

// Trash keeps what was taken out of projects, below one folder, for a while. It
// holds nothing open between calls and may be used by many goroutines and
// processes at once.
type Trash struct {
	folder string
}

// New returns the trash in a folder, an absolute path. It creates nothing; the
// folder is made, for its user alone, when something is taken.
func New(folder string) *Trash { return &Trash{folder: folder} }

// Item is one file that was taken.
type Item struct {
	// Folder is what the file was taken out of, and Name its slash path in there.
	// Both may hold any byte; JSON shows those that are no text as U+FFFD.
	Folder string `json:"folder"`
	Name   string `json:"name"`
	// Why is the reason that was given for taking it.
	Why  string `json:"why,omitempty"`
	Size int64  `json:"size"`
	// Mode has the permission bits only.
	Mode     fs.FileMode `json:"mode"`
	Modified time.Time   `json:"modified"`
	Taken    time.Time   `json:"taken"`
}

// Summary tells what a batch holds.
type Summary struct {
	// Batch names it for Restore and Items.
	Batch string `json:"batch"`
	// Folder is empty if the batch is too damaged to tell.
	Folder string    `json:"folder"`
	Taken  time.Time `json:"taken"`
	// Items and Bytes count what can still be restored.
	Items int   `json:"items"`
	Bytes int64 `json:"bytes"`
	// Problem is empty, or one sentence about what is damaged. What Items counts
	// can be restored in spite of it.
	Problem string `json:"problem,omitempty"`
}

// Batches lists the batches of a folder, or of all folders if it is empty, the
// newest first and no more than the newest 10,000. A damaged batch is listed with
// its Problem, and for every folder if it does not tell its own. The error is
// about the trash as a whole; a trash that was never used is empty.
func (t *Trash) Batches(folder string) ([]Summary, error) {
	root, err := t.open()
	if root == nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	names, err := list(root, maxBatches, isBatch)
	if err != nil {
		return nil, fmt.Errorf("listing the trash: %w", err)
	}
	var found []Summary
	for _, name := range names {
		if s, ok := summarize(root, name); ok && (folder == "" || s.Folder == "" || s.Folder == clean(folder)) {
			found = append(found, s)
		}
	}
	return found, nil
}

// summarize reports false for a batch that is gone, or has nothing in it: begun, or
// restored, by somebody who is not done yet or was killed.
func summarize(root *os.Root, name string) (Summary, bool) {
	s := Summary{Batch: name}
	s.Taken, _ = takenAt(name)
	in, err := enter(root, name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false
	}
	if err != nil {
		s.Problem = problem(err)
		return s, true
	}
	defer func() { _ = in.Close() }()
	x, err := load(in)
	if err != nil {
		if n, countErr := strays(in, nil); n == 0 && countErr == nil {
			return s, false
		}
		s.Problem = problem(err)
		return s, true
	}
	s.Folder, s.Taken = x.folder, x.taken
	for _, e := range x.live() {
		s.Items++
		s.Bytes += e.Size
	}
	if x.damage != nil {
		s.Problem = problem(x.damage)
	}
	return s, s.Items > 0 || s.Problem != ""
}

func problem(err error) string { return strings.ToValidUTF8(err.Error(), "\ufffd") }

// Items lists what a batch holds that can still be restored, in the order in which
// it was taken. The error is ErrNotFound, ErrDamaged, or what the system said; what
// can be read of a batch that is damaged only in part comes with its error.
func (t *Trash) Items(batch string) ([]Item, error) {
	root, err := t.open()
	if err != nil {
		return nil, err
	}
	if root == nil || !isBatch(batch) {
		return nil, fmt.Errorf("%q: %w", batch, ErrNotFound)
	}
	defer func() { _ = root.Close() }()
	in, err := enter(root, batch, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q: %w", batch, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", batch, err)
	}
	defer func() { _ = in.Close() }()
	x, err := load(in)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", batch, err)
	}
	var items []Item
	for _, e := range x.live() {
		items = append(items, e.item(x))
	}
	return items, x.damage
}

// open opens the trash; it is nil, without an error, if there is none yet.
func (t *Trash) open() (*os.Root, error) {
	root, err := os.OpenRoot(t.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the trash: %w", err)
	}
	return root, nil
}

// create opens the trash and makes it if it is not there.
func (t *Trash) create() (*os.Root, error) {
	var made []string
	for at := t.folder; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		made = append(made, at)
	}
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return nil, err
	}
	for _, folder := range made {
		parent, err := os.OpenRoot(filepath.Dir(folder))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(syncFolder(parent), parent.Close()); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(t.folder)
}

// list returns the names in the trash that match, the last in order first, and no
// more than a limit of them.
func list(root *os.Root, limit int, match func(string) bool) ([]string, error) {
	folder, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	var found []string
	trim := func() {
		slices.SortFunc(found, func(a, b string) int { return strings.Compare(b, a) })
		found = found[:min(len(found), limit)]
	}
	for {
		names, err := folder.Readdirnames(1000)
		for _, name := range names {
			if match(name) {
				found = append(found, name)
			}
		}
		if len(found) > 2*limit {
			trim() // so that memory is bounded whatever is in there
		}
		if len(names) == 0 || err != nil {
			trim()
			return found, endOfFolder(err)
		}
	}
}

// The names of batches.
const (
	takenLayout = "20060102T150405.000000Z"
	tokenLength = 10
	tokenLetter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // of crypto/rand.Text
)

func batchName(at time.Time, token string) string {
	return at.UTC().Format(takenLayout) + "-" + token
}

// takenAt returns when a batch was taken, by its name; false if it names none.
func takenAt(name string) (time.Time, bool) {
	if len(name) != len(takenLayout)+1+tokenLength || name[len(takenLayout)] != '-' {
		return time.Time{}, false
	}
	at, err := time.Parse(takenLayout, name[:len(takenLayout)])
	return at, err == nil && isToken(tokenOf(name))
}

func isBatch(name string) bool {
	_, ok := takenAt(name)
	return ok
}

// tokenOf returns the random part of a batch's name.
func tokenOf(batch string) string { return batch[len(takenLayout)+1:] }

func isToken(token string) bool {
	return len(token) == tokenLength && strings.Trim(token, tokenLetter) == ""
}

// clean makes one folder have one name.
func clean(folder string) string { return filepath.Clean(folder) }

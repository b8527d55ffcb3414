package janitor

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// maxLedger bounds the file of a ledger.
const maxLedger = 16 << 20

// ledger is what is remembered of a folder between passes, of all processes. It
// lies under the state folder: what people do not read has no place in theirs.
type ledger struct {
	Folder string `json:"folder"`
	// Last is when each rule was applied.
	Last map[Rule]time.Time `json:"last,omitempty"`
	// Made are the files that we wrote once and for all, by name: they are ours as
	// long as they are byte for byte what they were.
	Made map[string]made `json:"made,omitempty"`
	// Used is when a file was put back that had gone: a use that it does not show.
	Used map[string]time.Time `json:"used,omitempty"`
	// Dropped are entries that were taken out of the index of the document cache, the
	// oldest first: the documents may come back.
	Dropped []dropped `json:"dropped,omitempty"`
}

// made is a file as we wrote it.
type made struct {
	Size int64     `json:"size"`
	Sum  string    `json:"sha256"`
	At   time.Time `json:"at"`
}

// dropped is an entry of the index of the document cache.
type dropped struct {
	Name  string          `json:"name"` // of the document
	Entry json.RawMessage `json:"entry"`
	At    time.Time       `json:"at"`
}

// isOurs reports whether a file is what we wrote.
func (l ledger) isOurs(f *folder, c file) bool {
	m, ok := l.Made[c.name]
	if !ok || c.info.Size() != m.Size {
		return false
	}
	file, _, err := f.open(c.name)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, bufio.NewReader(file)); err != nil {
		return false
	}
	return hex.EncodeToString(sum.Sum(nil)) == m.Sum
}

// claim is the right to clean one folder, which one process has at a time, and the
// folder's ledger, which nobody else changes meanwhile.
type claim struct {
	ledger ledger
	file   string
	lock   *flock.Flock
}

// errTaken is that another process cleans the folder.
var errTaken = errors.New("another sidecar is cleaning it just now")

// claim takes the folder, or says errTaken. Only a ledger that cannot be read is
// begun anew: what it proved is then proved by form, or stays.
func (j *Janitor) claim(path string) (*claim, error) {
	dir := filepath.Join(j.o.State, "janitor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, key(path))
	c := &claim{file: base + ".json", lock: flock.New(base+".lock", flock.SetPermissions(0o600))}
	switch held, err := c.lock.TryLock(); {
	case err != nil:
		return nil, err
	case !held:
		return nil, errTaken
	}
	c.ledger = j.remembered(path)
	return c, nil
}

// remembered reads the ledger of a folder. Who does not hold the claim reads one that
// may be out of date.
func (j *Janitor) remembered(path string) (l ledger) {
	content, err := readBounded(filepath.Join(j.o.State, "janitor", key(path)+".json"), maxLedger)
	if err == nil {
		err = json.Unmarshal(content, &l)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.o.Log.Warn().Err(err).Str("folder", path).Msg("what was remembered of a folder cannot be read")
	}
	if err != nil || l.Folder != path {
		l = ledger{Folder: path}
	}
	if l.Last == nil {
		l.Last = map[Rule]time.Time{}
	}
	if l.Made == nil {
		l.Made = map[string]made{}
	}
	if l.Used == nil {
		l.Used = map[string]time.Time{}
	}
	return l
}

func readBounded(name string, limit int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return content, err
}

// key is a name for a folder.
func key(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:12])
}

// save writes the ledger down, whole or not at all. Of entries that were dropped the
// oldest are forgotten if it could not be read again otherwise.
func (c *claim) save() error {
	content, err := json.Marshal(c.ledger)
	for ; err == nil && len(content) > maxLedger && len(c.ledger.Dropped) > 0; content, err = json.Marshal(c.ledger) {
		c.ledger.Dropped = c.ledger.Dropped[(len(c.ledger.Dropped)+1)/2:]
	}
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(c.file))
	if err != nil {
		return err
	}
	f := &folder{root: root}
	defer f.close()
	return f.replace(filepath.Base(c.file), content)
}

// release lets others clean.
func (c *claim) release() { _ = c.lock.Close() }

// forget drops what the ledger says of files that are gone, and of documents that
// were dropped before a time.
func (l *ledger) forget(f *folder, before time.Time) {
	isGone := func(name string) bool {
		_, err := f.root.Lstat(name)
		return errors.Is(err, fs.ErrNotExist)
	}
	maps.DeleteFunc(l.Made, func(name string, _ made) bool { return isGone(name) })
	maps.DeleteFunc(l.Used, func(name string, _ time.Time) bool { return isGone(name) })
	l.Dropped = slices.DeleteFunc(l.Dropped, func(d dropped) bool { return d.At.Before(before) })
}

// replace writes a file whole or not at all, and durably.
func (f *folder) replace(name string, content []byte) error {
	temporary, err := f.beside(name, content, time.Time{})
	if err != nil {
		return err
	}
	return f.rename(temporary, name)
}

// beside writes what is to become a file under a temporary name, with that time unless
// it is zero.
func (f *folder) beside(name string, content []byte, at time.Time) (string, error) {
	mode := fs.FileMode(0o600)
	if info, err := f.root.Lstat(name); err == nil {
		mode = info.Mode().Perm()
	}
	temporary := name + "." + strings.ToLower(rand.Text()[:8]) + ".tmp"
	err := f.create(temporary, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err == nil && !at.IsZero() {
		if err = f.root.Chtimes(temporary, at, at); err != nil {
			_ = f.root.Remove(temporary)
		}
	}
	return temporary, err
}

// rename gives a temporary file its name, durably. Nothing is left of it if that fails.
func (f *folder) rename(temporary, name string) error {
	if err := f.root.Rename(temporary, name); err != nil {
		_ = f.root.Remove(temporary)
		return err
	}
	return f.sync(path.Dir(name))
}

// create writes a new file and has it on the disk. Nothing is left of it if that
// fails.
func (f *folder) create(name string, mode fs.FileMode, write func(io.Writer) error) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = f.root.Remove(name)
	}
	return err
}

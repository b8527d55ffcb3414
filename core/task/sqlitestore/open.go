package sqlitestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// lockWait is how long to wait for another process that opens the database.
const lockWait = 10 * time.Second

// Options of a store.
type Options struct {
	// Path is the database file. Its folder is created for the user alone;
	// beside the file lie its log, its locks and a folder of owners' locks.
	Path string
	Log  zerolog.Logger
	// Warn, if set, gets each sentence that the user should read about what
	// happened after Open. It must not call the store.
	Warn func(string)

	pragmas []string      // of the writer, for tests
	salvage time.Duration // in place of salvageLimit, for tests
}

// Opened says what opening found.
type Opened struct {
	// Warnings are sentences for the user, mostly none.
	Warnings []string
	// SetAside is where a damaged file was moved to, "" if there was none.
	SetAside string
	// Unclean is set if the last process to use the database did not close it.
	// Nothing is lost by that.
	Unclean bool

	rest *salvage // of what was set aside that time did not allow
}

// Store is a task.Store in a SQLite database. See Open.
type Store struct {
	options Options
	owners  string       // the folder of the owners' locks
	use     *flock.Flock // shared by all who have the database open
	turn    *flock.Flock // shared by the writers that wait; only the writer uses it
	last    time.Time    // of the writer's last transaction

	signal chan struct{} // tells the writer to look at the queue; holds one token
	rests  chan *salvage // what is salvaged beside the writer
	stop   context.CancelFunc
	wg     sync.WaitGroup // the writer, the check and what salvages

	// mu guards the queue and the claims, which are kept here because the lock of
	// a claim whose release nobody has kept would be collected.
	mu     sync.Mutex
	queue  []*write
	closed bool
	claims map[*flock.Flock]struct{}

	// swap guards db: readers hold it while they read, the writer when it puts
	// another in its place, which nobody else does. Never taken with mu held.
	swap   sync.RWMutex
	db     *database // nil after Close, or while the file cannot be opened
	broken error     // why db is nil
	// file is the one that heal has found last. Only the writer uses it.
	file os.FileInfo
}

var _ task.Store = (*Store)(nil)

// Open opens the database, creating or migrating it, and starts its writer,
// which Close joins. It fails with a *NewerError if a newer release has migrated
// the file; with any error the caller can go on with tasks in memory. A damaged
// file is no error: it is set aside, and Opened says so. Open looks at the ends
// of every tree only; after an unclean end, and once a week, the whole file is
// read in the background.
func Open(o Options) (*Store, Opened, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, Opened{}, fmt.Errorf("opening the task database: %w", err)
	}
	o.Path = path
	s := &Store{
		options: o, owners: path + ".owners", use: newLock(path + ".use"), turn: newLock(path + ".turn"),
		signal: make(chan struct{}, 1), rests: make(chan *salvage, 4),
	}
	ctx, stop := context.WithCancel(context.Background())
	var found Opened
	if err := s.locked(ctx, func() (err error) {
		s.db, found, err = s.open(ctx, nil)
		return err
	}); err != nil {
		stop()
		release(s.use)
		return nil, Opened{}, fmt.Errorf("opening the task database: %w", explain(err))
	}
	s.stop = stop
	// The driver starts a goroutine for each statement whose ctx can end.
	s.wg.Go(func() { s.serve(context.WithoutCancel(ctx)) })
	s.wg.Go(func() { s.check(ctx, found.Unclean) })
	s.wg.Go(func() { s.salvageRests(ctx) })
	s.later(found.rest)
	return s, found, nil
}

func newLock(path string) *flock.Flock { return flock.New(path, flock.SetPermissions(0o600)) }

// release gives a lock up, as closing its file does in any case.
func release(lock *flock.Flock) { _ = lock.Close() }

// locked runs f while this process alone, on this machine, may open, migrate or
// set aside the database. Simultaneous first opens fail without.
func (s *Store) locked(ctx context.Context, f func() error) error {
	if err := os.MkdirAll(filepath.Dir(s.options.Path), 0o700); err != nil {
		return err
	}
	lock := newLock(s.options.Path + ".lock")
	defer release(lock)
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 2*time.Millisecond); err != nil {
		return fmt.Errorf("waiting for %s: %w", lock.Path(), err)
	}
	return f()
}

// open connects to the file, or sets it aside and connects to a fresh one if it
// is damaged, as known says or as turns out. The caller holds the file lock.
func (s *Store) open(ctx context.Context, known error) (d *database, found Opened, err error) {
	found.Unclean, err = s.enter()
	if err != nil {
		return nil, found, err
	}
	if err = known; err == nil {
		d, err = connect(ctx, s.options.Path, s.options.pragmas)
		if err == nil {
			if err = d.touch(ctx); err != nil {
				d.close()
			}
		}
	}
	if !damaged(err) {
		return d, found, err
	}
	if found.SetAside, err = setAside(s.options.Path, err); err != nil {
		return nil, found, err
	}
	if d, err = connect(ctx, s.options.Path, s.options.pragmas); err != nil {
		return nil, found, err
	}
	v := newSalvage(found.SetAside)
	stopped := v.run(ctx, cmp.Or(s.options.salvage, salvageLimit), d.transact)
	s.options.Log.Error().Str("aside", v.aside).AnErr("stopped", stopped).Int("saved", v.n).Int("records", v.records).Msg("damaged task database set aside")
	text := fmt.Sprintf("The task database was damaged. It is kept as %s; %d of its tasks could be read and were taken over into a fresh one.", v.aside, v.n)
	if errors.Is(stopped, errMore) {
		found.rest = v
		text = fmt.Sprintf("The task database was damaged. It is kept as %s; so far the newest %d of its tasks were taken over into a fresh one. The others follow while this process runs.", v.aside, v.n)
	}
	found.Warnings = append(found.Warnings, text)
	return d, found, nil
}

// enter marks the database as in use and reports whether it was left open by a
// process that has ended: then its log is still there and nobody uses it.
func (s *Store) enter() (unclean bool, err error) {
	_ = s.use.Unlock()
	alone, err := s.use.TryLock()
	if err != nil {
		return false, err
	}
	if alone {
		if err := s.use.Unlock(); err != nil {
			return false, err
		}
	}
	if log, err := os.Stat(s.options.Path + "-wal"); err == nil {
		unclean = alone && log.Size() > 0
	}
	// Nobody holds it alone but here, under the file lock.
	return unclean, s.use.RLock()
}

const asideMark = ".damaged-"

// setAside renames a damaged database and what belongs to it. Other processes
// that have it open notice at their next write.
func setAside(path string, why error) (string, error) {
	aside := path + asideMark + time.Now().UTC().Format("20060102T150405.000")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("the task database is damaged (%w) and could not be set aside: %w", why, err)
		}
	}
	return aside, nil
}

// SetAside lists the files of damaged databases that were set aside, oldest
// first. Forget without any filter deletes them.
func (s *Store) SetAside() (files []string, err error) {
	folder, name := filepath.Split(s.options.Path)
	entries, err := os.ReadDir(folder)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), name+asideMark) {
			files = append(files, filepath.Join(folder, entry.Name()))
		}
	}
	return files, err
}

// removeAside deletes all that setAside has kept.
func (s *Store) removeAside() error {
	files, err := s.SetAside()
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// Close answers the writes that were queued before it, refuses later ones, and
// closes the database, which empties its log into it.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.wake()
	s.stop()
	s.wg.Wait()
	s.swap.Lock()
	defer s.swap.Unlock()
	if s.db != nil {
		s.db.close()
		s.db, s.broken = nil, ErrClosed
	}
	release(s.turn)
	release(s.use)
	return nil
}

package sqlitestore

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The errors of this store besides those of core/task.
var (
	// ErrFull refuses a write for which the disk has no room. Nothing that was
	// acknowledged before is lost, and writes work again once there is room.
	ErrFull = errors.New("the disk is full")
	// ErrBusy means that another process has blocked all writes for five seconds.
	ErrBusy = errors.New("another process blocks the task database")
	// ErrClosed answers every call after Close.
	ErrClosed = errors.New("the task store is closed")
	// ErrOwned refuses to claim an owner that a live process has claimed.
	ErrOwned = errors.New("a running process owns these tasks")
)

// NewerError is a database that a newer release has migrated. Its tasks are
// safe; this release must neither read nor write them.
type NewerError struct {
	Path         string
	Found, Known int // schema numbers
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("the task database %s was written by a newer release (schema %d, this one knows %d): update opencode-sidecar", e.Path, e.Found, e.Known)
}

// A refusal is an answer of a write that has changed nothing, as opposed to a
// failure of the database, which undoes the transaction it happens in.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// code returns SQLite's primary result code of err, 0 if it is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// errDamage is wrapped by what a check finds that SQLite itself has not met.
var errDamage = errors.New("the task database is damaged")

func damaged(err error) bool {
	if errors.Is(err, errDamage) {
		return true
	}
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// explain wraps what SQLite says into the errors that callers tell apart.
func explain(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case 0:
		return err
	}
	return fmt.Errorf("task database: %w", err)
}

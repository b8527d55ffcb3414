// Package record keeps small values of the core's rooms across restarts, such as
// the mission of a session, beside the tasks.
package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxBody is the most bytes that a Body may have.
const MaxBody = 64 << 10

// The errors that a Store wraps.
var (
	ErrNotFound = errors.New("no such record")
	ErrStale    = errors.New("the record has moved on")
	// ErrInvalid refuses a record that no store takes; the text says why.
	ErrInvalid = errors.New("the record cannot be stored")
)

// Record is a small value that a room of the core keeps across restarts, by kind
// and key.
type Record struct {
	Kind, Key string // together its identity, such as "mission" and a session's id; not empty
	Worktree  string
	Owner     string    // the OpenCode process that looks after it
	Open      bool      // somebody has to look after it still
	Body      []byte    // JSON of at most MaxBody bytes; nil for none
	Version   int64     // 0 for one that is not stored yet; counts its changes
	Updated   time.Time // of the last change, in whole milliseconds
}

// Check returns an ErrInvalid that says what forbids to store r, nil if nothing
// does. Backends call it in Put.
func (r Record) Check() error {
	switch {
	case r.Kind == "" || r.Key == "":
		return fmt.Errorf("%s: %w: it has no kind or no key", r, ErrInvalid)
	case len(r.Body) > MaxBody:
		return fmt.Errorf("%s: %w: its body has %d bytes, at most %d are kept", r, ErrInvalid, len(r.Body), MaxBody)
	case len(r.Body) > 0 && !json.Valid(r.Body):
		return fmt.Errorf("%s: %w: its body is no JSON", r, ErrInvalid)
	}
	return nil
}

// String names the record; its body is not for logs.
func (r Record) String() string { return r.Kind + " " + r.Key }

// Store keeps records. It is safe for concurrent use; every backend passes
// core/record/recordtest. Records go in and out by value, their bodies too.
type Store interface {
	// Put stores r if the stored version is r.Version, 0 if there is none, and
	// returns it with the next version and time. Otherwise it changes nothing and
	// returns what is stored, the zero Record if that is nothing, with ErrStale.
	// r.Updated is ignored. When it returns, the record is as durable as the
	// backend can make it. A caller whose ctx ends stops waiting; the record may
	// or may not be stored then.
	Put(ctx context.Context, r Record) (Record, error)
	// Get returns a record, or ErrNotFound.
	Get(ctx context.Context, kind, key string) (Record, error)
	// List returns the records that match, the one that was changed last first.
	List(ctx context.Context, q Query) ([]Record, error)
	// Delete removes a record, whatever its version; one that is not there is no
	// error. Versions of the same kind and key count from 1 again afterwards.
	Delete(ctx context.Context, kind, key string) error
}

// Query filters a list. Zero fields filter nothing.
type Query struct {
	Kind, Owner, Worktree string
	Open                  bool // only open ones
	Limit                 int  // records returned; 0 means all
}

// Matches reports whether r passes the filter.
func (q Query) Matches(r *Record) bool {
	return (q.Kind == "" || q.Kind == r.Kind) &&
		(q.Owner == "" || q.Owner == r.Owner) &&
		(q.Worktree == "" || q.Worktree == r.Worktree) &&
		(!q.Open || r.Open)
}

// Now is the present time as records have it.
func Now() time.Time { return time.UnixMilli(time.Now().UnixMilli()) }

package sqlitestore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// records is a record.Store in the database of the tasks. What Put and Delete
// have acknowledged is as durable as a task is; they fail in the same ways.
type records struct{ s *Store }

// Records returns the store of the other rooms' records in the same database. It
// works as long as s is open, and fails with ErrClosed then.
func (s *Store) Records() record.Store { return records{s} }

// Put implements record.Store.
func (k records) Put(ctx context.Context, r record.Record) (record.Record, error) {
	if err := r.Check(); err != nil {
		return record.Record{}, err
	}
	r.Body = bytes.Clone(r.Body) // the caller may give up and write into it
	var got record.Record
	err := k.s.do(ctx, false, func(ctx context.Context, d *database) (err error) {
		got, err = d.putRecord(ctx, r)
		return err
	})
	if errors.Is(err, errGaveUp) {
		return record.Record{}, err // the writer may be at it still: got is not ours to read
	}
	if err != nil && !errors.Is(err, record.ErrStale) {
		return record.Record{}, err
	}
	return got, err
}

// Get implements record.Store.
func (k records) Get(ctx context.Context, kind, key string) (r record.Record, err error) {
	err = k.s.reading(ctx, func(ctx context.Context, d *database) error {
		found, err := scanRecords(d.query(ctx, selectRecord+" WHERE kind = ? AND key = ?", kind, key))
		if err == nil && len(found) == 0 {
			return fmt.Errorf("%s %s: %w", kind, key, record.ErrNotFound)
		}
		if err == nil {
			r = found[0]
		}
		return err
	})
	return r, err
}

// List implements record.Store. Unlike a list of tasks it is read each time: few
// records match, and bodies would take much memory.
func (k records) List(ctx context.Context, q record.Query) (found []record.Record, err error) {
	f := recordFilter(q)
	query := selectRecord + f.sql() + " ORDER BY seq DESC"
	if q.Limit > 0 {
		query, f.args = query+" LIMIT ?", append(f.args, q.Limit)
	}
	err = k.s.reading(ctx, func(ctx context.Context, d *database) (err error) {
		found, err = scanRecords(d.query(ctx, query, f.args...))
		return err
	})
	return found, err
}

// Delete implements record.Store.
func (k records) Delete(ctx context.Context, kind, key string) error {
	return k.s.do(ctx, false, func(ctx context.Context, d *database) error {
		_, err := d.exec(ctx, "DELETE FROM records WHERE kind = ? AND key = ?", kind, key)
		return err
	})
}

const selectRecord = "SELECT seq, kind, key, worktree, owner, open, version, updated, body FROM records"

// scanRecords reads all rows of a selectRecord.
func scanRecords(rows *sql.Rows, err error) (found []record.Record, _ error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r, _, err := scanRecord(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

func scanRecord(rows *sql.Rows) (r record.Record, seq int64, err error) {
	var updated int64
	err = rows.Scan(&seq, &r.Kind, &r.Key, &r.Worktree, &r.Owner, &r.Open, &r.Version, &updated, &r.Body)
	if r.Updated = time.UnixMilli(updated); len(r.Body) == 0 {
		r.Body = nil
	}
	return r, seq, err
}

// recordFilter translates a query. Open ones are few; of the others, all of a
// kind are in order.
func recordFilter(q record.Query) *filter {
	f := &filter{}
	if q.Open {
		f.use("open_records")
		f.and("open = 1")
	}
	if q.Owner != "" {
		f.and("owner = ?", q.Owner)
	}
	if q.Kind != "" {
		f.use("records_by_kind")
		f.and("kind = ?", q.Kind)
	}
	if q.Worktree != "" {
		f.and("worktree = ?", q.Worktree)
	}
	return f
}

// putRecord stores r if its version is what is stored, and returns what is then.
// It runs inside the writer's transaction, so that nobody can come between.
func (d *database) putRecord(ctx context.Context, r record.Record) (record.Record, error) {
	now := record.Now()
	var res sql.Result
	var err error
	if r.Version == 0 {
		res, err = d.insertRecord(ctx, nil, r, 1, now)
	} else {
		// It moves to the end: seq is the order of changes.
		res, err = d.exec(ctx, "UPDATE records SET seq = (SELECT max(seq) + 1 FROM records), worktree = ?, owner = ?, open = ?,"+
			" version = version + 1, updated = ?, body = ? WHERE kind = ? AND key = ? AND version = ?",
			r.Worktree, r.Owner, r.Open, now.UnixMilli(), blob(r.Body), r.Kind, r.Key, r.Version)
	}
	if err != nil {
		return record.Record{}, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return record.Record{}, err
	}
	if n > 0 {
		r.Version, r.Updated, r.Body = r.Version+1, now, bytes.Clone(r.Body)
		if len(r.Body) == 0 {
			r.Body = nil
		}
		return r, nil
	}
	s, err := d.stmt(ctx, selectRecord+" WHERE kind = ? AND key = ?")
	if err != nil {
		return record.Record{}, err
	}
	stored, err := scanRecords(s.QueryContext(ctx, r.Kind, r.Key))
	if err != nil {
		return record.Record{}, err
	}
	stale := refusal{fmt.Errorf("%s: %w", r, record.ErrStale)}
	if len(stored) == 0 {
		return record.Record{}, stale
	}
	return stored[0], stale
}

// insertRecord stores a record that is not there yet, at the place seq of the
// order or, if that is nil, as the newest; it changes nothing if it is there or
// its place is taken.
func (d *database) insertRecord(ctx context.Context, seq any, r record.Record, version int64, updated time.Time) (sql.Result, error) {
	return d.exec(ctx, "INSERT INTO records (seq, kind, key, worktree, owner, open, version, updated, body)"+
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		seq, r.Kind, r.Key, r.Worktree, r.Owner, r.Open, version, updated.UnixMilli(), blob(r.Body))
}

// blob is body as the driver stores it: a nil slice would be NULL.
func blob(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

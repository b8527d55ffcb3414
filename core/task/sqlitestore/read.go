package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (t task.Task, err error) {
	err = s.reading(ctx, func(ctx context.Context, d *database) error {
		_, r, err := one(d.query(ctx, selectOne, string(id)))
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%s: %w", id, task.ErrNotFound)
		}
		t = r.Task
		return err
	})
	return t, err
}

// List implements task.Store. A list that nobody has changed since it was last
// asked for is answered from memory, whichever process could have changed it.
func (s *Store) List(ctx context.Context, q task.Query) (page task.Page, err error) {
	err = s.reading(ctx, func(ctx context.Context, d *database) (err error) {
		page, err = d.pages.list(ctx, q, d.list)
		return err
	})
	return page, err
}

// reading runs f on the database; on a sound one if the first turns out to be
// damaged or gone, so f may run twice. Reads take milliseconds: one that has begun is
// not given up, which spares a goroutine for each statement.
func (s *Store) reading(ctx context.Context, f func(context.Context, *database) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d, err := s.look(context.WithoutCancel(ctx), f)
	if damaged(err) || code(err) == sqlite3.SQLITE_CANTOPEN && d.moved() {
		if err := s.report(ctx, d, err); err != nil {
			return err
		}
		_, err = s.look(context.WithoutCancel(ctx), f)
	}
	return explain(err)
}

func (s *Store) look(ctx context.Context, f func(context.Context, *database) error) (*database, error) {
	s.swap.RLock()
	defer s.swap.RUnlock()
	if s.db == nil {
		return nil, s.broken
	}
	return s.db, f(ctx, s.db)
}

// list reads a page in one statement, and so from one state of the database.
func (d *database) list(ctx context.Context, q task.Query) (page task.Page, err error) {
	query, args := listing(q)
	rows, err := d.query(ctx, query, args...)
	if err != nil {
		return task.Page{}, err
	}
	defer func() { _ = rows.Close() }()
	page.Totals = map[task.State]int{}
	var f fields
	for rows.Next() {
		if err := f.scan(rows); err != nil {
			return task.Page{}, err
		}
		if !f.seq.Valid {
			if err := f.total(&page); err != nil {
				return task.Page{}, err
			}
			continue
		}
		if page.Tasks == nil {
			page.Tasks = make([]task.Task, 0, min(q.Limit, 50))
		}
		t, err := d.heads.task(f.seq.Int64, f.head)
		if err == nil {
			err = f.texts(&t)
		}
		if err != nil {
			return task.Page{}, err
		}
		page.Tasks = append(page.Tasks, t)
	}
	return page, rows.Err()
}

// total adds a row of totals to a page. It has the shape of a task's row: the
// state, how many there are, and what they have used, if that was asked for.
func (f *fields) total(page *task.Page) error {
	n, err := strconv.Atoi(string(f.prompt))
	if err != nil {
		return fmt.Errorf("totals: %w", err)
	}
	page.Totals[task.State(f.head)] = n
	if len(f.result) == 0 {
		return nil
	}
	var u task.Usage
	if err := json.Unmarshal(f.result, &u); err != nil {
		return fmt.Errorf("totals: %w", err)
	}
	page.Usage = page.Usage.Plus(u)
	return nil
}

package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// salvageLimit bounds how long a process that starts reads a damaged file.
	salvageLimit = 3 * time.Second
	salvageBatch = 256
	// checkEvery is how old the last full check may be. One also follows each
	// unclean end.
	checkEvery = 7 * 24 * time.Hour
)

// heal gives the store a sound database in place of one that is damaged or whose
// file is gone. Only the writer calls it. If that fails the store answers with
// the reason, and the next write tries again.
func (s *Store) heal(ctx context.Context, reason error) {
	s.swap.Lock()
	defer s.swap.Unlock()
	var known error
	if old := s.db; old != nil {
		if damaged(reason) && !old.moved() { // else another process was faster
			known = reason
		}
		old.close()
		s.db = nil
		s.options.Log.Error().Err(reason).Msg("task database is opened anew")
	}
	var found Opened
	s.broken = s.locked(ctx, func() (err error) {
		_, gone := os.Stat(s.options.Path)
		s.db, found, err = s.open(ctx, known)
		if err == nil && gone != nil {
			found.Warnings = append(found.Warnings, "The task database "+s.options.Path+" was removed while it was in use. A fresh one was started; earlier tasks are lost.")
		}
		return err
	})
	if s.broken != nil {
		s.db = nil
	}
	if s.options.Warn != nil {
		for _, warning := range found.Warnings {
			s.options.Warn(warning)
		}
	}
}

// report tells the writer that d is damaged and returns when it is replaced.
func (s *Store) report(ctx context.Context, d *database, damage error) error {
	return s.do(ctx, true, func(_ context.Context, now *database) error {
		if now != d {
			return nil
		}
		return damage
	})
}

// check reads the whole database once, in the background: with 50,000 tasks
// that takes longer than anybody should wait for an answer, and damage that it
// finds would be found by the first read that meets it, only later. It is due
// after an unclean end and now and then.
func (s *Store) check(ctx context.Context, unclean bool) {
	s.swap.RLock()
	d := s.db
	s.swap.RUnlock()
	if d == nil {
		return
	}
	var last int64
	err := d.read.QueryRowContext(ctx, "SELECT value FROM notes WHERE name = 'checked'").Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.options.Log.Warn().Err(err).Msg("task database was not checked")
		return
	}
	if age := time.Since(time.UnixMilli(last)); !unclean && age < checkEvery && age >= 0 {
		return
	}
	start := time.Now()
	err = quickCheck(ctx, d.path)
	switch {
	case ctx.Err() != nil:
	case damaged(err):
		err = s.report(ctx, d, err)
	case err == nil:
		err = s.do(ctx, false, func(ctx context.Context, d *database) error {
			_, err := d.exec(ctx, "INSERT OR REPLACE INTO notes VALUES ('checked', ?)", start.UnixMilli())
			return err
		})
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		s.options.Log.Warn().Err(err).Msg("task database was not checked")
	}
	s.options.Log.Debug().Dur("took", time.Since(start)).Msg("task database checked")
}

// quickCheck reads every page of the database at path through a connection of
// its own, and finds all damage but an index that disagrees with its table.
func quickCheck(ctx context.Context, path string) error {
	db, err := sql.Open(schemeName, source(path, "query_only(ON)", "cache_size(-512)"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamage, verdict)
	}
	return nil
}

// salvage copies what can be read of a file that was set aside, newest first:
// from the end back to the damage, then from the beginning up to it. It returns
// how many tasks came over, and what stopped it.
func (d *database) salvage(ctx context.Context, aside string) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, salvageLimit)
	defer cancel()
	// writable_schema makes SQLite read on in a file that is shorter than it says.
	db, err := sql.Open(schemeName, source(aside, "query_only(ON)", "cell_size_check(OFF)", "writable_schema(ON)"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	low := int64(1) << 62
	n, err = d.copyTasks(ctx, db, "WHERE seq < ? ORDER BY seq DESC", &low)
	if err == nil || !damaged(err) {
		return n, err
	}
	high := int64(-1)
	more, _ := d.copyTasks(ctx, db, "WHERE seq > ? ORDER BY seq", &high)
	return n + more, err
}

// copyTasks copies tasks from another database until there are no more or an
// error stops it; at is the place of the last one.
func (d *database) copyTasks(ctx context.Context, from *sql.DB, order string, at *int64) (n int, err error) {
	for {
		var batch []row
		var seqs []int64
		rows, err := from.QueryContext(ctx, selectHead+" NOT INDEXED "+order, *at)
		if err != nil {
			return n, err
		}
		for len(batch) < salvageBatch && rows.Next() {
			var f fields
			if f.scan(rows) != nil {
				continue
			}
			r, err := f.row()
			if err != nil {
				continue // one unreadable row
			}
			*at = f.seq.Int64
			batch, seqs = append(batch, r), append(seqs, *at)
		}
		stopped := rows.Err()
		_ = rows.Close()
		if len(batch) == 0 {
			return n, stopped
		}
		if _, err := d.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return n, err
		}
		saved := 0
		for i, r := range batch {
			// A text that cannot be read is lost, its task is not.
			_ = from.QueryRowContext(ctx, "SELECT body FROM prompts WHERE seq = ?", seqs[i]).Scan(&r.Prompt)
			_ = from.QueryRowContext(ctx, "SELECT body FROM results WHERE seq = ?", seqs[i]).Scan(&r.Result)
			var past []byte
			if from.QueryRowContext(ctx, selectPast+"?", seqs[i]).Scan(&past) == nil {
				r.Past, _ = decodePast(past)
			}
			err := d.insert(ctx, r, seqs[i])
			if _, known := errors.AsType[refusal](err); known {
				continue
			}
			if err != nil {
				_, _ = d.exec(context.WithoutCancel(ctx), "ROLLBACK")
				return n, err
			}
			saved++
		}
		if _, err := d.exec(context.WithoutCancel(ctx), "COMMIT"); err != nil {
			_, _ = d.exec(context.WithoutCancel(ctx), "ROLLBACK")
			return n, err
		}
		n += saved
		if stopped != nil {
			return n, stopped
		}
	}
}

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
	// salvageLimit bounds how long everybody waits while a damaged file is read.
	// What it does not suffice for follows in the background.
	salvageLimit = 3 * time.Second
	salvageBatch = 256
)

// errMore ends a run of a salvage that has more to read.
var errMore = errors.New("there is more to read")

// A salvage copies what can be read of a file that was set aside, newest first:
// from the end back to the damage, then from the beginning up to it.
type salvage struct {
	aside string
	n     int   // tasks that came over
	below int64 // the place of the oldest task that was read from the end
	up    bool  // the damage was met
	above int64 // the place of the newest task that was read from the beginning
}

// run goes on for about as long as limit, a batch at least; errMore says that it
// can be run again. store runs a function on the fresh database, in a transaction.
func (v *salvage) run(ctx context.Context, limit time.Duration, store func(context.Context, func(context.Context, *database) error) error) error {
	start := time.Now()
	// writable_schema makes SQLite read on in a file that is shorter than it says.
	db, err := sql.Open(schemeName, source(v.aside, "query_only(ON)", "cell_size_check(OFF)", "writable_schema(ON)"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for {
		batch, seqs, stopped := v.read(ctx, db)
		if len(batch) > 0 {
			saved := 0
			if err := store(ctx, func(ctx context.Context, d *database) (err error) {
				saved, err = v.insert(ctx, d, batch, seqs)
				return err
			}); err != nil {
				return err
			}
			v.n += saved
		}
		switch {
		case damaged(stopped) && !v.up:
			v.up, v.above = true, -1
		case stopped != nil || len(batch) == 0:
			return stopped
		}
		if time.Since(start) > limit {
			return errMore
		}
	}
}

// read returns the next batch with the tasks' places, and what ended it early.
func (v *salvage) read(ctx context.Context, from *sql.DB) (batch []row, seqs []int64, stopped error) {
	query, at := " NOT INDEXED WHERE t.seq < ?1 ORDER BY t.seq DESC", &v.below
	args := []any{v.below}
	if v.up {
		query, at, args = " NOT INDEXED WHERE t.seq > ?1 AND t.seq < ?2 ORDER BY t.seq", &v.above, []any{v.above, v.below}
	}
	rows, err := from.QueryContext(ctx, selectHead+query, args...)
	if err != nil {
		return nil, nil, err
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
	stopped = rows.Err()
	_ = rows.Close()
	for i := range batch {
		// A text that cannot be read is lost, its task is not.
		r := &batch[i]
		_ = from.QueryRowContext(ctx, "SELECT body FROM prompts WHERE seq = ?", seqs[i]).Scan(&r.Prompt)
		_ = from.QueryRowContext(ctx, "SELECT body FROM results WHERE seq = ?", seqs[i]).Scan(&r.Result)
		var past []byte
		if from.QueryRowContext(ctx, selectPast+"?", seqs[i]).Scan(&past) == nil {
			r.Past, _ = decodePast(past)
		}
	}
	return batch, seqs, stopped
}

// insert stores a batch, and returns how many tasks it had that were not there.
func (v *salvage) insert(ctx context.Context, d *database, batch []row, seqs []int64) (saved int, err error) {
	if _, err := os.Stat(v.aside); err != nil {
		return 0, refusal{err} // forgotten meanwhile, so it must not come back
	}
	for i, r := range batch {
		err := d.insert(ctx, r, seqs[i])
		if _, taken := errors.AsType[refusal](err); taken { // its place, if not its id
			err = d.insert(ctx, r, nil)
		}
		if _, known := errors.AsType[refusal](err); known {
			continue
		}
		if err != nil {
			return 0, err
		}
		saved++
	}
	return saved, nil
}

// transact runs f in a transaction of its own. Only who owns d's writing
// connection calls it.
func (d *database) transact(ctx context.Context, f func(context.Context, *database) error) error {
	if _, err := d.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f(ctx, d)
	if err == nil {
		_, err = d.exec(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = d.exec(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return err
}

// later has the rest of a damaged file salvaged, if there is any.
func (s *Store) later(v *salvage) {
	if v == nil {
		return
	}
	select {
	case s.rests <- v:
	default: // four files were damaged within moments
		s.warn(fmt.Sprintf("Only %d tasks were taken over from %s; the others are in that file.", v.n, v.aside))
	}
}

// salvageRests takes over what later is given, until ctx ends.
func (s *Store) salvageRests(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-s.rests:
			err := errMore
			for errors.Is(err, errMore) && ctx.Err() == nil {
				err = v.run(ctx, salvageLimit, func(ctx context.Context, do func(context.Context, *database) error) error {
					return s.do(ctx, false, do)
				})
			}
			s.options.Log.Info().Str("aside", v.aside).AnErr("stopped", err).Int("saved", v.n).Msg("damaged task database salvaged")
			if err == nil || damaged(err) {
				s.warn(fmt.Sprintf("In all, %d tasks of the damaged task database could be read and were taken over; it is kept as %s.", v.n, v.aside))
			} else {
				s.warn(fmt.Sprintf("Only %d tasks of the damaged task database were taken over before that was ended (%v); the others are in %s.", v.n, err, v.aside))
			}
		}
	}
}

package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
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

// A salvage copies what can be read of a file that was set aside: the records of
// other rooms, which are few, and then the tasks.
type salvage struct {
	aside   string
	n       int // tasks that came over
	records int // records that did
	// Where it is in the two tables.
	inTasks, inRecords place
}

func newSalvage(aside string) *salvage {
	begin := place{below: math.MaxInt64}
	return &salvage{aside: aside, inTasks: begin, inRecords: begin}
}

// A place is how far a table was read, newest rows first: from the end back to
// the damage, then from the beginning up to it.
type place struct {
	below int64 // the seq of the oldest row that was read from the end
	up    bool  // the damage was met
	above int64 // the seq of the newest row that was read from the beginning
	done  bool
}

// rest is the part of a query that reads on.
func (p *place) rest() (string, []any) {
	if p.up {
		return " NOT INDEXED WHERE seq > ?1 AND seq < ?2 ORDER BY seq", []any{p.above, p.below}
	}
	return " NOT INDEXED WHERE seq < ?1 ORDER BY seq DESC", []any{p.below}
}

// read notes that the row with this seq was read.
func (p *place) read(seq int64) {
	if p.up {
		p.above = seq
	} else {
		p.below = seq
	}
}

// after notes how a batch of n rows ended.
func (p *place) after(n int, stopped error) {
	switch {
	case damaged(stopped) && !p.up:
		p.up, p.above = true, -1
	case stopped != nil || n == 0:
		p.done = true
	}
}

// A transaction runs a function on the fresh database, inside of one.
type transaction func(context.Context, func(context.Context, *database) error) error

// run goes on for about as long as limit, a batch at least; errMore says that it
// can be run again.
func (v *salvage) run(ctx context.Context, limit time.Duration, store transaction) error {
	start := time.Now()
	// writable_schema makes SQLite read on in a file that is shorter than it says.
	db, err := sql.Open(schemeName, source(v.aside, "query_only(ON)", "cell_size_check(OFF)", "writable_schema(ON)"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for {
		n, stopped, err := v.batch(ctx, db, store)
		if err != nil {
			return err
		}
		if v.inTasks.done {
			return stopped
		}
		if n > 0 && time.Since(start) > limit {
			return errMore
		}
	}
}

// batch takes the next rows over: n that were read, and what ended that early.
func (v *salvage) batch(ctx context.Context, from *sql.DB, store transaction) (n int, stopped, err error) {
	if !v.inRecords.done {
		return move(ctx, &v.inRecords, &v.records, from, v.readRecords, store, v.insertRecords)
	}
	return move(ctx, &v.inTasks, &v.n, from, v.read, store, v.insert)
}

// move is batch for one table, of which at is the place and saved the count.
func move[row any](ctx context.Context, at *place, saved *int,
	from *sql.DB, read func(context.Context, *sql.DB) ([]row, []int64, error),
	store transaction, insert func(context.Context, *database, []row, []int64) (int, error),
) (n int, stopped, err error) {
	batch, seqs, stopped := read(ctx, from)
	at.after(len(batch), stopped)
	if len(batch) == 0 {
		return 0, stopped, nil
	}
	more := 0
	if err := store(ctx, func(ctx context.Context, d *database) (err error) {
		more, err = insert(ctx, d, batch, seqs)
		return err
	}); err != nil {
		return 0, stopped, err
	}
	*saved += more
	return len(batch), stopped, nil
}

// read returns the next batch with the tasks' places, and what ended it early.
func (v *salvage) read(ctx context.Context, from *sql.DB) (batch []row, seqs []int64, stopped error) {
	query, args := v.inTasks.rest()
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
		v.inTasks.read(f.seq.Int64)
		batch, seqs = append(batch, r), append(seqs, f.seq.Int64)
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

// forgotten refuses to go on if the file was deleted meanwhile: what was in it
// must not come back.
func (v *salvage) forgotten() error {
	if _, err := os.Stat(v.aside); err != nil {
		return refusal{err}
	}
	return nil
}

// insert stores a batch, and returns how many tasks it had that were not there.
func (v *salvage) insert(ctx context.Context, d *database, batch []row, seqs []int64) (saved int, err error) {
	if err := v.forgotten(); err != nil {
		return 0, err
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
			s.options.Log.Info().Str("aside", v.aside).AnErr("stopped", err).Int("saved", v.n).Int("records", v.records).Msg("damaged task database salvaged")
			if err == nil || damaged(err) {
				s.warn(fmt.Sprintf("In all, %d tasks of the damaged task database could be read and were taken over; it is kept as %s.", v.n, v.aside))
			} else {
				s.warn(fmt.Sprintf("Only %d tasks of the damaged task database were taken over before that was ended (%v); the others are in %s.", v.n, err, v.aside))
			}
		}
	}
}

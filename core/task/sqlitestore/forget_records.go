package sqlitestore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Chosen says which records to forget. Zero fields choose all.
type Chosen struct {
	Key, Worktree string
	Before        time.Time // last changed before; open ones are looked at whatever their age
}

func (c Chosen) filter() *filter {
	f := &filter{}
	if c.Key != "" {
		f.and("key = ?", c.Key)
	}
	if c.Worktree != "" {
		f.and("worktree = ?", c.Worktree)
	}
	if !c.Before.IsZero() {
		f.and("(open = 1 OR updated < ?)", c.Before.UnixMilli())
	}
	return f
}

// CountRecords returns how many closed and how many open records of each kind
// are chosen.
func (s *Store) CountRecords(ctx context.Context, c Chosen) (closed, open map[string]int, err error) {
	f := c.filter()
	err = s.reading(ctx, func(ctx context.Context, d *database) error {
		closed, open = map[string]int{}, map[string]int{}
		rows, err := d.query(ctx, "SELECT kind, open, count(*) FROM records"+f.sql()+" GROUP BY kind, open", f.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var kind string
			var isOpen bool
			var n int
			if err := rows.Scan(&kind, &isOpen, &n); err != nil {
				return err
			}
			if isOpen {
				open[kind] = n
			} else {
				closed[kind] = n
			}
		}
		return rows.Err()
	})
	return closed, open, err
}

// ForgetRecords deletes the closed records that are chosen, and returns how many
// of each kind those were; open ones stay. Their bodies are overwritten in the
// database and gone from its log when it returns; an error with ErrBusy after
// the deleting means that the log could not be emptied yet.
func (s *Store) ForgetRecords(ctx context.Context, c Chosen) (map[string]int, error) {
	f := c.filter()
	f.and("open = 0")
	gone, err := s.sweepRecords(ctx, f)
	if err == nil {
		err = s.Checkpoint(ctx)
	}
	if err != nil {
		return gone, fmt.Errorf("erasing records: %w", err)
	}
	return gone, nil
}

// pruneRecords deletes closed records that nobody has changed for longer than
// olderThan, and any that nobody has changed for three times as long: who looked
// after an open one will hardly come back then.
func (s *Store) pruneRecords(ctx context.Context, olderThan time.Duration) (map[string]int, error) {
	f, now := &filter{}, time.Now()
	f.and("(open = 0 AND updated < ? OR updated < ?)", now.Add(-olderThan).UnixMilli(), now.Add(-untoldTimes*olderThan).UnixMilli())
	return s.sweepRecords(ctx, f)
}

// sweepRecords deletes the records that match, in transactions of a few, and
// returns how many of each kind that were.
func (s *Store) sweepRecords(ctx context.Context, f *filter) (map[string]int, error) {
	gone := map[string]int{}
	query := "DELETE FROM records WHERE seq IN (SELECT seq FROM records" + f.sql() + " LIMIT ?) RETURNING kind"
	for {
		var batch map[string]int
		n := 0
		if err := s.do(ctx, false, func(ctx context.Context, d *database) error {
			batch, n = map[string]int{}, 0
			stmt, err := d.stmt(ctx, query)
			if err != nil {
				return err
			}
			rows, err := stmt.QueryContext(ctx, append(slices.Clip(f.args), pruneBatch)...)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				var kind string
				if err := rows.Scan(&kind); err != nil {
					return err
				}
				batch[kind]++
				n++
			}
			return rows.Err()
		}); err != nil {
			return gone, err
		}
		for kind, more := range batch {
			gone[kind] += more
		}
		if n < pruneBatch {
			return gone, nil
		}
	}
}

package sqlitestore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Erased stands in for a prompt or a result that Forget has erased.
const Erased = "(erased)"

// pruneBatch bounds how long other writes wait for one transaction of these.
const pruneBatch = 100

const ended = "state NOT IN ('pending', 'running')"

// settled is an ended task that nobody waits for any more.
const settled = ended + " AND (told = 1 OR head ->> '$.Wake' = 'none')"

// untoldTimes is how many times as long a task is kept that its parent was never
// told of: its session may still come back, but hardly after that.
const untoldTimes = 3

// Prune deletes the tasks that ended longer than olderThan ago and whose parent
// was told, or is not to be, and those that ended three times as long ago in any
// case. It returns how many. Open tasks stay however old. Closed records go once
// nobody has changed them for longer than olderThan, open ones after three times
// as long.
func (s *Store) Prune(ctx context.Context, olderThan time.Duration) (n int, err error) {
	for _, old := range []struct {
		which string
		age   time.Duration
	}{{settled, olderThan}, {ended, untoldTimes * olderThan}} {
		f := &filter{}
		f.and("CASE ended WHEN 0 THEN created ELSE ended END < ? AND "+old.which, time.Now().Add(-old.age).UnixMilli())
		more, err := s.sweepTasks(ctx, f, "DELETE FROM tasks WHERE seq = ? AND "+old.which)
		n += more
		if err != nil {
			return n, fmt.Errorf("deleting old tasks: %w", err)
		}
	}
	gone, err := s.pruneRecords(ctx, olderThan)
	if err != nil {
		return n, fmt.Errorf("deleting old records: %w", err)
	}
	if len(gone) > 0 {
		s.options.Log.Info().Interface("records", gone).Dur("age", olderThan).Msg("old records deleted")
	}
	return n, nil
}

// Forget erases what the ended tasks that match q contain, and returns how many
// there were: with rows the tasks themselves, without only prompts and results,
// for which Erased then stands, and errors and notes, which are cleared, all of
// them of earlier attempts too. q.Limit is ignored. A query without any filter
// also deletes the damaged files that were set aside. What it erases is
// overwritten in the database and gone from its log when it returns; an error
// with ErrBusy after the erasing means that the log could not be emptied yet.
func (s *Store) Forget(ctx context.Context, q task.Query, rows bool) (int, error) {
	f := filterOf(q)
	f.and(ended)
	commands := []string{"DELETE FROM tasks WHERE seq = ? AND " + ended}
	if !rows {
		const of = " WHERE seq = ? AND seq IN (SELECT t.seq FROM tasks t WHERE t." + ended + ") AND "
		const erased = " SET body = '" + Erased + "'" + of + "body <> ''"
		commands = []string{
			"UPDATE prompts" + erased, "UPDATE results" + erased,
			"UPDATE past SET body = json_set(body, '$.Result', '" + Erased + "')" + of + "body ->> '$.Result' <> ''",
			// What went wrong may quote what was asked for or answered.
			"UPDATE past SET body = json_set(body, '$.Error', '')" + of + "body ->> '$.Error' <> ''",
			"UPDATE tasks SET head = json_remove(head, '$.Error', '$.Note')" + of +
				"(head ->> '$.Error' <> '' OR head ->> '$.Note' <> '')",
		}
	}
	n := 0
	var err error
	if plain(q) && q.Worktree == "" && len(q.States) == 0 {
		// First, so that nothing more is taken over from them.
		err = s.removeAside()
	}
	if err == nil {
		n, err = s.sweepTasks(ctx, f, commands...)
	}
	if err == nil {
		err = s.Checkpoint(ctx)
	}
	if err != nil {
		return n, fmt.Errorf("erasing tasks: %w", err)
	}
	return n, nil
}

// sweepTasks runs commands, each with the seq of a task, on all that match, in
// transactions of a few. It returns how many tasks they changed.
func (s *Store) sweepTasks(ctx context.Context, f *filter, commands ...string) (n int, err error) {
	f.and("seq > ?")
	query := "SELECT seq FROM tasks" + f.sql() + " ORDER BY seq LIMIT ?"
	last := int64(-1)
	for {
		var seqs []int64
		if err := s.reading(ctx, func(ctx context.Context, d *database) error {
			seqs = nil
			rows, err := d.read.QueryContext(ctx, query, append(slices.Clip(f.args), last, pruneBatch)...)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				var seq int64
				if err := rows.Scan(&seq); err != nil {
					return err
				}
				seqs = append(seqs, seq)
			}
			return rows.Err()
		}); err != nil {
			return n, err
		}
		if len(seqs) == 0 {
			return n, nil
		}
		last = seqs[len(seqs)-1]
		touched := 0
		if err := s.do(ctx, false, func(ctx context.Context, d *database) error {
			touched = 0
			for _, seq := range seqs {
				changed := false
				for _, command := range commands {
					res, err := d.exec(ctx, command, seq)
					if err != nil {
						return err
					}
					n, err := res.RowsAffected()
					changed = changed || err == nil && n > 0
				}
				if changed {
					touched++
				}
			}
			return nil
		}); err != nil {
			return n, err
		}
		n += touched
	}
}

// Checkpoint moves everything from the log into the database and empties the
// log. ErrBusy if a reader of another process held on to it for five seconds.
func (s *Store) Checkpoint(ctx context.Context) error {
	return s.do(ctx, true, func(ctx context.Context, d *database) error {
		if _, err := d.exec(ctx, "PRAGMA busy_timeout = 5000"); err != nil {
			return err
		}
		defer func() { _, _ = d.exec(ctx, "PRAGMA busy_timeout = 0") }()
		var busy, frames, moved int
		if err := d.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
			return err
		}
		if busy != 0 {
			return fmt.Errorf("%w: its log is being read", ErrBusy)
		}
		return nil
	})
}

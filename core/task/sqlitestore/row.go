package sqlitestore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// A column is a field of a task that queries ask for.
type column struct {
	name string
	of   func(*task.Task) any
}

// columns returns what is stored beside head.
func columns() []column {
	return []column{
		{"id", func(t *task.Task) any { return string(t.ID) }},
		{"worktree", func(t *task.Task) any { return t.Worktree }},
		{"root", func(t *task.Task) any { return t.Root }},
		{"parent", func(t *task.Task) any { return t.Parent }},
		{"session", func(t *task.Task) any { return t.Session }},
		{"grp", func(t *task.Task) any { return t.Group }},
		{"owner", func(t *task.Task) any { return t.Owner }},
		{"state", func(t *task.Task) any { return string(t.State) }},
		{"attempt", func(t *task.Task) any { return int64(t.Attempt) }},
		{"told", func(t *task.Task) any { return t.Told }},
		{"stop", func(t *task.Task) any { return t.Stop }},
		{"created", func(t *task.Task) any { return millis(t.Created) }},
		{"ended", func(t *task.Task) any { return millis(t.Ended) }},
		{"input", func(t *task.Task) any { return t.Usage.Input }},
		{"output", func(t *task.Task) any { return t.Usage.Output }},
		{"reasoning", func(t *task.Task) any { return t.Usage.Reasoning }},
		{"cache_read", func(t *task.Task) any { return t.Usage.CacheRead }},
		{"cache_write", func(t *task.Task) any { return t.Usage.CacheWrite }},
		{"cost", func(t *task.Task) any { return t.Usage.Cost }},
	}
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// insert stores a new task, at the place seq of the order or, if that is nil, as
// the newest. It runs inside the writer's transaction.
func (d *database) insert(ctx context.Context, r row, seq any) error {
	head, err := r.encode()
	if err != nil {
		return refusal{err}
	}
	names, marks, args := []string{"seq", "head"}, []string{"?", "?"}, []any{seq, head}
	for _, c := range columns() {
		names, marks, args = append(names, c.name), append(marks, "?"), append(args, c.of(&r.Task))
	}
	res, err := d.exec(ctx, "INSERT INTO tasks ("+strings.Join(names, ", ")+") VALUES ("+strings.Join(marks, ", ")+
		") ON CONFLICT DO NOTHING", args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return refusal{fmt.Errorf("%s: %w", r.ID, task.ErrExists)}
	}
	at, err := res.LastInsertId()
	if err != nil {
		return err
	}
	return d.texts(ctx, at, task.Task{}, r.Task)
}

// texts stores the prompt, the result and the past attempts where they differ
// from what was.
func (d *database) texts(ctx context.Context, seq int64, was, is task.Task) error {
	for _, text := range []struct{ table, was, is string }{{"prompts", was.Prompt, is.Prompt}, {"results", was.Result, is.Result}} {
		if text.was == text.is {
			continue
		}
		if _, err := d.exec(ctx, "INSERT OR REPLACE INTO "+text.table+" (seq, body) VALUES (?, ?)", seq, text.is); err != nil {
			return err
		}
	}
	for n, attempt := range is.Past {
		if n < len(was.Past) && was.Past[n] == attempt {
			continue
		}
		body, err := encodeAttempt(attempt)
		if err != nil {
			return refusal{err}
		}
		if _, err := d.exec(ctx, "INSERT OR REPLACE INTO past (seq, n, body) VALUES (?, ?, ?)", seq, n, body); err != nil {
			return err
		}
	}
	if len(is.Past) < len(was.Past) {
		_, err := d.exec(ctx, "DELETE FROM past WHERE seq = ? AND n >= ?", seq, len(is.Past))
		return err
	}
	return nil
}

// change applies a change to a task if it stands at the fence. It runs inside
// the writer's transaction, so that nobody can come between.
func (d *database) change(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	s, err := d.stmt(ctx, selectOne)
	if err != nil {
		return task.Task{}, err
	}
	seq, was, err := one(s.QueryContext(ctx, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return task.Task{}, refusal{fmt.Errorf("%s: %w", id, task.ErrNotFound)}
	} else if err != nil {
		return task.Task{}, err
	}
	if was.Fence() != at {
		return was.Task, refusal{fmt.Errorf("%s: %w", id, task.ErrStale)}
	}
	before := was.Task
	before.Past = slices.Clone(was.Past) // change may write into it
	next, err := task.Apply(before, change)
	if err != nil {
		return was.Task, refusal{err}
	}
	next.Past = slices.Clone(next.Past) // the caller may keep what it gave
	is := row{next, was.extra}
	head, err := is.encode()
	if err != nil {
		return was.Task, refusal{err}
	}
	// Only the columns that changed: SQLite rewrites every index that a named
	// column is part of.
	set, args := "head = ?", []any{head}
	for _, c := range columns() {
		if v := c.of(&is.Task); v != c.of(&was.Task) {
			set, args = set+", "+c.name+" = ?", append(args, v)
		}
	}
	if _, err := d.exec(ctx, "UPDATE tasks SET "+set+" WHERE seq = ?", append(args, seq)...); err != nil {
		return was.Task, err
	}
	return next, d.texts(ctx, seq, was.Task, next)
}

const (
	selectHead = "SELECT t.seq, t.head, NULL, NULL, NULL FROM tasks t"
	selectFull = "SELECT t.seq, t.head, p.body, r.body, " +
		"(" + selectPast + "t.seq) FROM tasks t" +
		" LEFT JOIN prompts p ON p.seq = t.seq LEFT JOIN results r ON r.seq = t.seq"
	selectPast = "SELECT nullif(json_group_array(json(body) ORDER BY n), '[]') FROM past WHERE seq = "
	selectOne  = selectFull + " WHERE t.id = ?"
)

// fields is a row of selectHead or selectFull as it comes from the driver; its
// memory is the driver's until the next row.
type fields struct {
	seq                        sql.NullInt64
	head, prompt, result, past sql.RawBytes
}

func (f *fields) scan(rows *sql.Rows) error {
	return rows.Scan(&f.seq, &f.head, &f.prompt, &f.result, &f.past)
}

func (f *fields) row() (r row, err error) {
	if r, err = decode(f.head); err == nil {
		err = f.texts(&r.Task)
	}
	return r, err
}

func (f *fields) texts(t *task.Task) (err error) {
	t.Prompt, t.Result = string(f.prompt), string(f.result)
	if len(f.past) > 0 {
		t.Past, err = decodePast(f.past)
	}
	return err
}

// one reads the only row of an answer; sql.ErrNoRows if there is none.
func one(rows *sql.Rows, err error) (seq int64, r row, _ error) {
	if err != nil {
		return 0, row{}, err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		return 0, row{}, cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	var f fields
	if err := f.scan(rows); err != nil {
		return 0, row{}, err
	}
	r, err = f.row()
	return f.seq.Int64, r, err
}

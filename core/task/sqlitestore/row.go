package sqlitestore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// A row is a task and what a newer release has stored with it: two releases may
// share the database, and the older one must not drop the other's fields.
type row struct {
	task.Task
	extra map[string]json.RawMessage
}

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
		{"parent", func(t *task.Task) any { return t.Parent }},
		{"session", func(t *task.Task) any { return t.Session }},
		{"grp", func(t *task.Task) any { return t.Group }},
		{"owner", func(t *task.Task) any { return t.Owner }},
		{"state", func(t *task.Task) any { return string(t.State) }},
		{"attempt", func(t *task.Task) any { return int64(t.Attempt) }},
		{"told", func(t *task.Task) any { return t.Told }},
		{"created", func(t *task.Task) any { return millis(t.Created) }},
		{"ended", func(t *task.Task) any { return millis(t.Ended) }},
	}
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// encode is the JSON of a task without its texts.
func (r row) encode() (string, error) {
	r.Prompt, r.Result = "", ""
	b, err := json.Marshal(r.Task)
	if err != nil || len(r.extra) == 0 {
		return string(b), err
	}
	all := maps.Clone(r.extra)
	if err := json.Unmarshal(b, &all); err != nil {
		return "", err
	}
	b, err = json.Marshal(all)
	return string(b), err
}

// decode is the other way.
func decode(head []byte) (row, error) {
	var r row
	strict := json.NewDecoder(bytes.NewReader(head))
	strict.DisallowUnknownFields()
	if strict.Decode(&r.Task) == nil {
		return r, nil
	}
	r = row{}
	if err := json.Unmarshal(head, &r.Task); err != nil {
		return row{}, fmt.Errorf("unreadable task: %w", err)
	}
	known := map[string]json.RawMessage{}
	b, err := json.Marshal(task.Task{})
	if err == nil {
		err = json.Unmarshal(b, &known)
	}
	if err == nil {
		err = json.Unmarshal(head, &r.extra)
	}
	maps.DeleteFunc(r.extra, func(name string, _ json.RawMessage) bool { return known[name] != nil })
	return r, err
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

// texts stores the prompt and the result where they differ from what was.
func (d *database) texts(ctx context.Context, seq int64, was, is task.Task) error {
	for _, text := range []struct{ table, was, is string }{{"prompts", was.Prompt, is.Prompt}, {"results", was.Result, is.Result}} {
		if text.was == text.is {
			continue
		}
		if _, err := d.exec(ctx, "INSERT OR REPLACE INTO "+text.table+" (seq, body) VALUES (?, ?)", seq, text.is); err != nil {
			return err
		}
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
	seq, was, err := scan(s.QueryRowContext(ctx, string(id)), true)
	if errors.Is(err, sql.ErrNoRows) {
		return task.Task{}, refusal{fmt.Errorf("%s: %w", id, task.ErrNotFound)}
	} else if err != nil {
		return task.Task{}, err
	}
	if was.Fence() != at {
		return was.Task, refusal{fmt.Errorf("%s: %w", id, task.ErrStale)}
	}
	next, err := task.Apply(was.Task, change)
	if err != nil {
		return was.Task, refusal{err}
	}
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
	selectHead = "SELECT t.seq, t.head FROM tasks t"
	selectFull = "SELECT t.seq, t.head, coalesce(p.body, ''), coalesce(r.body, '') FROM tasks t" +
		" LEFT JOIN prompts p ON p.seq = t.seq LEFT JOIN results r ON r.seq = t.seq"
	selectOne = selectFull + " WHERE t.id = ?"
)

// scan reads a row of selectHead or, with texts, of selectFull.
func scan(from interface{ Scan(...any) error }, texts bool) (seq int64, r row, err error) {
	var head sql.RawBytes
	var prompt, result string
	into := []any{&seq, &head}
	if texts {
		into = append(into, &prompt, &result)
	}
	if _, one := from.(*sql.Row); one {
		var copied []byte // a Row does not give its memory away
		into[1] = &copied
		err = from.Scan(into...)
		head = copied
	} else {
		err = from.Scan(into...)
	}
	if err != nil {
		return 0, row{}, err
	}
	r, err = decode(head)
	r.Prompt, r.Result = prompt, result
	return seq, r, err
}

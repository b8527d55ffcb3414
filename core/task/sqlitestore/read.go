package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// Get implements task.Store.
func (s *Store) Get(ctx context.Context, id task.ID) (t task.Task, err error) {
	err = s.reading(ctx, func(tx *sql.Tx) error {
		_, r, err := scan(tx.QueryRowContext(ctx, selectOne, string(id)), true)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%s: %w", id, task.ErrNotFound)
		}
		t = r.Task
		return err
	})
	return t, err
}

// List implements task.Store.
func (s *Store) List(ctx context.Context, q task.Query) (page task.Page, err error) {
	err = s.reading(ctx, func(tx *sql.Tx) (err error) {
		if page.Totals, err = totals(ctx, tx, q); err != nil || q.Limit <= 0 {
			return err
		}
		page.Tasks, err = newest(ctx, tx, q)
		return err
	})
	return page, err
}

// reading runs f on one snapshot of the database; on a sound one if the first
// turns out to be damaged, so f may run twice.
func (s *Store) reading(ctx context.Context, f func(*sql.Tx) error) error {
	d, err := s.snapshot(ctx, f)
	if damaged(err) {
		if err := s.report(ctx, d, err); err != nil {
			return err
		}
		_, err = s.snapshot(ctx, f)
	}
	return explain(err)
}

func (s *Store) snapshot(ctx context.Context, f func(*sql.Tx) error) (*database, error) {
	s.swap.RLock()
	defer s.swap.RUnlock()
	if s.db == nil {
		return nil, s.broken
	}
	tx, err := s.db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.db, err
	}
	defer func() { _ = tx.Rollback() }()
	return s.db, f(tx)
}

// A filter is a query in SQL. index is the one that finds few rows for it; it
// is named in the query, for SQLite has no statistics to choose by.
type filter struct {
	index string
	where []string
	args  []any
}

func (f *filter) and(condition string, args ...any) {
	f.where, f.args = append(f.where, condition), append(f.args, args...)
}

// use names the index, unless an earlier, better one was named.
func (f *filter) use(index string) {
	if f.index == "" {
		f.index = " INDEXED BY " + index
	}
}

func (f *filter) sql() string {
	if len(f.where) == 0 {
		return f.index
	}
	return f.index + " WHERE " + strings.Join(f.where, " AND ")
}

const openStates = "state IN ('pending', 'running')" // as the index open_tasks has it

// filterOf translates a query: the most telling index first.
func filterOf(q task.Query) *filter {
	f := &filter{}
	if q.Session != "" {
		f.use("by_session")
		f.and("session <> '' AND session = ?", q.Session)
	}
	if q.Group != "" {
		f.use("by_group")
		f.and("grp <> '' AND grp = ?", q.Group)
	}
	if q.Untold {
		f.use("untold")
		f.and("told = 0")
	}
	onlyOpen := len(q.States) > 0 && !slices.ContainsFunc(q.States, task.State.Terminal)
	if onlyOpen && (q.Owner != "" || q.Worktree == "") && q.Parent == "" {
		f.use("open_tasks")
		f.and(openStates)
	}
	if q.Owner != "" {
		f.and("owner = ?", q.Owner)
	}
	if q.Parent != "" {
		f.use("by_parent")
		f.and("parent = ?", q.Parent)
	}
	if q.Worktree != "" {
		f.use("by_worktree")
		f.and("worktree = ?", q.Worktree)
	}
	if len(q.States) > 0 {
		marks := strings.TrimSuffix(strings.Repeat("?, ", len(q.States)), ", ")
		f.and("state IN (" + marks + ")")
		for _, state := range q.States {
			f.args = append(f.args, string(state))
		}
	}
	return f
}

// plain reports whether the query asks for no more than counts can tell.
func plain(q task.Query) bool {
	return q.Session == "" && q.Group == "" && q.Owner == "" && q.Parent == "" && !q.Untold
}

func totals(ctx context.Context, tx *sql.Tx, q task.Query) (map[task.State]int, error) {
	f := filterOf(q)
	query := "SELECT state, count(*) FROM tasks" + f.sql() + " GROUP BY state"
	if plain(q) {
		f.index = ""
		query = "SELECT state, sum(n) FROM counts" + f.sql() + " GROUP BY state HAVING sum(n) > 0"
	}
	rows, err := tx.QueryContext(ctx, query, f.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	totals := map[task.State]int{}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return nil, err
		}
		totals[task.State(state)] = n
	}
	return totals, rows.Err()
}

func newest(ctx context.Context, tx *sql.Tx, q task.Query) ([]task.Task, error) {
	query := selectHead
	if q.Texts {
		query = selectFull
	}
	places, args := places(q)
	rows, err := tx.QueryContext(ctx, query+" WHERE t.seq IN ("+places+") ORDER BY t.seq DESC LIMIT ?", append(args, q.Limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var tasks []task.Task
	for rows.Next() {
		_, r, err := scan(rows, q.Texts)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, r.Task)
	}
	return tasks, rows.Err()
}

// places is a query for the seq of the newest tasks that match. A worktree's are
// found state by state, in each of which the index has them in order, so that
// it costs the same however many there are.
func places(q task.Query) (string, []any) {
	if !plain(q) || q.Worktree == "" {
		f := filterOf(q)
		return "SELECT seq FROM tasks" + f.sql() + " ORDER BY seq DESC LIMIT ?", append(f.args, q.Limit)
	}
	states := q.States
	if len(states) == 0 {
		states = task.States()
	}
	var parts []string
	var args []any
	for _, state := range states {
		q.States = []task.State{state}
		f := filterOf(q)
		parts = append(parts, "SELECT seq FROM (SELECT seq FROM tasks"+f.sql()+" ORDER BY seq DESC LIMIT ?)")
		args = append(append(args, f.args...), q.Limit)
	}
	return strings.Join(parts, " UNION ALL "), args
}

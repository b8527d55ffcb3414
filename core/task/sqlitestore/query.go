package sqlitestore

import (
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

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
		f.index = index
	}
}

func (f *filter) sql() string {
	var b strings.Builder
	if f.index != "" {
		b.WriteString(" INDEXED BY " + f.index)
	}
	for i, condition := range f.where {
		if i == 0 {
			b.WriteString(" WHERE ")
		} else {
			b.WriteString(" AND ")
		}
		b.WriteString(condition)
	}
	return b.String()
}

const openStates = "state IN ('pending', 'running')" // as the index open_tasks has it

// filterOf translates a query: the most telling index first. The conditions of
// partial indexes are repeated as the schema has them.
func filterOf(q task.Query) *filter {
	f := &filter{}
	if q.Session != "" {
		f.use("by_session")
		f.and("session <> '' AND session = ?", q.Session)
	}
	if q.Stop {
		f.use("stops")
		f.and("stop <> ''")
	}
	if q.Group != "" {
		f.use("by_group")
		f.and("grp <> '' AND grp = ?", q.Group)
	}
	if q.Untold {
		if q.Owner != "" {
			f.use("untold_by_owner")
		}
		f.use("untold_by_parent")
		f.and("told = 0")
	}
	onlyOpen := len(q.States) > 0 && !slices.ContainsFunc(q.States, task.State.Terminal)
	if onlyOpen && (q.Owner != "" || q.Worktree == "") && q.Parent == "" && q.Root == "" {
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
	if q.Root != "" {
		f.use("by_root")
		f.and("root <> '' AND root = ?", q.Root)
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
	return q.Session == "" && q.Group == "" && q.Root == "" && q.Owner == "" && q.Parent == "" && !q.Untold && !q.Stop
}

// listing is the statement for a page: first the rows of totals, which have no
// seq, then the tasks.
func listing(q task.Query) (string, []any) {
	query, args := totals(q)
	if q.Limit <= 0 {
		return query, args
	}
	from := selectHead
	if q.Texts {
		from = selectFull
	}
	places, more := places(q)
	query += " UNION ALL SELECT * FROM (" + from + " WHERE t.seq IN (" + places + ") ORDER BY t.seq DESC LIMIT ?)"
	return query, append(append(args, more...), q.Limit)
}

func totals(q task.Query) (string, []any) {
	f := filterOf(q)
	switch {
	case plain(q):
		f.index = ""
		return "SELECT NULL, state, sum(n), NULL, NULL FROM counts" + f.sql() + " GROUP BY state HAVING sum(n) > 0", f.args
	case q.Root != "":
		return "SELECT NULL, state, count(*), json_object('Input', sum(input), 'Output', sum(output), 'Reasoning', sum(reasoning)," +
			" 'CacheRead', sum(cache_read), 'CacheWrite', sum(cache_write), 'Cost', sum(cost)), NULL FROM tasks" + f.sql() + " GROUP BY state", f.args
	}
	return "SELECT NULL, state, count(*), NULL, NULL FROM tasks" + f.sql() + " GROUP BY state", f.args
}

// places is a query for the seq of the newest tasks that match. Where the index
// has the tasks of each state in order they are found state by state, so that it
// costs the same however many there are.
func places(q task.Query) (string, []any) {
	f := filterOf(q)
	if !strings.HasPrefix(f.index, "by_") || q.Session != "" {
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

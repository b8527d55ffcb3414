package sqlitestore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// maxKept bounds the tasks that pages hold in memory, all pages together.
const maxKept = 1000

// pages are lists as they were last read. They are good as long as the database
// has the version that they were read at, or an earlier one than that.
type pages struct {
	conn *sql.Conn // of its own: versions of two connections do not compare
	ask  *sql.Stmt

	// One question answers all who came before it was asked.
	came   atomic.Int64
	asking sync.Mutex // guards the three below
	asked  int64      // who came up to here has its answer in newest
	newest int64
	failed error

	mu      sync.Mutex
	version int64
	byQuery map[pageKey]task.Page
	kept    int // tasks in byQuery
}

// A pageKey is a query without Texts, in a form that compares.
type pageKey struct {
	worktree, parent, session, group, root, owner, states string
	untold, stop                                          bool
	limit                                                 int
}

func keyOf(q task.Query) pageKey {
	states := make([]string, len(q.States))
	for i, state := range q.States {
		states[i] = string(state)
	}
	return pageKey{
		q.Worktree, q.Parent, q.Session, q.Group, q.Root, q.Owner, strings.Join(states, " "), q.Untold, q.Stop, q.Limit,
	}
}

func newPages(ctx context.Context, db *sql.DB) (*pages, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// The number changes with each commit of another connection, which all
	// that write are, of this process or of another. It is read from memory that
	// all processes share.
	ask, err := conn.PrepareContext(ctx, "PRAGMA data_version")
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &pages{conn: conn, ask: ask, byQuery: map[pageKey]task.Page{}}, nil
}

// list answers a query from what it keeps, or with read. The page is the
// caller's own.
func (p *pages) list(ctx context.Context, q task.Query, read func(context.Context, task.Query) (task.Page, error)) (task.Page, error) {
	if q.Texts || q.Limit > maxKept {
		return read(ctx, q) // too large to keep
	}
	key := keyOf(q)
	version, page, known, err := p.look(ctx, key)
	if err != nil || known {
		return page, err
	}
	// What is read now is of this version or later.
	if page, err = read(ctx, q); err == nil {
		p.keep(version, key, page)
	}
	return page, err
}

func (p *pages) look(ctx context.Context, key pageKey) (version int64, page task.Page, known bool, err error) {
	if version, err = p.current(ctx); err != nil {
		return 0, task.Page{}, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if version != p.version {
		p.version, p.kept = version, 0
		clear(p.byQuery)
	}
	page, known = p.byQuery[key]
	return version, copied(page), known, nil
}

// current returns the version that the database has, or had since the call.
func (p *pages) current(ctx context.Context) (int64, error) {
	ticket := p.came.Add(1)
	p.asking.Lock()
	defer p.asking.Unlock()
	if p.asked < ticket {
		p.asked = p.came.Load()
		p.failed = p.ask.QueryRowContext(ctx).Scan(&p.newest)
	}
	return p.newest, p.failed
}

func (p *pages) keep(version int64, key pageKey, page task.Page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cost := len(page.Tasks) + 1
	if _, known := p.byQuery[key]; known || version != p.version || p.kept+cost > maxKept {
		return
	}
	p.byQuery[key], p.kept = copied(page), p.kept+cost
}

func (p *pages) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byQuery, p.kept = map[pageKey]task.Page{}, 0
}

func copied(page task.Page) task.Page {
	page.Tasks, page.Totals = slices.Clone(page.Tasks), maps.Clone(page.Totals)
	return page
}

func (p *pages) close() {
	_ = p.ask.Close()
	_ = p.conn.Close()
}

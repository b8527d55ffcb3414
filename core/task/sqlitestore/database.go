package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver
)

const (
	schemeName = "sqlite"
	readers    = 3 // connections that read; one of them only looks for changes
	// maxStmts bounds the statements that are kept prepared for reading. Each
	// kind of query is one, and callers have about ten.
	maxStmts = 50
)

// A database is the open connections to one file: the writer's, which only the
// writer goroutine uses, and a pool that can only read.
type database struct {
	path  string
	file  os.FileInfo // of the file that the connections have open
	write *sql.DB
	conn  *sql.Conn // the one connection of write
	read  *sql.DB
	stmts map[string]*sql.Stmt // prepared on conn
	pages *pages               // lists that were read
	heads heads                // tasks that were read

	// mu guards readStmts, which read has prepared on whichever of its
	// connections has needed them.
	mu        sync.Mutex
	readStmts map[string]*sql.Stmt
}

// connect opens the connections to a file, which it creates and migrates. The
// caller holds the file lock. Nothing here may open and close the file itself:
// on POSIX that would drop the locks that this process has on it.
func connect(ctx context.Context, path string, extra []string) (_ *database, err error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		f.Close()
		syncFolder(filepath.Dir(path))
	}
	d := &database{path: path, stmts: map[string]*sql.Stmt{}, readStmts: map[string]*sql.Stmt{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := tighten(path); err != nil {
		return nil, err
	}
	if d.file, err = os.Stat(path); err != nil {
		return nil, err
	}
	if d.write, err = sql.Open(schemeName, source(path, append([]string{
		"synchronous(FULL)", "cache_size(-256)", "secure_delete(ON)", "journal_size_limit(8388608)",
	}, extra...)...)); err != nil {
		return nil, err
	}
	d.write.SetMaxOpenConns(1)
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return nil, err
	}
	var mode string
	if err := d.conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return nil, fmt.Errorf("switching to a write-ahead log: %w", err)
	}
	if mode != "wal" {
		return nil, fmt.Errorf("%s: this file system cannot hold a database that processes share (journal mode %s)", path, mode)
	}
	if err := migrate(ctx, d.conn, path); err != nil {
		return nil, err
	}
	// From here on the writer waits in its own way: see begin.
	if _, err := d.conn.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return nil, err
	}
	if d.read, err = sql.Open(schemeName, source(path, "query_only(ON)", "cache_size(-128)")); err != nil {
		return nil, err
	}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if d.pages, err = newPages(ctx, d.read); err != nil {
		return nil, err
	}
	return d, nil
}

// source is the driver's name for a connection to path, which must exist: none
// may bring back a file that somebody has removed or set aside.
func source(path string, pragmas ...string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	u := url.URL{Scheme: "file", Path: slashed, RawQuery: url.Values{"mode": {"rw"}, "_pragma": append([]string{
		"busy_timeout(5000)", "foreign_keys(OFF)", "trusted_schema(OFF)", "cell_size_check(ON)", "temp_store(MEMORY)",
	}, pragmas...)}.Encode()}
	return u.String()
}

// touch looks at both ends of every tree: what a truncated or overwritten file
// lacks is mostly there, and it costs less than a millisecond.
func (d *database) touch(ctx context.Context) error {
	for _, query := range []string{
		"SELECT count(*) FROM (SELECT * FROM tasks ORDER BY seq DESC LIMIT 1)",
		"SELECT count(*) FROM (SELECT * FROM tasks ORDER BY seq LIMIT 1)",
		"SELECT count(*) FROM (SELECT * FROM prompts ORDER BY seq DESC LIMIT 1)",
		"SELECT count(*) FROM (SELECT * FROM results ORDER BY seq DESC LIMIT 1)",
		"SELECT max(id) || min(id) FROM tasks",
		"SELECT sum(n) FROM counts",
		"SELECT count(*) FROM (SELECT 1 FROM tasks INDEXED BY by_worktree ORDER BY worktree DESC LIMIT 1)",
		"SELECT count(*) FROM (SELECT 1 FROM tasks INDEXED BY by_parent ORDER BY parent DESC LIMIT 1)",
		"SELECT count(*) FROM tasks INDEXED BY open_tasks WHERE state IN ('pending', 'running')",
		"SELECT count(*) FROM tasks INDEXED BY untold_by_owner WHERE told = 0",
		"SELECT count(*) FROM (SELECT 1 FROM tasks INDEXED BY by_root WHERE root <> '' ORDER BY root DESC LIMIT 1)",
		"SELECT count(*) FROM (SELECT * FROM past ORDER BY seq DESC LIMIT 1)",
		"SELECT count(*) FROM (SELECT * FROM records ORDER BY seq DESC LIMIT 1)",
		"SELECT max(kind) || min(kind) FROM records INDEXED BY records_by_kind",
		"SELECT count(*) FROM records INDEXED BY open_records WHERE open = 1",
	} {
		var v any
		if err := d.conn.QueryRowContext(ctx, query).Scan(&v); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return nil
}

// moved reports whether path now names another file than the one that is open:
// another process has set it aside, or somebody has removed it.
func (d *database) moved() bool {
	now, err := os.Stat(d.path)
	return err != nil || !os.SameFile(now, d.file)
}

// stmt prepares query once per connection. Only the writer calls it.
func (d *database) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := d.stmts[query]; s != nil {
		return s, nil
	}
	s, err := d.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	d.stmts[query] = s
	return s, nil
}

func (d *database) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := d.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// query reads. The statement is prepared once per connection.
func (d *database) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := d.readStmt(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return d.read.QueryContext(ctx, query, args...)
	}
	return s.QueryContext(ctx, args...)
}

// readStmt returns nil if enough statements are prepared already.
func (d *database) readStmt(ctx context.Context, query string) (*sql.Stmt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.readStmts[query]; s != nil || len(d.readStmts) >= maxStmts {
		return s, nil
	}
	s, err := d.read.PrepareContext(ctx, query)
	if err == nil {
		d.readStmts[query] = s
	}
	return s, err
}

// close gives the connections back; the last one of all processes to close
// empties the write-ahead log into the database.
func (d *database) close() {
	for _, s := range d.readStmts {
		_ = s.Close()
	}
	if d.pages != nil {
		d.pages.close()
	}
	if d.read != nil {
		_ = d.read.Close()
	}
	for _, s := range d.stmts {
		_ = s.Close()
	}
	if d.conn != nil {
		_ = d.conn.Close()
	}
	if d.write != nil {
		_ = d.write.Close()
	}
}

// folderName is the folder that is ours alone; others may hold their users' files.
const folderName = "opencode-sidecar"

// tighten takes from others what an earlier release, a copy or a loose umask has
// given them of the database at path, and of its folder if that is ours.
func tighten(path string) error {
	modes := map[string]os.FileMode{path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600}
	if folder := filepath.Dir(path); filepath.Base(folder) == folderName {
		modes[folder] = 0o700
	}
	for name, mode := range modes {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) || err == nil && info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err == nil {
			err = os.Chmod(name, mode)
		}
		if err != nil {
			return fmt.Errorf("keeping the task database from others: %w", err)
		}
	}
	return nil
}

// syncFolder makes a new file's name durable where the platform can.
func syncFolder(path string) {
	if f, err := os.Open(path); err == nil {
		_ = f.Sync()
		f.Close()
	}
}

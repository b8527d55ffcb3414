package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// applicationID marks the file as ours ("ocsc").
const applicationID = 0x6f637363

// migrations returns the steps from one schema to the next; user_version counts
// those that a database has seen. Steps only ever add: an older binary that has
// the database open goes on working.
//
// A task is one row: columns for what is asked for, and in head the whole of it
// as JSON but for its texts, so that new fields need no step. The texts (prompt,
// result, and the attempts before the present one) have tables of their own,
// which keeps the rows of a list small and a state change from rewriting them.
// seq is the order of creation. counts is kept by triggers: a list shows totals
// of everything without reading it.
//
// The records of other rooms are rows of their own: see records.go.
func migrations() []string {
	return []string{`
CREATE TABLE tasks (
	seq      INTEGER PRIMARY KEY,
	id       TEXT NOT NULL UNIQUE,
	worktree TEXT NOT NULL,
	parent   TEXT NOT NULL,
	root     TEXT NOT NULL,
	session  TEXT NOT NULL,
	grp      TEXT NOT NULL,
	owner    TEXT NOT NULL,
	state    TEXT NOT NULL,
	attempt  INTEGER NOT NULL,
	told     INTEGER NOT NULL,
	stop     TEXT NOT NULL,
	created  INTEGER NOT NULL, -- Unix milliseconds
	ended    INTEGER NOT NULL, -- 0 while open
	-- what it has used: tokens, and US dollars
	input       INTEGER NOT NULL,
	output      INTEGER NOT NULL,
	reasoning   INTEGER NOT NULL,
	cache_read  INTEGER NOT NULL,
	cache_write INTEGER NOT NULL,
	cost        REAL NOT NULL,
	head     TEXT NOT NULL
);
CREATE INDEX by_worktree ON tasks (worktree, state);
CREATE INDEX by_parent   ON tasks (parent, state);
CREATE INDEX by_root     ON tasks (root, state) WHERE root <> '';
CREATE INDEX by_group    ON tasks (grp, state) WHERE grp <> '';
CREATE INDEX by_session  ON tasks (session) WHERE session <> '';
CREATE INDEX open_tasks  ON tasks (owner) WHERE state IN ('pending', 'running');
CREATE INDEX untold_by_owner  ON tasks (owner) WHERE told = 0;
CREATE INDEX untold_by_parent ON tasks (parent) WHERE told = 0;
CREATE INDEX stops       ON tasks (owner, state) WHERE stop <> '';
CREATE TABLE prompts (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE results (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE past (
	seq  INTEGER NOT NULL,
	n    INTEGER NOT NULL, -- 0 is the oldest
	body TEXT NOT NULL,    -- an attempt as JSON
	PRIMARY KEY (seq, n)
) WITHOUT ROWID;
CREATE TABLE counts (
	worktree TEXT NOT NULL,
	state    TEXT NOT NULL,
	n        INTEGER NOT NULL,
	PRIMARY KEY (worktree, state)
) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER count_new AFTER INSERT ON tasks BEGIN
	INSERT INTO counts VALUES (new.worktree, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER count_changed AFTER UPDATE OF worktree, state ON tasks BEGIN
	UPDATE counts SET n = n - 1 WHERE worktree = old.worktree AND state = old.state;
	INSERT INTO counts VALUES (new.worktree, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER gone AFTER DELETE ON tasks BEGIN
	UPDATE counts SET n = n - 1 WHERE worktree = old.worktree AND state = old.state;
	DELETE FROM counts WHERE worktree = old.worktree AND state = old.state AND n = 0;
	DELETE FROM prompts WHERE seq = old.seq;
	DELETE FROM results WHERE seq = old.seq;
	DELETE FROM past WHERE seq = old.seq;
END;
`, `
CREATE TABLE records (
	seq      INTEGER PRIMARY KEY, -- in the order of changes: each moves its record to the end
	kind     TEXT NOT NULL,
	key      TEXT NOT NULL,
	worktree TEXT NOT NULL,
	owner    TEXT NOT NULL,
	open     INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	updated  INTEGER NOT NULL, -- Unix milliseconds
	body     BLOB NOT NULL,    -- last, so that nothing else has to be read through it
	UNIQUE (kind, key)
);
CREATE INDEX records_by_kind ON records (kind);
CREATE INDEX open_records    ON records (owner, kind) WHERE open = 1;
`}
}

// migrate brings the database up to date. The caller holds the file lock.
func migrate(ctx context.Context, c *sql.Conn, path string) error {
	var version, app, tables int
	for pragma, into := range map[string]*int{"user_version": &version, "application_id": &app} {
		if err := c.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(into); err != nil {
			return fmt.Errorf("reading %s: %w", pragma, err)
		}
	}
	if err := c.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	if app != applicationID && (tables > 0 || version > 0) {
		return fmt.Errorf("%s is a database of another program", path)
	}
	steps := migrations()
	if version > len(steps) {
		return &NewerError{path, version, len(steps)}
	}
	if version == len(steps) {
		return nil
	}
	var script strings.Builder
	script.WriteString("BEGIN IMMEDIATE;")
	for _, step := range steps[version:] {
		script.WriteString(step)
	}
	script.WriteString(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", applicationID, len(steps)))
	if _, err := c.ExecContext(ctx, script.String()); err != nil {
		_, _ = c.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("migrating from schema %d to %d: %w", version, len(steps), err)
	}
	return nil
}

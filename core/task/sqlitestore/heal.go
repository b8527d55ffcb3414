package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// checkEvery is how old the last full check may be. One also follows each
// unclean end.
const checkEvery = 7 * 24 * time.Hour

// heal gives the store a sound database in place of one that is damaged or whose
// file is gone. Only the writer calls it. If that fails the store answers with
// the reason, and the next write tries again.
func (s *Store) heal(ctx context.Context, reason error) {
	s.swap.Lock()
	defer s.swap.Unlock()
	old := s.db
	s.db = nil
	if old != nil {
		s.file = old.file
		s.options.Log.Error().Err(reason).Msg("task database is opened anew")
	}
	var found Opened
	var known error
	s.broken = s.locked(ctx, func() (err error) {
		lost := s.lost()
		if old != nil {
			if damaged(reason) && !old.moved() { // else another process was faster
				known = reason
			}
			old.close()
			old = nil
		}
		s.db, found, err = s.open(ctx, known)
		if err == nil && lost {
			found.Warnings = append(found.Warnings, "The task database "+s.options.Path+" was removed or replaced while it was in use. A fresh one takes its place; tasks that only the old one held are lost.")
		}
		return err
	})
	if s.broken != nil {
		s.db = nil
	}
	if old != nil { // the lock was not to be had
		old.close()
	}
	for _, warning := range found.Warnings {
		s.warn(warning)
	}
	s.later(found.rest)
}

// lost reports whether the file that was open last is neither in its place, nor
// set aside by another process, which has told its own user.
func (s *Store) lost() bool {
	is := func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && os.SameFile(info, s.file)
	}
	if s.file == nil || is(s.options.Path) {
		return false
	}
	folder, name := filepath.Split(s.options.Path)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return true
	}
	return !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), name+asideMark) && is(filepath.Join(folder, e.Name()))
	})
}

func (s *Store) warn(text string) {
	if s.options.Warn != nil {
		s.options.Warn(text)
	}
}

// report tells the writer that d is damaged and returns when it is replaced.
func (s *Store) report(ctx context.Context, d *database, damage error) error {
	return s.do(ctx, true, func(_ context.Context, now *database) error {
		if now != d {
			return nil
		}
		return damage
	})
}

// check reads the whole database once, in the background: with 50,000 tasks
// that takes longer than anybody should wait for an answer, and damage that it
// finds would be found by the first read that meets it, only later. It is due
// after an unclean end and now and then.
func (s *Store) check(ctx context.Context, unclean bool) {
	s.swap.RLock()
	d := s.db
	s.swap.RUnlock()
	if d == nil {
		return
	}
	var last int64
	err := d.read.QueryRowContext(ctx, "SELECT value FROM notes WHERE name = 'checked'").Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.options.Log.Warn().Err(err).Msg("task database was not checked")
		return
	}
	if age := time.Since(time.UnixMilli(last)); !unclean && age < checkEvery && age >= 0 {
		return
	}
	start := time.Now()
	err = quickCheck(ctx, d.path)
	switch {
	case ctx.Err() != nil:
	case damaged(err):
		err = s.report(ctx, d, err)
	case err == nil:
		err = s.do(ctx, false, func(ctx context.Context, d *database) error {
			_, err := d.exec(ctx, "INSERT OR REPLACE INTO notes VALUES ('checked', ?)", start.UnixMilli())
			return err
		})
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		s.options.Log.Warn().Err(err).Msg("task database was not checked")
	}
	s.options.Log.Debug().Dur("took", time.Since(start)).Msg("task database checked")
}

// quickCheck reads every page of the database at path through a connection of
// its own, and finds all damage but an index that disagrees with its table.
func quickCheck(ctx context.Context, path string) error {
	db, err := sql.Open(schemeName, source(path, "query_only(ON)", "cache_size(-512)"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamage, verdict)
	}
	return nil
}

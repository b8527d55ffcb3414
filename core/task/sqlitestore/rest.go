package sqlitestore

import (
	"context"
	"fmt"
)

// Rest gives back the memory that a burst of work has taken: what was kept of
// reads, connections that nobody uses, and the page caches. The next reads take
// some of it again.
func (s *Store) Rest(ctx context.Context) error {
	err := s.do(ctx, true, func(ctx context.Context, d *database) error {
		d.pages.forget()
		d.heads.forget()
		d.read.SetMaxIdleConns(0)
		d.read.SetMaxIdleConns(readers)
		_, err := d.conn.ExecContext(ctx, "PRAGMA shrink_memory")
		return err
	})
	if err != nil {
		return fmt.Errorf("giving the task database's memory back: %w", err)
	}
	return nil
}

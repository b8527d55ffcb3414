package sqlitestore

import (
	"context"
	"database/sql"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// recordBatch is smaller than salvageBatch: a record may have a large body.
const recordBatch = 32

// readRecords returns the next batch with the records' places, and what ended it
// early. A file of an early release has none.
func (v *salvage) readRecords(ctx context.Context, from *sql.DB) (batch []record.Record, seqs []int64, stopped error) {
	query, args := v.inRecords.rest()
	rows, err := from.QueryContext(ctx, selectRecord+query, args...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for len(batch) < recordBatch && rows.Next() {
		r, seq, err := scanRecord(rows)
		if err != nil || r.Check() != nil || r.Version < 1 {
			continue // one unreadable row
		}
		v.inRecords.read(seq)
		batch, seqs = append(batch, r), append(seqs, seq)
	}
	return batch, seqs, rows.Err()
}

// insertRecords stores a batch, and returns how many records it had that were
// not there.
func (v *salvage) insertRecords(ctx context.Context, d *database, batch []record.Record, seqs []int64) (saved int, err error) {
	if err := v.forgotten(); err != nil {
		return 0, err
	}
	for i, r := range batch {
		for _, seq := range []any{seqs[i], nil} { // its place may be taken
			res, err := d.insertRecord(ctx, seq, r, r.Version, r.Updated)
			if err != nil {
				return 0, err
			}
			if n, err := res.RowsAffected(); err == nil && n > 0 {
				saved++
				break
			}
		}
	}
	return saved, nil
}

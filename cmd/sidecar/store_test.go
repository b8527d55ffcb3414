package main

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

func TestRecordsAreKeptWhereTheTasksAre(t *testing.T) {
	for path, lasts := range map[string]bool{filepath.Join(t.TempDir(), "tasks.db"): true, memoryOnly: false} {
		s := openStore(path, zerolog.Nop())
		if _, err := s.records().Put(t.Context(), record.Record{Kind: "mission", Key: "ses_1", Open: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.records().Get(t.Context(), "mission", "ses_1"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(path, zerolog.Nop())
		if _, err := s.records().Get(t.Context(), "mission", "ses_1"); lasts != (err == nil) || !lasts && !errors.Is(err, record.ErrNotFound) {
			t.Errorf("%s: %v after opening again", path, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

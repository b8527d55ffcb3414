package sqlitestore

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheWriterIsDurable(t *testing.T) {
	s := open(t, file(t))
	var synchronous int
	var mode string
	if err := s.db.conn.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&synchronous); err != nil || synchronous != 2 {
		t.Errorf("synchronous is %d, want 2 (FULL): %v", synchronous, err)
	}
	if err := s.db.conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("the journal mode is %q: %v", mode, err)
	}
}

func TestOpeningTakesTheFilesFromOthers(t *testing.T) {
	for folder, want := range map[string]os.FileMode{folderName: 0o700, "shared": 0o755} {
		t.Run(folder, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), folder, "tasks.db")
			first := open(t, path)
			create(t, first, sample(1))
			for name, mode := range map[string]os.FileMode{filepath.Dir(path): 0o755, path: 0o644, path + "-wal": 0o644, path + "-shm": 0o666} {
				if err := os.Chmod(name, mode); err != nil {
					t.Fatal(err)
				}
			}
			open(t, path)
			for name, want := range map[string]os.FileMode{filepath.Dir(path): want, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%s has mode %o, want %o", filepath.Base(name), got, want)
				}
			}
		})
	}
}

package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestAFullDiskRefusesAndLosesNothing(t *testing.T) {
	path := file(t)
	s, _, err := Open(Options{Path: path, Log: zerolog.Nop(), pragmas: []string{"max_page_count(200)"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := overfill(s, func() error {
		return s.do(t.Context(), true, func(ctx context.Context, d *database) error {
			_, err := d.exec(ctx, "PRAGMA max_page_count = 100000")
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// fillDisk does the same on a file system that is full in truth. It runs in a
// process of its own that may have mounted one on path.
func fillDisk(path string) error {
	if err := mountSmall(path); err != nil {
		fmt.Println("no:", err)
		return nil
	}
	ballast := filepath.Join(path, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		return err
	}
	s, err := begin(filepath.Join(path, "tasks.db"))
	if err != nil {
		return err
	}
	if err := overfill(s, func() error { return os.Remove(ballast) }); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	fmt.Println("yes")
	return nil
}

// overfill writes until there is no room, checks that nothing accepted is lost,
// makes room, and checks that the store works again as it is.
func overfill(s *Store, room func() error) error {
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var accepted []task.Task
	refused := 0
	var wrong error
	for g := range 16 {
		wg.Go(func() {
			for i := range 100 {
				tk := sample(g*1000 + i)
				tk.Prompt = strings.Repeat("much text ", 400)
				err := s.Create(ctx, tk)
				mu.Lock()
				if err == nil {
					accepted = append(accepted, tk)
				} else if refused++; !errors.Is(err, ErrFull) {
					wrong = fmt.Errorf("Create: %w, want ErrFull", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if wrong != nil {
		return wrong
	}
	if len(accepted) == 0 || refused == 0 {
		return fmt.Errorf("%d accepted, %d refused: nothing was filled", len(accepted), refused)
	}
	check := func(when string) error {
		for _, tk := range accepted {
			if got, err := s.Get(ctx, tk.ID); err != nil || got.Prompt != tk.Prompt {
				return fmt.Errorf("%s: %s was accepted and lost: %w", when, tk.ID, err)
			}
		}
		page, err := s.List(ctx, task.Query{})
		if err == nil && page.Totals[task.Pending] != len(accepted) {
			err = fmt.Errorf("%s: %d tasks of %d", when, page.Totals[task.Pending], len(accepted))
		}
		return err
	}
	if err := check("full"); err != nil {
		return err
	}
	if n, err := s.Forget(ctx, task.Query{}, true); n != 0 || err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("forgot %d open tasks, %w", n, err)
	}
	if err := room(); err != nil {
		return err
	}
	extra := sample(999_999)
	if err := s.Create(ctx, extra); err != nil {
		return fmt.Errorf("Create once there is room: %w", err)
	}
	accepted = append(accepted, extra)
	for _, tk := range accepted {
		if _, err := s.Update(ctx, tk.ID, tk.Fence(), func(x *task.Task) { x.Description = "updated" }); err != nil {
			return fmt.Errorf("Update once there is room: %w", err)
		}
	}
	return check("with room again")
}

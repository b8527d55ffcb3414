package trash

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// mounted plays a part in a process that may mount what only it sees.
func mounted(t *testing.T, part string) {
	p := newProject(t, nil)
	p.must(os.MkdirAll(p.place, 0o700))
	cmd, _ := another(part, p)
	proctest.Apart(t, cmd)
}

func TestAFullDiskLeavesTheOriginals(t *testing.T)   { mounted(t, "small") }
func TestATrashThatIsReadOnlyLeavesAll(t *testing.T) { mounted(t, "readonly") }

// fillSmall takes files into a trash of 1 MB until no more fit.
func fillSmall(dir, folder string) error {
	if err := syscall.Mount("small", folder, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	content := strings.Repeat("0123456789", 10_000)
	trash, taken := New(folder), 0
	b := trash.Begin(dir, day)
	for n := range 40 {
		name := fmt.Sprint(n)
		if n >= 20 {
			name += ".small" // which may fit where a large one did not
			content = "small"
		}
		if err := root.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
		seen, err := root.Lstat(name)
		if err != nil {
			return err
		}
		err = b.Take(root, name, seen, strings.Repeat("why ", 240))
		_, there := root.Lstat(name)
		switch {
		case err == nil && there != nil:
			taken++
		case err == nil || there != nil:
			return fmt.Errorf("%s: it said %w, and the file: %w", name, err, there)
		case !strings.Contains(err.Error(), "no space left"):
			return err
		}
	}
	if err := b.Close(); err != nil {
		return err
	}
	found, err := trash.Batches("")
	if err != nil || len(found) != 1 || found[0].Items != taken || found[0].Problem != "" || taken < 5 || taken == 40 {
		return fmt.Errorf("%d were taken, the trash has %+v, %w", taken, found, err)
	}
	// The disk gets quite full: marks find room only as copies go.
	fill, err := os.Create(folder + "/filler")
	if err != nil {
		return err
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 512))
	}
	if n, err := restoreAll(trash, root, dir); err != nil || n != taken {
		return fmt.Errorf("%d of %d came back from a full disk: %w", n, taken, err)
	}
	for n := range 40 {
		want := 100_000
		name := fmt.Sprint(n)
		if n >= 20 {
			name, want = name+".small", 5
		}
		if info, err := root.Lstat(name); err != nil || info.Size() != int64(want) {
			return fmt.Errorf("%s did not come back: %w", name, err)
		}
	}
	// Not even a batch can be begun.
	for _, err = fill.Seek(0, 0); err == nil; {
		_, err = fill.Write(make([]byte, 512))
	}
	seen, err := root.Lstat("1")
	if err != nil {
		return err
	}
	b = trash.Begin(dir, day)
	if err := b.Take(root, "1", seen, ""); err == nil || !strings.Contains(err.Error(), "no space left") {
		return fmt.Errorf("taking into a full trash: %w", err)
	}
	if err := b.Close(); err != nil {
		return err
	}
	if _, err := root.Lstat("1"); err != nil {
		return err
	}
	return onlyIn(folder, "filler")
}

// readOnly takes into, restores and expires a trash that nobody can write.
func readOnly(dir, folder string) error {
	if err := syscall.Mount("small", folder, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		if err := root.WriteFile(name, []byte(name), 0o644); err != nil {
			return err
		}
	}
	a, err := root.Lstat("a")
	if err != nil {
		return err
	}
	b, err := root.Lstat("b")
	if err != nil {
		return err
	}
	trash := New(folder)
	batch := trash.Begin(dir, day)
	if err := batch.Take(root, "a", a, ""); err != nil {
		return err
	}
	if err := batch.Close(); err != nil {
		return err
	}
	if err := syscall.Mount("small", folder, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	batch = trash.Begin(dir, day)
	if err := batch.Take(root, "b", b, ""); err == nil || !strings.Contains(err.Error(), "read-only") {
		return fmt.Errorf("taking into it: %w", err)
	}
	if err := batch.Close(); err != nil {
		return err
	}
	if _, err := root.Lstat("b"); err != nil {
		return err
	}
	if _, err := trash.Restore(context.Background(), root, dir, ""); err == nil {
		return fmt.Errorf("it was restored from")
	}
	if _, err := trash.Expire(context.Background(), day.AddDate(1, 0, 0)); err == nil {
		return fmt.Errorf("it was expired")
	}
	found, err := trash.Batches(dir)
	if err != nil || len(found) != 1 || found[0].Items != 1 {
		return fmt.Errorf("the trash has %+v, %w", found, err)
	}
	return nil
}

func onlyIn(folder string, names ...string) error {
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != len(names) {
		return fmt.Errorf("in the trash are %v, %w", entries, err)
	}
	return nil
}

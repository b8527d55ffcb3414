package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// alone runs the test again in a process that may mount what nobody else sees, and
// reports whether this is that process.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "JANITOR_TEST_ALONE"
	if os.Getenv(mark) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mark+"=1")
	proctest.Apart(t, cmd)
	return false
}

// mount puts a file system of its own in place of the project.
func (s *scene) mount(options string) {
	s.Helper()
	if err := syscall.Mount("tmpfs", s.dir, "tmpfs", 0, options); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := syscall.Unmount(s.dir, syscall.MNT_DETACH); err != nil {
			s.Error(err)
		}
	})
}

func TestAFullDiskLosesNothing(t *testing.T) {
	if !alone(t) {
		return
	}
	s := newScene(t)
	s.mount("size=256k")
	s.write("archive/todo_history.jsonl", strings.Repeat(ourHistory(1), 400), time.Hour)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(10), 90*day)
	fill, err := os.Create(filepath.Join(s.dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil && n < 1024; n++ {
		_, err = fill.Write(make([]byte, 4096))
	}
	_ = fill.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	before, _ := lines(t, s.dir)
	r, err := s.janitor.Clean(t.Context(), s.dir, quiet(), false)
	if err != nil || len(r.Problems) != 1 || !errors.Is(r.Problems[0], syscall.ENOSPC) {
		t.Errorf("%v, %v", err, r.Problems)
	}
	if diff := cmp.Diff([]string{"archive/tasks/tasks_2025-01-01.jsonl"}, gone(r)); diff != "" {
		t.Error(diff) // the trash is on another disk
	}
	if after, _ := lines(t, s.dir); len(after) != len(before) {
		t.Errorf("%d lines, %d before", len(after), len(before))
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".opencode/archive/.*")); len(left) > 0 {
		t.Errorf("%q", left)
	}
	if err := os.Remove(fill.Name()); err != nil {
		t.Fatal(err)
	}
	if r := s.clean(quiet()); len(r.Packed) != 1 {
		t.Errorf("%+v", r)
	}
	if after, _ := lines(t, s.dir); len(after) != len(before) {
		t.Errorf("%d lines, %d before", len(after), len(before))
	}
}

func TestAReadOnlyDiskIsLeftAsItIs(t *testing.T) {
	if !alone(t) {
		return
	}
	s := newScene(t)
	s.mount("size=1m")
	s.write("archive/todo_history.jsonl", ourHistory(1), time.Hour)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(10), 90*day)
	if err := syscall.Mount("", s.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	before := s.tree()
	r, err := s.janitor.Clean(t.Context(), s.dir, quiet(), false)
	if err != nil || len(r.Gone)+len(r.Packed) > 0 || len(r.Stays) != 1 || len(r.Problems) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if diff := cmp.Diff(before, s.tree()); diff != "" {
		t.Error(diff)
	}
	if batches, err := s.trash.Batches(""); err != nil || len(batches) > 0 {
		t.Errorf("%+v, %v", batches, err)
	}
}

func TestFilesVanishInTheMiddle(t *testing.T) {
	s := newScene(t)
	for i := range 1500 {
		s.write(fmt.Sprintf("a/%d/%d.md", i%30, i), "x", 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			dir := filepath.Join(s.dir, ".opencode", "a", fmt.Sprint(i%30))
			_ = os.RemoveAll(dir)
			_ = os.MkdirAll(dir, 0o755)
			_ = os.WriteFile(filepath.Join(dir, "y\nz"), nil, 0o600)
		}
	})
	for range 50 {
		s.clean(Defaults())
	}
	cancel()
	wg.Wait()
}

// What a look at many files takes of memory does not grow with them.
func TestManyFiles(t *testing.T) {
	s := newScene(t)
	many(s, 5_000)
	f, err := openFolder(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var before, peak runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	seen := 0
	found, err := f.survey(t.Context(), ledger{})
	if err != nil || found.files != 5_000 || len(found.ours) != 5 {
		t.Fatalf("%+v, %v", found, err)
	}
	err = f.walk(t.Context(), "", func(string, fs.DirEntry) {
		if seen++; seen%1000 == 0 {
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak.HeapAlloc = max(peak.HeapAlloc, now.HeapAlloc)
		}
	}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(found)
	if grown := int64(peak.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes are held", grown)
	}
}

// many makes so many files, one in a thousand of them ours by place and name.
func many(s *scene, n int) {
	s.Helper()
	tasks := filepath.Join(s.dir, ".opencode", "archive", "tasks")
	dir := tasks
	for i := range n {
		name := filepath.Join(dir, fmt.Sprint(i))
		if i%1000 == 0 {
			name = filepath.Join(tasks, "tasks_"+time.Date(2025, 1, 1+i/1000, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)+".jsonl")
			dir = filepath.Join(tasks, fmt.Sprint(i))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				s.Fatal(err)
			}
		}
		file, err := os.Create(name)
		if err != nil {
			s.Fatal(err)
		}
		_ = file.Close()
	}
}

func BenchmarkSurveyOfAHundredThousand(b *testing.B) {
	s := newScene(b)
	many(s, 100_000)
	f, err := openFolder(s.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.survey(b.Context(), ledger{}); err != nil {
			b.Fatal(err)
		}
	}
}

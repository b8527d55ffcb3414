package janitor

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// lines are the lines of the whole history, packed or not, sorted by file.
func lines(t testing.TB, dir string) (all []string, files int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".opencode", "archive", "todo_history*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = file
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(file); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		s := bufio.NewScanner(r)
		for s.Scan() {
			all = append(all, s.Text())
		}
		if err := errors.Join(s.Err(), file.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		files++
	}
	return all, files
}

func TestTheHistoryIsPacked(t *testing.T) {
	s := newScene(t)
	s.write("archive/todo_history.jsonl", ourHistory(1)+ourHistory(2)+"\n"+`{"time":"2026-02-28T1`, time.Hour)
	r := s.clean(quiet())
	if diff := cmp.Diff([]string{"archive/todo_history.2026-03-01T12-00-00Z.jsonl.gz"}, r.Packed); diff != "" {
		t.Error(diff)
	}
	// Again on the same day, even at the same moment, never over what is there.
	s.write("archive/todo_history.jsonl", ourHistory(3), 0)
	s.write("archive/todo_history.2026-02-20.jsonl", seedHistory(1, 2), 9*day) // opencode-orchestrator died in between
	s.write("archive/todo_history.2026-02-21.jsonl", seedHistory(3, 2), 8*day) // and here after it had packed
	s.write("archive/todo_history.2026-02-21.jsonl.gz", packed(seedHistory(3, 2)), 8*day)
	s.write("archive/todo_history.2026-02-22.jsonl", seedHistory(5, 2), 7*day) // and here it is about to overwrite
	s.write("archive/todo_history.2026-02-22.jsonl.gz", packed(seedHistory(7, 2)), 7*day)
	s.write("archive/.todo_history.2026-02-22.jsonl.gz.0123abcd.tmp", "half", 7*day) // we died here
	s.write("archive/todo_history.mine.jsonl", "mine", 90*day)
	r = s.clean(quiet())
	want := []string{
		"archive/todo_history.2026-02-20.jsonl.gz", "archive/todo_history.2026-02-21.jsonl.gz",
		"archive/todo_history.2026-02-22T00-00-00Z-2.jsonl.gz", "archive/todo_history.2026-03-01T12-00-00Z-2.jsonl.gz",
	}
	if diff := cmp.Diff(want, r.Packed, sorted); diff != "" {
		t.Error(diff)
	}
	all, files := lines(t, s.dir)
	if files != 7 || len(all) != 4+1+8+1 {
		t.Errorf("%d lines in %d files: %q", len(all), files, all)
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".opencode/archive/.todo_history.2026-02-22.jsonl.gz.0123abcd.tmp")); err == nil {
		t.Error("what is left of packing stays")
	}
	// Old ones go: those that we wrote by what they hold, the others by their form.
	s.now = s.now.AddDate(0, 0, 40)
	s.write("archive/todo_history.2026-02-23.jsonl.gz", packed("something else\n"), 60*day)
	r = s.clean(quiet())
	if len(r.Gone) != 6 || len(r.Stays) != 1 || r.Stays[0].Why != "line 1 is not one of ours" {
		t.Errorf("%+v\n%+v", r.Gone, r.Stays)
	}
}

func TestAHistoryThatIsNotOursStays(t *testing.T) {
	s := newScene(t)
	s.write("archive/todo_history.jsonl", ourHistory(1)+"my note\n", time.Hour)
	r := s.clean(quiet())
	if len(r.Packed) > 0 || len(r.Stays) != 1 || r.Stays[0].Why != "it is not packed: line 2 is not one of ours" {
		t.Errorf("%+v", r)
	}
}

func TestWhatWePackedAndSomebodyChangedStays(t *testing.T) {
	s := newScene(t)
	s.write("archive/todo_history.jsonl", ourHistory(1), 0)
	name := s.clean(quiet()).Packed[0]
	s.write(name, packed("mine now\n"), 0)
	s.now = s.now.AddDate(0, 0, 60)
	if r := s.clean(quiet()); len(r.Gone) > 0 || len(r.Stays) != 1 {
		t.Errorf("%+v", r)
	}
}

// Edits go on while the history is packed again and again: no line is lost, and
// none is there twice.
func TestEditsWhileTheHistoryIsPacked(t *testing.T) {
	s := newScene(t)
	s.write("todo.md", "- [ ] a\n- [ ] b\n- [ ] c\n", 0)
	file := todo.NewFile(s.dir, s.state, func(err error) { t.Error(err) })
	s.janitor.o.Exclusive = func(ctx context.Context, project string, do func() error) error {
		return todo.NewFile(project, s.state, nil).Exclusive(ctx, do)
	}
	const edits = 150
	var wg sync.WaitGroup
	turn, done := make(chan struct{}, 1), make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range edits {
			if i%5 == 0 { // or it would never be the other's turn
				<-turn
			}
			if _, err := file.Edit(t.Context(), todo.Edit{Actor: "test", Kind: "update"}, func(*todo.Document) ([]byte, error) {
				return fmt.Appendf(nil, "- [ ] %d\n", i), nil
			}); err != nil {
				t.Error(err)
			}
		}
	})
	rounds := 0
	for packing := true; packing; rounds++ {
		select {
		case <-done:
			packing = false
		default:
		}
		s.now = s.now.Add(time.Second)
		s.clean(quiet())
		select {
		case turn <- struct{}{}:
		default:
		}
	}
	wg.Wait()
	all, files := lines(t, s.dir)
	seen := map[string]bool{}
	for _, line := range all {
		seen[line] = true
	}
	if len(all) != edits || len(seen) != edits || files < 10 {
		t.Errorf("%d lines, %d of them different, in %d files after %d rounds", len(all), len(seen), files, rounds)
	}
}

const packForever = "pack-until-killed"

// packUntilKilled adds lines and packs them, telling of each line that is written,
// until the process is killed.
func packUntilKilled(dir, state string) {
	j := New(Options{
		State: state, Trash: trash.New(filepath.Join(state, "trash")), Log: zerolog.Nop(),
		Exclusive: func(_ context.Context, _ string, do func() error) error { return do() },
	})
	name := filepath.Join(dir, ".opencode", historyName)
	for n := os.Getpid() * 100_000; ; n++ {
		for range rand.IntN(20) {
			file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			line := ourHistory(n)
			if _, err := file.WriteString(line); err != nil {
				panic(err)
			}
			_ = file.Close()
			fmt.Print(line)
			n++
		}
		if r, err := j.Clean(context.Background(), dir, quiet(), false); err != nil || len(r.Problems) > 0 {
			panic(fmt.Sprint(err, r.Problems))
		}
	}
}

// A sidecar is killed in the middle of packing, again and again: what was written is
// there, and once.
func TestKilledWhilePacking(t *testing.T) {
	s := newScene(t)
	s.write("archive/x", "", 0)
	said := map[string]bool{}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		cmd := exec.CommandContext(t.Context(), self, packForever, s.dir, s.state)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The kill comes at a random moment after a random line.
		kill := 1 + rand.IntN(60)
		read := bufio.NewReader(out)
		for n := 0; ; n++ {
			line, err := read.ReadString('\n')
			if err != nil {
				break
			}
			said[strings.TrimSuffix(line, "\n")] = true
			if n == kill {
				time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		all, _ := lines(t, s.dir)
		seen := map[string]int{}
		for _, line := range all {
			seen[line]++
		}
		for line := range said {
			if seen[line] == 0 {
				t.Fatalf("lost: %s", line)
			}
		}
	}
	s.now = time.Now()
	s.clean(quiet()) // which finishes what was begun
	all, _ := lines(t, s.dir)
	seen := map[string]int{}
	for _, line := range all {
		if seen[line]++; seen[line] > 1 {
			t.Errorf("twice: %s", line)
		}
	}
	for line := range said {
		if seen[line] == 0 {
			t.Errorf("lost: %s", line)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".opencode/archive/.*")); len(left) > 0 {
		t.Errorf("%q", left)
	}
	t.Logf("%d lines", len(said))
}

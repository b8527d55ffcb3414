package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

const full = 400 // tasks in a filled database

// filled makes a database of some megabytes and closes it.
func filled(t *testing.T) string {
	path := file(t)
	s := open(t, path)
	fill(t, s, 0, full, strings.Repeat("long prompt ", 400))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// query runs a statement on the file behind the store's back.
func query(t *testing.T, path, statement string, into ...any) {
	t.Helper()
	db, err := sql.Open(schemeName, source(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if len(into) > 0 {
		err = db.QueryRow(statement).Scan(into...)
	} else {
		_, err = db.Exec(statement)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// damage overwrites a file from one percentage of its length to another.
func damage(t *testing.T, path string, from, to int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		size := info.Size() / 100
		err = play(t, "scribble", path, fmt.Sprint(from*size, to*size)).cmd.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// damageLeaf overwrites a page in the middle of the tasks.
func damageLeaf(t *testing.T, path string) {
	t.Helper()
	var page int
	query(t, path, "SELECT pageno FROM dbstat WHERE name = 'tasks' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 15", &page)
	if err := play(t, "scribble", path, fmt.Sprint((page-1)*4096, page*4096)).cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		saved  bool // some tasks can still be read
	}{
		"garbage": {func(t *testing.T, path string) { overwrite(t, path, strings.Repeat("no database at all ", 1000)) }, false},
		"short":   {func(t *testing.T, path string) { overwrite(t, path, "SQLite format 3\x00") }, false},
		"truncated": {func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err == nil {
				err = os.Truncate(path, info.Size()/2/4096*4096)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true},
		"first page":  {func(t *testing.T, path string) { damage(t, path, 0, 1) }, false},
		"last pages":  {func(t *testing.T, path string) { damage(t, path, 95, 100) }, true},
		"all but one": {func(t *testing.T, path string) { damage(t, path, 1, 100) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t)
			c.damage(t, path)
			s, found, err := Open(Options{Path: path, Log: zerolog.Nop()})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if found.SetAside == "" || len(found.Warnings) != 1 || !strings.Contains(found.Warnings[0], found.SetAside) {
				t.Fatalf("found %+v, want a warning that names the file set aside", found)
			}
			if _, err := os.Stat(found.SetAside); err != nil {
				t.Error(err)
			}
			create(t, s, sample(full+1))
			n := count(t, s) - 1
			t.Logf("%d of %d tasks were saved: %s", n, full, found.Warnings[0])
			if c.saved && n == 0 {
				t.Error("no task was saved")
			}
		})
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The open sees both ends of the trees; these pages lie between.
func TestDamageInTheMiddle(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, path string)
		after  func(t *testing.T, s *Store)
	}{
		"is met by a reader": {after: func(t *testing.T, s *Store) {
			for i := range full {
				if _, err := s.Get(t.Context(), sample(i).ID); err != nil && !errors.Is(err, task.ErrNotFound) {
					t.Errorf("Get: %v", err)
				}
			}
		}},
		"is met by a writer": {after: func(t *testing.T, s *Store) {
			for i := range full {
				_, err := s.Update(t.Context(), sample(i).ID, sample(i).Fence(), func(x *task.Task) { x.State = task.Running })
				if err != nil && !errors.Is(err, task.ErrNotFound) {
					t.Errorf("Update: %v", err)
				}
			}
		}},
		"is found by the check": {before: func(t *testing.T, path string) {
			query(t, path, "UPDATE notes SET value = 0") // long ago
		}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t)
			if c.before != nil {
				c.before(t, path)
			}
			damageLeaf(t, path)
			s, found, warned := watched(t, Options{Path: path})
			if found.SetAside != "" {
				t.Fatalf("%+v", found)
			}
			if c.after != nil {
				c.after(t, s)
			}
			t.Log(warns(t, warned, "damaged"))
			if n := count(t, s); n < full/10 {
				t.Errorf("only %d of %d tasks were saved", n, full)
			}
			page, err := s.List(t.Context(), task.Query{Limit: 1, Texts: true})
			if err != nil || len(page.Tasks[0].Past) != 1 || page.Tasks[0].Past[0].Result != "earlier" {
				t.Errorf("a task was saved without its past: %+v, %v", page.Tasks, err)
			}
			create(t, s, sample(full+1))
			if err := quickCheck(t.Context(), path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAllWhoHaveADamagedFileOpenMoveOn(t *testing.T) {
	path := filled(t)
	a, b := open(t, path), open(t, path)
	damageLeaf(t, path)
	for i := range full {
		if _, err := a.Get(t.Context(), sample(i).ID); err != nil && !errors.Is(err, task.ErrNotFound) {
			t.Fatal(err)
		}
	}
	create(t, b, sample(full+1))
	if _, err := a.Get(t.Context(), sample(full+1).ID); err != nil {
		t.Errorf("the two stores went separate ways: %v", err)
	}
	create(t, a, sample(full+2))
	if _, err := b.Get(t.Context(), sample(full+2).ID); err != nil {
		t.Errorf("the two stores went separate ways: %v", err)
	}
}

// watched opens a store whose warnings are collected.
func watched(t *testing.T, o Options) (*Store, Opened, chan string) {
	t.Helper()
	warned := make(chan string, 16)
	o.Log, o.Warn = zerolog.Nop(), func(text string) { warned <- text }
	s, found, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, found, warned
}

// warns waits for a warning that says something.
func warns(t *testing.T, warned chan string, want string) string {
	t.Helper()
	select {
	case text := <-warned:
		if !strings.Contains(text, want) {
			t.Errorf("warned with %q, want %q", text, want)
		}
		return text
	case <-time.After(30 * time.Second):
		t.Fatalf("no warning says %q", want)
		return ""
	}
}

func TestTheFileIsRemovedWhileInUse(t *testing.T) {
	path := file(t)
	s, _, warned := watched(t, Options{Path: path})
	create(t, s, sample(1))
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	create(t, s, sample(2))
	warns(t, warned, "removed")
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the task went into a file without a name: %v", err)
	}
}

func TestNobodyBringsARemovedFileBack(t *testing.T) {
	path := file(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := quickCheck(t.Context(), path); err == nil {
		t.Error("a file that is not there was checked")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was created: %v", err)
	}
}

func TestAFileThatAnotherSidecarHasReplacedIsMissed(t *testing.T) {
	path := file(t)
	a, _, ofA := watched(t, Options{Path: path})
	b, _, ofB := watched(t, Options{Path: path})
	create(t, a, sample(1))
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	create(t, b, sample(2))
	warns(t, ofB, "removed")
	create(t, a, sample(3))
	warns(t, ofA, "removed")
	if n := count(t, b); n != 2 {
		t.Errorf("%d tasks in the new file, want those of both", n)
	}
}

// What there is no time for while everybody waits follows in the background.
func TestSalvageGoesOn(t *testing.T) {
	for name, meet := range map[string]bool{"at the opening": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			path := file(t)
			filler := open(t, path)
			fill(t, filler, 0, 4*salvageBatch, "prompt")
			if err := filler.Close(); err != nil {
				t.Fatal(err)
			}
			if !meet {
				var page int
				query(t, path, "SELECT pageno FROM dbstat WHERE name = 'counts' AND pagetype = 'leaf'", &page)
				if err := play(t, "scribble", path, fmt.Sprint((page-1)*4096, page*4096)).cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			s, found, warned := watched(t, Options{Path: path, salvage: time.Nanosecond})
			var text string
			if meet {
				if err := s.report(t.Context(), s.db, errDamage); err != nil {
					t.Fatal(err)
				}
				text = warns(t, warned, fmt.Sprint("newest ", salvageBatch))
			} else if len(found.Warnings) == 1 {
				text = found.Warnings[0]
			}
			if want := fmt.Sprint("so far the newest ", salvageBatch, " of its tasks"); !strings.Contains(text, want) {
				t.Errorf("warned with %q, want %q", text, want)
			}
			warns(t, warned, fmt.Sprint("In all, ", 4*salvageBatch, " tasks"))
			for i := range 4 * salvageBatch {
				if _, err := s.Get(t.Context(), sample(i).ID); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestWhatIsForgottenIsNotTakenOver(t *testing.T) {
	path := file(t)
	s := open(t, path)
	v := newSalvage(path + asideMark + "gone")
	err := s.do(t.Context(), false, func(ctx context.Context, d *database) error {
		_, err := v.insert(ctx, d, []row{{Task: sample(1)}}, []int64{1})
		return err
	})
	if !errors.Is(err, os.ErrNotExist) || count(t, s) != 0 {
		t.Errorf("%v, %d tasks", err, count(t, s))
	}
}

func TestANewerSchemaIsLeftAlone(t *testing.T) {
	path := filled(t)
	query(t, path, "PRAGMA user_version = 99")
	_, _, err := Open(Options{Path: path, Log: zerolog.Nop()})
	newer, ok := errors.AsType[*NewerError](err)
	if !ok || newer.Found != 99 || newer.Known != len(migrations()) {
		t.Fatalf("opening: %v", err)
	}
	var version int
	query(t, path, "PRAGMA user_version", &version)
	if version != 99 {
		t.Errorf("the schema number is now %d", version)
	}
}

func TestANewerReleasesFieldsSurvive(t *testing.T) {
	path := file(t)
	s := open(t, path)
	create(t, s, sample(1))
	query(t, path, `UPDATE tasks SET head = json_set(head, '$.Attempts', json('[{"Cost": 12345678901234567890}]'))`)
	tk, err := s.Get(t.Context(), sample(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State = task.Running }); err != nil {
		t.Fatal(err)
	}
	var attempts, state string
	query(t, path, "SELECT head ->> '$.Attempts', head ->> '$.State' FROM tasks", &attempts, &state)
	if attempts != `[{"Cost":12345678901234567890}]` || state != "running" {
		t.Errorf("the update left %s, %s", attempts, state)
	}
}

func TestAFileOfAnotherProgramIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "their.db")
	overwrite(t, path, "")
	query(t, path, "CREATE TABLE theirs (x)")
	if _, _, err := Open(Options{Path: path, Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("opening: %v", err)
	}
	if _, _, err := Open(Options{Path: filepath.Dir(path), Log: zerolog.Nop()}); err == nil {
		t.Error("a folder was opened as a database")
	}
}

func fill(tb testing.TB, s *Store, from, n int, text string) {
	tb.Helper()
	errs := make(chan error)
	for worker := range 64 {
		go func() {
			var err error
			for i := from + worker; i < from+n && err == nil; i += 64 {
				t := sample(i)
				t.Prompt, t.Past = fmt.Sprint(i, " ", text), []task.Attempt{{Result: "earlier"}}
				err = s.Create(tb.Context(), t)
			}
			errs <- err
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			tb.Fatal(err)
		}
	}
}

package sqlitestore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/record/recordtest"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestRecordsConform(t *testing.T) {
	recordtest.Run(t, func(t *testing.T) record.Store { return open(t, file(t)).Records() })
}

func put(tb testing.TB, s *Store, r record.Record) record.Record {
	tb.Helper()
	got, err := s.Records().Put(tb.Context(), r)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// keys names all records, the newest first.
func keys(tb testing.TB, s *Store) string {
	tb.Helper()
	all, err := s.Records().List(tb.Context(), record.Query{})
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Key)
	}
	return strings.Join(names, " ")
}

// closed is a record that nobody has to look after.
func closed(key string) record.Record {
	return record.Record{Kind: "mission", Key: key, Worktree: "/w", Body: []byte(`"the secret goal"`)}
}

func TestRecordsOfAClosedStore(t *testing.T) {
	s := open(t, file(t))
	put(t, s, closed("1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, got := s.Records().Get(t.Context(), "mission", "1")
	_, listed := s.Records().List(t.Context(), record.Query{})
	_, stored := s.Records().Put(t.Context(), closed("2"))
	for what, err := range map[string]error{"Get": got, "List": listed, "Put": stored, "Delete": s.Records().Delete(t.Context(), "mission", "1")} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

// A database of the first release, with tasks, as this one finds it.
func TestAnOlderSchemaIsMigrated(t *testing.T) {
	path := filled(t)
	query(t, path, "DROP TABLE records")
	query(t, path, "PRAGMA user_version = 1")
	s := open(t, path)
	want := put(t, s, recordtest.Sample("ses_1"))
	if n := count(t, s); n != full {
		t.Errorf("%d tasks after the migration, want %d", n, full)
	}
	if tk, err := s.Get(t.Context(), sample(7).ID); err != nil || !strings.HasPrefix(tk.Prompt, "7 long") || len(tk.Past) != 1 {
		t.Errorf("a task after the migration: %+v, %v", tk, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var version, indexes int
	query(t, path, "PRAGMA user_version", &version)
	query(t, path, "SELECT count(*) FROM sqlite_schema WHERE tbl_name = 'records'", &indexes)
	if version != 2 || indexes != 4 {
		t.Errorf("schema %d, %d trees for records; want 2 and 4", version, indexes)
	}
	got, err := open(t, path).Records().Get(t.Context(), "mission", "ses_1")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("a record after opening again: %v (-want +got):\n%s", err, diff)
	}
}

// putForEver puts from four goroutines and prints what was acknowledged.
func putForEver(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for g := range 4 {
		go func() {
			r, err := s.Records().Get(context.Background(), "mission", strconv.Itoa(g))
			if errors.Is(err, record.ErrNotFound) {
				r, err = recordtest.Sample(strconv.Itoa(g)), nil
			}
			for err == nil {
				r.Body = fmt.Append(nil, r.Version+1)
				if r, err = s.Records().Put(context.Background(), r); err == nil {
					fmt.Println(r.Key, r.Version)
				}
			}
			errs <- err
		}()
	}
	return <-errs
}

func TestAKillLosesNoRecordThatWasAcknowledged(t *testing.T) {
	path := file(t)
	acknowledged := map[string]int64{}
	for round := range 10 {
		p := play(t, "put", path, "")
		note := func(line string) {
			var key string
			var version int64
			if _, err := fmt.Sscan(line, &key, &version); err == nil {
				acknowledged[key] = max(version, acknowledged[key])
			}
		}
		for range 1 + rand.IntN(200) {
			note(p.hear(t))
		}
		_ = p.cmd.Process.Kill()
		for p.out.Scan() { // what it had still said
			note(p.out.Text())
		}
		p.kill()
		s := open(t, path)
		for key, version := range acknowledged {
			r, err := s.Records().Get(t.Context(), "mission", key)
			// One more may have been stored of which nobody heard.
			if err != nil || r.Version < version || r.Version > version+1 || string(r.Body) != fmt.Sprint(r.Version) {
				t.Fatalf("round %d: version %d of %s was acknowledged: %+v, %v", round, version, key, r, err)
			}
		}
		if err := quickCheck(t.Context(), path); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("versions acknowledged in 10 rounds: %v", acknowledged)
}

// putWhenTold puts the next version of one record for each line it is told, and
// says whether it won.
func putWhenTold(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	defer s.Close()
	in := bufio.NewScanner(os.Stdin)
	for version := int64(0); in.Scan(); version++ {
		r := recordtest.Sample("ses_1")
		r.Owner, r.Version = os.Getenv(argument), version
		_, err := s.Records().Put(context.Background(), r)
		switch {
		case err == nil:
			fmt.Println("won")
		case errors.Is(err, record.ErrStale):
			fmt.Println("lost")
		default:
			return err
		}
	}
	return nil
}

func TestOfTwoProcessesOneWins(t *testing.T) {
	path := file(t)
	all := map[string]*player{"host-1": play(t, "compete", path, "host-1"), "host-2": play(t, "compete", path, "host-2")}
	s := open(t, path)
	wins := map[string]int{}
	for round := range 100 {
		for _, p := range all {
			p.say(t)
		}
		winner := ""
		for owner, p := range all {
			if p.hear(t) == "won" {
				winner += owner
				wins[owner]++
			}
		}
		r, err := s.Records().Get(t.Context(), "mission", "ses_1")
		if err != nil || r.Owner != winner || r.Version != int64(round)+1 {
			t.Fatalf("round %d: %q won, stored is %+v, %v", round, winner, r, err)
		}
	}
	t.Logf("wins: %v", wins)
}

func TestAFullDiskRefusesRecords(t *testing.T) {
	s, _, err := Open(Options{Path: file(t), Log: zerolog.Nop(), pragmas: []string{"max_page_count(100)"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := []byte(`"` + strings.Repeat("x", record.MaxBody-2) + `"`)
	var accepted []record.Record
	for i := range 8 {
		r := recordtest.Sample(fmt.Sprint(i))
		r.Body = large
		got, err := s.Records().Put(t.Context(), r)
		if err == nil {
			accepted = append(accepted, got)
		} else if !errors.Is(err, ErrFull) {
			t.Errorf("Put: %v, want ErrFull", err)
		}
	}
	if len(accepted) == 0 || len(accepted) == 8 {
		t.Fatalf("%d of 8 were accepted", len(accepted))
	}
	for _, want := range accepted {
		got, err := s.Records().Get(t.Context(), want.Kind, want.Key)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s was accepted and lost: %v", want, err)
		}
	}
	if err := s.Records().Delete(t.Context(), "mission", "0"); err != nil {
		t.Fatal(err)
	}
	again := recordtest.Sample("again")
	again.Body = large
	put(t, s, again)
}

func TestPruneDeletesRecordsThatNobodyChanges(t *testing.T) {
	s := open(t, file(t))
	month := 30 * 24 * time.Hour
	add := func(key string, isOpen bool, age time.Duration) {
		r := closed(key)
		r.Open = isOpen
		put(t, s, r)
		query(t, s.options.Path, fmt.Sprintf("UPDATE records SET updated = %d WHERE key = '%s'", time.Now().Add(-age).UnixMilli(), key))
	}
	add("closed", false, month+time.Hour)
	add("younger", false, month-time.Hour)
	add("open", true, 3*month-time.Hour)
	add("deserted", true, 3*month+time.Hour)
	for i := range pruneBatch + 5 {
		put(t, s, closed(fmt.Sprint(i)))
	}
	query(t, s.options.Path, "UPDATE records SET updated = 0 WHERE CAST(key AS INTEGER) > 0 OR key = '0'")
	if n, err := s.Prune(t.Context(), month); n != 0 || err != nil {
		t.Errorf("pruned %d tasks, %v", n, err)
	}
	if got := keys(t, s); got != "open younger" {
		t.Errorf("%q are left", got)
	}
}

func TestForgottenRecordsAreGoneFromTheDisk(t *testing.T) {
	path := file(t)
	s := open(t, path)
	old := put(t, s, closed("old"))
	query(t, path, "UPDATE records SET updated = 1000")
	isOpen, other := closed("open"), closed("other")
	isOpen.Open, isOpen.Body, other.Worktree, other.Kind = true, nil, "/other", "loop"
	put(t, s, isOpen)
	put(t, s, other)
	last := put(t, s, closed("last"))
	last.Body = []byte(`"` + strings.Repeat("the secret goal ", 1000) + `"`)
	put(t, s, last)
	for _, c := range []struct {
		Chosen
		closed, open map[string]int
		left         string
	}{
		{Chosen{Key: "none"}, map[string]int{}, map[string]int{}, "last other open old"},
		{Chosen{Before: time.UnixMilli(1000)}, map[string]int{}, map[string]int{"mission": 1}, "last other open old"},
		{Chosen{Worktree: "/w", Before: time.UnixMilli(1001)}, map[string]int{"mission": 1}, map[string]int{"mission": 1}, "last other open"},
		{Chosen{Worktree: "/w", Key: "last"}, map[string]int{"mission": 1}, map[string]int{}, "other open"},
		{Chosen{}, map[string]int{"loop": 1}, map[string]int{"mission": 1}, "open"},
	} {
		closed, open, err := s.CountRecords(t.Context(), c.Chosen)
		if diff := cmp.Diff([]any{c.closed, c.open}, []any{closed, open}); diff != "" || err != nil {
			t.Errorf("%+v: %v (-want +got):\n%s", c.Chosen, err, diff)
		}
		gone, err := s.ForgetRecords(t.Context(), c.Chosen)
		if err != nil || !maps.Equal(gone, c.closed) || keys(t, s) != c.left {
			t.Errorf("%+v: forgot %v, %v; left are %q, want %q", c.Chosen, gone, err, keys(t, s), c.left)
		}
	}
	if _, err := s.Records().Put(t.Context(), old); !errors.Is(err, record.ErrStale) {
		t.Errorf("what was forgotten came back: %v", err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if content, err := os.ReadFile(name); err == nil && bytes.Contains(content, []byte("the secret")) {
			t.Errorf("%s still holds the text", filepath.Base(name))
		}
	}
}

func TestRecordsOfADamagedFileAreSaved(t *testing.T) {
	path := filled(t)
	filler := open(t, path)
	const n = 3*recordBatch + 5
	var want []record.Record
	for i := range n {
		r := recordtest.Sample(fmt.Sprint(i))
		if i%40 == 0 {
			r.Body = []byte(`"` + strings.Repeat("x", record.MaxBody-2) + `"`)
		}
		want = append(want, put(t, filler, r))
	}
	want[3] = put(t, filler, want[3])
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	damageLeaf(t, path) // of the tasks
	s, _, warned := watched(t, Options{Path: path})
	for i := range full {
		if _, err := s.Get(t.Context(), sample(i).ID); err != nil && !errors.Is(err, task.ErrNotFound) {
			t.Fatal(err)
		}
	}
	warns(t, warned, "damaged")
	for _, r := range want {
		got, err := s.Records().Get(t.Context(), r.Kind, r.Key)
		if diff := cmp.Diff(r, got); diff != "" || err != nil {
			t.Fatalf("%s: %v (-want +got):\n%s", r, err, diff)
		}
	}
	if got := keys(t, s); !strings.HasPrefix(got, fmt.Sprint("3 ", n-1, " ", n-2)) {
		t.Errorf("the order was lost: %q", got)
	}
	if want[3].Owner = "host-2"; put(t, s, want[3]).Version != 3 {
		t.Error("the version was lost")
	}
}

func TestDamagedRecordsDoNotTakeTheOthersAlong(t *testing.T) {
	path := file(t)
	filler := open(t, path)
	create(t, filler, sample(1))
	const n = 300
	for i := range n {
		r := recordtest.Sample(fmt.Sprint(i))
		r.Body = []byte(`"` + strings.Repeat("x", 500) + `"`)
		put(t, filler, r)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	var page int
	query(t, path, "SELECT pageno FROM dbstat WHERE name = 'records' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 15", &page)
	if err := play(t, "scribble", path, fmt.Sprint((page-1)*4096, page*4096)).cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s, _, warned := watched(t, Options{Path: path})
	if _, err := s.Records().List(t.Context(), record.Query{}); err != nil {
		t.Fatal(err)
	}
	warns(t, warned, "damaged")
	if left := len(strings.Fields(keys(t, s))); left < n*9/10 || left == n {
		t.Errorf("%d of %d records were saved", left, n)
	}
	if n := count(t, s); n != 1 {
		t.Errorf("%d tasks were saved, want 1", n)
	}
}

// Records are searched by an index in every list that rooms ask for.
func TestListsOfRecordsAreSearches(t *testing.T) {
	s := open(t, file(t))
	for _, c := range []struct {
		plan string
		q    record.Query
	}{
		{"INDEX open_records", record.Query{Open: true}},
		{"INDEX open_records", record.Query{Kind: "mission", Open: true}},
		{"open_records (owner=? AND kind=?)", record.Query{Kind: "mission", Owner: "host-1", Open: true}},
		{"records_by_kind (kind=?)", record.Query{Kind: "mission", Worktree: "/w", Limit: 5}},
	} {
		f := recordFilter(c.q)
		plan := explainPlan(t, s, selectRecord+f.sql()+" ORDER BY seq DESC", f.args)
		if !strings.Contains(plan, c.plan) || strings.Contains(plan, "B-TREE") && !c.q.Open {
			t.Errorf("%+v is answered by\n%s", c.q, plan)
		}
	}
	plan := explainPlan(t, s, selectRecord+" WHERE kind = ? AND key = ?", []any{"mission", "ses_1"})
	if !strings.Contains(plan, "(kind=? AND key=?)") {
		t.Errorf("one is found by\n%s", plan)
	}
}

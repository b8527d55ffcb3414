package sqlitestore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// kept returns how many lists the store would answer from memory.
func kept(s *Store) int {
	p := s.db.pages
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byQuery)
}

func TestAListIsReadOnceUntilSomethingChanges(t *testing.T) {
	s := open(t, file(t))
	create(t, s, sample(0))
	q := task.Query{Worktree: "/w", Limit: 5}
	for i := 1; i < 20; i++ {
		for range 2 {
			page, err := s.List(t.Context(), q)
			if err != nil || len(page.Tasks) != min(i, 5) || page.Totals[task.Pending] != i || page.Tasks[0].ID != sample(i-1).ID {
				t.Fatalf("after %d tasks: %+v, %v", i, page, err)
			}
		}
		if n := kept(s); n != 1 {
			t.Fatalf("%d lists are kept, want 1", n)
		}
		create(t, s, sample(i))
	}
	// A list that is kept is what is answered, and not what a caller made of it.
	key := keyOf(q)
	if _, err := s.List(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	s.db.pages.byQuery[key].Tasks[0].Description = "from memory"
	page, err := s.List(t.Context(), q)
	if err != nil || page.Tasks[0].Description != "from memory" {
		t.Errorf("the list was read again: %v", err)
	}
	page.Tasks[0].Description = "the caller's"
	if page, err = s.List(t.Context(), q); err != nil || page.Tasks[0].Description != "from memory" {
		t.Errorf("the caller wrote into what is kept: %v", err)
	}
}

func TestWhatAnotherProcessCommitsIsListedAtOnce(t *testing.T) {
	path := file(t)
	s := open(t, path)
	p := play(t, "create", path, "")
	for i := range 200 {
		for range 2 { // read, then kept
			if n := count(t, s); n != i {
				t.Fatalf("%d tasks listed of %d", n, i)
			}
		}
		p.say(t)
		p.hear(t)
	}
}

func TestFewListsAreKept(t *testing.T) {
	s := open(t, file(t))
	fill(t, s, 0, maxHeads+50, "")
	for range 2 { // more than are remembered
		page, err := s.List(t.Context(), task.Query{Limit: maxHeads + 50, Texts: true})
		if n := len(s.db.heads.bySeq); err != nil || len(page.Tasks) != maxHeads+50 || n > maxHeads {
			t.Errorf("%d tasks listed, %d remembered, %v", len(page.Tasks), n, err)
		}
	}
	for i := range 50 {
		for _, texts := range []bool{false, true} {
			if _, err := s.List(t.Context(), task.Query{Worktree: "/w", Limit: 100 + i, Texts: texts}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p := s.db.pages; p.kept > maxKept || len(p.byQuery) == 0 {
		t.Errorf("%d tasks in %d lists are kept, want at most %d", p.kept, len(p.byQuery), maxKept)
	}
	for i := range maxStmts + 3 { // of ever another kind
		states := make([]task.State, i+1)
		if _, err := s.List(t.Context(), task.Query{States: states, Limit: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.db.readStmts); n > maxStmts {
		t.Errorf("%d statements are kept, want at most %d", n, maxStmts)
	}
}

// Tasks are searched by an index in every list that the sidecar asks for; what
// is sorted is few.
func TestListsAreSearches(t *testing.T) {
	s := open(t, file(t))
	openOnes := []task.State{task.Pending, task.Running}
	ended := []task.State{task.Completed, task.Failed, task.Timeout, task.Cancelled, task.Interrupted}
	for _, c := range []struct {
		index string
		q     task.Query
	}{
		{"untold_by_owner (owner=?)", task.Query{Owner: "host-1", Untold: true}},
		{"untold_by_owner (owner=?)", task.Query{Owner: "host-1", Untold: true, States: ended}},
		{"open_tasks (owner=?)", task.Query{Owner: "host-1", States: openOnes}},
		{"open_tasks (owner=?)", task.Query{Owner: "host-1", Worktree: "/w", States: openOnes}},
		{"stops (owner=?)", task.Query{Owner: "host-1", Stop: true}},
		{"stops (owner=? AND state=?)", task.Query{Owner: "host-1", Stop: true, States: openOnes}},
		{"untold_by_parent (parent=?)", task.Query{Parent: "ses_1", Untold: true}},
		{"by_parent (parent=?", task.Query{Parent: "ses_1"}},
		{"by_root (root=?", task.Query{Root: "ses_1"}},
		{"by_root (root=? AND state=?)", task.Query{Root: "ses_1", States: openOnes}},
		{"by_group (grp=?", task.Query{Group: "g", Worktree: "/w"}},
		{"by_session (session=?)", task.Query{Session: "ses_1"}},
		{"by_worktree (worktree=? AND state=?)", task.Query{Worktree: "/w"}},
	} {
		for _, limit := range []int{0, 50} {
			if c.q.Limit = limit; limit == 0 && plain(c.q) {
				continue // counts alone answer
			}
			query, args := listing(c.q)
			plan := explainPlan(t, s, query, args)
			if !strings.Contains(plan, c.index) || strings.Contains(plan, "SCAN tasks") || strings.Contains(plan, "SCAN t\n") {
				t.Errorf("%+v is answered by\n%s", c.q, plan)
			}
		}
	}
	// Without an owner all that are to be stopped are walked through: the index
	// has nobody else.
	query, args := listing(task.Query{Stop: true, Limit: 5})
	if plan := explainPlan(t, s, query, args); !strings.Contains(plan, "INDEX stops") {
		t.Errorf("stops are found by\n%s", plan)
	}
}

func explainPlan(t *testing.T, s *Store, query string, args []any) string {
	t.Helper()
	rows, err := s.db.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, detail)
	}
	return plan.String()
}

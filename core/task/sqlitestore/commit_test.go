package sqlitestore

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// commits counts the transactions in the write-ahead log: the last page of each
// says how large the database is then.
func commits(t *testing.T, path string) (n int) {
	t.Helper()
	const header, frameHeader, page = 32, 24, 4096
	log, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if len(log) < header {
		return 0
	}
	for at := header; at+frameHeader+page <= len(log); at += frameHeader + page {
		sameLog := string(log[at+8:at+16]) == string(log[16:24])
		if sameLog && binary.BigEndian.Uint32(log[at+4:]) != 0 {
			n++
		}
	}
	return n
}

func TestUpdatesAtOnceShareACommit(t *testing.T) {
	const n = 50
	path := file(t)
	s := open(t, path)
	for i := range n {
		create(t, s, sample(i))
	}
	updates := func() int {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := s.Update(t.Context(), sample(i).ID, sample(i).Fence(), func(x *task.Task) { x.Description += "." }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return commits(t, path)
	}
	empty := func() {
		if err := s.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	empty()
	t.Logf("%d updates take %d commits as they come", n, updates())

	// All come while the writer is in a transaction already.
	empty()
	inside := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.do(t.Context(), false, func(context.Context, *database) error {
			close(inside)
			for queued := 0; queued < n; runtime.Gosched() {
				s.mu.Lock()
				queued = len(s.queue)
				s.mu.Unlock()
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	<-inside
	if got := updates(); got != 1 {
		t.Errorf("%d updates at once took %d commits, want 1", n, got)
	}
	wg.Wait()
}

// What an update does not change is not written again.
func TestAnUpdateLeavesThePastAlone(t *testing.T) {
	path := file(t)
	s := open(t, path)
	tk := sample(1)
	tk.State = task.Failed
	create(t, s, tk)
	for range 2 {
		var err error
		if tk, err = s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) {
			x.Past = append(x.Past, x.Over(task.Failed, "the secret", "it broke", x.Created))
			x.Attempt, x.State = x.Attempt+1, task.Pending
		}); err == nil {
			tk, err = s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State = task.Failed })
		}
		if err != nil {
			t.Fatal(err)
		}
		// From now on nobody may touch the attempts that are there.
		query(t, path, `DROP TRIGGER IF EXISTS keep; CREATE TRIGGER keep BEFORE INSERT ON past WHEN new.n < `+strconv.Itoa(len(tk.Past))+
			` BEGIN SELECT raise(ABORT, 'written again'); END`)
	}
	if tk, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.Description, x.Told = "changed", true }); err != nil || len(tk.Past) != 2 {
		t.Errorf("%+v, %v", tk, err)
	}
	var heads int
	if query(t, path, "SELECT count(*) FROM tasks WHERE head LIKE '%secret%' OR head LIKE '%prompt%'", &heads); heads != 0 {
		t.Error("texts are stored in head")
	}
	query(t, path, "DROP TRIGGER keep")

	want := slices.Clone(tk.Past)
	for i := range want {
		want[i].Result, want[i].Error = Erased, ""
	}
	if n, err := s.Forget(t.Context(), task.Query{Session: "ses_other"}, false); n != 0 || err != nil {
		t.Errorf("forgot %d of another session, %v", n, err)
	}
	if n, err := s.Forget(t.Context(), task.Query{}, false); n != 1 || err != nil {
		t.Errorf("forgot %d, %v", n, err)
	}
	got, err := s.Get(t.Context(), tk.ID)
	if diff := cmp.Diff(want, got.Past); err != nil || diff != "" {
		t.Errorf("past after forgetting: %v (-want +got):\n%s", err, diff)
	}
	if _, err := s.Forget(t.Context(), task.Query{}, true); err != nil {
		t.Fatal(err)
	}
	var left int
	if query(t, path, "SELECT count(*) FROM past", &left); left != 0 {
		t.Errorf("%d attempts are left of no task", left)
	}
}

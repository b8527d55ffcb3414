package storetest

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// retry is the change from an attempt to the next one.
func retry(state task.State, result string) func(*task.Task) {
	return func(x *task.Task) {
		x.Past = append(x.Past, x.Over(state, result, "it broke", x.Created.Add(time.Minute)))
		x.Attempt, x.State, x.NotBefore, x.MessageID = x.Attempt+1, task.Pending, x.Created.Add(time.Hour), "msg_next"
	}
}

func update(t *testing.T, s task.Store, tk task.Task, change func(*task.Task)) task.Task {
	t.Helper()
	got, err := s.Update(t.Context(), tk.ID, tk.Fence(), change)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func get(t *testing.T, s task.Store, id task.ID) task.Task {
	t.Helper()
	got, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func page(t *testing.T, s task.Store, q task.Query) task.Page {
	t.Helper()
	got, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func attempts(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	tk.State, tk.Result = task.Failed, "half"
	create(t, s, tk)
	next := update(t, s, tk, retry(task.Failed, "half"))
	if next.Attempt != 2 || next.State != task.Pending || len(next.Past) != 1 {
		t.Fatalf("second attempt: %+v", next)
	}
	if diff := cmp.Diff(next, get(t, s, tk.ID)); diff != "" {
		t.Errorf("stored and read differ (-updated +read):\n%s", diff)
	}
}

func unlawful(t *testing.T, s task.Store) {
	for name, c := range map[string]struct {
		from   task.State
		change func(*task.Task)
	}{
		"task_00000001": {task.Failed, func(x *task.Task) { x.Attempt, x.State = 2, task.Pending }}, // without a past
		"task_00000002": {task.Running, func(x *task.Task) { x.Attempt, x.State = 2, task.Pending }},
		"task_00000003": {task.Failed, func(x *task.Task) { retry(task.Completed, "")(x) }}, // another end than it had
		"task_00000004": {task.Running, retry(task.Running, "")},                            // no end
		"task_00000005": {task.Pending, retry(task.Completed, "")},                          // an end that it cannot have
		"task_00000006": {task.Failed, func(x *task.Task) { retry(task.Failed, "")(x); x.State = task.Running }},
		"task_00000007": {task.Failed, func(x *task.Task) { retry(task.Failed, "")(x); x.Attempt = 3 }},
		"task_00000008": {task.Failed, func(x *task.Task) { retry(task.Failed, "")(x); x.Past = append(x.Past, x.Past[0]) }},
	} {
		tk := sample(task.ID(name))
		tk.State = c.from
		create(t, s, tk)
		got, err := s.Update(t.Context(), tk.ID, tk.Fence(), c.change)
		if _, refused := errors.AsType[*task.TransitionError](err); !refused {
			t.Errorf("%s: %v, want a TransitionError", name, err)
		}
		if diff := cmp.Diff(tk, got); diff != "" {
			t.Errorf("%s: returned after a refusal (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(tk, get(t, s, tk.ID)); diff != "" {
			t.Errorf("%s: stored after a refusal (-want +got):\n%s", name, diff)
		}
	}
}

// followed goes from a running attempt to the next in one step, so that nobody
// sees an end, three times.
func followed(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	create(t, s, tk)
	var want []task.Attempt
	for _, result := range []string{"one", "", "three\x00"} {
		tk = update(t, s, tk, func(x *task.Task) { x.State = task.Running })
		want = append(want, tk.Over(task.Timeout, result, "it broke", tk.Created.Add(time.Minute)))
		running := tk
		tk = update(t, s, tk, retry(task.Timeout, result))
		if _, err := s.Update(t.Context(), tk.ID, running.Fence(), func(*task.Task) {}); !errors.Is(err, task.ErrStale) {
			t.Errorf("an update at the attempt before: %v, want ErrStale", err)
		}
	}
	// What does not concern the past leaves it as it is.
	tk = update(t, s, tk, func(x *task.Task) { x.State = task.Running })
	got := get(t, s, tk.ID)
	if diff := cmp.Diff(want, got.Past); diff != "" {
		t.Errorf("past attempts (-want +got):\n%s", diff)
	}
	if got.Attempt != 4 || got.State != task.Running {
		t.Errorf("attempt %d is %s", got.Attempt, got.State)
	}
	// Shorter, and one of them changed.
	tk = update(t, s, tk, func(x *task.Task) { x.Past = x.Past[:2]; x.Past[0].Result = "other" })
	want = want[:2]
	want[0].Result = "other"
	if diff := cmp.Diff(want, get(t, s, tk.ID).Past); diff != "" {
		t.Errorf("past attempts after a change (-want +got):\n%s", diff)
	}
}

func past(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	tk.State = task.Failed
	create(t, s, tk)
	tk = update(t, s, tk, retry(task.Failed, "half"))
	for _, asked := range []bool{true, false} {
		got := page(t, s, task.Query{Limit: 1, Texts: asked})
		want := tk.Past
		if !asked {
			want = nil
		}
		if diff := cmp.Diff(want, got.Tasks[0].Past); diff != "" {
			t.Errorf("texts asked for: %v: past (-want +got):\n%s", asked, diff)
		}
	}
}

func usage(t *testing.T, s task.Store) {
	var want task.Usage
	for i, id := range []task.ID{"task_00000001", "task_00000002", "task_00000003"} {
		tk := sample(id)
		create(t, s, tk)
		n := int64(i + 1)
		u := task.Usage{Input: n, Output: 10 * n, Reasoning: 100 * n, CacheRead: 1000 * n, CacheWrite: 10000 * n, Cost: 0.25 * float64(n)}
		tk = update(t, s, tk, func(x *task.Task) { x.Usage = u })
		if want = want.Plus(u); i == 2 {
			update(t, s, tk, func(x *task.Task) { x.State = task.Cancelled })
		}
	}
	other := sample("task_00000004")
	other.Root, other.Usage = "ses_other", task.Usage{Input: 7}
	create(t, s, other)
	for _, limit := range []int{0, 1} {
		if got := page(t, s, task.Query{Root: "ses_root", Limit: limit}); got.Usage != want || len(got.Tasks) != limit || got.Totals[task.Pending] != 2 {
			t.Errorf("limit %d: usage %+v, want %+v", limit, got.Usage, want)
		}
	}
	got := page(t, s, task.Query{Root: "ses_root", States: []task.State{task.Cancelled}}).Usage
	if got.Input != 3 || math.Abs(got.Cost-0.75) > 1e-9 {
		t.Errorf("usage of one state: %+v", got)
	}
	for _, q := range []task.Query{{}, {Worktree: "/w"}, {Parent: "ses_parent"}, {Root: "ses_none"}} {
		if got := page(t, s, q).Usage; got != (task.Usage{}) {
			t.Errorf("%+v: usage %+v", q, got)
		}
	}
}

func stops(t *testing.T, s task.Store) {
	a, b, c := sample("task_00000001"), sample("task_00000002"), sample("task_00000003")
	c.Owner = "host-2"
	create(t, s, a, b, c, sample("task_00000004"))
	for _, tk := range []task.Task{a, b, c} {
		update(t, s, tk, func(x *task.Task) { x.Stop = "a person said so" })
	}
	update(t, s, b, func(x *task.Task) { x.State = task.Cancelled })
	open := []task.State{task.Pending, task.Running}
	for _, c := range []struct {
		q    task.Query
		want []task.ID
	}{
		{task.Query{Stop: true, Limit: 9}, []task.ID{c.ID, b.ID, a.ID}},
		{task.Query{Stop: true, States: open, Limit: 9}, []task.ID{c.ID, a.ID}},
		{task.Query{Stop: true, States: open, Owner: "host-1", Limit: 9}, []task.ID{a.ID}},
		{task.Query{Stop: true, Worktree: "/other", Limit: 9}, nil},
	} {
		got := page(t, s, c.q)
		var ids []task.ID
		for _, tk := range got.Tasks {
			ids = append(ids, tk.ID)
		}
		if !slices.Equal(ids, c.want) {
			t.Errorf("%+v: %v, want %v", c.q, ids, c.want)
		}
	}
}

// alias writes into everything that goes in or comes out.
func alias(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	tk.State = task.Failed
	tk.Past = make([]task.Attempt, 1, 9)
	tk.Past[0].Result = "first"
	create(t, s, tk)
	check := func(what string) {
		t.Helper()
		got := get(t, s, tk.ID)
		if got.Result != "" || len(got.Past) == 0 || got.Past[0].Result != "first" || len(got.Past) > 1 && got.Past[1].Result != "second" {
			t.Fatalf("the store shares memory with %s: %+v", what, got)
		}
	}
	const bad = "changed behind the store's back"
	tk.Past[0].Result = bad
	check("the argument of Create")

	var kept *task.Task
	next := update(t, s, tk, func(x *task.Task) { retry(task.Failed, "second")(x); kept = x })
	kept.Result, kept.Past[0].Result, kept.Past[1].Result = bad, bad, bad
	check("an update's argument")
	next.Past[0].Result = bad
	check("the answer of Update")
	if got, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(*task.Task) {}); !errors.Is(err, task.ErrStale) {
		t.Fatal(err)
	} else {
		got.Past[0].Result = bad
		check("the answer of a stale Update")
	}
	got, err := s.Update(t.Context(), tk.ID, next.Fence(), func(x *task.Task) { x.Past[0].Result, x.State = bad, task.Completed })
	if err == nil {
		t.Fatal("a forbidden update went through")
	}
	check("an update that it refused")
	got.Past[0].Result = bad
	check("the answer of an update that it refused")
	got = get(t, s, tk.ID)
	got.Past[0].Result = bad
	check("the answer of Get")

	for _, texts := range []bool{true, false, true, false} {
		list := page(t, s, task.Query{Limit: 5, Texts: texts})
		if len(list.Tasks) != 1 || list.Tasks[0].Description != "look" || list.Totals[task.Pending] != 1 || len(list.Totals) != 1 {
			t.Fatalf("the store shares memory with the answer of List: %+v", list)
		}
		list.Totals[task.Pending], list.Totals[task.Failed], list.Tasks[0].Description = 7, 7, bad
		list.Tasks = append(list.Tasks, list.Tasks[0])
		if texts {
			list.Tasks[0].Past[0].Result = bad
			check("the answer of List")
		}
	}
}

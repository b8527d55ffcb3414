// Package storetest is the conformance suite that every task.Store passes.
package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Run checks that the stores that open makes keep the promises of task.Store.
func Run(t *testing.T, open func(t *testing.T) task.Store) {
	for name, test := range map[string]func(*testing.T, task.Store){
		"what goes in comes out":         roundTrip,
		"an id is taken once":            duplicate,
		"unknown ids":                    unknown,
		"only the fence lets through":    fence,
		"the state machine holds":        transitions,
		"a new attempt starts pending":   attempts,
		"attempts that may not follow":   unlawful,
		"a running attempt is followed":  followed,
		"past attempts are texts":        past,
		"usage is summed up by root":     usage,
		"who is to be stopped is found":  stops,
		"of many writers one wins":       race,
		"lists: newest first and totals": list,
		"lists leave texts out":          texts,
		"a bad write harms no neighbour": neighbours,
		"values do not alias":            alias,
		"closed":                         closed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test(t, s)
		})
	}
}

// Filled stores n finished tasks and returns s.
func Filled(tb testing.TB, s task.Store, n int) task.Store {
	tb.Helper()
	for i := range n {
		t := sample(task.ID(fmt.Sprintf("task_%08x", i)))
		t.State = task.Completed
		if err := s.Create(tb.Context(), t); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

func sample(id task.ID) task.Task {
	now := time.Now().Truncate(time.Hour) // a store may forget what is long over
	return task.Task{
		ID: id, Directory: "/w/sub", Worktree: "/w", Owner: "host-1", Parent: "ses_parent", Agent: "general",
		Model:       host.Model{Provider: "p", ID: "m", Variant: "high"},
		Description: "look", Prompt: "look around\nünïcode \x00 and all", Group: "g", Background: true, Root: "ses_root", Depth: 2,
		Mode: task.Fractal, Priority: task.High, Wake: task.WakeAll, Attempt: 1, State: task.Pending, Created: now,
	}
}

func create(t *testing.T, s task.Store, tasks ...task.Task) {
	t.Helper()
	for _, tk := range tasks {
		if err := s.Create(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
	}
}

func roundTrip(t *testing.T, s task.Store) {
	want := sample("task_00000001")
	create(t, s, want)
	full, err := s.Update(t.Context(), want.ID, want.Fence(), func(x *task.Task) {
		x.State, x.Session, x.MessageID, x.Uncertain = task.Running, "ses_child", "msg_1", true
		x.Started, x.NotBefore = want.Created.Add(time.Second), want.Created.Add(time.Millisecond)
		x.Stop, x.Usage = "enough", task.Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 0.6}
	})
	if err != nil {
		t.Fatal(err)
	}
	full, err = s.Update(t.Context(), want.ID, full.Fence(), func(x *task.Task) {
		x.State, x.Result, x.Error, x.Told, x.WakeID = task.Failed, "half", "it broke", true, "msg_2"
		x.Uncertain = false
		x.Ended = want.Created.Add(time.Minute)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("stored and read differ (-updated +read):\n%s", diff)
	}
	want.State, want.Session, want.MessageID = task.Failed, "ses_child", "msg_1"
	want.Result, want.Error, want.Told, want.WakeID = "half", "it broke", true, "msg_2"
	want.NotBefore, want.Stop = want.Created.Add(time.Millisecond), "enough"
	want.Usage = task.Usage{Input: 1, Output: 2, Reasoning: 3, CacheRead: 4, CacheWrite: 5, Cost: 0.6}
	want.Started, want.Ended = want.Created.Add(time.Second), want.Created.Add(time.Minute)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected task (-want +got):\n%s", diff)
	}
}

func duplicate(t *testing.T, s task.Store) {
	create(t, s, sample("task_00000001"))
	if err := s.Create(t.Context(), sample("task_00000001")); !errors.Is(err, task.ErrExists) {
		t.Errorf("second Create: %v, want ErrExists", err)
	}
}

func unknown(t *testing.T, s task.Store) {
	if _, err := s.Get(t.Context(), "task_nope"); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := s.Update(t.Context(), "task_nope", task.Fence{}, func(*task.Task) {}); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("Update: %v, want ErrNotFound", err)
	}
}

func fence(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	create(t, s, tk)
	for _, at := range []task.Fence{{Attempt: 2, State: task.Pending}, {Attempt: 1, State: task.Running}} {
		got, err := s.Update(t.Context(), tk.ID, at, func(x *task.Task) { x.State = task.Cancelled })
		if !errors.Is(err, task.ErrStale) {
			t.Errorf("Update at %v: %v, want ErrStale", at, err)
		}
		if got.State != task.Pending {
			t.Errorf("a stale update returned state %s, want the stored one", got.State)
		}
	}
	if got, _ := s.Get(t.Context(), tk.ID); got.State != task.Pending {
		t.Errorf("a stale update changed the state to %s", got.State)
	}
}

func transitions(t *testing.T, s task.Store) {
	for i, from := range task.States() {
		for j, to := range task.States() {
			if from == to {
				continue
			}
			tk := sample(task.ID(fmt.Sprintf("task_%04x%04x", i, j)))
			tk.State = from
			create(t, s, tk)
			got, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State = to })
			_, refused := errors.AsType[*task.TransitionError](err)
			if from.CanBecome(to) && (err != nil || got.State != to) {
				t.Errorf("%s → %s: state %s, err %v", from, to, got.State, err)
			}
			if !from.CanBecome(to) && !refused {
				t.Errorf("%s → %s went through (err %v)", from, to, err)
			}
		}
	}
}

func race(t *testing.T, s task.Store) {
	tk := sample("task_00000001")
	tk.State = task.Running
	create(t, s, tk)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 32 {
		wg.Go(func() {
			_, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) {
				x.State = task.Completed
				x.Result = fmt.Sprint(i)
			})
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if !errors.Is(err, task.ErrStale) {
				t.Errorf("loser got %v, want ErrStale", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d writers completed the task, want 1", won)
	}
}

func list(t *testing.T, s task.Store) {
	for i := range 20 {
		tk := sample(task.ID(fmt.Sprintf("task_%08x", i)))
		tk.Created = tk.Created.Add(time.Duration(i) * time.Second)
		tk.Session, tk.Told = fmt.Sprintf("ses_%d", i), i < 10
		switch {
		case i%4 == 0:
			tk.State = task.Completed
		case i%4 == 1:
			tk.Worktree = "/other"
		case i%4 == 2:
			tk.Parent, tk.Owner, tk.Root = "ses_second", "host-2", "ses_second"
		}
		create(t, s, tk)
	}
	for _, c := range []struct {
		q      task.Query
		ids    []int
		totals map[task.State]int
	}{
		{task.Query{Limit: 2}, []int{19, 18}, map[task.State]int{task.Pending: 15, task.Completed: 5}},
		{task.Query{}, nil, map[task.State]int{task.Pending: 15, task.Completed: 5}},
		{task.Query{Worktree: "/w", States: []task.State{task.Completed}, Limit: 3}, []int{16, 12, 8}, map[task.State]int{task.Completed: 5}},
		{task.Query{Worktree: "/other", Limit: 50}, []int{17, 13, 9, 5, 1}, map[task.State]int{task.Pending: 5}},
		{task.Query{Parent: "ses_second", Limit: 1}, []int{18}, map[task.State]int{task.Pending: 5}},
		{task.Query{Session: "ses_7", Limit: 9}, []int{7}, map[task.State]int{task.Pending: 1}},
		{task.Query{States: []task.State{task.Running, task.Completed}, Group: "g"}, nil, map[task.State]int{task.Completed: 5}},
		{task.Query{Owner: "host-2", Limit: 2}, []int{18, 14}, map[task.State]int{task.Pending: 5}},
		{task.Query{Owner: "host-1", States: []task.State{task.Pending, task.Running}, Limit: 2}, []int{19, 17}, map[task.State]int{task.Pending: 10}},
		{task.Query{States: []task.State{task.Pending}, Limit: 1}, []int{19}, map[task.State]int{task.Pending: 15}},
		{task.Query{Worktree: "/w", Limit: 4}, []int{19, 18, 16, 15}, map[task.State]int{task.Pending: 10, task.Completed: 5}},
		{task.Query{Worktree: "/w", Untold: true, Limit: 2}, []int{19, 18}, map[task.State]int{task.Pending: 6, task.Completed: 2}},
		{task.Query{Parent: "ses_parent", Untold: true, States: []task.State{task.Completed}, Limit: 9}, []int{16, 12}, map[task.State]int{task.Completed: 2}},
		{task.Query{Group: "g", Worktree: "/other", Parent: "ses_parent", Limit: 1}, []int{17}, map[task.State]int{task.Pending: 5}},
		{task.Query{Owner: "host-1", Untold: true, Limit: 3}, []int{19, 17, 16}, map[task.State]int{task.Pending: 5, task.Completed: 2}},
		{task.Query{Root: "ses_root", Worktree: "/w", Limit: 2}, []int{19, 16}, map[task.State]int{task.Pending: 5, task.Completed: 5}},
		{task.Query{Root: "ses_second", States: []task.State{task.Pending}, Limit: 2}, []int{18, 14}, map[task.State]int{task.Pending: 5}},
		{task.Query{Root: "ses_none", Limit: 2}, nil, map[task.State]int{}},
		{task.Query{Group: "other", Limit: 9}, nil, map[task.State]int{}},
		{task.Query{Session: "ses_none", Limit: 9}, nil, map[task.State]int{}},
	} {
		page, err := s.List(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int
		for _, tk := range page.Tasks {
			var n int
			if _, err := fmt.Sscanf(string(tk.ID), "task_%x", &n); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, n)
		}
		if diff := cmp.Diff(c.ids, ids); diff != "" {
			t.Errorf("%+v: ids (-want +got):\n%s", c.q, diff)
		}
		if diff := cmp.Diff(c.totals, page.Totals); diff != "" {
			t.Errorf("%+v: totals (-want +got):\n%s", c.q, diff)
		}
	}
}

func texts(t *testing.T, s task.Store) {
	want := sample("task_00000001")
	want.State, want.Result = task.Completed, "an answer"
	create(t, s, want)
	for _, asked := range []bool{true, false} {
		page, err := s.List(t.Context(), task.Query{Limit: 1, Texts: asked})
		if err != nil {
			t.Fatal(err)
		}
		if !asked {
			want.Prompt, want.Result = "", ""
		}
		if diff := cmp.Diff([]task.Task{want}, page.Tasks); diff != "" {
			t.Errorf("texts asked for: %v (-want +got):\n%s", asked, diff)
		}
	}
}

// neighbours mixes writes that must fail with writes that must not, all at
// once: backends may put them into one transaction.
func neighbours(t *testing.T, s task.Store) {
	old := sample("task_000000ff")
	create(t, s, old)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			tk := sample(task.ID(fmt.Sprintf("task_%08x", 0x1000+i)))
			if err := s.Create(t.Context(), tk); err != nil {
				t.Errorf("Create: %v", err)
				return
			}
			if _, err := s.Update(t.Context(), tk.ID, tk.Fence(), func(x *task.Task) { x.State = task.Running }); err != nil {
				t.Errorf("Update: %v", err)
			}
		})
		wg.Go(func() {
			if err := s.Create(t.Context(), old); !errors.Is(err, task.ErrExists) {
				t.Errorf("second Create: %v, want ErrExists", err)
			}
			if _, err := s.Update(t.Context(), old.ID, task.Fence{Attempt: 9}, func(*task.Task) {}); !errors.Is(err, task.ErrStale) {
				t.Errorf("stale Update: %v, want ErrStale", err)
			}
			_, err := s.Update(t.Context(), old.ID, old.Fence(), func(x *task.Task) { x.Description, x.State = "changed", task.Completed })
			if _, refused := errors.AsType[*task.TransitionError](err); !refused {
				t.Errorf("forbidden Update: %v, want a TransitionError", err)
			}
		})
	}
	wg.Wait()
	page, err := s.List(t.Context(), task.Query{})
	if err != nil || page.Totals[task.Running] != 64 || page.Totals[task.Pending] != 1 {
		t.Errorf("totals %v, %v; want 64 running and 1 pending", page.Totals, err)
	}
	if got, err := s.Get(t.Context(), old.ID); err != nil || got.Description != old.Description {
		t.Errorf("a refused update left its mark: %+v, %v", got, err)
	}
}

func closed(t *testing.T, s task.Store) {
	create(t, s, sample("task_00000001"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "task_00000001"); err == nil {
		t.Error("Get works after Close")
	}
	if err := s.Create(t.Context(), sample("task_00000002")); err == nil {
		t.Error("Create works after Close")
	}
}

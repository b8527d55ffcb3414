// Package recordtest is the conformance suite that every record.Store passes.
package recordtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// Run checks that the stores that factory makes keep the promises of
// record.Store.
func Run(t *testing.T, factory func(t *testing.T) record.Store) {
	for name, test := range map[string]func(*testing.T, record.Store){
		"what goes in comes out":          roundTrip,
		"only the version lets through":   versions,
		"what is gone is stale":           gone,
		"kind and key are the identity":   identities,
		"what cannot be stored":           invalid,
		"of many writers one wins":        race,
		"no change is lost":               counter,
		"lists: filters and newest first": list,
		"values do not alias":             alias,
		"a bad write harms no neighbour":  neighbours,
		"a caller that has given up":      cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, factory(t)) })
	}
}

// Sample is an open mission of a session.
func Sample(key string) record.Record {
	return record.Record{Kind: "mission", Key: key, Worktree: "/w", Owner: "host-1", Open: true, Body: []byte(`{"goal": "ünïcode \u0000 and all"}`)}
}

func put(t *testing.T, s record.Store, r record.Record) record.Record {
	t.Helper()
	stored, err := s.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func get(t *testing.T, s record.Store, kind, key string) record.Record {
	t.Helper()
	r, err := s.Get(t.Context(), kind, key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func roundTrip(t *testing.T, s record.Store) {
	bodies := [][]byte{
		[]byte(`{"goal":"build"}`), nil, []byte("null"), []byte(" [1, 2] "),
		[]byte(`"` + strings.Repeat("x", record.MaxBody-2) + `"`),
	}
	want := record.Record{}
	for i, body := range bodies {
		before := record.Now()
		r := Sample("ses_1")
		r.Version, r.Body, r.Open, r.Owner, r.Worktree = int64(i), body, i%2 == 0, fmt.Sprint("host-", i), fmt.Sprint("/", i)
		r.Updated = time.Unix(1, 1) // means nothing
		want = put(t, s, r)
		if want.Updated.Before(before) || want.Updated.After(record.Now()) || !want.Updated.Equal(want.Updated.Truncate(time.Millisecond)) {
			t.Errorf("updated at %s, after %s", want.Updated, before)
		}
		r.Version, r.Updated = r.Version+1, want.Updated
		if diff := cmp.Diff(r, want); diff != "" {
			t.Errorf("Put returned another record (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, get(t, s, "mission", "ses_1")); diff != "" {
			t.Errorf("stored and read differ (-put +got):\n%s", diff)
		}
	}
	for range 2 {
		if err := s.Delete(t.Context(), "mission", "ses_1"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "mission", "ses_1"); !errors.Is(err, record.ErrNotFound) {
			t.Errorf("Get of a deleted one: %v, want ErrNotFound", err)
		}
	}
	want.Version = 0
	if again := put(t, s, want); again.Version != 1 {
		t.Errorf("one that was deleted comes back with version %d, want 1", again.Version)
	}
}

func versions(t *testing.T, s record.Store) {
	put(t, s, Sample("ses_1"))
	want := put(t, s, record.Record{Kind: "mission", Key: "ses_1", Version: 1, Body: []byte("2")})
	for _, version := range []int64{-1, 0, 1, 3} {
		r := Sample("ses_1")
		r.Version = version
		got, err := s.Put(t.Context(), r)
		if !errors.Is(err, record.ErrStale) {
			t.Errorf("Put of version %d: %v, want ErrStale", version, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("a stale Put did not return what is stored (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(want, get(t, s, "mission", "ses_1")); diff != "" {
		t.Errorf("a stale Put left its mark (-want +got):\n%s", diff)
	}
	want.Open = true
	if got := put(t, s, want); got.Version != 3 {
		t.Errorf("version %d, want 3", got.Version)
	}
}

func gone(t *testing.T, s record.Store) {
	r := Sample("ses_1")
	r.Version = 4
	got, err := s.Put(t.Context(), r)
	if diff := cmp.Diff(record.Record{}, got); diff != "" || !errors.Is(err, record.ErrStale) {
		t.Errorf("Put of version 4 of nothing: %v and %+v, want ErrStale and nothing", err, got)
	}
	if _, err := s.Get(t.Context(), "mission", "ses_1"); !errors.Is(err, record.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
}

func identities(t *testing.T, s record.Store) {
	for i, id := range [][2]string{{"a", "b"}, {"b", "a"}, {"a b", "c"}, {"a", "b c"}, {"A", "b"}, {"ü", "\x00"}} {
		r := put(t, s, record.Record{Kind: id[0], Key: id[1], Body: []byte(fmt.Sprint(i))})
		if got := get(t, s, id[0], id[1]); r.Version != 1 || string(got.Body) != fmt.Sprint(i) {
			t.Errorf("%q is %+v", id, got)
		}
	}
	if err := s.Delete(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(t.Context(), record.Query{}); err != nil || len(all) != 5 {
		t.Errorf("%d records are left, %v; want 5", len(all), err)
	}
}

func invalid(t *testing.T, s record.Store) {
	large := []byte(`"` + strings.Repeat("x", record.MaxBody) + `"`)
	for what, r := range map[string]record.Record{
		"no kind":      {Key: "ses_1"},
		"no key":       {Kind: "mission"},
		"65538 bytes":  {Kind: "mission", Key: "ses_1", Body: large},
		"body is no J": {Kind: "mission", Key: "ses_1", Body: []byte("{")},
	} {
		_, err := s.Put(t.Context(), r)
		if !errors.Is(err, record.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, want an ErrInvalid that says so", what, err)
		}
	}
	if all, err := s.List(t.Context(), record.Query{}); err != nil || len(all) > 0 {
		t.Errorf("%d records were stored, %v", len(all), err)
	}
}

func race(t *testing.T, s record.Store) {
	for version := range int64(3) {
		var wg sync.WaitGroup
		var won atomic.Int64
		for range 32 {
			wg.Go(func() {
				r := Sample("ses_1")
				r.Version = version
				got, err := s.Put(t.Context(), r)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, record.ErrStale) {
					t.Errorf("loser got %v, want ErrStale", err)
				}
				if got.Version != version+1 {
					t.Errorf("version %d, want %d", got.Version, version+1)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d writers put version %d, want 1", won.Load(), version)
		}
	}
}

// counter has all count in one record with what they are told by ErrStale.
func counter(t *testing.T, s record.Store) {
	const all, each = 8, 20
	var wg sync.WaitGroup
	for range all {
		wg.Go(func() {
			r := record.Record{Kind: "counter", Key: "k", Body: []byte("0")}
			for done := 0; done < each; {
				n := 0
				if _, err := fmt.Sscan(string(r.Body), &n); err != nil {
					t.Error(err)
					return
				}
				r.Body = fmt.Append(nil, n+1)
				got, err := s.Put(t.Context(), r)
				if err == nil {
					done++
				} else if !errors.Is(err, record.ErrStale) {
					t.Error(err)
					return
				}
				r = got
			}
		})
	}
	wg.Wait()
	if r := get(t, s, "counter", "k"); string(r.Body) != fmt.Sprint(all*each) || r.Version != all*each {
		t.Errorf("counted %s in %d versions, want %d", r.Body, r.Version, all*each)
	}
}

func list(t *testing.T, s record.Store) {
	for i := range 12 {
		r := Sample(fmt.Sprint(i))
		r.Open = i%2 == 0
		switch i % 4 {
		case 1:
			r.Worktree = "/other"
		case 2:
			r.Owner = "host-2"
		case 3:
			r.Kind = "loop"
		}
		put(t, s, r)
	}
	changed := get(t, s, "mission", "4")
	put(t, s, changed) // and so it is the newest
	for _, c := range []struct {
		q    record.Query
		want string
	}{
		{record.Query{}, "4 11 10 9 8 7 6 5 3 2 1 0"},
		{record.Query{Limit: 2}, "4 11"},
		{record.Query{Kind: "mission"}, "4 10 9 8 6 5 2 1 0"},
		{record.Query{Kind: "mission", Limit: 3}, "4 10 9"},
		{record.Query{Kind: "loop", Limit: 9}, "11 7 3"},
		{record.Query{Open: true}, "4 10 8 6 2 0"},
		{record.Query{Open: true, Limit: 3}, "4 10 8"},
		{record.Query{Owner: "host-2"}, "10 6 2"},
		{record.Query{Owner: "host-1", Open: true}, "4 8 0"},
		{record.Query{Kind: "mission", Owner: "host-1", Open: true, Limit: 2}, "4 8"},
		{record.Query{Kind: "mission", Owner: "host-1", Worktree: "/other"}, "9 5 1"},
		{record.Query{Worktree: "/w", Kind: "loop"}, "11 7 3"},
		{record.Query{Worktree: "/other", Open: true}, ""},
		{record.Query{Kind: "none"}, ""},
	} {
		records, err := s.List(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, r := range records {
			keys = append(keys, r.Key)
			if diff := cmp.Diff(get(t, s, r.Kind, r.Key), r); diff != "" {
				t.Errorf("listed and read differ (-got +listed):\n%s", diff)
			}
		}
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
}

func alias(t *testing.T, s record.Store) {
	const sound = `"sound"`
	ways := map[string]func() record.Record{
		"given to Put": func() record.Record {
			r := record.Record{Kind: "k", Key: "k", Body: []byte(sound)}
			put(t, s, r)
			return r
		},
		"got from Put": func() record.Record { return put(t, s, record.Record{Kind: "k", Key: "k", Body: []byte(sound)}) },
		"stale": func() record.Record {
			put(t, s, record.Record{Kind: "k", Key: "k", Body: []byte(sound)})
			r, err := s.Put(t.Context(), record.Record{Kind: "k", Key: "k"})
			if !errors.Is(err, record.ErrStale) {
				t.Error(err)
			}
			return r
		},
		"got": func() record.Record {
			put(t, s, record.Record{Kind: "k", Key: "k", Body: []byte(sound)})
			return get(t, s, "k", "k")
		},
		"listed": func() record.Record {
			put(t, s, record.Record{Kind: "k", Key: "k", Body: []byte(sound)})
			all, err := s.List(t.Context(), record.Query{})
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		},
	}
	for name, way := range ways {
		r := way()
		if string(r.Body) != sound {
			t.Errorf("%s: body %q", name, r.Body)
		}
		copy(r.Body, bytes.Repeat([]byte("!"), len(r.Body)))
		all, err := s.List(t.Context(), record.Query{})
		if got := get(t, s, "k", "k"); string(got.Body) != sound || err != nil || string(all[0].Body) != sound {
			t.Errorf("%s: a caller wrote %q into the store", name, got.Body)
		}
		if err := s.Delete(t.Context(), "k", "k"); err != nil {
			t.Fatal(err)
		}
	}
}

// neighbours mixes writes that must fail with writes that must not, all at once:
// backends may put them into one transaction.
func neighbours(t *testing.T, s record.Store) {
	old := put(t, s, Sample("old"))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r, err := s.Put(t.Context(), Sample(fmt.Sprint(i)))
			if err == nil {
				r.Open = false
				_, err = s.Put(t.Context(), r)
			}
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := s.Put(t.Context(), Sample("old")); !errors.Is(err, record.ErrStale) {
				t.Errorf("stale Put: %v, want ErrStale", err)
			}
		})
	}
	wg.Wait()
	all, err := s.List(t.Context(), record.Query{Kind: "mission"})
	open, openErr := s.List(t.Context(), record.Query{Kind: "mission", Open: true})
	if len(all) != 65 || len(open) != 1 || errors.Join(err, openErr) != nil {
		t.Errorf("%d records, %d open, %v, %v; want 65 and 1", len(all), len(open), err, openErr)
	}
	if diff := cmp.Diff(old, get(t, s, "mission", "old")); diff != "" {
		t.Errorf("a refused Put left its mark (-want +got):\n%s", diff)
	}
}

func cancelled(t *testing.T, s record.Store) {
	put(t, s, Sample("old"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, put := s.Put(ctx, Sample("new"))
	_, got := s.Get(ctx, "mission", "old")
	_, listed := s.List(ctx, record.Query{})
	for what, err := range map[string]error{"Put": put, "Get": got, "List": listed, "Delete": s.Delete(ctx, "mission", "old")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it was cancelled", what, err)
		}
	}
	get(t, s, "mission", "old")
	if all, err := s.List(t.Context(), record.Query{}); err != nil || len(all) != 1 {
		t.Errorf("%d records, %v; want 1", len(all), err)
	}
}

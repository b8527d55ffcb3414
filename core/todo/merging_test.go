package todo

import (
	"errors"
	"os"
	"slices"
	"testing"
)

func TestSyncMerges(t *testing.T) {
	s := newSynced(t, "-", WatchOptions{})
	list := todos(t, "- [/] a\n- [ ] b\n")
	merge := func(base Base, list []Todo, add, create bool) Base {
		t.Helper()
		base, err := s.sync.Merge(t.Context(), s.dir, base, list, MergeOptions{AddNew: add}, create)
		s.must(err)
		return base
	}
	// Nobody asked for a file.
	base := merge(nil, list, true, false)
	merge(nil, list, false, true)
	merge(nil, nil, true, true)
	if _, err := os.Stat(s.path(".opencode")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a folder was made")
	}
	// Now somebody does; what was left out before is new.
	base = merge(base, list, true, true)
	const made = "## Agent\n\n- [/] a\n- [ ] b\n"
	if s.content() != made {
		t.Errorf("made %q", s.content())
	}
	// Once it is in, nothing is left to do, and nobody has to take turns for that.
	before := s.history()
	s.must(os.RemoveAll(s.state))
	if again := merge(base, list, true, true); !slices.Equal(again, base) {
		t.Errorf("%v became %v", base, again)
	}
	if _, err := os.Stat(s.state); err == nil || len(s.history()) != len(before) || s.content() != made {
		t.Error("something was written")
	}
	// A person's word counts, the agent's goes on from there.
	s.write("## Agent\n\n- [x] a\n- [ ] b\n")
	base = merge(base, todos(t, "- [-] a\n- [x] b\n- [ ] c\n"), false, false)
	if s.content() != "## Agent\n\n- [x] a\n- [x] b\n" {
		t.Errorf("merged %q", s.content())
	}
	// A file that a person removed is not made again of what was in it.
	s.must(os.Remove(s.path(Path)))
	base = merge(base, todos(t, "- [ ] a\n- [ ] b\n"), true, true)
	merge(base, todos(t, "- [ ] a\n- [ ] b\n- [ ] c\n"), true, false)
	if _, err := os.Stat(s.path(Path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made %q", s.content())
	}
	merge(base, todos(t, "- [ ] a\n- [ ] b\n- [ ] c\n"), true, true)
	if s.content() != "## Agent\n\n- [ ] c\n" {
		t.Errorf("made %q", s.content())
	}
}

func TestSyncMergeFails(t *testing.T) {
	s := newSynced(t, "a\x00", WatchOptions{})
	base := Base{{Text: "a", Known: true}}
	got, err := s.sync.Merge(t.Context(), s.dir, base, todos(t, "- [x] a\n"), MergeOptions{AddNew: true}, true)
	if !errors.Is(err, ErrBinary) || !slices.Equal(got, base) {
		t.Errorf("%v, %v", got, err)
	}
	s.write("- [ ] a\n")
	s.must(os.WriteFile(s.path(".opencode/archive"), nil, 0o644)) // no history, which is no reason to fail
	if _, err := s.sync.Merge(t.Context(), s.dir, nil, todos(t, "- [x] a\n"), MergeOptions{}, false); err != nil || s.content() != "- [x] a\n" {
		t.Errorf("%q, %v", s.content(), err)
	}
	s.must(os.RemoveAll(s.state))
	s.must(os.WriteFile(s.state, nil, 0o644)) // no locks, which is one
	base = Base{{Text: "a", Known: true, Todo: Completed, Item: Completed}}
	if got, err = s.sync.Merge(t.Context(), s.dir, base, todos(t, "- [-] a\n"), MergeOptions{}, true); err == nil || !slices.Equal(got, base) || s.content() != "- [x] a\n" {
		t.Errorf("%v, %q, %v", got, s.content(), err)
	}
	if _, err := s.sync.Merge(t.Context(), "/elsewhere", nil, nil, MergeOptions{}, false); !errors.Is(err, ErrNotOpen) {
		t.Error(err)
	}
}

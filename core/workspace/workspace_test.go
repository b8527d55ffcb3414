package workspace

import (
	"testing"
	"testing/synctest"
	"time"
)

type log struct{ gone, empty int }

func registry(l *log) *Registry {
	return New(func(Workspace) { l.gone++ }, func() { l.empty++ })
}

func open(t *testing.T, r *Registry, id, dir string, reattached bool) {
	t.Helper()
	got, err := r.Open(id, Workspace{Directory: dir, Worktree: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got != reattached {
		t.Errorf("Open(%s, %s) reattached = %v, want %v", id, dir, got, reattached)
	}
}

func TestAClosedWorkspaceLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		r := registry(&l)
		open(t, r, "wrk_1", "/a", false)
		r.Close("wrk_1")
		if _, ok := r.Resolve("/a"); ok {
			t.Error("a closed directory can be called")
		}
		time.Sleep(Linger - time.Millisecond)
		open(t, r, "wrk_2", "/a", true)
		time.Sleep(2 * Linger)
		synctest.Wait()
		if l.gone != 0 {
			t.Error("a re-opened workspace was taken for gone")
		}
		r.Close("wrk_2")
		r.Close("wrk_2")
		time.Sleep(Linger + time.Millisecond)
		synctest.Wait()
		if l.gone != 1 || l.empty != 1 {
			t.Errorf("after the last close: %+v, want one gone and one empty", l)
		}
	})
}

func TestOneDirectoryOpenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		r := registry(&l)
		open(t, r, "wrk_1", "/a", false)
		open(t, r, "wrk_2", "/a", true)
		open(t, r, "wrk_3", "/b", false)
		if id, _ := r.Resolve("/a"); id != "wrk_2" {
			t.Errorf("calls go to %s, want the one opened last", id)
		}
		r.Close("wrk_2")
		if id, _ := r.Resolve("/a"); id != "wrk_1" {
			t.Errorf("calls go to %s, want the one that is still open", id)
		}
		r.Close("wrk_1")
		time.Sleep(Linger + time.Millisecond)
		synctest.Wait()
		if l.gone != 1 || l.empty != 0 {
			t.Errorf("with /b open: %+v, want one gone and none empty", l)
		}
		open(t, r, "wrk_3", "/b", true) // the answer to the first open was lost
		if _, err := r.Open("wrk_3", Workspace{Directory: "/c"}); err == nil {
			t.Error("an open id was taken for another directory")
		}
	})
}

func TestNothingExpiresAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		r := registry(&l)
		open(t, r, "wrk_1", "/a", false)
		open(t, r, "wrk_2", "/b", false)
		r.Close("wrk_1")
		r.Stop()
		r.Close("wrk_2")
		time.Sleep(2 * Linger)
		synctest.Wait()
		if l != (log{}) {
			t.Errorf("after Stop: %+v", l)
		}
	})
}

package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is told a moment later, and again and again, since its commit may
// show long after the file system has told of it.
func TestAChangeIsToldUntilItMustShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{c: make(chan struct{}, 1), stop: make(chan struct{})}
		events := make(chan fsnotify.Event)
		w.wg.Go(func() { w.serve("/state/tasks.db", time.Hour, events, nil) })
		defer w.close()
		start := time.Now()
		looks := func(until time.Duration) (at []time.Duration) {
			for over := time.After(until - time.Since(start)); ; {
				select {
				case <-w.c:
					at = append(at, time.Since(start))
				case <-over:
					return at
				}
			}
		}
		write := func(name string) { events <- fsnotify.Event{Name: "/state/" + name, Op: fsnotify.Write} }

		write("tasks.db.lock")
		if at := looks(10 * time.Second); len(at) > 0 {
			t.Errorf("a lock was told as a change, at %v", at)
		}
		start = time.Now()
		write("tasks.db-wal")
		write("tasks.db")
		second := time.Second
		if at, want := looks(2*second), []time.Duration{second / 10, 3 * second / 10, 7 * second / 10, 15 * second / 10}; !slices.Equal(at, want) {
			t.Errorf("looked at %v, not at %v", at, want)
		}
		// The next change does not wait for the looks after the one before.
		start = time.Now()
		write("tasks.db-wal")
		if at, want := looks(second/2), []time.Duration{second / 10, 3 * second / 10}; !slices.Equal(at, want) {
			t.Errorf("then at %v, not at %v", at, want)
		}
		start = time.Now()
		if at := looks(2 * time.Hour); len(at) > 20 {
			t.Errorf("%d looks in two hours without a change", len(at))
		}
	})
}

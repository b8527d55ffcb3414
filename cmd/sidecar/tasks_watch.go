package main

import (
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// slowLook is the time between two looks when the file system says nothing:
	// the death of an OpenCode writes nothing to the database. quickLook is the
	// same for who waits, and for where changes of files cannot be watched.
	slowLook, quickLook = 5 * time.Second, time.Second
	// settle bounds how often a busy database is looked at. What is written shows
	// only when it is committed, of which the file system says nothing and which a
	// slow disk delays by seconds: more looks follow, each after twice the time.
	settle = 100 * time.Millisecond
)

// watcher tells of changes of a database.
type watcher struct {
	// c holds one token when there is a reason to look.
	c    chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup
}

// watch tells of changes of the database at path, also those of other processes,
// and that it is time for a look anyway, every so often. The caller closes it, which joins its goroutine.
func watch(path string, every time.Duration) *watcher {
	w := &watcher{c: make(chan struct{}, 1), stop: make(chan struct{})}
	files, err := fsnotify.NewWatcher()
	if err == nil {
		// The folder, not the files: the log comes and goes.
		if err = files.Add(filepath.Dir(path)); err != nil {
			_ = files.Close()
		}
	}
	if err != nil {
		every = min(every, quickLook)
	}
	w.wg.Go(func() {
		if err != nil {
			w.serve(path, every, nil, nil)
			return
		}
		defer func() { _ = files.Close() }()
		w.serve(path, every, files.Events, files.Errors)
	})
	return w
}

func (w *watcher) close() {
	close(w.stop)
	w.wg.Wait()
}

func (w *watcher) serve(path string, every time.Duration, events <-chan fsnotify.Event, errs <-chan error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var quiet <-chan time.Time // set while a change waits to be told
	var gap time.Duration      // of quiet
	for {
		select {
		case e := <-events:
			ours := strings.TrimSuffix(filepath.Base(e.Name), "-wal") == filepath.Base(path)
			if gap != settle && ours && e.Op&^fsnotify.Chmod != 0 {
				gap, quiet = settle, time.After(settle)
			}
			continue
		case <-errs: //nolint:errcheck // events were lost: look
		case <-quiet:
			if gap *= 2; gap < every {
				quiet = time.After(gap)
			} else {
				gap, quiet = 0, nil
			}
		case <-tick.C:
		case <-w.stop:
			return
		}
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

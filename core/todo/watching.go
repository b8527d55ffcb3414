package todo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// firstBackoff is how long a Watcher waits to watch again after an error. It
	// doubles with each further one, up to maxBackoff.
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// toldBackoff is from when on a person hears of it.
	toldBackoff = time.Second
)

// watch is a Watcher at work. All of it belongs to the watcher's goroutine.
type watch struct {
	*Watcher
	notify notifier // nil while nothing is watched
	places places   // what is watched

	news    []Update  // to be told at the next turn
	first   time.Time // of the changes that were not looked at yet
	settle  timer     // runs while there are such
	retry   timer     // runs until watching is tried again
	backoff time.Duration
	limited bool // the system's limits were told
	refused bool // that watching fails was told
}

// timer is a timer whose C is nil while it does not run.
type timer struct {
	*time.Timer
	C <-chan time.Time
}

func (t *timer) start(d time.Duration) {
	t.stop()
	t.Timer = time.NewTimer(d)
	t.C = t.Timer.C
}

func (t *timer) stop() {
	if t.C != nil {
		t.Timer.Stop()
		t.C = nil
	}
}

func (r *watch) run(ctx context.Context) {
	defer r.disarm()
	defer r.settle.stop()
	defer r.retry.stop()
	for {
		for _, update := range r.news {
			r.tell(ctx, update)
		}
		r.news = nil
		var events <-chan fsnotify.Event
		var failures <-chan error
		if r.notify != nil {
			events, failures = r.notify.events(), r.notify.errors()
		}
		select {
		case <-ctx.Done():
			return
		case event, ok := <-events:
			if ok {
				r.event(event)
			} else {
				r.fail(errors.New("the system ended the watch"))
			}
		case err, ok := <-failures:
			switch {
			case !ok:
				r.fail(errors.New("the system ended the watch"))
			case errors.Is(err, fsnotify.ErrEventOverflow): // some events are lost, the watch is not
				r.changed()
			default:
				r.fail(err)
			}
		case <-r.settle.C:
			r.look(r.notify != nil)
		case <-r.retry.C:
			r.rearm()
		case <-r.asked:
			r.look(true)
		}
	}
}

// event takes note of a change in a folder that is watched.
func (r *watch) event(event fsnotify.Event) {
	folder := slices.Contains(r.places.folders, event.Name)
	switch {
	case folder && event.Has(fsnotify.Remove|fsnotify.Rename):
		r.rearm()
	case !folder && !r.places.names[event.Name]:
	case event.Has(fsnotify.Create) && r.stray():
		r.rearm()
	default:
		r.changed()
	}
}

// changed has the file looked at once it has been quiet for a while.
func (r *watch) changed() {
	now := time.Now()
	if r.settle.C == nil {
		r.first = now
	}
	r.settle.start(min(r.quiet, r.first.Add(r.maxDelay).Sub(now)))
}

// look reads the file and has told what is new. What is to be watched may be
// elsewhere by now, and has to be watched before the file is read.
func (r *watch) look(rearm bool) {
	if rearm && r.stray() {
		r.rearm()
	}
	r.settle.stop()
	doc, changed, err := r.file.look()
	if changed {
		r.news = append(r.news, Update{Document: doc, Warning: warningOf(doc, err)})
	}
}

func warningOf(doc *Document, err error) error {
	if err == nil && doc.Empty() {
		return ErrEmpty
	}
	return err
}

// rearm watches what there is to be watched now, and has the file looked at,
// which may have changed while nothing was.
func (r *watch) rearm() {
	r.disarm()
	r.arm()
	r.changed()
}

func (r *watch) disarm() {
	if r.notify != nil {
		_ = r.notify.Close() // whatever it answers, its goroutine has ended
		r.notify = nil
	}
	r.places = places{}
	r.retry.stop()
}

// arm starts to watch, or sees to it that it is tried again.
func (r *watch) arm() {
	n, err := r.notifier()
	if err == nil {
		r.notify = n
		err = r.add()
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.backoff, r.limited, r.refused = 0, false, false
}

// add watches the folders. One that is made meanwhile is not missed: after the
// one above it is watched, it is looked for again.
func (r *watch) add() error {
	for range 10 {
		now, err := r.file.places()
		if err != nil {
			return err
		}
		for _, folder := range now.folders {
			if err := r.notify.Add(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("watching %s: %w", folder, err)
			}
		}
		r.places = now
		if !r.stray() {
			return nil
		}
	}
	return fmt.Errorf("the folders on the way to %s keep changing", Path)
}

// stray reports whether other folders are to be watched than those that are. If
// not, other names in them may count from here on.
func (r *watch) stray() bool {
	now, err := r.file.places()
	if err != nil || !slices.Equal(now.folders, r.places.folders) {
		return true
	}
	r.places = now
	return false
}

// fail deals with a watch that cannot be had. The system's limits are told once,
// and tried again when somebody asks for a look; everything else is tried again
// by and by.
func (r *watch) fail(err error) {
	r.disarm()
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		if !r.limited {
			r.limited = true
			r.news = append(r.news, Update{Document: r.file.last(), Warning: &WatchLimitError{Err: err}})
		}
		return
	}
	r.backoff = min(max(2*r.backoff, firstBackoff), maxBackoff)
	r.retry.start(r.backoff)
	if r.backoff >= toldBackoff && !r.refused && !errors.Is(err, fs.ErrNotExist) {
		r.refused = true
		r.news = append(r.news, Update{Document: r.file.last(), Warning: fmt.Errorf("changes of %s are not noticed at once: %w", Path, err)})
	}
}

// places are the folders where a change tells of a change of the file, and the
// paths in them that count.
type places struct {
	folders []string
	names   map[string]bool
}

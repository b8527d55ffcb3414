package todo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Update is what a Watcher tells.
type Update struct {
	// Document is what the file holds now; a missing file is a document that is
	// Missing. It is nil when the file cannot be read, and what was read last
	// when the warning is about watching.
	Document *Document
	// Warning is what is wrong: with the file, as Read says it, ErrEmpty, or with
	// watching it, such as a *WatchLimitError. It is nil if all is well.
	Warning error
}

// ErrEmpty is the warning for a file of no bytes, which is rarely meant.
var ErrEmpty = errors.New(Path + " is there and empty: it has 0 bytes")

// WatchLimitError is the warning that the system allows no more watches.
type WatchLimitError struct {
	Err error
}

// Error says what to do about it.
func (e *WatchLimitError) Error() string {
	return fmt.Sprintf("changes of %s are not noticed at once, since the system watches no more files for this user (%v); on Linux raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl", Path, e.Err)
}

// Unwrap returns what the system said.
func (e *WatchLimitError) Unwrap() error { return e.Err }

// WatchOptions set a Watcher's times. Zero fields are the defaults.
type WatchOptions struct {
	// Quiet is how long the file has to be left alone before it is read: 500 ms.
	Quiet time.Duration
	// MaxDelay is how long it may be changed all the time before it is read all
	// the same: 2 s.
	MaxDelay time.Duration
}

const (
	defaultQuiet    = 500 * time.Millisecond
	defaultMaxDelay = 2 * time.Second
)

// Watcher tells when somebody else changes a todo file. It sleeps until the
// system wakes it: it watches the folder of the file, or the one above while
// there is none, so that it outlives editors that put another file in the place
// of the old one, and a folder that is removed and made again.
type Watcher struct {
	file     *File
	quiet    time.Duration
	maxDelay time.Duration
	tell     func(context.Context, Update)
	notifier func() (notifier, error)

	asked  chan struct{}
	cancel context.CancelFunc
	ended  chan struct{}
}

// notifier is what an fsnotify.Watcher is to a Watcher.
type notifier interface {
	Add(directory string) error
	Close() error
	events() <-chan fsnotify.Event
	errors() <-chan error
}

type systemNotifier struct{ *fsnotify.Watcher }

func (n systemNotifier) events() <-chan fsnotify.Event { return n.Events }
func (n systemNotifier) errors() <-chan error          { return n.Errors }

func newSystemNotifier() (notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return systemNotifier{w}, nil
}

// NewWatcher returns a watcher of a file, which may have one at a time. Once it
// is started, it calls tell for each change of what the file holds or of what is
// wrong with it, and once for each: not for what it finds at first, except a
// warning, not for edits made through this File, and not for a file that was
// written with what it held. Calls come one at a time, from the watcher's
// goroutine; their context ends with the watcher, which waits for them. tell must
// not call Close.
func NewWatcher(file *File, tell func(context.Context, Update), options WatchOptions) *Watcher {
	w := &Watcher{
		file: file, tell: tell, quiet: options.Quiet, maxDelay: options.MaxDelay,
		notifier: newSystemNotifier, asked: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if w.quiet <= 0 {
		w.quiet = defaultQuiet
	}
	if w.maxDelay <= 0 {
		w.maxDelay = defaultMaxDelay
	}
	return w
}

// Start starts the watcher's goroutine, which Close ends. From here on no change
// is missed; what was in the file before is for Read. It may be called once.
func (w *Watcher) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	r := &watch{Watcher: w}
	r.arm()
	doc, _, err := w.file.look()
	for i := range r.news { // of the watch, which came first so that nothing is missed
		r.news[i].Document = doc
	}
	if warning := warningOf(doc, err); warning != nil {
		r.news = append(r.news, Update{Document: doc, Warning: warning})
	}
	go func() {
		defer close(w.ended)
		r.run(ctx)
	}()
}

// Look has the file looked at now, on the watcher's goroutine, and watching
// tried again where the system refused it. It is for whoever does not want to
// rely on a watch that the system may not grant, and returns at once.
func (w *Watcher) Look() {
	select {
	case w.asked <- struct{}{}:
	default: // somebody asked already
	}
}

// Close ends the watcher and waits for its goroutine. It may be called several
// times, and without Start.
func (w *Watcher) Close() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	<-w.ended
}

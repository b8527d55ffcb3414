package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// maxWarnings is how many sentences are kept while nobody can read them. The
	// oldest go first: the newest say how things stand, and the log has all.
	maxWarnings = 8
	// warningFor is how long a toast shows one.
	warningFor = 15 * time.Second
)

// warnings are sentences that the user should read. Who adds one never waits for
// OpenCode: run shows it in the workspaces that are open, or it waits for the
// next one that is opened.
type warnings struct {
	log    zerolog.Logger
	signal chan struct{} // tells run of a new one; holds one token

	mu    sync.Mutex
	texts []string
}

func newWarnings(log zerolog.Logger) *warnings {
	return &warnings{log: log, signal: make(chan struct{}, 1)}
}

// note logs a sentence and keeps it for the next workspace that is opened.
func (w *warnings) note(text string) {
	w.log.Error().Msg(text)
	w.keep(text)
}

// add notes a sentence and has run show it at once.
func (w *warnings) add(text string) {
	w.note(text)
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *warnings) keep(texts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, texts...)
	if surplus := len(w.texts) - maxWarnings; surplus > 0 {
		w.texts = slices.Delete(w.texts, 0, surplus)
	}
}

// take returns what nobody has read yet, once.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// teller is what run asks of OpenCode.
type teller interface {
	Toast(ctx context.Context, directory string, t host.Toast) error
	Log(ctx context.Context, directory, level, text string) error
}

// run shows what is added, until ctx ends. open returns the directories that
// OpenCode has open; a person may look at any of them.
func (w *warnings) run(ctx context.Context, open func() []string, to teller) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		}
		directories := open()
		if len(directories) == 0 {
			continue // who opens one afterwards takes them
		}
		for _, text := range w.take() {
			if !show(ctx, directories, to, text) {
				w.keep(text) // they were closed just now
			}
		}
	}
}

// show reports whether OpenCode, whose log is one for all directories, has taken
// a sentence anywhere.
func show(ctx context.Context, directories []string, to teller, text string) bool {
	logged, toasted := false, false
	for _, directory := range directories {
		logged = logged || to.Log(ctx, directory, "warn", text) == nil
		toasted = to.Toast(ctx, directory, host.Toast{
			Title: "opencode-sidecar", Message: text, Variant: "warning", Duration: warningFor,
		}) == nil || toasted
	}
	return logged || toasted
}

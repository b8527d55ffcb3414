package todo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// toastGap is the time between two toasts: people can read one a second.
	toastGap = time.Second
	// toastDeadline is how long showing one may take.
	toastDeadline = 5 * time.Second
	// toastDuration is how long it is shown.
	toastDuration = 5 * time.Second
)

// told is what people know of a worktree's file.
type told struct {
	at      time.Time // of the last toast
	warning string    // the last one; "" once all is well
	broken  bool      // by that, there was nothing to be read
}

// tell tells people of a change that was neither ours nor an agent's, or of what
// is wrong, the same thing once. It runs on the watcher's goroutine, whose end
// ends ctx.
func (t *tree) tell(ctx context.Context, u Update) {
	if u.Warning == nil {
		mended := t.told.broken
		t.told.warning, t.told.broken = "", false
		if !mended { // whoever put it right knows
			t.toast(ctx, host.Toast{Variant: "info", Message: changeText(u.Document)})
		}
		return
	}
	if _, limited := errors.AsType[*WatchLimitError](u.Warning); limited {
		t.limited.Store(true)
	}
	t.told.broken = u.Document == nil || u.Document.Empty()
	if text := u.Warning.Error(); text != t.told.warning {
		t.told.warning = text
		t.sync.log.Warn().Err(u.Warning).Str("worktree", t.worktree).Msg("todo list")
		t.toast(ctx, host.Toast{Variant: "warning", Message: text})
	}
}

// toast shows a toast in every directory that wants any, once the one before has
// been there for a while: what changes meanwhile, the watcher tells at once
// thereafter.
func (t *tree) toast(ctx context.Context, note host.Toast) {
	if len(t.audience()) == 0 || !pause(ctx, time.Until(t.told.at.Add(toastGap))) {
		return
	}
	t.told.at = time.Now()
	note.Title, note.Duration = "Todo list", toastDuration
	ctx, cancel := context.WithTimeout(ctx, toastDeadline)
	defer cancel()
	var shown sync.WaitGroup
	for _, directory := range t.audience() { // one that hangs keeps it from no other
		shown.Go(func() {
			if err := t.sync.host.Toast(ctx, directory, note); err != nil { // it is a courtesy
				t.sync.log.Debug().Err(err).Str("directory", directory).Msg("toast not shown")
			}
		})
	}
	shown.Wait()
}

// pause waits, and reports whether it did so to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func changeText(doc *Document) string {
	switch {
	case doc.Missing:
		return "todo.md was removed"
	case doc.Len() == 0:
		return "todo.md was edited: it has no items"
	}
	return "todo.md was edited: " + tally(doc.Progress())
}

// tally tells in a few words how far a list has come.
func tally(p Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d done", p.Completed, p.Total())
	if p.Cancelled > 0 {
		fmt.Fprintf(&b, ", %d cancelled", p.Cancelled)
	}
	if p.Open() > 0 {
		fmt.Fprintf(&b, ", %d open", p.Open())
	}
	return b.String()
}

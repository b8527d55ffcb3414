package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// told takes note of what OpenCode is told.
type told struct {
	deaf bool // every call fails

	mu   sync.Mutex
	said []string
}

func (o *told) say(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deaf {
		return errors.New("closed")
	}
	o.said = append(o.said, text)
	return nil
}

func (o *told) Toast(_ context.Context, directory string, t host.Toast) error {
	return o.say(fmt.Sprintf("toast %s %s %s", directory, t.Variant, t.Message))
}

func (o *told) Log(_ context.Context, directory, level, text string) error {
	return o.say(fmt.Sprintf("log %s %s", level, text))
}

func TestWarningsAreShownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, to := newWarnings(zerolog.Nop()), &told{}
		var directories []string
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { w.run(ctx, func() []string { return directories }, to) })

		w.add("nobody is here")
		synctest.Wait()
		if got := w.take(); len(to.said) > 0 || !slices.Equal(got, []string{"nobody is here"}) {
			t.Errorf("with no workspace %q is said, %q kept", to.said, got)
		}
		directories = []string{"/a", "/b"}
		w.note("for the next one")
		synctest.Wait()
		if len(to.said) > 0 {
			t.Errorf("said at once: %q", to.said)
		}
		w.add("it broke")
		synctest.Wait()
		want := []string{
			"log warn for the next one", "toast /a warning for the next one", "toast /b warning for the next one",
			"log warn it broke", "toast /a warning it broke", "toast /b warning it broke",
		}
		if diff := cmp.Diff(want, to.said); diff != "" || len(w.take()) > 0 {
			t.Errorf("(-want +got):\n%s", diff)
		}
		to.deaf = true
		w.add("they were closed just now")
		synctest.Wait()
		if got := w.take(); !slices.Equal(got, []string{"they were closed just now"}) {
			t.Errorf("kept is %q", got)
		}
	})
}

func TestWarningsAreBounded(t *testing.T) {
	w := newWarnings(zerolog.Nop())
	for n := range maxWarnings + 3 {
		w.add(fmt.Sprint(n)) // nobody takes them, and nobody waits
	}
	if got := w.take(); len(got) != maxWarnings || got[0] != "3" || got[maxWarnings-1] != fmt.Sprint(maxWarnings+2) {
		t.Errorf("kept are %q", got)
	}
}

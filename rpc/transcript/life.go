package transcript

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// begin listens to a sidecar that has just been started.
func (r *replay) begin(s Sidecar) {
	r.s = s
	r.inbox, r.read = make(chan message, 1024), make(chan error, 1)
	go func(from io.Reader, to chan<- message, read chan<- error) { read <- readFrames(from, to) }(s.Out, r.inbox, r.read)
	r.from, r.to = r.at, len(r.t.Entries)
	if i := slices.IndexFunc(r.t.Entries[r.at:], func(e Entry) bool { return e.Kind == Kill }); i >= 0 {
		r.to = r.at + i
	}
}

// finish waits for the end of the sidecar. broken says what its output ended with
// and ended how it ended, if not well.
func (r *replay) finish() (broken, ended error) {
	_ = r.s.In.Close()
	for range r.inbox { // what comes after the end, nobody is there to read
	}
	return <-r.read, r.s.Wait()
}

// kill ends the sidecar at once, as a person or the system does, and goes on with
// the next. It can have been about to say anything.
func (r *replay) kill(ctx context.Context) error {
	if r.s.Next == nil {
		return fmt.Errorf("%s: there is no sidecar to go on with", r.where(r.at))
	}
	start := r.s.Next
	r.s.Kill()
	_, _ = r.finish() // not well
	r.held = nil
	next, err := start(ctx)
	if err != nil {
		return fmt.Errorf("%s: another sidecar: %w", r.where(r.at), err)
	}
	r.at++ // the entries of the next begin behind this one
	r.begin(next)
	r.at--
	return nil
}

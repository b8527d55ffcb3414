package job

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
)

const (
	// maxLine is how much of a line without end is kept to be matched.
	maxLine = 64 << 10
	// maxPrompt is how long a line may be to be matched before it is complete, as
	// a question that waits for its answer.
	maxPrompt = 4 << 10
)

// Until is what to wait for. The end of the command always ends the waiting.
type Until struct {
	// Pattern is a regular expression (RE2) that a line of the output has to match,
	// without its control sequences; empty to wait for the end.
	Pattern string
	// Stream is the only one to look at; empty for both.
	Stream Stream
	// After is where to begin: a line that has been written since counts, too.
	After Cursor
}

// Reason is why a waiting has ended.
type Reason string

// The reasons.
const (
	Matched  Reason = "matched"
	Ended    Reason = "ended"
	Deadline Reason = "deadline"
)

// Waited is how a waiting has ended.
type Waited struct {
	Reason Reason
	Stream Stream // of the line that matched
	Line   string // which it is: plain text, without its end
	Job    Job
}

// waiter looks for a line in what is written. It is fed under the run's mutex by
// whoever reads the output, so that no line passes unseen however fast it comes.
type waiter struct {
	pattern *regexp.Regexp // nil matches nothing
	only    Stream
	rest    map[Stream][]byte // of each stream, its unfinished line
	found   chan Waited       // has room for one
	done    bool
}

// feed takes in what comes next on a stream.
func (w *waiter) feed(s Stream, p []byte) {
	if w.done || w.pattern == nil || w.only != "" && w.only != s {
		return
	}
	line := w.rest[s]
	for !w.done {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			break
		}
		if len(line) > 0 {
			w.look(s, append(line, p[:end]...))
			line = line[:0]
		} else {
			w.look(s, p[:end])
		}
		p = p[end+1:]
	}
	line = append(line, p...)
	if len(line) > maxPrompt { // what a progress bar has overwritten is no part of it
		if i := bytes.LastIndexByte(line[:len(line)-1], '\r'); i >= 0 {
			line = append(line[:0], line[i+1:]...)
		}
	}
	if over := len(line) - maxLine; over > 0 {
		line = append(line[:0], line[over:]...)
	}
	if len(line) > 0 && len(line) <= maxPrompt {
		w.look(s, line)
	}
	w.rest[s] = line
}

// lost says that bytes are missing before what comes next.
func (w *waiter) lost(s Stream) { w.rest[s] = w.rest[s][:0] }

// finish looks at lines that were too long before they were complete.
func (w *waiter) finish() {
	for _, s := range streams {
		if len(w.rest[s]) > maxPrompt {
			w.look(s, w.rest[s])
		}
	}
}

func (w *waiter) look(s Stream, line []byte) {
	line = bytes.TrimRight(plain(line), "\r")
	if w.done || !w.pattern.Match(line) {
		return
	}
	w.done = true
	w.found <- Waited{Reason: Matched, Stream: s, Line: strings.ToValidUTF8(string(line), "\uFFFD")}
}

// Wait returns when a line matches, the command has ended, or the deadline of ctx
// has come; none of these is an error. ctx that ends otherwise is, and so are a
// command that there is not and a pattern that is none (FieldError).
func (e *Engine) Wait(ctx context.Context, id string, u Until) (Waited, error) {
	q := Query{Stream: u.Stream}
	if _, err := q.check(); err != nil {
		return Waited{}, err
	}
	w := &waiter{only: u.Stream, rest: map[Stream][]byte{}, found: make(chan Waited, 1)}
	if u.Pattern != "" {
		re, err := compile("waitFor", u.Pattern)
		if err != nil {
			return Waited{}, err
		}
		w.pattern = re
	}
	r, err := e.find(id)
	if err != nil {
		return Waited{}, err
	}
	if err := r.join(w, u.After); err != nil {
		return Waited{}, err
	}
	defer r.leave(w)
	var out Waited
	select {
	case out = <-w.found:
	case <-r.done:
		select { // what it said last was said before its end
		case out = <-w.found:
		default:
			out.Reason = Ended
		}
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return Waited{Job: e.look(r)}, context.Cause(ctx)
		}
		out.Reason = Deadline
	}
	out.Job = e.look(r)
	return out, nil
}

// join shows a waiter what was written since after, and then what is written.
func (r *run) join(w *waiter, after Cursor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rings := r.outputs()
	for i, s := range streams {
		at := after.of(s)
		if at > rings[i].total {
			return errForeignCursor
		}
		for _, p := range rings[i].since(at) {
			if p.from != at {
				w.lost(s)
			}
			w.feed(s, p.data)
			at = p.end()
		}
	}
	if r.closed {
		w.finish()
	} else if !w.done && w.pattern != nil {
		r.waiters[w] = struct{}{}
	}
	return nil
}

func (r *run) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiters, w)
}

package job

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxHeld is the longest unfinished line that a filter waits for.
	maxHeld = 64 << 10
	// minRead is the least that a reading may be limited to: more than a character.
	minRead = 16
	// maxPattern is how long a regular expression may be.
	maxPattern = 1000
)

// Cursor is how far somebody has read the streams of a command. The zero Cursor
// is the beginning.
type Cursor struct{ Out, Err int64 }

// String is the cursor as a word that ParseCursor understands.
func (c Cursor) String() string { return fmt.Sprintf("%d.%d", c.Out, c.Err) }

// ParseCursor understands what String makes; empty is the beginning. The error is
// a FieldError.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	var c Cursor
	if n, err := fmt.Sscanf(s, "%d.%d", &c.Out, &c.Err); n != 2 || err != nil || c.String() != s || c.Out < 0 || c.Err < 0 {
		return Cursor{}, wrong("cursor", "%q is none; pass the one of an earlier answer", s)
	}
	return c, nil
}

func (c Cursor) of(s Stream) int64 {
	if s == Stderr {
		return c.Err
	}
	return c.Out
}

func (c *Cursor) set(s Stream, at int64) {
	if s == Stderr {
		c.Err = at
	} else {
		c.Out = at
	}
}

// Query says what to read of a command's output.
type Query struct {
	// After is where to begin.
	After Cursor
	// Stream is the only one to read; empty for both.
	Stream Stream
	// Tail, if not 0, returns only so many last lines of each stream; the rest
	// counts as read.
	Tail int
	// Filter is a regular expression (RE2); only lines that match are returned.
	// While the command runs, its last line is returned once it is complete.
	Filter string
	// Plain drops control sequences and what a line has overwritten.
	Plain bool
	// Max is the most bytes of output to look at in each stream; 0 for all. What
	// comes after them is left for the next reading, with a Tail what comes before
	// is skipped. With a Filter all is looked at, and Max bounds the lines that
	// match: the last ones are returned.
	Max int
}

// Output is what was read.
type Output struct {
	Job   Job
	Parts []Part // of the streams that have something to say
	// Next is where to go on to read only what is new.
	Next Cursor
	// More says that Max has left something that could be read now.
	More bool
}

// Part is the text of one stream: valid UTF-8. Where bytes are missing in the
// middle of it, a line of its own says how many.
type Part struct {
	Stream Stream
	Text   string
	// Dropped is how many bytes after the cursor were not kept, at the beginning
	// and in the middle together.
	Dropped int64
	// Skipped says that Max or Tail has left out earlier lines.
	Skipped bool
}

// compile understands a regular expression of the field's. The error is a
// FieldError.
func compile(field, pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, wrong(field, "has %d bytes, at most %d are accepted", len(pattern), maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, &FieldError{Field: field, Reason: "is no regular expression (RE2): " + err.Error(), Err: err}
	}
	return re, nil
}

func (q *Query) check() (*regexp.Regexp, error) {
	switch {
	case q.Tail < 0:
		return nil, wrong("tailLines", "must not be negative, is %d", q.Tail)
	case q.Stream != "" && !slices.Contains(streams[:], q.Stream):
		return nil, wrong("stream", "must be stdout or stderr, is %q", q.Stream)
	case q.Filter == "":
		return nil, nil
	}
	return compile("filter", q.Filter)
}

// errForeignCursor refuses a cursor that lies beyond the output.
var errForeignCursor = wrong("cursor", "lies beyond the output; it is not of this command")

// Read returns output. The errors are FieldErrors.
func (e *Engine) Read(id string, q Query) (Output, error) {
	filter, err := q.check()
	if err != nil {
		return Output{}, err
	}
	r, err := e.find(id)
	if err != nil {
		return Output{}, err
	}
	job := e.look(r) // before the output: what ends meanwhile is read to its end again
	readings, err := r.readings(q)
	if err != nil {
		return Output{}, err
	}
	out := Output{Job: job, Next: q.After}
	for _, reading := range readings {
		part, next, more := reading.text(q, filter)
		out.Next.set(reading.stream, next)
		out.More = out.More || more
		if part.Text != "" || part.Dropped > 0 {
			out.Parts = append(out.Parts, part)
		}
	}
	return out, nil
}

// readings copies what a query wants to see.
func (r *run) readings(q Query) ([]reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []reading
	rings := r.outputs()
	for i, s := range streams {
		at := q.After.of(s)
		if at > rings[i].total {
			return nil, errForeignCursor
		}
		if q.Stream == "" || q.Stream == s {
			out = append(out, reading{stream: s, from: at, total: rings[i].total, live: !r.closed, pieces: rings[i].since(at)})
		}
	}
	return out, nil
}

// reading is one stream as it was when somebody read it.
type reading struct {
	stream Stream
	from   int64
	total  int64
	live   bool // more may come
	pieces []piece
}

// text turns what was read into a Part. It returns where to go on, and whether
// there is more to read at once.
func (r *reading) text(q Query, filter *regexp.Regexp) (part Part, next int64, more bool) {
	part.Stream = r.stream
	if r.live {
		r.hold(q.Plain, filter != nil)
	}
	next, more = r.total, false
	if n := len(r.pieces); n > 0 {
		next = r.pieces[n-1].end()
	}
	if q.Max > 0 && filter == nil {
		part.Skipped, more = r.limit(max(q.Max, minRead), q.Tail > 0, q.Plain)
		if n := len(r.pieces); n > 0 && more {
			next = r.pieces[n-1].end()
		}
	}
	at := r.from
	var lines [][]byte
	for i, p := range r.pieces {
		lost := p.from - at
		if part.Skipped && i == 0 {
			lost = 0
		}
		data := p.data
		if lost > 0 {
			n := restRune(data)
			data, lost = data[n:], lost+int64(n)
		}
		at = p.end()
		if i+1 < len(r.pieces) {
			n := partRune(data)
			data, at = data[:len(data)-n], at-int64(n)
		}
		if lost > 0 {
			part.Dropped += lost
			lines = append(lines, notKept(lost))
			if i > 0 && len(lines) > 1 {
				lines[len(lines)-2] = withEnd(lines[len(lines)-2])
			}
		}
		lines = append(lines, chosen(data, q.Plain, filter)...)
	}
	if lost := next - at; lost > 0 { // all of it was forgotten
		part.Dropped += lost
		lines = append(lines, notKept(lost))
	}
	if q.Tail > 0 && len(lines) > q.Tail {
		lines = lines[len(lines)-q.Tail:]
		part.Skipped = true
	}
	if filter != nil && q.Max > 0 {
		size := 0
		for i, line := range slices.Backward(lines) {
			if size += len(line); size <= q.Max {
				continue
			}
			part.Skipped = true
			if lines = lines[i+1:]; len(lines) == 0 {
				lines = [][]byte{line[len(line)-q.Max:]}
			}
			break
		}
	}
	part.Text = strings.ToValidUTF8(string(bytes.Join(lines, nil)), string(utf8.RuneError))
	return part, next, more
}

// notKept is the line that stands for missing bytes.
func notKept(n int64) []byte { return fmt.Appendf(nil, "[%d bytes were not kept]\n", n) }

// chosen returns the lines of data that are wanted, with their ends.
func chosen(data []byte, isPlain bool, filter *regexp.Regexp) [][]byte {
	if isPlain {
		data = plain(data)
	}
	var out [][]byte
	for line := range bytes.Lines(data) {
		if filter == nil || filter.Match(bytes.TrimRight(line, "\r\n")) {
			out = append(out, line)
		}
	}
	return out
}

func withEnd(line []byte) []byte {
	if bytes.HasSuffix(line, []byte{'\n'}) {
		return line
	}
	return append(slices.Clip(line), '\n')
}

// hold leaves for later what is not complete yet.
func (r *reading) hold(isPlain, lines bool) {
	n := len(r.pieces)
	if n == 0 {
		return
	}
	last := &r.pieces[n-1]
	keep := len(last.data) - unfinished(last.data, isPlain)
	if lines {
		if end := bytes.LastIndexByte(last.data, '\n') + 1; len(last.data)-end <= maxHeld {
			keep = min(keep, end)
		}
	}
	last.data = last.data[:keep]
}

// limit cuts the reading to limit bytes: the last ones or the first ones, at the
// end of a line if there is one. It reports what it has left out.
func (r *reading) limit(limit int, last, isPlain bool) (before, after bool) {
	if last {
		for i := len(r.pieces) - 1; i >= 0; i-- {
			p := &r.pieces[i]
			if len(p.data) <= limit {
				limit -= len(p.data)
				continue
			}
			cut := len(p.data) - limit
			if end := bytes.IndexByte(p.data[cut:], '\n'); end >= 0 && end+1 < limit {
				cut += end + 1
			}
			cut += restRune(p.data[cut:])
			*p = piece{p.from + int64(cut), p.data[cut:]}
			r.pieces = r.pieces[i:]
			return true, false
		}
		return false, false
	}
	for i := range r.pieces {
		p := &r.pieces[i]
		if len(p.data) <= limit {
			limit -= len(p.data)
			continue
		}
		data := p.data[:limit]
		if end := bytes.LastIndexByte(data, '\n') + 1; end > 0 {
			data = data[:end]
		} else if n := unfinished(data, isPlain); n < len(data) { // some has to be read
			data = data[:len(data)-n]
		}
		p.data = data
		r.pieces = r.pieces[:i+1]
		return false, true
	}
	return false, false
}

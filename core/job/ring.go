package job

import "slices"

// headShare is the part of a ring that keeps how the output began: what a command
// says first (its address, its first error) matters as much as what it said last.
const headShare = 4

// ring keeps the head and the tail of a stream in bounded memory. It grows as it
// is written to. The zero ring keeps nothing; see newRing.
type ring struct {
	total   int64
	head    []byte
	tail    []byte // the last bytes after the head; once it is full, at is its first
	at      int
	maxHead int
	maxTail int
}

func newRing(size int) ring {
	return ring{maxHead: size / headShare, maxTail: size - size/headShare}
}

// write appends p, of which nothing is retained.
func (r *ring) write(p []byte) {
	r.total += int64(len(p))
	if n := min(r.maxHead-len(r.head), len(p)); n > 0 {
		r.head = append(grown(r.head, n, r.maxHead), p[:n]...)
		p = p[n:]
	}
	if len(p) >= r.maxTail {
		p = p[len(p)-r.maxTail:]
		r.tail, r.at = append(grown(r.tail[:0], len(p), r.maxTail), p...), 0
		return
	}
	if n := min(r.maxTail-len(r.tail), len(p)); n > 0 { // not full: at is 0
		r.tail = append(grown(r.tail, n, r.maxTail), p[:n]...)
		p = p[n:]
	}
	n := copy(r.tail[r.at:], p)
	copy(r.tail, p[n:])
	if r.at += len(p); r.at >= r.maxTail {
		r.at -= r.maxTail
	}
}

// Write is write as an io.Writer.
func (r *ring) Write(p []byte) (int, error) {
	r.write(p)
	return len(p), nil
}

// grown returns b with room for n more bytes, never for more than limit.
func grown(b []byte, n, limit int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	return append(make([]byte, 0, min(limit, max(need, 2*cap(b), 512))), b...)
}

// piece is a run of bytes of a stream.
type piece struct {
	from int64
	data []byte
}

func (p piece) end() int64 { return p.from + int64(len(p.data)) }

// since returns copies of what is kept from an offset on: up to two pieces,
// between which bytes are missing.
func (r *ring) since(from int64) []piece {
	var out []piece
	if from < int64(len(r.head)) {
		out = append(out, piece{from, slices.Clone(r.head[from:])})
	}
	tail := piece{r.total - int64(len(r.tail)), nil}
	if skip := from - tail.from; skip < int64(len(r.tail)) && len(r.tail) > 0 {
		tail.data = slices.Concat(r.tail[r.at:], r.tail[:r.at])
		if skip > 0 {
			tail = piece{from, tail.data[skip:]}
		}
		if n := len(out); n > 0 && out[n-1].end() == tail.from {
			out[n-1].data = append(out[n-1].data, tail.data...)
		} else {
			out = append(out, tail)
		}
	}
	return out
}

func (r *ring) dropped() int64 { return r.total - int64(len(r.head)) - int64(len(r.tail)) }

// kept is the memory that the ring takes.
func (r *ring) kept() int64 { return int64(cap(r.head) + cap(r.tail)) }

// settle gives back what will not be written to. Of a full ring that is nothing.
func (r *ring) settle() {
	if cap(r.head) > len(r.head) {
		r.head = slices.Clip(slices.Clone(r.head))
	}
	if cap(r.tail) > len(r.tail) { // not full: at is 0
		r.tail = slices.Clip(slices.Clone(r.tail))
	}
}

// forget drops all that is kept.
func (r *ring) forget() { r.head, r.tail, r.at = nil, nil, 0 }

package rpc

import (
	"io"
	"strconv"
	"sync"
)

// writer is the outgoing queue and the goroutine that empties it, the only one
// that touches the output. The queue has no bound, because a bound would make
// handlers and the reader wait for the peer; its size is counted instead.
//
// Frames are queued as bytes behind one another. Everything that has gathered
// while a Write was under way leaves in the next one.
type writer struct {
	out    io.Writer
	done   chan struct{} // closed when the goroutine has ended
	failed chan error    // gets the error of a Write, once

	mu      sync.Mutex // never held while writing
	wake    sync.Cond
	queue   []byte
	frames  int
	closed  bool
	broken  bool
	writes  uint64
	written uint64
}

func newWriter(out io.Writer) *writer {
	w := &writer{out: out, done: make(chan struct{}), failed: make(chan error, 1)}
	w.wake.L = &w.mu
	return w
}

// push queues one frame made of the parts. It never blocks on the peer and
// copies the parts. It returns ErrClosed when nothing can be sent any more.
func (w *writer) push(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.broken {
		return ErrClosed
	}
	w.queue = append(w.queue, "Content-Length: "...)
	w.queue = strconv.AppendInt(w.queue, int64(n), 10)
	w.queue = append(w.queue, "\r\n\r\n"...)
	for _, p := range parts {
		w.queue = append(w.queue, p...)
	}
	w.frames++
	w.wake.Signal()
	return nil
}

// run writes until close was called and the queue is empty, or a Write fails.
func (w *writer) run() {
	defer close(w.done)
	var batch []byte
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.queue) == 0 {
			if w.closed {
				return
			}
			w.wake.Wait()
		}
		frames := w.frames
		batch, w.queue, w.frames = w.queue, batch[:0], 0
		w.writes++
		w.mu.Unlock()
		_, err := w.out.Write(batch)
		if cap(batch) > keepQueue {
			batch = nil
		}
		w.mu.Lock()
		if err != nil {
			w.broken = true
			w.queue, w.frames = nil, 0
			w.failed <- &StreamError{Op: "write", Err: err}
			return
		}
		w.written += uint64(frames)
	}
}

// close lets the goroutine end once it has written what is queued.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.wake.Signal()
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"
)

// Options is what a connection is made of.
type Options struct {
	// In and Out carry the frames. The connection owns them: at its end it
	// closes those that are io.Closers.
	In  io.Reader
	Out io.Writer
	// Router serves the peer's calls.
	Router *Router
	// Log gets method names, ids, codes and causes, never params or results.
	Log zerolog.Logger
	// MapError turns errors of the domain into errors for the wire, nil when it
	// does not know one. It sees what has no *Error of its own in its chain.
	MapError func(error) *Error
	// PeerGone, if set, is called once when the input has ended or nothing can be
	// written any more, before the calls that wait for the peer fail.
	PeerGone func()
	// MaxConcurrent is how many handlers may run at a time; 64 when zero.
	// Requests beyond it wait in arrival order.
	MaxConcurrent int
	// FlushTimeout is how long the end waits for a peer to read what is queued
	// for it; 300 ms when zero.
	FlushTimeout time.Duration
	// MaxFrame and MaxDrain are the largest body that is read and the largest
	// that is skipped, in bytes; 32 MiB and 256 MiB when zero. They are for
	// tests, and say nothing about what is sent.
	MaxFrame, MaxDrain int64
}

// Conn is one connection. Its methods, and Invoke and Notify, may be called
// from any goroutine.
type Conn struct {
	log      zerolog.Logger
	flush    time.Duration
	in       io.Reader
	stream   *stream
	out      *writer
	calls    *calls
	requests *dispatcher

	serve     sync.Once
	started   chan struct{} // closed once lib is set
	lib       *jsonrpc2.Conn
	closing   chan struct{}
	closeOnce sync.Once
	peerGone  func()
}

// NewConn makes a connection. It reads and writes nothing before Serve.
func NewConn(o Options) *Conn {
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 64
	}
	if o.FlushTimeout <= 0 {
		o.FlushTimeout = 300 * time.Millisecond
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = maxFrame
	}
	if o.MaxDrain <= 0 {
		o.MaxDrain = maxDrain
	}
	frames := newFrameReader(o.In, o.MaxFrame, max(o.MaxFrame, o.MaxDrain))
	c := &Conn{
		log:      o.Log,
		flush:    o.FlushTimeout,
		in:       o.In,
		out:      newWriter(o.Out),
		calls:    &calls{waiting: map[uint64]chan answer{}},
		started:  make(chan struct{}),
		closing:  make(chan struct{}),
		peerGone: o.PeerGone,
	}
	c.stream = &stream{
		frames:  frames,
		out:     c.out,
		calls:   c.calls,
		router:  o.Router,
		log:     o.Log,
		shut:    c.closeStreams,
		ended:   make(chan error, 1),
		release: make(chan struct{}),
	}
	c.requests = &dispatcher{
		router:     o.Router,
		log:        o.Log,
		mapError:   o.MapError,
		free:       frames.free,
		requests:   map[string]*request{},
		concurrent: lane{slots: o.MaxConcurrent},
		ordered:    lane{slots: 1},
	}
	return c
}

// Serve runs the connection until the input ends, ctx ends, Close is called,
// or input or output fail. It may be called once.
//
// It returns nil when the input ended, inside a frame or between two; a
// *FrameError when a frame was unreadable; a *StreamError when a read or write
// failed; context.Cause(ctx) when ctx ended; ErrClosed after Close.
//
// Before it returns, calls to the peer that still wait have failed, the
// contexts of all handlers have been cancelled, and all handlers have returned:
// one that ignores its context holds Serve up. What they answered is written if
// the peer reads it within FlushTimeout. The one goroutine that can outlive
// Serve is the reader, blocked in a Read that closing the input does not
// interrupt, as on a pipe of the operating system; likewise the writer if the
// peer reads nothing. Neither touches anything but its stream any more, and the
// process is about to end.
func (c *Conn) Serve(ctx context.Context) error {
	first := false
	c.serve.Do(func() { first = true })
	if !first {
		panic("rpc: Serve called twice")
	}
	c.stream.router.sealed.Store(true) // handlers may need the connection, so not before
	base, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.requests.base, c.requests.sending = base, context.WithoutCancel(ctx)

	go c.out.run()
	// The library's own context must not end with ctx, or it would close before
	// the handlers have answered.
	c.lib = jsonrpc2.NewConn(context.WithoutCancel(ctx), c.stream, handler{c},
		jsonrpc2.OnRecv(c.stream.received),
		jsonrpc2.OnSend(c.stream.sending),
		jsonrpc2.SetLogger(libLogger{c.log}))
	close(c.started)

	var err error
	gone := false
	select {
	case err = <-c.stream.ended:
		gone = true
	case err = <-c.out.failed:
		gone = true
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-c.closing:
		err = ErrClosed
	}

	if gone && c.peerGone != nil {
		c.peerGone()
	}
	c.requests.stop()
	cancel(ErrClosed)
	reason := ErrClosed
	if err != nil && !errors.Is(err, ErrClosed) {
		reason = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	c.calls.close(reason)
	c.requests.handlers.Wait()

	c.out.close()
	if !c.written(c.flush) {
		c.log.Warn().Int("bytes", c.Stats().OutBytes).Msg("the peer did not read what was sent to it")
	}
	// Closes the streams, which ends the reader and the writer if anything can.
	if err := c.lib.Close(); err != nil && !errors.Is(err, jsonrpc2.ErrClosed) {
		c.log.Debug().Err(err).Msg("closing the connection")
	}
	c.written(c.flush / 3)
	return err
}

// written waits for the end of the writer.
func (c *Conn) written(limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.out.done:
		return true
	case <-t.C:
		return false
	}
}

// Close ends the connection. It does not wait; Serve does.
func (c *Conn) Close() { c.closeOnce.Do(func() { close(c.closing) }) }

// Stats counts what the connection holds at the moment.
type Stats struct {
	// Running handlers hold a slot; Yielded ones have given it back.
	Running, Yielded int
	// Waiting requests wait for a slot, Ordered ones for their turn.
	Waiting, Ordered int
	// Calls to the peer wait for an answer.
	Calls int
	// OutFrames and OutBytes are queued for the peer.
	OutFrames, OutBytes int
	// Writes is the number of writes so far, Written that of the frames in them.
	Writes, Written uint64
}

// Stats returns the counts of the moment.
func (c *Conn) Stats() Stats {
	var s Stats
	d := c.requests
	d.mu.Lock()
	s.Running = d.concurrent.running + d.ordered.running
	s.Yielded = d.yielded
	s.Waiting, s.Ordered = d.concurrent.waiting.Len(), d.ordered.waiting.Len()
	d.mu.Unlock()
	s.Calls = c.calls.len()
	c.out.mu.Lock()
	s.OutFrames, s.OutBytes = c.out.frames, len(c.out.queue)
	s.Writes, s.Written = c.out.writes, c.out.written
	c.out.mu.Unlock()
	return s
}

// library returns the library's connection once Serve has made it.
func (c *Conn) library(ctx context.Context) (*jsonrpc2.Conn, error) {
	select {
	case <-c.started:
		return c.lib, nil
	default:
	}
	select {
	case <-c.started:
		return c.lib, nil
	case <-c.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ended(ctx, "wait for the connection")
	}
}

// closeStreams closes the output first: a peer that waits for the end learns it
// even when the input cannot be closed.
func (c *Conn) closeStreams() {
	for _, s := range []any{c.out.out, c.in} {
		if cl, ok := s.(io.Closer); ok {
			if err := cl.Close(); err != nil {
				c.log.Debug().Err(err).Msg("closing a stream")
			}
		}
	}
}

// handler receives the library's requests, on its read goroutine.
type handler struct{ c *Conn }

// Handle implements jsonrpc2.Handler.
func (h handler) Handle(_ context.Context, lib *jsonrpc2.Conn, req *jsonrpc2.Request) {
	in := h.c.stream.now
	h.c.stream.now = inbound{}
	h.c.requests.dispatch(lib, req, in)
}

// libLogger takes the library's few lines of text.
type libLogger struct{ log zerolog.Logger }

// Printf implements jsonrpc2.Logger.
func (l libLogger) Printf(format string, args ...any) { l.log.Debug().Msgf(format, args...) }

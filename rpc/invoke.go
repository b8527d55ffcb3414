package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// calls pairs the answers of the peer with the calls that wait for them.
type calls struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
	closed  error
}

// answer is a result or an error, or neither when the connection ended.
type answer struct {
	result []byte
	err    *Error
	body   *buffer // holds result
	closed error
}

// add makes an id and the place where its answer will come.
func (c *calls) add() (uint64, chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return 0, nil, c.closed
	}
	c.last++
	// One place, so that deliver never blocks the reader.
	ch := make(chan answer, 1)
	c.waiting[c.last] = ch
	return c.last, ch, nil
}

// deliver reports whether a call waits for the answer, which then owns it.
func (c *calls) deliver(id uint64, a answer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.waiting[id]
	if ok {
		delete(c.waiting, id)
		ch <- a
	}
	return ok
}

// retire forgets a call. It reports false when its answer is there already.
func (c *calls) retire(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.waiting[id]
	delete(c.waiting, id)
	return ok
}

// close fails all calls, those to come as well.
func (c *calls) close(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = reason
	for id, ch := range c.waiting {
		delete(c.waiting, id)
		ch <- answer{closed: reason}
	}
}

func (c *calls) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Invoke calls a method of the peer and waits for its answer. It fails with an
// *Error when the peer answered with one, with an error that wraps ErrClosed
// when the connection has ended, and with one that wraps both ctx.Err and
// context.Cause as soon as ctx ends; the peer is then told to cancel. Inside a
// handler the wait does not count against the cap of running handlers.
//
// Before Serve is called it waits for it.
func Invoke[P, R any](ctx context.Context, c *Conn, m wire.Call[P, R], p P) (R, error) {
	var r R
	err := c.call(ctx, m.Name, p, &r)
	return r, err
}

// Notify sends a notification to the peer. It returns once the message is
// queued; its only errors are those of encoding p and of a connection that has
// ended or, before Serve, of ctx.
func Notify[P any](ctx context.Context, c *Conn, m wire.Notice[P], p P) error {
	lib, err := c.library(ctx)
	if err != nil {
		return err
	}
	return sendError(m.Name, lib.Notify(ctx, m.Name, p))
}

func (c *Conn) call(ctx context.Context, method string, p, result any) error {
	lib, err := c.library(ctx)
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // the peer need not begin what nobody waits for
		return ended(ctx, method)
	}
	id, ch, err := c.calls.add()
	if err != nil {
		return err
	}
	// To the library the call is a notification, so that it keeps no entry of
	// its own, which only an answer could remove; WriteObject adds the id.
	if err := lib.Notify(ctx, method, p, jsonrpc2.PickID(jsonrpc2.ID{Num: id})); err != nil {
		c.calls.retire(id)
		return sendError(method, err)
	}
	defer park(ctx)()
	var a answer
	select {
	case a = <-ch:
	case <-ctx.Done():
		if c.calls.retire(id) {
			// Queued like any message: the caller does not wait for the peer.
			cancel := wire.CancelParams{ID: fmt.Appendf(nil, "%d", id)}
			if err := lib.Notify(ctx, wire.Cancel.Name, cancel); err != nil {
				c.log.Debug().Err(err).Msg("a cancel was not sent")
			}
			return ended(ctx, method)
		}
		a = <-ch
	}
	defer c.stream.frames.free(a.body)
	switch {
	case a.closed != nil:
		return fmt.Errorf("rpc: %s: %w", method, a.closed)
	case a.err != nil:
		return a.err
	case result == nil: // the caller wants to know that it worked, no more
		return nil
	}
	if err := json.Unmarshal(a.result, result); err != nil {
		return fmt.Errorf("rpc: result of %s: %w", method, err)
	}
	return nil
}

// ended is the error of a call whose ctx is over.
func ended(ctx context.Context, what string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("rpc: %s: %w", what, cause)
	}
	return fmt.Errorf("rpc: %s: %w (%w)", what, cause, err)
}

// sendError names the method and puts our sentinel in place of the library's.
func sendError(method string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, jsonrpc2.ErrClosed) {
		err = ErrClosed
	}
	return fmt.Errorf("rpc: send %s: %w", method, err)
}

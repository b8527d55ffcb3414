package rpc

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// PeerGone is called when nothing will come from the peer any more, or nothing
// reaches it; an end that this side chose says nothing about the peer.
func TestPeerGone(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(p *peer)
		want int32
	}{
		"end of input":            {func(p *peer) { _ = p.in.Close() }, 1},
		"end of input in a frame": {func(p *peer) { p.raw("Content-Length: 5\r\n\r\n{"); _ = p.in.Close() }, 1},
		"unreadable input":        {func(p *peer) { p.raw("panic: oh\r\n\r\n") }, 1},
		"broken input":            {func(p *peer) { _ = p.in.(*io.PipeWriter).CloseWithError(errBroken) }, 1},
		"Close":                   {func(p *peer) { p.conn.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Int32
			p := startPeer(t, testRouter(), func(o *Options) { o.PeerGone = func() { gone.Add(1) } }).initialize()
			c.end(p)
			_ = p.ended()
			if n := gone.Load(); n != c.want {
				t.Errorf("called %d times by the end of Serve, want %d", n, c.want)
			}
			p.conn.Close()
			_ = p.in.Close()
			if n := gone.Load(); n != c.want {
				t.Errorf("called %d times in the end, want %d", n, c.want)
			}
		})
	}
	t.Run("output that breaks", func(t *testing.T) {
		var gone atomic.Int32
		p := startPeer(t, testRouter(), func(o *Options) {
			_ = o.Out.(io.Closer).Close()
			o.Out, o.PeerGone = &errWriter{}, func() { gone.Add(1) }
		})
		p.request("1", "ping", "{}")
		if err := p.ended(); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		if n := gone.Load(); n != 1 {
			t.Errorf("called %d times", n)
		}
	})
	t.Run("context", func(t *testing.T) {
		var gone atomic.Int32
		in, feed := io.Pipe()
		defer func() { _ = feed.Close() }()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBroken)
		c := NewConn(Options{In: in, Out: io.Discard, Router: testRouter(), PeerGone: func() { gone.Add(1) }})
		if err := c.Serve(ctx); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		if n := gone.Load(); n != 0 {
			t.Errorf("called %d times", n)
		}
	})
}

// Whoever waits for the peer must find, when its call fails, that the peer is
// known to be gone: else it would take the failure for the peer's answer.
func TestPeerGoneComesBeforeCallsFail(t *testing.T) {
	var gone atomic.Bool
	known := make(chan bool, 2)
	r := testRouter()
	var conn atomic.Pointer[Conn]
	Handle(r, callOf[wire.Empty, wire.Empty]("test/ask", early), func(ctx context.Context, _ wire.Empty) (wire.Empty, error) {
		_, err := Invoke(ctx, conn.Load(), wire.HostToast, wire.ToastParams{})
		known <- err != nil && gone.Load()
		return wire.Empty{}, nil
	})
	Handle(r, callOf[wire.Empty, wire.Empty]("test/wait", early), func(ctx context.Context, _ wire.Empty) (wire.Empty, error) {
		<-ctx.Done()
		known <- gone.Load()
		return wire.Empty{}, nil
	})
	p := startPeer(t, r, func(o *Options) { o.PeerGone = func() { gone.Store(true) } })
	conn.Store(p.conn)
	p.request("1", "test/ask", "{}")
	p.request("2", "test/wait", "{}")
	p.next() // the call to the host is on its way
	_ = p.in.Close()
	for range 2 {
		if !receive(t, known) {
			t.Error("a handler ended before PeerGone was called")
		}
	}
	_ = p.ended()
}

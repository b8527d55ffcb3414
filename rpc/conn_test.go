package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

var errBroken = errors.New("broken")

// errReader fails at once; errWriter takes ok writes first.
type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

type errWriter struct{ ok int }

func (w *errWriter) Write(b []byte) (int, error) {
	if w.ok--; w.ok < 0 {
		return 0, errBroken
	}
	return len(b), nil
}

func TestServeReturns(t *testing.T) {
	t.Run("end of input", func(t *testing.T) {
		p := startPeer(t, testRouter()).initialize()
		_ = p.in.Close()
		if err := p.ended(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Close", func(t *testing.T) {
		p := startPeer(t, testRouter()).initialize()
		p.conn.Close()
		p.conn.Close()
		if err := p.ended(); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("Close before Serve", func(t *testing.T) {
		c := NewConn(Options{In: bytes.NewReader(nil), Out: io.Discard, Router: testRouter()})
		c.Close()
		if _, err := Invoke(t.Context(), c, wire.HostToast, wire.ToastParams{}); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("context", func(t *testing.T) {
		inR, inW := io.Pipe()
		defer func() { _ = inW.Close() }()
		ctx, cancel := context.WithCancelCause(t.Context())
		c := NewConn(Options{In: inR, Out: io.Discard, Router: testRouter()})
		cancel(errBroken)
		if err := c.Serve(ctx); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	})
	t.Run("read error", func(t *testing.T) {
		err := NewConn(Options{In: errReader{}, Out: io.Discard, Router: testRouter()}).Serve(t.Context())
		if se, ok := errors.AsType[*StreamError](err); !ok || se.Op != "read" || !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	})
	t.Run("write error", func(t *testing.T) {
		r := testRouter()
		stopped := make(chan struct{})
		Handle(r, callOf[wire.Empty, wire.Empty]("test/block", early), func(ctx context.Context, _ wire.Empty) (wire.Empty, error) {
			<-ctx.Done()
			close(stopped)
			return wire.Empty{}, nil
		})
		p := startPeer(t, r, func(o *Options) {
			_ = o.Out.(io.Closer).Close()
			o.Out = &errWriter{}
		})
		p.request("1", "test/block", "{}")
		p.request("2", "ping", "{}")
		err := p.ended()
		if se, ok := errors.AsType[*StreamError](err); !ok || se.Op != "write" || !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		select {
		case <-stopped:
		default:
			t.Fatal("Serve did not wait for a handler")
		}
	})
}

// An answer that is under way when the input ends is still written.
func TestAnswersBeforeTheEndAreWritten(t *testing.T) {
	for range 50 {
		var out bytes.Buffer
		in := framed(`{"jsonrpc":"2.0","id":1,"method":"ping"}`) + framed("bad") + "Content-Length: 5\r\n\r\n"
		if err := NewConn(Options{In: bytes.NewReader([]byte(in)), Out: &out, Router: testRouter()}).Serve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(out.Bytes(), []byte("Content-Length")); got != 2 {
			t.Fatalf("%d answers: %s", got, out.Bytes())
		}
	}
}

// gate is an output that lets one Write through at a time.
type gate struct {
	pass chan struct{}
	got  chan []byte
}

func (g *gate) Write(b []byte) (int, error) {
	g.got <- bytes.Clone(b)
	<-g.pass
	return len(b), nil
}

func TestWriterCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{pass: make(chan struct{}), got: make(chan []byte, 100)}
		inR, inW := io.Pipe()
		c := NewConn(Options{In: inR, Out: g, Router: testRouter(), Log: zerolog.Nop()})
		done := make(chan error)
		go func() { done <- c.Serve(t.Context()) }()
		const n = 500
		for i := range n {
			_, _ = io.WriteString(inW, framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i)))
			if i == 0 {
				synctest.Wait() // the first answer is being written
			}
		}
		synctest.Wait()
		if s := c.Stats(); s.Writes != 1 || s.OutFrames != n-1 || s.OutBytes == 0 {
			t.Fatalf("stats %+v", s)
		}
		g.pass <- struct{}{}
		g.pass <- struct{}{}
		synctest.Wait()
		if s := c.Stats(); s.Writes != 2 || s.Written != n || s.OutBytes != 0 {
			t.Fatalf("stats %+v", s)
		}
		if got := bytes.Count(<-g.got, []byte("Content-Length")) + bytes.Count(<-g.got, []byte("Content-Length")); got != n {
			t.Fatalf("%d frames in two writes", got)
		}
		_ = inW.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// A peer that reads nothing blocks neither the reader nor the handlers nor, for
// longer than the flush timeout, the end.
func TestPeerThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		defer func() { _ = outR.Close() }()
		var handled sync.WaitGroup
		r := testRouter()
		Handle(r, callOf[wire.PingParams, wire.PingParams]("test/echo", early), func(_ context.Context, p wire.PingParams) (wire.PingParams, error) {
			handled.Done()
			return p, nil
		})
		c := NewConn(Options{In: inR, Out: outW, Router: r, Log: zerolog.Nop()})
		done := make(chan error)
		go func() { done <- c.Serve(t.Context()) }()
		const n = 1000
		handled.Add(n)
		for i := range n {
			_, _ = io.WriteString(inW, framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"test/echo"}`, i)))
		}
		handled.Wait()
		if err := Notify(t.Context(), c, noticeOf[wire.Empty]("x"), wire.Empty{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := Invoke(ctx, c, wire.HostToast, wire.ToastParams{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		start := time.Now()
		_ = inW.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 300*time.Millisecond {
			t.Fatalf("the end took %v", d)
		}
	})
}

// Both sides flood each other with calls whose handlers call back, over a cap
// of 2: the slots of handlers that wait for the peer must not be missing.
func TestNoDeadlockUnderMutualCalls(t *testing.T) {
	type depth struct {
		N int `json:"n"`
	}
	down := callOf[depth, depth]("test/down")
	up := callOf[depth, depth]("test/up", toHost)
	sidecar, host := testRouter(), NewHostRouter()
	var a, b *Conn
	wired := make(chan struct{})
	Handle(sidecar, down, func(ctx context.Context, d depth) (depth, error) {
		<-wired
		if d.N == 0 {
			return d, nil
		}
		return Invoke(ctx, a, up, depth{d.N - 1})
	})
	Handle(host, up, func(ctx context.Context, d depth) (depth, error) {
		<-wired
		if d.N == 0 {
			return d, nil
		}
		return Invoke(ctx, b, down, depth{d.N - 1})
	})
	a, b = pair(t, sidecar, host, func(o *Options) { o.MaxConcurrent = 2 })
	close(wired)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 4 {
				if _, err := Invoke(ctx, b, down, depth{5}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 4 {
				if _, err := Invoke(ctx, a, up, depth{5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range []*Conn{a, b} {
		// A slot is free a moment after the answer was sent.
		for s := c.Stats(); s.Calls != 0 || s.Waiting != 0 || s.Running != 0; s = c.Stats() {
			if ctx.Err() != nil {
				t.Fatalf("left behind: %+v", s)
			}
			runtime.Gosched()
		}
	}
}

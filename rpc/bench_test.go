package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// The benchmarks run the same calls over the same pipes of the operating
// system, with this package on both ends and with the library as it comes.

type echo func(ctx context.Context, p wire.PingParams) error

// osPipes returns the four ends of two pipes.
func osPipes(b *testing.B) (aIn, aOut, bIn, bOut *os.File) {
	b.Helper()
	var err error
	if aIn, bOut, err = os.Pipe(); err != nil {
		b.Fatal(err)
	}
	if bIn, aOut, err = os.Pipe(); err != nil {
		b.Fatal(err)
	}
	return aIn, aOut, bIn, bOut
}

func ourEcho(b *testing.B) echo {
	aIn, aOut, bIn, bOut := osPipes(b)
	sidecar := NewConn(Options{In: aIn, Out: aOut, Router: testRouter(), Log: zerolog.Nop()})
	host := NewConn(Options{In: bIn, Out: bOut, Router: NewHostRouter(), Log: zerolog.Nop()})
	done := make(chan struct{}, 2)
	for _, c := range []*Conn{sidecar, host} {
		go func() {
			_ = c.Serve(context.WithoutCancel(b.Context()))
			done <- struct{}{}
		}()
	}
	b.Cleanup(func() {
		host.Close()
		<-done
		<-done
	})
	if _, err := Invoke(b.Context(), host, wire.Initialize, wire.InitializeParams{}); err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, p wire.PingParams) error {
		_, err := Invoke(ctx, host, wire.Ping, p)
		return err
	}
}

type duplex struct {
	io.Reader
	io.WriteCloser
	in io.Closer
}

func (d duplex) Close() error {
	_ = d.in.Close()
	return d.WriteCloser.Close()
}

type plainPing struct{}

func (plainPing) Handle(ctx context.Context, c *jsonrpc2.Conn, req *jsonrpc2.Request) {
	var p wire.PingParams
	if req.Params == nil || json.Unmarshal(*req.Params, &p) != nil {
		panic("bad params")
	}
	if err := c.Reply(ctx, req.ID, p); err != nil {
		panic(err)
	}
}

func plainEcho(b *testing.B) echo {
	aIn, aOut, bIn, bOut := osPipes(b)
	open := func(in, out *os.File) *jsonrpc2.Conn {
		s := jsonrpc2.NewBufferedStream(duplex{in, out, in}, jsonrpc2.VSCodeObjectCodec{})
		c := jsonrpc2.NewConn(context.WithoutCancel(b.Context()), s, jsonrpc2.AsyncHandler(plainPing{}), jsonrpc2.SetLogger(libLogger{zerolog.Nop()}))
		b.Cleanup(func() { _ = c.Close() })
		return c
	}
	open(aIn, aOut)
	host := open(bIn, bOut)
	return func(ctx context.Context, p wire.PingParams) error {
		var res wire.PingParams
		return host.Call(ctx, "ping", p, &res)
	}
}

func both(b *testing.B, run func(b *testing.B, call echo)) {
	b.Run("ours", func(b *testing.B) { run(b, ourEcho(b)) })
	b.Run("plain", func(b *testing.B) { run(b, plainEcho(b)) })
}

// payload is about n bytes of what tools carry: text with code in it.
func payload(n int) wire.PingParams {
	line := `if a < b && c != nil { return fmt.Errorf(\"x: %w\", err) }\n`
	text := strings.Repeat(line, max(1, n/len(line)))
	return wire.PingParams{Payload: json.RawMessage(`{"output":"` + text + `","list":[1,2,3],"meta":{"a":true}}`)}
}

// BenchmarkEcho is the round trip of one call at a time.
func BenchmarkEcho(b *testing.B) {
	both(b, func(b *testing.B, call echo) {
		p := payload(60)
		b.ReportAllocs()
		for b.Loop() {
			if err := call(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkInFlight64 keeps 64 calls under way.
func BenchmarkInFlight64(b *testing.B) {
	both(b, func(b *testing.B, call echo) {
		p := payload(60)
		b.ReportAllocs()
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := call(b.Context(), p); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkThroughput moves large payloads, there and back.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			both(b, func(b *testing.B, call echo) {
				p := payload(size)
				b.SetBytes(int64(2 * len(p.Payload)))
				b.ReportAllocs()
				for b.Loop() {
					if err := call(b.Context(), p); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

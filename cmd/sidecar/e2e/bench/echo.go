package main

import (
	"context"
	"encoding/json"
	"io"
	"log"

	"github.com/sourcegraph/jsonrpc2"
)

// echoEnv makes this program a plain echo server: the library as it comes,
// nothing of ours, which is what the rows about calls are compared with.
const echoEnv = "SIDECAR_BENCH_ECHO"

// plainEcho answers `ping` with its parameters until its input ends.
func plainEcho(in io.ReadCloser, out io.WriteCloser) int {
	stream := jsonrpc2.NewBufferedStream(stdio{in, out}, jsonrpc2.VSCodeObjectCodec{})
	handler := jsonrpc2.AsyncHandler(jsonrpc2.HandlerWithError(func(_ context.Context, _ *jsonrpc2.Conn, req *jsonrpc2.Request) (any, error) {
		var p struct {
			Payload json.RawMessage `json:"payload"`
		}
		if req.Params == nil {
			return p, nil
		}
		return p, json.Unmarshal(*req.Params, &p)
	}))
	conn := jsonrpc2.NewConn(context.Background(), stream, handler, jsonrpc2.SetLogger(log.New(io.Discard, "", 0)))
	<-conn.DisconnectNotify()
	return 0
}

type stdio struct {
	io.ReadCloser
	out io.WriteCloser
}

func (s stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s stdio) Close() error {
	_ = s.out.Close()
	return s.ReadCloser.Close()
}

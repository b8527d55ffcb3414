package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long a test waits for what must come.
const limit = 10 * time.Second

func callOf[P, R any](name string, change ...func(*wire.Method)) wire.Call[P, R] {
	m := wire.Method{Name: name}
	for _, f := range change {
		f(&m)
	}
	return wire.Call[P, R]{Method: m}
}

func noticeOf[P any](name string, change ...func(*wire.Method)) wire.Notice[P] {
	m := wire.Method{Name: name, Notification: true}
	for _, f := range change {
		f(&m)
	}
	return wire.Notice[P]{Method: m}
}

func ordered(m *wire.Method) { m.Ordered = true }
func toHost(m *wire.Method)  { m.ToHost = true }
func early(m *wire.Method)   { m.Early = true }

// testRouter serves initialize and ping.
func testRouter() *Router {
	r := NewRouter()
	Handle(r, wire.Initialize, func(_ context.Context, p wire.InitializeParams) (wire.InitializeResult, error) {
		if p.Version == "wrong" {
			return wire.InitializeResult{}, Refused(wire.KindVersionMismatch, "no")
		}
		return wire.InitializeResult{Version: wire.Version}, nil
	})
	Handle(r, wire.Ping, func(_ context.Context, p wire.PingParams) (wire.PingParams, error) { return p, nil })
	return r
}

// message is any message as the raw peer sees it.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int            `json:"code"`
		Message string         `json:"message"`
		Data    wire.ErrorData `json:"data"`
	} `json:"error"`
}

func (m message) String() string {
	if m.Error != nil {
		return fmt.Sprintf("id %s: error %d %s field %q: %s", m.ID, m.Error.Code, m.Error.Data.Kind, m.Error.Data.Field, m.Error.Message)
	}
	return fmt.Sprintf("id %s method %q params %s result %s", m.ID, m.Method, m.Params, m.Result)
}

// peer speaks to a Conn in bytes.
type peer struct {
	t    testing.TB
	conn *Conn
	in   io.WriteCloser // the conn's input
	got  chan message   // closed at the end of the conn's output
	done chan error     // what Serve returned
}

// startPeer serves r with a raw peer that reads everything. The connection ends
// with the test.
func startPeer(t testing.TB, r *Router, change ...func(*Options)) *peer {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	o := Options{In: inR, Out: outW, Router: r, Log: zerolog.Nop()}
	for _, f := range change {
		f(&o)
	}
	p := &peer{t: t, conn: NewConn(o), in: inW, got: make(chan message, 1<<16), done: make(chan error, 1)}
	go func() { p.done <- p.conn.Serve(t.Context()) }()
	go func() {
		defer close(p.got)
		br := bufio.NewReader(outR)
		for {
			body, err := readFrame(br)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("the output is not framed: %v", err)
				}
				return
			}
			var m message
			if err := json.Unmarshal(body, &m); err != nil {
				t.Errorf("the output %q is no message: %v", body, err)
			}
			p.got <- m
		}
	}()
	t.Cleanup(func() {
		p.conn.Close()
		_ = inW.Close()
		for range p.got {
		}
	})
	return p
}

func readFrame(br *bufio.Reader) ([]byte, error) {
	h, err := textproto.NewReader(br).ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return nil, err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(br, body)
	return body, err
}

func framed(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

// raw sends bytes. A conn that has closed its input takes no more of them.
func (p *peer) raw(s string) { _, _ = io.WriteString(p.in, s) }

// send sends a framed body made by format.
func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	p.raw(framed(fmt.Sprintf(format, args...)))
}

func (p *peer) request(id, method, params string) {
	p.t.Helper()
	p.send(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params)
}

func (p *peer) next() message {
	p.t.Helper()
	select {
	case m, ok := <-p.got:
		if !ok {
			p.t.Fatal("the connection has ended")
		}
		return m
	case <-time.After(limit):
		p.t.Fatal("no answer")
	}
	panic("unreachable")
}

// ended waits for the end of Serve.
func (p *peer) ended() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(limit):
		p.t.Fatal("Serve did not return")
	}
	panic("unreachable")
}

func (p *peer) initialize() *peer {
	p.t.Helper()
	p.request(`"init"`, "initialize", "{}")
	if m := p.next(); m.Error != nil {
		p.t.Fatalf("initialize: %v", m)
	}
	return p
}

// alive checks that a ping is answered, and by nothing else.
func (p *peer) alive() {
	p.t.Helper()
	p.request(`"alive"`, "ping", `{"payload":[1, 2]}`)
	if m := p.next(); string(m.ID) != `"alive"` || m.Error != nil {
		p.t.Fatalf("got %v instead of the answer to a ping", m)
	}
}

func (p *peer) wantError(id string, code int, kind wire.Kind) message {
	p.t.Helper()
	m := p.next()
	if string(m.ID) != id || m.Error == nil || m.Error.Code != code || m.Error.Data.Kind != kind {
		p.t.Fatalf("got %v, want id %s: error %d %s", m, id, code, kind)
	}
	if m.Error.Message == "" {
		p.t.Fatalf("%v has no sentence", m)
	}
	return m
}

// pair connects two Conns, the sidecar's first, and initializes it.
func pair(t testing.TB, sidecar, host *Router, change ...func(*Options)) (a, b *Conn) {
	t.Helper()
	abR, abW := io.Pipe()
	baR, baW := io.Pipe()
	oa := Options{In: baR, Out: abW, Router: sidecar, Log: zerolog.Nop()}
	ob := Options{In: abR, Out: baW, Router: host, Log: zerolog.Nop()}
	for _, f := range change {
		f(&oa)
		f(&ob)
	}
	a, b = NewConn(oa), NewConn(ob)
	done := make(chan error, 2)
	for _, c := range []*Conn{a, b} {
		go func() { done <- c.Serve(context.WithoutCancel(t.Context())) }()
	}
	t.Cleanup(func() {
		b.Close()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	if _, err := Invoke(t.Context(), b, wire.Initialize, wire.InitializeParams{}); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

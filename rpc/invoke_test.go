package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func TestInvoke(t *testing.T) {
	host := NewHostRouter()
	Handle(host, wire.HostSessionGet, func(_ context.Context, p wire.SessionPathParams) (wire.SessionInfo, error) {
		e := Errorf(wire.CodeHost, wire.KindHost, "There is no such session.")
		e.Data.Status, e.Data.Name = 404, "NotFoundError"
		return wire.SessionInfo{}, e
	})
	Handle(host, wire.HostToast, func(context.Context, wire.ToastParams) (bool, error) { return true, nil })
	a, b := pair(t, testRouter(), host)

	if ok, err := Invoke(t.Context(), a, wire.HostToast, wire.ToastParams{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := a.Call(t.Context(), wire.HostToast.Name, wire.ToastParams{}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := Invoke(t.Context(), a, wire.HostSessionGet, wire.SessionPathParams{})
	e, ok := errors.AsType[*Error](err)
	if !ok || !e.Remote() || e.Code != wire.CodeHost || e.Message != "There is no such session." {
		t.Fatalf("got %#v", err)
	}
	if diff := cmp.Diff(wire.ErrorData{Kind: wire.KindHost, Status: 404, Name: "NotFoundError"}, e.Data); diff != "" {
		t.Fatal(diff)
	}
	got, err := Invoke(t.Context(), b, wire.Ping, wire.PingParams{Payload: json.RawMessage(`{"b":1,"a":[]}`)})
	if err != nil || string(got.Payload) != `{"b":1,"a":[]}` {
		t.Fatal(string(got.Payload), err)
	}
	// What cannot be encoded is the caller's error and leaves nothing behind.
	if _, err := Invoke(t.Context(), a, callOf[func(), bool]("x", toHost), func() {}); err == nil {
		t.Fatal("a function was sent")
	}
	if s := a.Stats(); s.Calls != 0 {
		t.Fatalf("stats %+v", s)
	}
}

func TestAnswersThatCannotBeRead(t *testing.T) {
	for answer, check := range map[string]func(error) bool{
		`"result":"text"`: func(err error) bool {
			_, ok := errors.AsType[*json.UnmarshalTypeError](err)
			return ok
		},
		`"error":"text"`: isRemote(wire.CodeInternal, wire.KindInternal),
		`"error":{"code":-32601,"message":"m","data":"s"}`: isRemote(wire.CodeMethodNotFound, ""),
		`"error":{"code":-32601,"message":"m"}`:            isRemote(wire.CodeMethodNotFound, ""),
		`"error":{"code":1},"result":true`:                 isRemote(1, ""),
		`"error":null,"result":true`:                       func(err error) bool { return err == nil },
		`"result":null`:                                    func(err error) bool { return err == nil },
	} {
		p := startPeer(t, testRouter())
		done := make(chan error, 1)
		go func() {
			_, err := Invoke(t.Context(), p.conn, wire.HostToast, wire.ToastParams{})
			done <- err
		}()
		m := p.next()
		p.send(`{"jsonrpc":"2.0","id":%s,%s}`, m.ID, answer)
		if err := receive(t, done); !check(err) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func isRemote(code int, kind wire.Kind) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*Error](err)
		return ok && e.Remote() && e.Code == code && e.Data.Kind == kind
	}
}

func TestCancelOutbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, testRouter())
		cause := errors.New("the user pressed Esc")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := Invoke(ctx, p.conn, wire.HostToast, wire.ToastParams{})
			done <- err
		}()
		call := p.next()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if s := p.conn.Stats(); s.Calls != 0 {
			t.Fatalf("stats %+v", s)
		}
		m := p.next()
		if m.Method != "$/cancelRequest" || m.ID != nil || string(m.Params) != fmt.Sprintf(`{"id":%s}`, call.ID) {
			t.Fatal(m)
		}
		// The late answer is ignored.
		p.send(`{"jsonrpc":"2.0","id":%s,"result":true}`, call.ID)
		p.initialize().alive()
	})
}

// Calls that are given up leave nothing behind although the peer never answers.
func TestAbandonedCallsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, testRouter())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		const n = 100
		done := make(chan error, n)
		for range n {
			go func() {
				_, err := Invoke(ctx, p.conn, wire.HostToast, wire.ToastParams{})
				done <- err
			}()
		}
		for range n {
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if s := p.conn.Stats(); s.Calls != 0 {
			t.Fatalf("stats %+v", s)
		}
	})
}

// The cancel reaches the other side's handler, and its answer is ignored.
func TestCancelCrosses(t *testing.T) {
	host := NewHostRouter()
	stopped := make(chan error, 1)
	started := make(chan struct{})
	Handle(host, wire.HostToast, func(ctx context.Context, _ wire.ToastParams) (bool, error) {
		close(started)
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return false, ctx.Err()
	})
	a, b := pair(t, testRouter(), host)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := Invoke(ctx, a, wire.HostToast, wire.ToastParams{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := receive(t, stopped); !errors.Is(err, errCancelRequest) {
		t.Fatal(err)
	}
	if _, err := Invoke(t.Context(), b, wire.Ping, wire.PingParams{}); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndFailsPendingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, testRouter())
		done := make(chan error, 1)
		go func() {
			_, err := Invoke(t.Context(), p.conn, wire.HostToast, wire.ToastParams{})
			done <- err
		}()
		p.next()
		_ = p.in.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := <-p.done; err != nil {
			t.Fatal(err)
		}
		if _, err := Invoke(t.Context(), p.conn, wire.HostToast, wire.ToastParams{}); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := Notify(t.Context(), p.conn, noticeOf[wire.Empty]("x"), wire.Empty{}); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

func TestInvokeWaitsForServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := NewConn(Options{Router: testRouter()})
	if _, err := Invoke(ctx, c, wire.HostToast, wire.ToastParams{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func TestHandshake(t *testing.T) {
	r := testRouter()
	left := make(chan struct{}, 1)
	events := make(chan struct{}, 1)
	HandleNotice(r, wire.Exit, func(context.Context, wire.Empty) { left <- struct{}{} })
	HandleNotice(r, wire.Event, func(context.Context, wire.EventParams) { events <- struct{}{} })
	p := startPeer(t, r)

	p.request("1", "ping", "{}")
	p.wantError("1", wire.CodeNotInitialized, wire.KindNotInitialized)
	p.request("2", "no/such", "{}")
	p.wantError("2", wire.CodeNotInitialized, wire.KindNotInitialized)
	p.send(`{"jsonrpc":"2.0","method":"event","params":{}}`)
	p.send(`{"jsonrpc":"2.0","method":"exit"}`)
	receive(t, left)

	// A refused handshake leaves the door closed but lets the peer try again.
	p.request("3", "initialize", `{"version":"wrong"}`)
	p.wantError("3", wire.CodeRefused, wire.KindVersionMismatch)
	p.request("4", "ping", "{}")
	p.wantError("4", wire.CodeNotInitialized, wire.KindNotInitialized)

	p.initialize()
	p.request("5", "initialize", "{}")
	p.wantError("5", wire.CodeInvalidRequest, wire.KindConflict)
	p.send(`{"jsonrpc":"2.0","method":"event","params":{}}`)
	receive(t, events)
	if len(events) != 0 {
		t.Fatal("the event from before the handshake was handled")
	}
	p.alive()
}

func TestMethodMismatch(t *testing.T) {
	r := testRouter()
	HandleNotice(r, wire.Event, func(context.Context, wire.EventParams) {})
	p := startPeer(t, r).initialize()
	p.request("1", "no/such", "{}")
	if m := p.wantError("1", wire.CodeMethodNotFound, wire.KindUnknownMethod); !strings.Contains(m.Error.Message, "no/such") {
		t.Fatalf("%v does not name the method", m)
	}
	p.request("2", "event", "{}")
	p.wantError("2", wire.CodeInvalidRequest, wire.KindParse)
	p.request("3", "$/cancelRequest", "{}")
	p.wantError("3", wire.CodeInvalidRequest, wire.KindParse)
	p.request("4", strings.Repeat("x", 1<<20), "{}")
	if m := p.wantError("4", wire.CodeMethodNotFound, wire.KindUnknownMethod); len(m.Error.Message) > 300 {
		t.Fatalf("the sentence has %d bytes", len(m.Error.Message))
	}
}

type nested struct {
	Name string            `json:"name"`
	N    int               `json:"n"`
	U    uint8             `json:"u"`
	F    float64           `json:"f"`
	B    bool              `json:"b"`
	L    []string          `json:"l"`
	M    map[string]string `json:"m"`
	P    *int              `json:"p"`
	In   struct {
		Deep int `json:"deep"`
	} `json:"in"`
}

func TestParams(t *testing.T) {
	r := testRouter()
	got := make(chan nested, 1)
	Handle(r, callOf[nested, wire.Empty]("test/params"), func(_ context.Context, p nested) (wire.Empty, error) {
		got <- p
		return wire.Empty{}, nil
	})
	p := startPeer(t, r).initialize()

	for params, want := range map[string]nested{
		`{}`:                             {},
		`null`:                           {},
		`{"name":"x","extra":{"y":[1]}}`: {Name: "x"},
		`{"in":{"deep":3},"n":-4}`: func() nested {
			n := nested{N: -4}
			n.In.Deep = 3
			return n
		}(),
	} {
		p.request("1", "test/params", params)
		if m := p.next(); string(m.Result) != "{}" {
			t.Fatal(m)
		}
		if diff := cmp.Diff(want, <-got); diff != "" {
			t.Errorf("%s: %s", params, diff)
		}
	}
	p.send(`{"jsonrpc":"2.0","id":1,"method":"test/params"}`)
	if m := p.next(); string(m.Result) != "{}" {
		t.Fatal(m)
	}
	<-got

	for _, c := range []struct{ params, field, says string }{
		{`{"name":1}`, "name", "a string, not a number"},
		{`{"n":"x"}`, "n", "an integer of 64 bits, not a string"},
		{`{"n":1.5}`, "n", "not the number 1.5"},
		{`{"n":99999999999999999999}`, "n", "an integer of 64 bits"},
		{`{"u":-1}`, "u", "not negative"},
		{`{"f":[]}`, "f", "a number, not a list"},
		{`{"b":"true"}`, "b", "true or false, not a string"},
		{`{"l":{}}`, "l", "a list, not an object"},
		{`{"l":[1]}`, "l", "a string"},
		{`{"m":true}`, "m", "an object, not true or false"},
		{`{"p":"x"}`, "p", "an integer"},
		{`{"in":{"deep":"x"}}`, "in.deep", "an integer"},
		{`[]`, "params", "an object, not a list"},
		{`"x"`, "params", "an object, not a string"},
		{`17`, "params", "an object, not a number"},
		{`true`, "params", "an object"},
	} {
		p.request("1", "test/params", c.params)
		m := p.wantError("1", wire.CodeInvalidParams, wire.KindInvalidParams)
		if m.Error.Data.Field != c.field || !strings.Contains(m.Error.Message, c.says) || !strings.Contains(m.Error.Message, c.field) {
			t.Errorf("%s: got %v, want field %s and %q", c.params, m, c.field, c.says)
		}
	}
	p.alive()
}

func TestErrorsOfHandlers(t *testing.T) {
	sentinel := errors.New("core: gone")
	var (
		log bytes.Buffer
		mu  sync.Mutex
		err error
	)
	r := testRouter()
	Handle(r, callOf[wire.Empty, wire.Empty]("test/fail"), func(ctx context.Context, _ wire.Empty) (wire.Empty, error) {
		mu.Lock()
		defer mu.Unlock()
		return wire.Empty{}, err
	})
	p := startPeer(t, r, func(o *Options) {
		o.Log = zerolog.New(zerolog.SyncWriter(&log))
		o.MapError = func(err error) *Error {
			if errors.Is(err, sentinel) {
				return NotFound("It is gone.").Because(err)
			}
			return nil
		}
	}).initialize()
	remote := Errorf(wire.CodeMethodNotFound, wire.KindUnknownMethod, "no session")
	remote.remote = true
	remote.Data.Status, remote.Data.Name = 404, "NotFoundError"
	for _, c := range []struct {
		name string
		err  error
		code int
		kind wire.Kind
	}{
		{"own", Refused(wire.KindConflict, "The task has ended."), wire.CodeRefused, wire.KindConflict},
		{"own, wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", InvalidParams("x", "bad"))), wire.CodeInvalidParams, wire.KindInvalidParams},
		{"own, joined", errors.Join(errors.New("x"), InvalidParams("x", "bad")), wire.CodeInvalidParams, wire.KindInvalidParams},
		{"of the domain", fmt.Errorf("a: %w", sentinel), wire.CodeRefused, wire.KindNotFound},
		{"deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), wire.CodeRefused, wire.KindTimeout},
		{"somebody's cancel", context.Canceled, wire.CodeInternal, wire.KindInternal},
		{"of the peer", fmt.Errorf("a: %w", remote), wire.CodeHost, wire.KindHost},
		{"connection", fmt.Errorf("a: %w", ErrClosed), wire.CodeRefused, wire.KindShuttingDown},
		{"anything", errors.New("secret of the inside"), wire.CodeInternal, wire.KindInternal},
	} {
		mu.Lock()
		err = c.err
		mu.Unlock()
		p.request("1", "test/fail", "{}")
		m := p.wantError("1", c.code, c.kind)
		if strings.Contains(m.Error.Message, "secret") {
			t.Errorf("%s: %q tells internals", c.name, m.Error.Message)
		}
		if c.name == "of the peer" && (m.Error.Data.Status != 404 || m.Error.Data.Name != "NotFoundError") {
			t.Errorf("the data of the peer is lost: %v", m)
		}
	}
	p.conn.Close()
	_ = p.ended()
	if !strings.Contains(log.String(), "secret of the inside") {
		t.Error("the internal text is not in the log")
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	r := testRouter()
	Handle(r, callOf[wire.Empty, wire.Empty]("test/panic"), func(context.Context, wire.Empty) (wire.Empty, error) {
		panic("boom")
	})
	Handle(r, callOf[wire.Empty, wire.Empty]("test/goexit"), func(context.Context, wire.Empty) (wire.Empty, error) {
		runtime.Goexit()
		return wire.Empty{}, nil
	})
	Handle(r, callOf[wire.Empty, func()]("test/unencodable"), func(context.Context, wire.Empty) (func(), error) {
		return func() {}, nil
	})
	HandleNotice(r, wire.Event, func(context.Context, wire.EventParams) { panic("boom") })
	p := startPeer(t, r, func(o *Options) {
		o.MaxConcurrent = 1
		o.Log = zerolog.New(zerolog.SyncWriter(&log))
	}).initialize()
	for _, m := range []string{"test/panic", "test/goexit", "test/unencodable"} {
		p.request("1", m, "{}")
		if m := p.wantError("1", wire.CodeInternal, wire.KindInternal); strings.Contains(m.Error.Message, "boom") {
			t.Fatalf("%v tells internals", m)
		}
		p.alive()
	}
	p.send(`{"jsonrpc":"2.0","method":"event"}`)
	p.alive()
	p.conn.Close()
	_ = p.ended()
	if s := log.String(); !strings.Contains(s, "boom") || !strings.Contains(s, "dispatch_test.go") {
		t.Errorf("the panic and its stack are not in the log: %s", s)
	}
}

// blocker is a method whose handlers wait until they are told to go on.
type blocker struct {
	started chan string
	release chan struct{}
}

func block(r *Router, name string, before func(ctx context.Context), change ...func(*wire.Method)) *blocker {
	b := &blocker{started: make(chan string, 1000), release: make(chan struct{})}
	Handle(r, callOf[string, string](name, change...), func(ctx context.Context, p string) (string, error) {
		if before != nil {
			before(ctx)
		}
		b.started <- p
		select {
		case <-b.release:
			return p, nil
		case <-ctx.Done():
			return "", fmt.Errorf("blocked: %w", context.Cause(ctx))
		}
	})
	return b
}

func TestCancelInbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRouter()
		b := block(r, "test/block", nil)
		p := startPeer(t, r, func(o *Options) { o.MaxConcurrent = 1 }).initialize()

		p.request("1", "test/block", `"first"`)
		p.request(`"\u0032"`, "test/block", `"second"`)
		p.request("3", "test/block", `"third"`)
		synctest.Wait()
		if got := len(b.started); got != 1 {
			t.Fatalf("%d handlers run under a cap of 1", got)
		}
		// One that waits is answered at once and never runs. Its id is the same
		// in another spelling.
		p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"2"}}`)
		p.wantError(`"\u0032"`, wire.CodeCancelled, wire.KindCancelled)
		// A number is not a string.
		p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"1"}}`)
		synctest.Wait()
		if len(p.got) != 0 {
			t.Fatalf("got %v", p.next())
		}
		// One that runs is answered when its handler has returned.
		p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}`)
		p.wantError("1", wire.CodeCancelled, wire.KindCancelled)
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 1 || s.Waiting != 0 {
			t.Fatalf("stats %+v", s)
		}
		close(b.release)
		if m := p.next(); string(m.Result) != `"third"` {
			t.Fatal(m)
		}
		if <-b.started != "first" || <-b.started != "third" || len(b.started) != 0 {
			t.Fatal("the wrong handlers ran")
		}
		// The end of a request frees its id.
		p.request("1", "ping", "{}")
		if m := p.next(); m.Error != nil {
			t.Fatal(m)
		}
	})
}

func TestResultAfterCancelIsSent(t *testing.T) {
	r := testRouter()
	Handle(r, callOf[wire.Empty, string]("test/done"), func(ctx context.Context, _ wire.Empty) (string, error) {
		<-ctx.Done()
		return "launched", nil
	})
	p := startPeer(t, r).initialize()
	p.request("1", "test/done", "{}")
	p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}`)
	if m := p.next(); string(m.Result) != `"launched"` {
		t.Fatal(m)
	}
}

func TestIDInUse(t *testing.T) {
	r := testRouter()
	b := block(r, "test/block", nil)
	p := startPeer(t, r).initialize()
	p.request("1", "test/block", `"x"`)
	receive(t, b.started)
	p.request("1", "ping", "{}")
	p.wantError("1", wire.CodeInvalidRequest, wire.KindConflict)
	close(b.release)
	if m := p.next(); string(m.Result) != `"x"` {
		t.Fatal(m)
	}
}

func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRouter()
		b := block(r, "test/block", nil)
		p := startPeer(t, r, func(o *Options) { o.MaxConcurrent = 3 }).initialize()
		for i := range 10 {
			p.request(fmt.Sprint(i), "test/block", fmt.Sprintf(`"%d"`, i))
		}
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 3 || s.Waiting != 7 || len(b.started) != 3 {
			t.Fatalf("stats %+v, %d started", s, len(b.started))
		}
		close(b.release)
		for range 10 {
			if m := p.next(); m.Error != nil {
				t.Fatal(m)
			}
		}
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 0 || s.Waiting != 0 {
			t.Fatalf("stats %+v", s)
		}
	})
}

func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRouter()
		b := block(r, "test/wait", func(ctx context.Context) { Yield(ctx); Yield(ctx) })
		o := block(r, "test/ordered", Yield, ordered)
		p := startPeer(t, r, func(o *Options) { o.MaxConcurrent = 2 }).initialize()
		for i := range 10 {
			p.request(fmt.Sprint(i), "test/wait", `""`)
		}
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 0 || s.Yielded != 10 || s.Waiting != 0 {
			t.Fatalf("stats %+v", s)
		}
		p.alive()
		close(b.release)
		for range 10 {
			p.next()
		}
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 0 || s.Yielded != 0 {
			t.Fatalf("stats %+v", s)
		}
		// Giving back the place in an order would break the order.
		p.request("1", "test/ordered", `""`)
		p.request("2", "test/ordered", `""`)
		synctest.Wait()
		if s := p.conn.Stats(); s.Running != 1 || s.Ordered != 1 {
			t.Fatalf("stats %+v", s)
		}
		close(o.release)
		p.next()
		p.next()
		Yield(t.Context())
	})
}

func TestOrderedStayInOrder(t *testing.T) {
	const n = 2000
	r := testRouter()
	var (
		seen    []int
		running atomic.Int32
	)
	seenAll := make(chan struct{})
	HandleNotice(r, noticeOf[int]("test/ordered", ordered), func(_ context.Context, i int) {
		if running.Add(1) != 1 {
			t.Error("two ordered handlers run at a time")
		}
		if i%100 == 0 {
			runtime.Gosched()
		}
		seen = append(seen, i)
		running.Add(-1)
		if len(seen) == n {
			close(seenAll)
		}
	})
	p := startPeer(t, r).initialize()
	var batch strings.Builder
	for i := range n {
		batch.WriteString(framed(fmt.Sprintf(`{"jsonrpc":"2.0","method":"test/ordered","params":%d}`, i)))
		batch.WriteString(framed(`{"jsonrpc":"2.0","id":` + fmt.Sprint(i) + `,"method":"ping"}`))
	}
	p.raw(batch.String())
	receive(t, seenAll)
	for i := range n {
		if seen[i] != i {
			t.Fatalf("message %d came as number %d", seen[i], i)
		}
	}
	for range n {
		p.next()
	}
}

func TestResultTooLarge(t *testing.T) {
	r := testRouter()
	Handle(r, callOf[wire.Empty, string]("test/huge"), func(context.Context, wire.Empty) (string, error) {
		return strings.Repeat("x", maxFrame), nil
	})
	Handle(r, callOf[wire.Empty, string]("test/hugeError"), func(context.Context, wire.Empty) (string, error) {
		return "", Refused(wire.KindConflict, "%s", strings.Repeat("x", maxFrame))
	})
	p := startPeer(t, r).initialize()
	p.request("1", "test/huge", "{}")
	p.wantError("1", wire.CodeRefused, wire.KindTooLarge)
	p.request("2", "test/hugeError", "{}")
	p.wantError("2", wire.CodeRefused, wire.KindConflict)
	p.alive()
}

// Bytes of params and results cross untouched: order of keys, big numbers and
// characters that encoding/json escapes for HTML.
func TestBytesCrossUntouched(t *testing.T) {
	const payload = `{"z":1,"a":123456789012345678901234567890,"h":"<&>\u2028"}`
	p := startPeer(t, testRouter()).initialize()
	p.request("1", "ping", `{"payload":`+payload+`}`)
	var got wire.PingParams
	if err := json.Unmarshal(p.next().Result, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Payload) != payload {
		t.Fatalf("got %s", got.Payload)
	}
}

func TestStopAnswersWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testRouter()
		b := block(r, "test/block", nil)
		Handle(r, callOf[wire.Empty, string]("test/slow"), func(ctx context.Context, _ wire.Empty) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // cleaning up
			return "cleaned", nil
		})
		p := startPeer(t, r, func(o *Options) { o.MaxConcurrent = 2 }).initialize()
		p.request("1", "test/slow", `{}`)
		p.request("2", "test/block", `""`)
		p.request("3", "test/block", `""`)
		synctest.Wait()
		<-b.started
		start := time.Now()
		p.conn.Close()
		got := map[string]message{}
		for range 3 {
			m := p.next()
			got[string(m.ID)] = m
		}
		if err := <-p.done; !errors.Is(err, ErrClosed) {
			t.Fatalf("Serve: %v", err)
		}
		if time.Since(start) != time.Second {
			t.Fatalf("Serve returned after %v", time.Since(start))
		}
		if string(got["1"].Result) != `"cleaned"` {
			t.Fatal(got["1"])
		}
		for _, id := range []string{"2", "3"} {
			if e := got[id].Error; e == nil || e.Data.Kind != wire.KindShuttingDown {
				t.Fatal(got[id])
			}
		}
	})
}

package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// testShape is a method with something to get wrong.
var testShape = callOf[nested, wire.Empty]("test/shape")

func hostileRouter() *Router {
	r := testRouter()
	Handle(r, testShape, func(context.Context, nested) (wire.Empty, error) { return wire.Empty{}, nil })
	HandleNotice(r, wire.Event, func(context.Context, wire.EventParams) {})
	return r
}

func smallFrames(o *Options) { o.MaxFrame, o.MaxDrain = 64<<10, 256<<10 }

// verdict is what has to come back for a body: nothing, or an answer with this
// id and code, 0 for a result.
type verdict struct {
	silent bool
	id     string
	code   int
}

// judge decides it with nothing but encoding/json, for a connection that serves
// hostileRouter and is initialized.
func judge(body []byte) verdict {
	if !json.Valid(body) {
		return verdict{id: "null", code: wire.CodeParse}
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(body, &m) != nil || m == nil {
		return verdict{id: "null", code: wire.CodeInvalidRequest}
	}
	id, hasID := m["id"]
	var number json.Number
	var text string
	readable := len(id) <= maxID && (json.Unmarshal(id, &text) == nil && id[0] == '"' ||
		json.Unmarshal(id, &number) == nil && id[0] != '"' && id[0] != 'n' && !strings.ContainsAny(string(id), ".eE"))
	shown := "null"
	if hasID && readable {
		shown = string(id)
	}
	invalid := verdict{id: shown, code: wire.CodeInvalidRequest}

	_, hasResult := m["result"]
	e, hasError := m["error"]
	answer := hasResult || hasError && string(e) != "null"
	method, hasMethod := m["method"]
	var name string
	switch {
	case !hasMethod && answer:
		return verdict{silent: true}
	case !hasMethod, method[0] != '"', answer, string(m["jsonrpc"]) != `"2.0"`, hasID && !readable:
		return invalid
	case json.Unmarshal(method, &name) != nil:
		panic("a valid string")
	case !hasID:
		return verdict{silent: true}
	}
	var params any
	switch name {
	case "ping":
		params = new(wire.PingParams)
	case "test/shape":
		params = new(nested)
	case "initialize", "event", "$/cancelRequest":
		return invalid
	default:
		return verdict{id: shown, code: wire.CodeMethodNotFound}
	}
	if p, ok := m["params"]; ok && string(p) != "null" && json.Unmarshal(p, params) != nil {
		return verdict{id: shown, code: wire.CodeInvalidParams}
	}
	return verdict{id: shown}
}

// hostileBodies are where the generator starts from.
var hostileBodies = append([]string{
	ping1,
	`{"jsonrpc":"2.0","id":"a","method":"ping","params":{"payload":{"a":[1,2,{"b":null}]}}}`,
	`{"jsonrpc":"2.0","id":2,"method":"test/shape","params":{"name":"x","n":1,"u":2,"f":1.5,"b":true,"l":["a"],"m":{"k":"v"},"in":{"deep":1}}}`,
	`{"jsonrpc":"2.0","id":3,"method":"no/such","params":{}}`,
	`{"jsonrpc":"2.0","id":4,"method":"initialize","params":{}}`,
	`{"jsonrpc":"2.0","method":"event","params":{"workspace":"w","type":"t"}}`,
	`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}`,
	`{"jsonrpc":"2.0","id":9,"result":{"x":1}}`,
	`{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"m","data":{"kind":"host"}}}`,
	`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
	`{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`,
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"payload\":\"\xff\"}}",
	`{"jsonrpc":"2.0","id":1,"method":"ping","params":` + strings.Repeat(`{"payload":`, 9000) + "1" + strings.Repeat("}", 9000) + `}`,
	strings.Repeat("[", 60000),
	strings.Repeat(`{"a":`, 12000),
}, splitBodies...)

var hostileParts = []string{
	`{`, `}`, `[`, `]`, `"`, `,`, `:`, `\`, ` `, "\x00", "\xff", "\xed\xa0\x80", `null`, `true`, `-`, `1e999`, `-0`, `0.1`, `99999999999999999999`,
	`"id":`, `"id":null,`, `"method":"ping",`, `"method":1,`, `"params":[],`, `"params":"x",`, `"result":0,`, `"error":{},`, `"jsonrpc":"2.0",`, `\u0000`, `\ud800`, `""`, `{}`, `[[`,
}

// mutate makes a body that is wrong in a new way, now and then in none.
func mutate(r *rand.Rand) []byte {
	b := []byte(hostileBodies[r.IntN(len(hostileBodies))])
	for range r.IntN(4) {
		i := r.IntN(len(b) + 1)
		switch r.IntN(5) {
		case 0:
			b = b[:i]
		case 1:
			part := hostileParts[r.IntN(len(hostileParts))]
			b = append(b[:i:i], append([]byte(part), b[i:]...)...)
		case 2:
			if i < len(b) {
				b[i] = byte(r.UintN(256))
			}
		case 3:
			j := i + r.IntN(len(b)-i+1)
			b = append(b[:i:i], b[j:]...)
		case 4:
			// A value for another: what follows a colon becomes something else.
			if at := bytes.IndexByte(b[i:], ':'); at >= 0 {
				at += i + 1
				end := at
				for end < len(b) && b[end] != ',' && b[end] != '}' {
					end++
				}
				part := hostileParts[r.IntN(len(hostileParts))]
				b = append(b[:at:at], append([]byte(part), b[end:]...)...)
			}
		}
	}
	return b
}

// misfit makes a well-formed request with a parameter of any type.
func misfit(r *rand.Rand) []byte {
	fields := []string{"name", "n", "u", "f", "b", "l", "m", "p", "in", "other"}
	values := []string{`1`, `-1`, `300`, `1.5`, `1e999`, `"x"`, `true`, `null`, `[]`, `[1]`, `["a"]`, `{}`, `{"deep":"x"}`, `{"k":1}`}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"test/shape","params":{%q:%s}}`,
		r.IntN(100), fields[r.IntN(len(fields))], values[r.IntN(len(values))])
}

func TestHostileBodies(t *testing.T) {
	p := startPeer(t, hostileRouter(), smallFrames).initialize()
	r := rand.New(rand.NewPCG(1, 2))
	count := map[int]int{}
	check := func(body []byte) {
		t.Helper()
		if int64(len(body)) > 64<<10 {
			return
		}
		want := judge(body)
		count[want.code]++
		p.raw(framed(string(body)))
		if !want.silent {
			m := p.next()
			code := 0
			if m.Error != nil {
				code = m.Error.Code
			}
			// Invalid UTF-8 in an id is the one thing that does not come back.
			sameID := string(m.ID) == want.id || strings.Contains(string(m.ID), "\ufffd") || strings.Contains(string(m.ID), `\ufffd`)
			if !sameID || code != want.code {
				t.Fatalf("%.300q: got %v, want %+v", body, m, want)
			}
			if m.Error != nil && (m.Error.Message == "" || m.Error.Data.Kind == "") {
				t.Fatalf("%.300q: %v has no sentence or kind", body, m)
			}
		}
		p.alive()
	}
	for _, body := range hostileBodies {
		check([]byte(body))
	}
	for range 2000 {
		check(mutate(r))
		check(misfit(r))
	}
	t.Logf("answers by code: %v", count)
	for _, code := range []int{0, wire.CodeParse, wire.CodeInvalidRequest, wire.CodeMethodNotFound, wire.CodeInvalidParams} {
		if count[code] < 10 {
			t.Errorf("the generator made only %d bodies for code %d", count[code], code)
		}
	}
}

// Every stream of bytes ends in order or with a typed error, soon, and what
// comes back is framed messages.
func TestHostileStreams(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	headers := []string{
		"Content-Length: 5", "Content-Length: -5", "Content-Length: 99999999999999999999", "Content-Length:", "Content-Length: x",
		"Content-Length: 70000", "Content-Length: 300000", "content-length: 40", "Content-Type: x", "X", ":", "\x00", "\r", " Content-Length: 2", "Content-Length: 4\r\nContent-Length: 5",
	}
	ends := map[string]int{}
	for range 1500 {
		var in []byte
		for range 1 + r.IntN(3) {
			switch r.IntN(4) {
			case 0:
				in = append(in, framed(string(mutate(r)))...)
			case 1:
				for range 1 + r.IntN(3) {
					in = append(in, headers[r.IntN(len(headers))]...)
					in = append(in, []string{"\r\n", "\n", "", "\r\n\r\n"}[r.IntN(4)]...)
				}
				in = append(in, "\r\n\r\n"...)
			case 2:
				in = append(in, mutate(r)...)
			case 3:
				in = append(in, fmt.Sprintf("Content-Length: %d\r\n\r\n", r.IntN(80000))...)
				in = append(in, mutate(r)...)
			}
		}
		switch err := serveBytes(t, in); {
		case err == nil:
			ends["in order"]++
		default:
			ends["unreadable"]++
		}
	}
	t.Logf("ends: %v", ends)
	if ends["in order"] < 100 || ends["unreadable"] < 100 {
		t.Errorf("the generator is lopsided: %v", ends)
	}
}

// serveBytes runs a whole connection over in and checks what holds for every
// input.
func serveBytes(t *testing.T, in []byte) error {
	t.Helper()
	var out bytes.Buffer
	stream := framed(`{"jsonrpc":"2.0","id":"first","method":"initialize"}`) + string(in)
	o := Options{In: strings.NewReader(stream), Out: &out, Router: hostileRouter(), Log: zerolog.Nop()}
	smallFrames(&o)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	err := NewConn(o).Serve(ctx)
	if d := time.Since(start); d > limit/2 {
		t.Fatalf("%.300q took %v", in, d)
	}
	if err != nil {
		if _, ok := errors.AsType[*FrameError](err); !ok {
			t.Fatalf("%.300q: %v", in, err)
		}
	}
	answers, closing := 0, 0
	for rest := out.String(); rest != ""; {
		head, body, ok := strings.Cut(rest, "\r\n\r\n")
		var n int
		if _, scan := fmt.Sscanf(head, "Content-Length: %d", &n); scan != nil || !ok || len(body) < n {
			t.Fatalf("%.300q: the output is not framed: %.300q", in, rest)
		}
		var m message
		if err := json.Unmarshal([]byte(body[:n]), &m); err != nil {
			t.Fatalf("%.300q: answer %q: %v", in, body[:n], err)
		}
		answers++
		if m.Error != nil && strings.Contains(m.Error.Message, "connection is closed") {
			closing++
		}
		rest = body[n:]
	}
	if answers == 0 {
		t.Fatalf("%.300q: the handshake was not answered", in)
	}
	if want := map[bool]int{true: 1, false: 0}[err != nil]; closing != want {
		t.Fatalf("%.300q: %d last answers with Serve returning %v", in, closing, err)
	}
	return err
}

func FuzzFrame(f *testing.F) {
	for _, body := range hostileBodies {
		if len(body) < 1000 {
			f.Add([]byte(framed(body)))
		}
	}
	f.Add([]byte("Content-Length: 70000\r\n\r\n"))
	f.Add([]byte("Content-Length: 2\nContent-Length: 2\n\n{}Content-Length: 1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) { _ = serveBytes(t, in) })
}

func FuzzParams(f *testing.F) {
	for _, body := range hostileBodies {
		if len(body) < 1000 {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, params []byte) {
		checkSplit(t, params)
		body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"test/shape","params":%s}`, params)
		checkSplit(t, body)
		if !json.Valid(params) {
			return
		}
		var got, want nested
		err, wantErr := decode(params, &got), json.Unmarshal(params, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/json says %v", params, err, wantErr)
		}
		if err == nil {
			return
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != wire.CodeInvalidParams || e.Data.Field == "" || e.Message == "" {
			t.Fatalf("%q: %#v", params, err)
		}
	})
}

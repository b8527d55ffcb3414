package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const ping1 = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

func TestHeaders(t *testing.T) {
	n := len(ping1)
	for name, in := range map[string]string{
		"plain":              framed(ping1),
		"other headers":      fmt.Sprintf("Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nX: \r\nContent-Length: %d\r\n\r\n", n) + ping1,
		"case":               fmt.Sprintf("cOnTeNt-lEnGtH:%d\r\n\r\n", n) + ping1,
		"spaces":             fmt.Sprintf("Content-Length: \t %d \t\r\n\r\n", n) + ping1,
		"leading zeros":      fmt.Sprintf("Content-Length: 0000%d\r\n\r\n", n) + ping1,
		"bare line feeds":    fmt.Sprintf("Content-Length: %d\n\n", n) + ping1,
		"said twice":         fmt.Sprintf("Content-Length: %d\r\ncontent-length: %[1]d\r\n\r\n", n) + ping1,
		"just short enough":  fmt.Sprintf("Content-Length: %d\r\nX:%s\r\n\r\n", n, strings.Repeat("x", maxHeader-len("Content-Length: 40\r\nX:\r\n\r\n"))) + ping1,
		"space around value": fmt.Sprintf("Content-Length: %d\r\n\r\n \n", n+4) + ping1 + " \n",
	} {
		t.Run(name, func(t *testing.T) {
			p := startPeer(t, testRouter()).initialize()
			p.raw(in)
			if m := p.next(); string(m.ID) != "1" || m.Error != nil {
				t.Fatal(m)
			}
			p.alive()
		})
	}
}

func TestUnreadableHeaders(t *testing.T) {
	for name, in := range map[string]string{
		"no length":         "Content-Type: x\r\n\r\n",
		"empty":             "\r\n\r\n",
		"negative":          "Content-Length: -1\r\n\r\n",
		"plus":              "Content-Length: +5\r\n\r\n",
		"words":             "Content-Length: five\r\n\r\n",
		"nothing":           "Content-Length:\r\n\r\n",
		"hex":               "Content-Length: 0x10\r\n\r\n",
		"fraction":          "Content-Length: 1.0\r\n\r\n",
		"two lengths":       "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"no colon":          "Content-Length 5\r\n\r\n",
		"empty name":        ": 5\r\n\r\n",
		"folded":            "Content-Length: 5\r\n 6\r\n\r\n",
		"carriage return":   "\rContent-Length: 5\r\n\r\n",
		"unframed json":     ping1,
		"log line":          "2026/01/01 12:00:00 started\n",
		"null bytes":        "\x00\x00\x00\x00",
		"too long, ended":   "X: " + strings.Repeat("x", maxHeader) + "\r\nContent-Length: 2\r\n\r\n{}",
		"too long, open":    "X: " + strings.Repeat("x", maxHeader),
		"name without end":  strings.Repeat("x", maxHeader+1),
		"too many lines":    strings.Repeat("X: y\r\n", maxHeader/6+1),
		"a little too long": fmt.Sprintf("Content-Length: 40\r\nX:%s\r\n\r\n", strings.Repeat("x", maxHeader+1-len("Content-Length: 40\r\nX:\r\n\r\n"))) + ping1,
	} {
		t.Run(name, func(t *testing.T) {
			p := startPeer(t, testRouter()).initialize()
			go p.raw(in)
			p.wantError("null", wire.CodeParse, wire.KindParse)
			if _, ok := errors.AsType[*FrameError](p.ended()); !ok {
				t.Fatal("Serve did not return a FrameError")
			}
		})
	}
}

func TestLengths(t *testing.T) {
	small := func(o *Options) { o.MaxFrame, o.MaxDrain = 100, 1000 }
	t.Run("at the limit", func(t *testing.T) {
		p := startPeer(t, testRouter(), small).initialize()
		p.raw(framed(ping1 + strings.Repeat(" ", 100-len(ping1))))
		if m := p.next(); m.Error != nil {
			t.Fatal(m)
		}
	})
	for _, n := range []int{101, 1000} {
		t.Run(fmt.Sprint("drained ", n), func(t *testing.T) {
			p := startPeer(t, testRouter(), small).initialize()
			p.raw(framed(strings.Repeat("x", n)))
			p.wantError("null", wire.CodeRefused, wire.KindTooLarge)
			p.alive()
		})
	}
	for _, n := range []string{"1001", "99999999999999999999999999999999"} {
		t.Run("closed "+n, func(t *testing.T) {
			p := startPeer(t, testRouter(), small).initialize()
			p.raw("Content-Length: " + n + "\r\n\r\n")
			p.wantError("null", wire.CodeRefused, wire.KindTooLarge)
			if _, ok := errors.AsType[*FrameError](p.ended()); !ok {
				t.Fatal("Serve did not return a FrameError")
			}
		})
	}
	t.Run("real limits", func(t *testing.T) {
		p := startPeer(t, testRouter()).initialize()
		p.raw(fmt.Sprintf("Content-Length: %d\r\n\r\n", maxFrame+1))
		for range (maxFrame + 1) / 4096 {
			p.raw(strings.Repeat(" ", 4096))
		}
		p.raw(" ")
		p.wantError("null", wire.CodeRefused, wire.KindTooLarge)
		p.alive()
		p.raw(fmt.Sprintf("Content-Length: %d\r\n\r\n", maxDrain+1))
		p.wantError("null", wire.CodeRefused, wire.KindTooLarge)
		if err := p.ended(); err == nil {
			t.Fatal("a body over the drain limit did not end the connection")
		}
	})
}

func TestTruncatedIsAnOrderedEnd(t *testing.T) {
	whole := framed(ping1)
	for i := range len(whole) {
		p := startPeer(t, testRouter()).initialize()
		p.raw(whole[:i])
		_ = p.in.Close()
		if err := p.ended(); err != nil {
			t.Fatalf("after %q: %v", whole[:i], err)
		}
	}
}

func TestBadBodies(t *testing.T) {
	deep := strings.Repeat("[", 2_000_000)
	for _, c := range []struct {
		name, body, id string
		code           int
	}{
		{"empty", "", "null", wire.CodeParse},
		{"spaces", "  ", "null", wire.CodeParse},
		{"words", "hello", "null", wire.CodeParse},
		{"cut", `{"jsonrpc":"2.0","id":1`, "null", wire.CodeParse},
		{"bytes behind", ping1 + "x", "null", wire.CodeParse},
		{"two values", ping1 + ping1, "null", wire.CodeParse},
		{"byte order mark", "\ufeff" + ping1, "null", wire.CodeParse},
		{"deep", deep, "null", wire.CodeParse},
		{"deep params", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"payload":` + deep + strings.Repeat("]", len(deep)) + `}}`, "null", wire.CodeParse},
		{"batch", "[" + ping1 + "]", "null", wire.CodeInvalidRequest},
		{"empty batch", "[]", "null", wire.CodeInvalidRequest},
		{"number", "1", "null", wire.CodeInvalidRequest},
		{"null", "null", "null", wire.CodeInvalidRequest},
		{"string", `"x"`, "null", wire.CodeInvalidRequest},
		{"no members", "{}", "null", wire.CodeInvalidRequest},
		{"no method", `{"jsonrpc":"2.0","id":7}`, "7", wire.CodeInvalidRequest},
		{"method is a number", `{"jsonrpc":"2.0","id":"a","method":1}`, `"a"`, wire.CodeInvalidRequest},
		{"method is null", `{"jsonrpc":"2.0","method":null}`, `null`, wire.CodeInvalidRequest},
		{"request and answer", `{"jsonrpc":"2.0","id":7,"method":"ping","result":1}`, "7", wire.CodeInvalidRequest},
		{"no version", `{"id":7,"method":"ping"}`, "7", wire.CodeInvalidRequest},
		{"other version", `{"jsonrpc":"1.0","id":7,"method":"ping"}`, "7", wire.CodeInvalidRequest},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, "null", wire.CodeInvalidRequest},
		{"id fraction", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, "null", wire.CodeInvalidRequest},
		{"id object", `{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}`, "null", wire.CodeInvalidRequest},
		{"id true", `{"jsonrpc":"2.0","id":true,"method":"ping"}`, "null", wire.CodeInvalidRequest},
		{"null error only", `{"jsonrpc":"2.0","id":4,"error":null}`, "4", wire.CodeInvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPeer(t, testRouter()).initialize()
			p.raw(framed(c.body))
			p.wantError(c.id, c.code, wire.KindParse)
			p.alive()
		})
	}
}

func TestIgnored(t *testing.T) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":99,"result":1}`,
		`{"jsonrpc":"2.0","id":"x","result":null}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}`,
		`{"jsonrpc":"2.0","error":"not an object"}`,
		`{"jsonrpc":"2.0","id":99999999999999999999999999,"result":1}`,
		`{"jsonrpc":"2.0","method":"no/such"}`,
		`{"jsonrpc":"2.0","method":"ping"}`,
		`{"jsonrpc":"2.0","method":"$/cancelRequest"}`,
		`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":77}}`,
		`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":[]}}`,
		`{"jsonrpc":"2.0","method":"$/cancelRequest","params":[1]}`,
	} {
		p := startPeer(t, testRouter()).initialize()
		p.raw(framed(body))
		p.alive()
	}
}

func TestIDsComeBackAsSent(t *testing.T) {
	for _, id := range []string{`1`, `0`, `-5`, `"1"`, `""`, `"\u0061\"b"`, `123456789012345678901234567890`, `"` + strings.Repeat("x", 5000) + `"`} {
		p := startPeer(t, testRouter()).initialize()
		p.request(id, "ping", "{}")
		if m := p.next(); string(m.ID) != id || m.Error != nil {
			t.Fatalf("got %v for id %s", m, id)
		}
	}
	p := startPeer(t, testRouter()).initialize()
	p.raw(framed("{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}"))
	if m := p.next(); string(m.ID) != `"\ufffd"` && string(m.ID) != "\"\ufffd\"" {
		t.Fatalf("got %v", m)
	}
}

func TestInvalidUTF8IsTolerated(t *testing.T) {
	p := startPeer(t, testRouter()).initialize()
	p.raw(framed("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"payload\":\"\xff\xfe\"}}"))
	if m := p.next(); m.Error != nil {
		t.Fatal(m)
	}
	p.raw(framed("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}"))
	p.wantError("1", wire.CodeMethodNotFound, wire.KindUnknownMethod)
	p.alive()
}

// The walk over the envelope must find what encoding/json finds.
func TestSplitAgreesWithEncodingJSON(t *testing.T) {
	for _, body := range splitBodies {
		checkSplit(t, []byte(body))
		for i := range len(body) {
			checkSplit(t, []byte(body[:i]))
			checkSplit(t, []byte(body+body[i:]))
		}
	}
	for _, n := range []int{1, maxDepth - 1, maxDepth, maxDepth + 1} {
		checkSplit(t, []byte(strings.Repeat("[", n)+strings.Repeat("]", n)))
		checkSplit(t, []byte(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n)))
	}
	for _, value := range []string{
		"0", "-0", "-", "+1", "01", "1.", ".1", "1.5", "1e", "1e+", "1e+5", "1E-05", "1e5.5", "--1", "0x1", "1_0",
		"true", "tru", "truee", "nul", "null", "False", "NaN", "Infinity",
		`"`, `""`, `"\"`, `"\u12"`, `"\u12aF"`, `"\u12ag"`, `"\x"`, `"\`, "\"\n\"", "\"\x7f\"", "\"\x00\"", "'a'",
		"[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "}", `{"a"`, `{"a":`, `{"a":1,}`, `{,"a":1}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1]`, `[1}`,
		"/**/1", "\v1", "\u00a01", "1\x00", "",
	} {
		checkSplit(t, []byte(value))
		checkSplit(t, []byte(" "+value+" "))
		checkSplit(t, []byte(`{"id":`+value+`}`))
		checkSplit(t, []byte(`{"id":[{"b":`+value+`}]}`))
	}
}

var splitBodies = []string{
	`{}`, ` { } `, ping1, `{"id":1}`, `{"id" : "a" , "method":"x" }`,
	`{"params":{"a":[1,{"b":"}]"}],"c":"\\\""},"id":-1}`,
	`{"a":"\\","method":"\u0078","id":"\\\\"}`,
	`{"method":"a","method":"b"}`,
	`{"\u006dethod":"escaped key","params":[ ]}`,
	"{\n\t\"result\" : null ,\r\n \"error\" : { } }",
	`{"id":1e5,"params":true,"result":false}`,
	`{"":{"":""},"params":"{"}`,
}

func checkSplit(t *testing.T, body []byte) {
	t.Helper()
	env, bad := split(body)
	if valid := json.Valid(body); valid != (bad == nil || bad.Code != wire.CodeParse) {
		t.Fatalf("%.300q: encoding/json says %v, split %v", body, valid, bad)
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(body, &want); err != nil || want == nil {
		if bad == nil {
			t.Fatalf("split took %q", body)
		}
		return
	}
	if bad != nil {
		t.Fatalf("split refused %q: %v", body, bad)
	}
	for key, got := range map[string][]byte{
		"jsonrpc": env.version, "id": env.id, "method": env.method,
		"params": env.params, "result": env.result, "error": env.err,
	} {
		if string(got) != string(want[key]) {
			t.Fatalf("%q: %s is %q, want %q", body, key, got, want[key])
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// An attack is a payload and what has to come back for it: an answer with this
// id and code (0 is a result), or nothing.
type attack struct {
	body   string
	id     string
	code   int
	silent bool
}

// attacks makes endless payloads of all kinds in turn, each with its right
// answer by construction, always the same for a seed.
func attacks(seed uint64) func() attack {
	r := rand.New(rand.NewPCG(seed, seed))
	n := 0
	kinds := []func(*rand.Rand, int) attack{
		notJSON, notAMessage, noSuchMethod, badParams, badArguments, unexpectedAnswer, strangeButFine, deepOrLarge, notAllowedNow,
	}
	return func() attack {
		n++
		return kinds[n%len(kinds)](r, n)
	}
}

func one[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func request(id, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params)
}

// notJSON is a good message with a hole or with rubbish in it.
func notJSON(r *rand.Rand, n int) attack {
	good := request(strconv.Itoa(n), "ping", `{"payload":[1,2,"x"]}`)
	for {
		at := 1 + r.IntN(len(good)-1)
		bad := good[:at]
		if r.IntN(2) == 0 {
			bad += one(r, "\x00", "}", "\xff", ",,", "{", "\"", "nul", "'", "\\") + good[at:]
		}
		if !json.Valid([]byte(bad)) {
			return attack{body: bad, id: "null", code: wire.CodeParse}
		}
	}
}

// notAMessage is JSON that is no request.
func notAMessage(r *rand.Rand, n int) attack {
	id := strconv.Itoa(n)
	return one(r,
		attack{body: one(r, "null", "true", "0", `"ping"`, "[]", "[[[]]]", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, "{}"), id: "null", code: wire.CodeInvalidRequest},
		attack{body: `{"id":` + id + `,"method":"ping"}`, id: id, code: wire.CodeInvalidRequest},
		attack{body: `{"jsonrpc":"1.0","id":` + id + `,"method":"ping"}`, id: id, code: wire.CodeInvalidRequest},
		attack{body: `{"jsonrpc":"2.0","id":` + id + `,"method":` + one(r, "1", "null", "{}", "[]") + `}`, id: id, code: wire.CodeInvalidRequest},
		attack{body: `{"jsonrpc":"2.0","id":` + id + `}`, id: id, code: wire.CodeInvalidRequest},
		attack{body: `{"jsonrpc":"2.0","id":` + one(r, "{}", "[]", "1.5", "true") + `,"method":"ping"}`, id: "null", code: wire.CodeInvalidRequest},
	)
}

func noSuchMethod(r *rand.Rand, n int) attack {
	id := one(r, strconv.Itoa(n), strconv.Quote(fmt.Sprintf("id-%d", n)))
	method := one(r, "", "Ping", "ping ", "tool/call/", "../exit", "host/toast", "rpc.discover", strings.Repeat("x", 10_000), "\u0000", "💥")
	name, _ := json.Marshal(method) // a string always encodes
	return attack{body: `{"jsonrpc":"2.0","id":` + id + `,"method":` + string(name) + `,"params":{}}`, id: id, code: wire.CodeMethodNotFound}
}

// badParams has parameters of the wrong type, where the contract has types.
func badParams(r *rand.Rand, n int) attack {
	id := strconv.Itoa(n)
	wrong := one(r, "1", `[1]`, "true", `{"x":1}`, "1e999")
	method, params := "tool/call", `{"workspace":`+wrong+`}`
	switch r.IntN(4) {
	case 0:
		params = one(r, `"x"`, "7", "true", `[1,2]`)
	case 1:
		method, params = "task/list", `{"limit":`+one(r, `"50"`, "1.5", "{}", "1e40", "-3", "501")+`}`
	case 2:
		method, params = "task/wait", `{"id":"task_00000000","timeoutMs":`+one(r, `"1"`, "-1", "99999999999999999999", "{}")+`}`
	}
	return attack{body: request(id, method, params), id: id, code: wire.CodeInvalidParams}
}

// badArguments are what a model gets wrong in a call of a tool.
func badArguments(r *rand.Rand, n int) attack {
	id := strconv.Itoa(n)
	tool := "delegate_task"
	args := one(r,
		`{}`, `null`, `[]`, `"x"`, `{"agent":1}`, `{"agent":"general","description":"d","prompt":"","background":true}`,
		`{"agent":"general","description":"d","prompt":"p","background":"perhaps"}`,
		`{"agent":"general","description":"d","prompt":"p","background":true,"mode":"rase"}`,
		`{"agent":"nobody","description":"d","prompt":"p","background":true}`,
	)
	if r.IntN(3) == 0 {
		tool, args = "delegate_tasks", one(r, `{"tasks":[]}`, `{"tasks":{}}`, `{"tasks":[1]}`, `{"tasks":[{}]}`, `{"tasks":"all"}`)
	}
	params := fmt.Sprintf(`{"workspace":%q,"tool":%q,"args":%s,"sessionID":"ses_1","messageID":"msg_1","agent":"build"}`, fakeshim.Workspace, tool, args)
	return attack{body: request(id, "tool/call", params), id: id, code: wire.CodeInvalidParams}
}

// unexpectedAnswer answers what nobody asked, or is a notification: neither may
// be answered, whatever is in it.
func unexpectedAnswer(r *rand.Rand, n int) attack {
	return attack{silent: true, body: one(r,
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"x":1}}`, 1_000_000+n),
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":-1,"message":"no"}}`, 1_000_000+n),
		`{"jsonrpc":"2.0","method":"event","params":{"workspace":"nowhere","type":"session.idle","properties":{"sessionID":"x"}}}`,
		`{"jsonrpc":"2.0","method":"event","params":{"workspace":"`+fakeshim.Workspace+`","type":"session.error","properties":[1]}}`,
		`{"jsonrpc":"2.0","method":"event","params":"x"}`,
		`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":`+one(r, "1", `"a"`, "{}", "null")+`}}`,
		`{"jsonrpc":"2.0","method":"no/such","params":[]}`,
	)}
}

// strangeButFine is legal, if rarely seen.
func strangeButFine(r *rand.Rand, n int) attack {
	id := one(r, strconv.Itoa(n), strconv.Itoa(-n), strconv.Quote(fmt.Sprintf("ä-%d", n)), "0")
	body := one(r,
		` { "params" : { "payload" : null } , "method" : "ping" , "id" : %s , "jsonrpc" : "2.0" } `,
		"\t{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"p\\u0069ng\"}\r\n",
		`{"jsonrpc":"2.0","id":%s,"method":"ping","params":{"payload":"<&>\u2028\ud83d\ude00"},"extra":[{}]}`,
		`{"jsonrpc":"2.0","id":%s,"method":"ping","params":{"payload":123456789012345678901234567890.5e-300}}`,
		`{"jsonrpc":"2.0","id":%s,"method":"ping","params":null}`,
	)
	return attack{body: fmt.Sprintf(body, id), id: id}
}

// deepOrLarge strains parsers.
func deepOrLarge(r *rand.Rand, n int) attack {
	id := strconv.Itoa(n)
	deep := 1000 + r.IntN(8000)
	switch r.IntN(4) {
	case 0:
		return attack{body: strings.Repeat("[", 10*deep), id: "null", code: wire.CodeParse}
	case 1:
		return attack{body: request(id, "ping", `{"payload":`+strings.Repeat("[", deep)+strings.Repeat("]", deep)+"}"), id: id}
	case 2:
		return attack{body: request(id, "ping", `{"payload":"`+strings.Repeat("\\u0001", 10*deep)+`"}`), id: id}
	default:
		return attack{body: request(id, "task/get", `{"id":"`+strings.Repeat("x", 100*deep)+`"}`), id: id, code: wire.CodeRefused}
	}
}

// notAllowedNow is understood and refused.
func notAllowedNow(r *rand.Rand, n int) attack {
	id := strconv.Itoa(n)
	return one(r,
		attack{body: request(id, "initialize", `{}`), id: id, code: wire.CodeInvalidRequest},
		attack{body: request(id, "task/get", `{"id":"task_00000000"}`), id: id, code: wire.CodeRefused},
		attack{body: request(id, "task/cancel", `{"id":"../../etc/passwd"}`), id: id, code: wire.CodeRefused},
		attack{body: request(id, "task/list", `{"workspace":"nowhere"}`), id: id, code: wire.CodeRefused},
		attack{body: request(id, "workspace/open", `{}`), id: id, code: wire.CodeInvalidParams},
		attack{body: request(id, "tool/call", `{"workspace":"nowhere","tool":"list_tasks","args":{}}`), id: id, code: wire.CodeRefused},
		attack{body: request(id, "tool/call", `{"workspace":"`+fakeshim.Workspace+`","tool":"rm","args":{}}`), id: id, code: wire.CodeRefused},
	)
}

// answer is a message as it comes back.
type answer struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func (a answer) code() int {
	if a.Error == nil {
		return 0
	}
	return a.Error.Code
}

func framed(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

// answers reads messages until the stream ends.
func answers(in io.Reader) <-chan answer {
	out := make(chan answer, 64)
	go func() {
		defer close(out)
		br := bufio.NewReader(in)
		for {
			header, err := textproto.NewReader(br).ReadMIMEHeader()
			if err != nil {
				return
			}
			size, err := strconv.Atoi(header.Get("Content-Length"))
			if err != nil {
				return
			}
			body := make([]byte, size)
			if _, err := io.ReadFull(br, body); err != nil {
				return
			}
			var a answer
			if json.NewDecoder(bytes.NewReader(body)).Decode(&a) == nil {
				out <- a
			}
		}
	}()
	return out
}

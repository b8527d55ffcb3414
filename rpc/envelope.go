package rpc

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// envelope is a message with its members still encoded. The slices point into
// the body of the frame; nil means that the member is absent.
type envelope struct {
	version, id, method, params, result, err []byte
}

// split takes the envelope off a body without touching what is inside. A body
// that is not exactly one JSON value, or nests too deep, is a parse error; one
// that is no object is an invalid request.
func split(body []byte) (env envelope, bad *Error) {
	i := skipSpace(body, 0)
	first := at(body, i)
	if first == '{' {
		i = env.members(body, i)
	} else {
		i = scanValue(body, i, 0)
	}
	switch {
	case i < 0 || skipSpace(body, i) != len(body):
		return envelope{}, Errorf(wire.CodeParse, wire.KindParse, "The message is not valid JSON.")
	case first == '[':
		return envelope{}, invalidRequest("Batches are not supported: send one message per frame.")
	case first != '{':
		return envelope{}, invalidRequest("The message is not a JSON object.")
	}
	return env, nil
}

// members notes the members of the object at i and returns the index behind it,
// or -1.
func (e *envelope) members(b []byte, i int) int {
	i = skipSpace(b, i+1)
	if at(b, i) == '}' {
		return i + 1
	}
	for {
		end := scanString(b, i)
		value := scanKey(b, i)
		if value < 0 {
			return -1
		}
		key := b[i+1 : end-1]
		if i = scanValue(b, value, 1); i < 0 {
			return -1
		}
		e.set(key, b[value:i])
		i = skipSpace(b, i)
		switch at(b, i) {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			return i + 1
		default:
			return -1
		}
	}
}

func (e *envelope) set(key, value []byte) {
	if bytes.IndexByte(key, '\\') >= 0 {
		key = []byte(unquote(append(append([]byte{'"'}, key...), '"')))
	}
	switch string(key) {
	case "jsonrpc":
		e.version = value
	case "id":
		e.id = value
	case "method":
		e.method = value
	case "params":
		e.params = value
	case "result":
		e.result = value
	case "error":
		e.err = value
	}
}

// isAnswer reports whether the message answers a call. A null error beside a
// result is what some libraries send on success.
func (e *envelope) isAnswer() bool {
	return e.method == nil && (e.result != nil || e.failed())
}

func (e *envelope) failed() bool { return e.err != nil && string(e.err) != "null" }

// check reports what is wrong with a message that is not an answer.
func (e *envelope) check() *Error {
	switch {
	case e.method == nil:
		return invalidRequest("The message is neither a request nor an answer: it has no method, no result and no error.")
	case e.method[0] != '"':
		return invalidRequest("The method must be a string.")
	case e.result != nil || e.failed():
		return invalidRequest("A message cannot be a request and an answer.")
	case string(e.version) != `"2.0"`:
		return invalidRequest(`The member jsonrpc must be "2.0".`)
	}
	return nil
}

// parseID reads the id of a request: a string or an integer. text is its JSON
// as it has to stand in the answer; key is equal for equal ids, whatever their
// spelling.
func parseID(raw []byte) (text, key string, ok bool) {
	if len(raw) == 0 || len(raw) > maxID {
		return "", "", false
	}
	if raw[0] == '"' {
		s := unquote(raw)
		if !utf8.Valid(raw) {
			b, _ := json.Marshal(s) // a string always encodes
			return string(b), `"` + s, true
		}
		return string(raw), `"` + s, true
	}
	text = string(raw)
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || strings.ContainsAny(text, ".eE") {
		return "", "", false
	}
	return text, text, true
}

// unquote decodes a well-formed JSON string.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	// raw is a valid string by now, so this cannot fail.
	_ = json.Unmarshal(raw, &s)
	return s
}

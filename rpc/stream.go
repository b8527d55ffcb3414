package rpc

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"sync"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"
)

// stream is what the library reads from and writes to. It keeps the library
// away from the payloads:
//
// On the way in it splits the envelope itself and gives the library an empty
// request; OnRecv runs right after ReadObject on the same goroutine, before the
// handler, and fills in the true one. Answers never reach the library, because
// calls are paired here.
//
// On the way out OnSend runs right before WriteObject, both under the library's
// sending lock; it notes the message and WriteObject encodes that one by hand.
//
// In the library's messages an ID holds the id's JSON text in Str. So ids of
// requests come back in the answer as they were sent, of whatever type and size.
type stream struct {
	frames *frameReader
	out    *writer
	calls  *calls
	router *Router
	log    zerolog.Logger
	shut   func() // closes input and output

	// Of the read goroutine, set by ReadObject for OnRecv and the handler.
	now inbound
	end error

	// ended gets the reason of the end of the input, nil for an ordered one.
	ended chan error
	// release lets the read goroutine return from a ReadObject that has met the
	// end. Until then the library stays open, so that answers can be sent.
	release     chan struct{}
	releaseOnce sync.Once

	// Of the sender, under the library's sending lock.
	req     *jsonrpc2.Request
	resp    *jsonrpc2.Response
	scratch []byte
}

// inbound is one request or notification, or the remains of a bad frame.
type inbound struct {
	method string
	id     string // JSON text; empty for a notification
	key    string
	params []byte
	body   *buffer // holds params
	bad    *Error  // answered instead of being handled
}

var _ jsonrpc2.ObjectStream = (*stream)(nil)

// emptyRequest is the smallest message that the library takes for a request.
var emptyRequest = []byte(`{"method":""}`)

// nullID is the id of answers to messages whose id could not be read.
const nullID = "null"

// ReadObject reads up to the next message that is for the handler.
func (s *stream) ReadObject(v any) error {
	for s.end == nil {
		body, bad, err := s.frames.next()
		switch {
		case err != nil:
			s.end = err
			if fe, ok := errors.AsType[*FrameError](err); ok {
				// The answer comes first; the next call meets the end.
				s.now = inbound{id: nullID, bad: fe.answer()}
				return s.hand(v)
			}
		case bad != nil:
			s.now = inbound{id: nullID, bad: bad}
			return s.hand(v)
		case s.sort(body):
			return s.hand(v)
		}
	}
	if errors.Is(s.end, io.EOF) {
		s.ended <- nil
	} else {
		s.ended <- s.end
	}
	<-s.release
	return s.end
}

// sort looks at one body. It reports whether the message is for the handler.
func (s *stream) sort(body *buffer) bool {
	env, bad := split(body.b)
	if bad != nil {
		s.frames.free(body)
		s.now = inbound{id: nullID, bad: bad}
		return true
	}
	if env.isAnswer() {
		s.answer(&env, body)
		return false
	}
	in := inbound{body: body, params: env.params, bad: env.check()}
	if env.id != nil {
		var ok bool
		if in.id, in.key, ok = parseID(env.id); !ok {
			in.id = nullID
			if in.bad == nil {
				in.bad = invalidRequest("The id must be a string or an integer, of at most %d bytes.", maxID)
			}
		}
	}
	if in.bad != nil {
		if in.id == "" {
			in.id = nullID
		}
		in.params, in.body = nil, nil
		s.frames.free(body)
	} else {
		in.method = s.router.intern(env.method)
	}
	s.now = in
	return true
}

func (s *stream) answer(env *envelope, body *buffer) {
	a := answer{result: env.result, body: body}
	if env.failed() {
		a.err = parseRemote(env.err)
	}
	// Our own ids are whole numbers, so nothing else can be an answer to us.
	id, err := strconv.ParseUint(string(env.id), 10, 64)
	if err == nil && s.calls.deliver(id, a) {
		return
	}
	ev := s.log.Debug().Bytes("id", env.id[:min(len(env.id), 64)])
	if a.err != nil {
		ev = ev.Int("code", a.err.Code)
	}
	ev.Msg("ignored an answer that no call waits for")
	s.frames.free(body)
}

// hand gives the library its stand-in for s.now.
func (s *stream) hand(v any) error {
	if u, ok := v.(json.Unmarshaler); ok {
		return u.UnmarshalJSON(emptyRequest)
	}
	return json.Unmarshal(emptyRequest, v)
}

// received is the library's OnRecv: it puts the true request in place.
func (s *stream) received(req *jsonrpc2.Request, _ *jsonrpc2.Response) {
	req.Method = s.now.method
	req.Notif = s.now.id == ""
	req.ID = jsonrpc2.ID{Str: s.now.id, IsString: true}
	if s.now.params != nil {
		req.Params = (*json.RawMessage)(&s.now.params)
	}
}

// sending is the library's OnSend.
func (s *stream) sending(req *jsonrpc2.Request, resp *jsonrpc2.Response) {
	s.req, s.resp = req, resp
}

// WriteObject queues the message that OnSend has noted; its argument is the
// same message in the library's own encoding, which is not asked for.
func (s *stream) WriteObject(any) error {
	b := append(s.scratch[:0], `{"jsonrpc":"2.0"`...)
	var payload []byte
	switch {
	case s.req != nil:
		// A call is sent as a notification with an id, see Conn.call.
		if s.req.ID.Num != 0 {
			b = append(b, `,"id":`...)
			b = strconv.AppendUint(b, s.req.ID.Num, 10)
		}
		b = append(b, `,"method":`...)
		b = appendString(b, s.req.Method)
		if s.req.Params != nil {
			b = append(b, `,"params":`...)
			payload = *s.req.Params
		}
	case s.resp.Error != nil:
		e, err := json.Marshal(s.resp.Error)
		if err != nil {
			return err
		}
		b = append(b, `,"id":`...)
		b = append(b, s.resp.ID.Str...)
		b = append(b, `,"error":`...)
		payload = e
	default:
		b = append(b, `,"id":`...)
		b = append(b, s.resp.ID.Str...)
		b = append(b, `,"result":`...)
		payload = *s.resp.Result
	}
	s.scratch, s.req, s.resp = b, nil, nil
	if len(b)+len(payload)+1 > maxFrame {
		return errTooLarge
	}
	return s.out.push(b, payload, []byte("}"))
}

// errTooLarge is returned for a message that the peer would not read.
var errTooLarge = errors.New("rpc: the message is over the size limit")

// Close is called by the library, once.
func (s *stream) Close() error {
	s.letGo()
	s.shut()
	return nil
}

// letGo ends the wait of a read goroutine that has met the end.
func (s *stream) letGo() { s.releaseOnce.Do(func() { close(s.release) }) }

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			q, _ := json.Marshal(s) // a string always encodes
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

package hosttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// An answer is one chat completion on its way to the client: as server-sent
// events or, for a request without streaming, as one JSON object at the end.
// Its methods return an error when the client has gone.
type answer struct {
	w     http.ResponseWriter
	req   Request
	usage usage

	begun bool   // the status line is out
	text  string // not streaming: the text so far
}

// object is a JSON object.
type object = map[string]any

// begin sends the head of a streamed answer.
func (a *answer) begin() error {
	if !a.req.Stream || a.begun {
		return nil
	}
	a.begun = true
	a.w.Header().Set("Content-Type", "text/event-stream")
	a.w.WriteHeader(http.StatusOK)
	return a.delta(object{"role": "assistant", "content": ""}, nil)
}

// say sends a piece of text.
func (a *answer) say(text string) error {
	if !a.req.Stream {
		a.text += text
		return nil
	}
	if err := a.begin(); err != nil {
		return err
	}
	return a.delta(object{"content": text}, nil)
}

// finish ends the answer, with calls if there are any.
func (a *answer) finish(reason string, calls []call) error {
	list := make([]object, len(calls))
	for i, c := range calls {
		list[i] = object{
			"index": i, "id": fmt.Sprintf("call_%d_%d", a.req.Seq, i), "type": "function",
			"function": object{"name": c.tool, "arguments": c.args},
		}
	}
	tokens := object{
		"prompt_tokens": a.usage.input, "completion_tokens": a.usage.output,
		"total_tokens": a.usage.input + a.usage.output,
	}
	if !a.req.Stream {
		message := object{"role": "assistant", "content": a.text}
		if len(list) > 0 {
			message["tool_calls"] = list
		}
		a.w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(a.w).Encode(a.envelope("chat.completion", object{
			"choices": []object{{"index": 0, "message": message, "finish_reason": reason}},
			"usage":   tokens,
		}))
	}
	if err := a.begin(); err != nil {
		return err
	}
	if len(list) > 0 {
		if err := a.delta(object{"tool_calls": list}, nil); err != nil {
			return err
		}
	}
	if err := a.delta(object{}, reason); err != nil {
		return err
	}
	if err := a.event(a.envelope("chat.completion.chunk", object{"choices": []object{}, "usage": tokens})); err != nil {
		return err
	}
	_, err := fmt.Fprint(a.w, "data: [DONE]\n\n")
	return err
}

// fail answers with an HTTP error or, once a stream has begun, with an error
// event.
func (a *answer) fail(f failure) error {
	body := object{"error": object{"message": f.message, "type": "scripted_error", "code": strconv.Itoa(f.status)}}
	if a.begun {
		return a.event(body)
	}
	a.begun = true
	a.w.Header().Set("Content-Type", "application/json")
	if f.retry > 0 {
		a.w.Header().Set("Retry-After-Ms", strconv.FormatInt(f.retry.Milliseconds(), 10))
	}
	a.w.WriteHeader(f.status)
	return json.NewEncoder(a.w).Encode(body)
}

func (a *answer) delta(delta object, reason any) error {
	return a.event(a.envelope("chat.completion.chunk", object{
		"choices": []object{{"index": 0, "delta": delta, "finish_reason": reason}},
	}))
}

func (a *answer) envelope(kind string, fields object) object {
	fields["id"] = fmt.Sprintf("chatcmpl-%d", a.req.Seq)
	fields["object"] = kind
	fields["created"] = a.req.Start.Unix()
	fields["model"] = a.req.Model
	return fields
}

func (a *answer) event(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.w, "data: %s\n\n", data); err != nil {
		return err
	}
	return http.NewResponseController(a.w).Flush()
}

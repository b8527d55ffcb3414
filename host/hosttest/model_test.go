package hosttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// reply is a chat completion, streamed or not, put together.
type reply struct {
	Status  int
	Text    string
	Calls   []ToolCall
	Finish  string
	Tokens  int
	Retry   string
	Problem string
}

func startModel(t *testing.T) *Model {
	t.Helper()
	m, err := StartModel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// deadline bounds everything that a test waits for.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func user(text string) object      { return object{"role": "user", "content": text} }
func assistant(text string) object { return object{"role": "assistant", "content": text} }
func result(text string) object {
	return object{"role": "tool", "tool_call_id": "c", "content": text}
}

// post sends a request with one tool, so that it is not taken for one of
// OpenCode's own agents.
func post(ctx context.Context, m *Model, stream bool, messages ...object) (*http.Response, error) {
	return postBody(ctx, m, object{
		"model": "main", "stream": stream, "messages": messages,
		"tools": []object{{"type": "function", "function": object{"name": "bash", "parameters": object{"type": "object"}}}},
	})
}

func postBody(ctx context.Context, m *Model, body object) (*http.Response, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL()+"/chat/completions", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("x-session-id", "ses_1")
	req.Close = true
	return http.DefaultClient.Do(req)
}

func ask(t *testing.T, m *Model, stream bool, messages ...object) reply {
	t.Helper()
	resp, err := post(deadline(t, 10*time.Second), m, stream, messages...)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r, err := read(resp)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type completion struct {
	Choices []struct {
		Delta, Message struct {
			Content   string `json:"content"`
			ToolCalls []struct {
				ID       string `json:"id"`
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage struct {
		Total int `json:"total_tokens"`
	} `json:"usage"`
	Error struct{ Message string } `json:"error"`
}

func read(resp *http.Response) (reply, error) {
	r := reply{Status: resp.StatusCode, Retry: resp.Header.Get("Retry-After-Ms")}
	add := func(data []byte) error {
		var c completion
		if err := json.Unmarshal(data, &c); err != nil {
			return err
		}
		r.Tokens += c.Usage.Total
		r.Problem += c.Error.Message
		for _, choice := range c.Choices {
			r.Text += choice.Delta.Content + choice.Message.Content
			r.Finish += choice.FinishReason
			for _, call := range append(choice.Delta.ToolCalls, choice.Message.ToolCalls...) {
				r.Calls = append(r.Calls, ToolCall{call.ID, call.Function.Name, call.Function.Arguments})
			}
		}
		return nil
	}
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return r, err
		}
		return r, add(data)
	}
	ended := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			ended = true
		default:
			if err := add([]byte(data)); err != nil {
				return r, err
			}
		}
	}
	if !ended && r.Problem == "" {
		return r, errors.Join(errors.New("the stream was cut off"), lines.Err())
	}
	return r, nil
}

func TestModelPlaysSteps(t *testing.T) {
	m := startModel(t)
	prompt := user("@text one\n@call bash {\"command\":\"x {{session}}\"}\n@also read {}\n@say two\n@finish length\n@empty\n@stream 3 3ms")
	call1 := []object{prompt, assistant("one"), result("in ses_abcdefghijklmnopqrstuvwxyz")}
	said := func(messages []object, extra ...object) []object {
		return append(append([]object{}, messages...), extra...)
	}
	tests := []struct {
		name     string
		messages []object
		want     reply
	}{
		{"say", []object{user("@say hi")}, reply{Text: "hi", Finish: "stop"}},
		{"a call with a failed placeholder", []object{prompt}, reply{Status: 400, Problem: "script error: {{session}}: the tool results hold 0 of them: "}},
		{"length", call1, reply{Text: "two", Finish: "length"}},
		{"empty", said(call1, assistant("two")), reply{Finish: "stop"}},
		{"chunks", said(call1, assistant("two"), assistant("three")), reply{Text: "1 2 3 ", Finish: "stop"}},
		{"after the last step", said(call1, assistant("2"), assistant("3"), assistant("4")), reply{Text: "ok", Finish: "stop"}},
		{"a later message goes on with the script", said(call1, user("wake up")), reply{Text: "two", Finish: "length"}},
		{"a later message with the script at its end", []object{user("@say a"), assistant("a"), user("more")}, reply{Text: "Received: more", Finish: "stop"}},
		{"a later script replaces an earlier one", said(call1, user("@say new")), reply{Text: "new", Finish: "stop"}},
		{"echo", []object{user("first"), assistant("x"), user("second")}, reply{Text: "Received: second", Finish: "stop"}},
		{"failure", []object{user("@fail 429 retry=20ms slow down")}, reply{Status: 429, Retry: "20", Problem: "slow down"}},
		{"usage", []object{user("@usage 40 2\n@say x")}, reply{Text: "x", Finish: "stop", Tokens: 42}},
		{"mistake", []object{user("@wait x")}, reply{Status: 400, Problem: `script error in line 1 (@wait x): time: invalid duration "x"`}},
	}
	for _, test := range tests {
		for _, stream := range []bool{true, false} {
			want := test.want
			if want.Status == 0 {
				want.Status = http.StatusOK
			}
			if want.Status == http.StatusOK && want.Tokens == 0 {
				want.Tokens = 2
			}
			// A stream that has begun cannot change its status.
			if stream && test.name == "a call with a failed placeholder" {
				want.Status, want.Text = http.StatusOK, "one"
			}
			got := ask(t, m, stream, test.messages...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (stream %v): -want +got\n%s", test.name, stream, diff)
			}
		}
	}
}

func TestModelCalls(t *testing.T) {
	m := startModel(t)
	for i, stream := range []bool{true, false} {
		got := ask(t, m, stream, user("@call bash {\"command\":\"x\"}\n@also read {\"path\":\"p\"}"))
		seq := string(rune('1' + i))
		want := reply{
			Status: 200, Finish: "tool_calls", Tokens: 2,
			Calls: []ToolCall{
				{"call_" + seq + "_0", "bash", `{"command":"x"}`},
				{"call_" + seq + "_1", "read", `{"path":"p"}`},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("stream %v: -want +got\n%s", stream, diff)
		}
	}
}

func TestModelFailsTheGivenNumberOfTimes(t *testing.T) {
	m := startModel(t)
	prompt := user("@fail 503 times=2 busy\n@say done")
	for i, want := range []int{503, 503, 200} {
		if got := ask(t, m, true, prompt); got.Status != want {
			t.Errorf("request %d: %+v, want status %d", i+1, got, want)
		}
	}
	outcomes := []string{}
	for _, r := range m.Requests() {
		outcomes = append(outcomes, r.Outcome)
	}
	if diff := cmp.Diff([]string{"fail 503", "fail 503", "stop"}, outcomes); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestModelFailsForOneModel(t *testing.T) {
	m := startModel(t)
	if got := ask(t, m, true, user("@fail 401 model=main no\n@say done")); got.Status != 401 {
		t.Errorf("%+v, want status 401", got)
	}
	if got := ask(t, m, true, user("@fail 401 model=other no\n@say done")); got.Status != 200 {
		t.Errorf("%+v, want an answer", got)
	}
}

func TestModelRecognisesOpenCodesOwnAgents(t *testing.T) {
	m := startModel(t)
	for system, want := range map[string]string{
		"You are a title generator. You output ...":  titleText,
		"You are a context summarization agent. ...": summaryText,
		"You are a helpful agent without any tools.": "said",
	} {
		resp, err := postBody(deadline(t, 10*time.Second), m, object{
			"model": "small", "stream": true,
			"messages": []object{{"role": "system", "content": system}, user("@say said")},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(resp)
		resp.Body.Close()
		if err != nil || got.Text != want {
			t.Errorf("%s: %+v, %v, want %q", system, got, err, want)
		}
	}
	if m.Titles() != 1 || len(m.Requests()) != 2 {
		t.Errorf("%d titles and %d other requests, want 1 and 2", m.Titles(), len(m.Requests()))
	}
}

func TestModelCountsWhatIsInFlight(t *testing.T) {
	m := startModel(t)
	ctx := deadline(t, 10*time.Second)
	replies := make(chan error)
	for range 3 {
		go func() {
			resp, err := post(ctx, m, true, user("@tag work\n@gate go\n@say x"))
			if err == nil {
				_, err = read(resp)
				resp.Body.Close()
			}
			replies <- err
		}()
	}
	if err := m.WaitLoad(ctx, "work", 3); err != nil {
		t.Fatal(err)
	}
	m.Open("go")
	for range 3 {
		if err := <-replies; err != nil {
			t.Error(err)
		}
	}
	ask(t, m, true, user("@tag work\n@gate go\n@say y")) // the gate stays open
	if _, err := m.Wait(ctx, func(r Request) bool { return r.Seq == 4 && r.Outcome == "stop" }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(Load{Now: 0, Max: 3, Total: 4}, m.Load("work")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestModelReleasesWhatHangs(t *testing.T) {
	m := startModel(t)
	ctx := deadline(t, 10*time.Second)
	client, leave := context.WithCancel(ctx)
	gone, err := post(client, m, true, user("@text half\n@hang"))
	if err != nil {
		t.Fatal(err)
	}
	leave()
	gone.Body.Close()
	if r, err := m.Wait(ctx, func(r Request) bool { return !r.End.IsZero() }); err != nil || r.Outcome != "gone" {
		t.Errorf("%q, %v, want that the client has gone", r.Outcome, err)
	}

	stays, err := post(ctx, m, true, user("@hang"))
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Body.Close()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if r := m.Requests()[1]; r.Outcome != "closed" {
		t.Errorf("outcome %q of the request that hung when the model was closed", r.Outcome)
	}
	if _, err := read(stays); err == nil {
		t.Error("the answer that hung ended as if it were complete")
	}
}

func TestModelRecordsRequests(t *testing.T) {
	m := startModel(t)
	long := strings.Repeat("ä", 3000)
	parts := object{"role": "user", "content": []object{{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": long}}}
	got := ask(t, m, true, object{"role": "system", "content": "sys"}, parts)
	if want := "Received: a\n" + strings.Repeat("ä", 1998); got.Text != want {
		t.Errorf("echo of %d bytes, want %d", len(got.Text), len(want))
	}
	r := m.Requests()[0]
	if r.Session != "ses_1" || r.Model != "main" || r.Step != -1 || r.Last("system") != "sys" || r.Last("user") != "a\n"+long {
		t.Errorf("recorded %+v", r)
	}
	if _, ok := r.Tool("bash"); !ok {
		t.Errorf("tools %v, want bash", r.Tools)
	}
	resp, err := http.Get(m.URL() + "/models")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct{ Data []struct{ ID string } }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Data) != 2 {
		t.Errorf("models %+v, %v", list, err)
	}
}

package hosttest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The fixed answers to OpenCode's own agents.
const (
	titleText   = "Scripted session"
	summaryText = "Summary of the conversation."
	echoLimit   = 2000
)

// maxBody is the largest request that the model reads.
const maxBody = 64 << 20

// Model is a scripted language model: an OpenAI-compatible chat-completions
// server on loopback that does what the directives of the prompt say (see the
// package comment). It keeps no state between requests but its record of them
// and the gates, so any number of sessions may share it. It is safe for
// concurrent use.
type Model struct {
	server *http.Server
	url    string
	done   sync.WaitGroup // the accept loop and, added under mu, every handler

	closing chan struct{} // closed by Close

	mu       sync.Mutex
	requests []*Request
	titles   int
	load     map[string]Load
	gates    map[string]chan struct{}
	changed  chan struct{} // closed and replaced whenever a request starts or ends
}

// Load counts the requests of one tag.
type Load struct {
	Now   int // being answered
	Max   int // the most at one time
	Total int
}

// StartModel starts a model on a free port. The caller closes it.
func StartModel() (*Model, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("scripted model: %w", err)
	}
	m := &Model{
		url:     "http://" + listener.Addr().String() + "/v1",
		closing: make(chan struct{}),
		load:    map[string]Load{},
		gates:   map[string]chan struct{}{},
		changed: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", m.complete)
	mux.HandleFunc("GET /v1/models", m.models)
	m.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
	}
	m.done.Go(func() { _ = m.server.Serve(listener) }) // always ErrServerClosed, after Close
	return m, nil
}

// URL is the base URL for an OpenAI-compatible client; it ends in /v1.
func (m *Model) URL() string { return m.url }

// Close releases every request that waits or hangs, stops the server and
// returns when all handlers have returned.
func (m *Model) Close() error {
	m.mu.Lock()
	if !m.closed() {
		close(m.closing)
	}
	m.mu.Unlock()
	err := m.server.Close()
	m.done.Wait()
	return err
}

// closed reports whether Close was called.
func (m *Model) closed() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// enter admits a handler, unless the model has been closed.
func (m *Model) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed() {
		return false
	}
	m.done.Add(1)
	return true
}

// Open lets all present and later requests pass the gate of that name.
func (m *Model) Open(gate string) {
	ch := m.gate(gate)
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-ch:
	default:
		close(ch)
	}
}

func (m *Model) gate(name string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch, ok := m.gates[name]
	if !ok {
		ch = make(chan struct{})
		m.gates[name] = ch
	}
	return ch
}

// Requests returns a copy of all requests so far in order of arrival, without
// those for a title.
func (m *Model) Requests() []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Request, len(m.requests))
	for i, r := range m.requests {
		list[i] = *r
	}
	return list
}

// Titles returns how many titles were asked for.
func (m *Model) Titles() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.titles
}

// Load returns the counts of a tag; "" is that of the requests without one.
func (m *Model) Load(tag string) Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load[tag]
}

// Wait returns the first request, old or new, that match accepts; match is
// asked again when a request has ended. The error is the context's.
func (m *Model) Wait(ctx context.Context, match func(Request) bool) (Request, error) {
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		requests := m.Requests()
		if i := slices.IndexFunc(requests, match); i >= 0 {
			return requests[i], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Request{}, fmt.Errorf("no such model request among %d: %w", len(requests), context.Cause(ctx))
		}
	}
}

// WaitLoad returns when at least n requests of the tag are being answered.
func (m *Model) WaitLoad(ctx context.Context, tag string, n int) error {
	for {
		m.mu.Lock()
		now, changed := m.load[tag].Now, m.changed
		m.mu.Unlock()
		if now >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d model requests tagged %q: %w", now, n, tag, context.Cause(ctx))
		}
	}
}

func (m *Model) models(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{"object": "list", "data": []object{
		{"id": mainModel, "object": "model", "owned_by": "hosttest"},
		{"id": smallModel, "object": "model", "owned_by": "hosttest"},
	}})
}

func (m *Model) complete(w http.ResponseWriter, r *http.Request) {
	if !m.enter() {
		return
	}
	defer m.done.Done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client has gone
	}
	req, err := parseRequest(body, r.Header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := &answer{w: w, usage: usage{input: 1, output: 1}}
	switch req.Kind {
	case Title:
		m.mu.Lock()
		m.titles++
		m.mu.Unlock()
		a.req = req
		_ = endWith(a, titleText)
	default:
		m.record(r.Context(), a, req)
	}
}

// record answers a request that counts.
func (m *Model) record(ctx context.Context, a *answer, req Request) {
	s, n, scriptErr := play(req.Messages)
	if s != nil {
		req.Tag = s.tag
		if n < len(s.steps) {
			req.Step = n
		}
	}
	kept, attempt := m.start(req)
	a.req = *kept
	outcome, err := "", error(nil)
	switch {
	case req.Kind == Compaction:
		outcome, err = "stop", endWith(a, summaryText)
	case scriptErr != nil:
		outcome, err = refuse(a, scriptErr)
	case req.Step >= 0:
		p := player{model: m, answer: a, attempt: attempt}
		outcome, err = p.play(ctx, s.steps[n])
	case s != nil && n == answersAfterLastUser(req.Messages):
		outcome, err = "stop", endWith(a, "ok")
	default:
		outcome, err = "stop", endWith(a, echo(req.Last("user")))
	}
	if err != nil {
		outcome = "gone"
		if m.closed() {
			outcome = "closed"
		}
	}
	m.end(kept, outcome)
}

// start records a request and returns how many equal ones came before it, which
// is how a client's retry is told from a new request.
func (m *Model) start(req Request) (*Request, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	attempt := 0
	for _, earlier := range m.requests {
		if earlier.Session == req.Session && earlier.Step == req.Step && slices.EqualFunc(earlier.Messages, req.Messages, sameMessage) {
			attempt++
		}
	}
	req.Seq = len(m.requests) + 1
	req.Start = time.Now()
	m.requests = append(m.requests, &req)
	l := m.load[req.Tag]
	l.Now, l.Total = l.Now+1, l.Total+1
	l.Max = max(l.Max, l.Now)
	m.load[req.Tag] = l
	m.announce()
	return &req, attempt
}

func (m *Model) end(req *Request, outcome string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	req.End, req.Outcome = time.Now(), outcome
	l := m.load[req.Tag]
	l.Now--
	m.load[req.Tag] = l
	m.announce()
}

// announce wakes whoever waits for a change. The caller holds mu.
func (m *Model) announce() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func sameMessage(a, b ChatMessage) bool { return a.Role == b.Role && a.Text == b.Text }

// answersAfterLastUser counts the assistant messages after the last user
// message: equal to the count after the script's message only if that is the
// last user message.
func answersAfterLastUser(messages []ChatMessage) int {
	n := 0
	for _, m := range slices.Backward(messages) {
		if m.Role == "user" {
			break
		}
		if m.Role == "assistant" {
			n++
		}
	}
	return n
}

func echo(text string) string {
	if runes := []rune(text); len(runes) > echoLimit {
		text = string(runes[:echoLimit])
	}
	return "Received: " + text
}

func endWith(a *answer, text string) error {
	if err := a.say(text); err != nil {
		return err
	}
	return a.finish("stop", nil)
}

func refuse(a *answer, reason error) (string, error) {
	f := failure{status: http.StatusBadRequest, message: reason.Error()}
	return fmt.Sprintf("fail %d", f.status), a.fail(f)
}

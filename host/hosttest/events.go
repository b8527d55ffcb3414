package hosttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxEvent is the longest line of the event stream that is read.
const maxEvent = 16 << 20

// Event is one event of OpenCode's bus.
type Event struct {
	Seq        int // from 1, in order of arrival
	At         time.Time
	Type       string
	Directory  string // "" for events of the server itself
	Session    string // "" for events that belong to no session
	Properties json.RawMessage
}

// Events is a subscription to the bus of all directories, which outlives the
// disposal of an instance. It keeps every event, so that waiting for one that
// has already arrived cannot fail. It is safe for concurrent use.
type Events struct {
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	list    []Event
	err     error         // why the stream ended
	changed chan struct{} // closed and replaced at each event and at the end
}

// Events subscribes, and returns when OpenCode has confirmed it. The context
// only bounds the subscribing; Close ends the stream and its goroutine.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	stream, stop := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, stop)
	resp, err := c.send(stream, http.MethodGet, "/global/event", nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = &StatusError{Method: http.MethodGet, Path: "/global/event", Status: resp.StatusCode}
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("subscribe to events: %w", err)
	}
	e := &Events{stop: stop, done: make(chan struct{}), changed: make(chan struct{})}
	go e.read(resp.Body)
	_, err = e.Wait(ctx, 0, OfType("server.connected"))
	if err == nil && !release() {
		err = context.Cause(ctx) // it ended just now, and the stream with it
	}
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("subscribe to events: %w", err)
	}
	return e, nil
}

// OfType accepts events of a type.
func OfType(kind string) func(Event) bool {
	return func(e Event) bool { return e.Type == kind }
}

// OfSession accepts events of a type that belong to a session.
func OfSession(kind, session string) func(Event) bool {
	return func(e Event) bool { return e.Type == kind && e.Session == session }
}

// All returns the events so far. The caller owns the slice.
func (e *Events) All() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// Len returns how many events have arrived: the Seq of the last one, to be
// given to Wait.
func (e *Events) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.list)
}

// Wait returns the first event, past or future, with a Seq greater than after
// that match accepts. The error is the context's or that of the stream's end.
func (e *Events) Wait(ctx context.Context, after int, match func(Event) bool) (Event, error) {
	for {
		e.mu.Lock()
		fresh, err, changed := e.list[min(after, len(e.list)):], e.err, e.changed
		e.mu.Unlock()
		if i := slices.IndexFunc(fresh, match); i >= 0 {
			return fresh[i], nil
		}
		after += len(fresh)
		if err != nil {
			return Event{}, fmt.Errorf("the event stream ended: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("no such event among the first %d: %w", after, context.Cause(ctx))
		}
	}
}

// Close ends the subscription and waits for its goroutine.
func (e *Events) Close() {
	e.stop()
	<-e.done
}

// read decodes the stream until it ends.
func (e *Events) read(body io.ReadCloser) {
	defer close(e.done)
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		event, err := parseEvent([]byte(data))
		if err != nil {
			e.update(func() { e.err = err })
			return
		}
		if event.Type == "sync" {
			continue // the same events again, for replicas
		}
		e.update(func() {
			event.Seq = len(e.list) + 1
			e.list = append(e.list, event)
		})
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	e.update(func() { e.err = err })
}

func (e *Events) update(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	close(e.changed)
	e.changed = make(chan struct{})
}

// parseEvent reads an event of the global stream.
func parseEvent(data []byte) (Event, error) {
	var in struct {
		Directory string `json:"directory"`
		Payload   struct {
			Type       string          `json:"type"`
			Properties json.RawMessage `json:"properties"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return Event{}, fmt.Errorf("event %.200q: %w", data, err)
	}
	if in.Payload.Type == "" {
		return Event{}, errors.New("event without a type: " + string(data))
	}
	e := Event{At: time.Now(), Type: in.Payload.Type, Directory: in.Directory, Properties: in.Payload.Properties}
	var p struct {
		SessionID string `json:"sessionID"`
	}
	if json.Unmarshal(e.Properties, &p) == nil {
		e.Session = p.SessionID
	}
	return e, nil
}

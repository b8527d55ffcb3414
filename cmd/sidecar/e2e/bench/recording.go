package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// A recording is what crossed the pipe between shim and sidecar, with the shim's
// clock in milliseconds, as OPENCODE_SIDECAR_RECORD has it.
type recording []crossing

type crossing struct {
	T   float64 `json:"t"`
	Dir string  `json:"dir"` // out: from the shim
	Msg struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Result json.RawMessage `json:"result"`
		Params struct {
			Type       string `json:"type"`
			Command    string `json:"command"`
			SessionID  string `json:"sessionID"`
			Properties struct {
				SessionID string `json:"sessionID"`
			} `json:"properties"`
			Path struct {
				ID string `json:"id"`
			} `json:"path"`
		} `json:"params"`
	} `json:"msg"`
}

func readRecording(file string) (recording, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r recording
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var c crossing
		// What does not fit is a message that nothing here looks at.
		if json.Unmarshal(lines.Bytes(), &c) == nil {
			r = append(r, c)
		}
	}
	return r, lines.Err()
}

// errNoIdle says that the sidecar never heard of the child's end.
var errNoIdle = errors.New("no event says that the child is idle")

// ending says when a child's task was over: after the event that its session is
// idle, the answer with the messages that prove the end, and the wake of the
// parent.
func (r recording) ending(child, parent string) (proof, wake time.Duration, err error) {
	idle, proven := -1.0, -1.0
	asked := map[string]bool{} // open calls for the child's messages
	for _, c := range r {
		id := string(c.Msg.ID)
		switch {
		case c.Dir == "out" && c.Msg.Method == "event" && c.Msg.Params.Type == "session.idle" && c.Msg.Params.Properties.SessionID == child && idle < 0:
			idle = c.T
		case c.Dir == "in" && c.Msg.Method == "host/session.messages" && c.Msg.Params.Path.ID == child:
			asked[id] = true
		case c.Dir == "out" && c.Msg.Method == "" && asked[id]:
			delete(asked, id)
			proven = c.T // the last one before the wake is the one that proved it
		case c.Dir == "in" && c.Msg.Method == "host/session.promptAsync" && c.Msg.Params.Path.ID == parent && idle >= 0:
			if proven < 0 {
				return 0, 0, errors.New("the parent was told without a look at the child's messages")
			}
			return milliseconds(proven - idle), milliseconds(c.T - idle), nil
		}
	}
	if idle < 0 {
		return 0, 0, errNoIdle
	}
	return 0, 0, fmt.Errorf("the recording has no wake of %s about %s", parent, child)
}

// stopped is what the hook of /stop did in a session.
type stopped struct {
	took  time.Duration
	abort time.Duration // of that, what OpenCode took to abort the turn; 0 if there was none
	text  string        // that it gave
}

func (r recording) stop(session string) (s stopped, err error) {
	var asked, aborting *crossing
	for i := range r {
		c := &r[i]
		switch {
		case c.Dir == "out" && c.Msg.Method == "hook/command" && c.Msg.Params.Command == "stop" && c.Msg.Params.SessionID == session:
			asked = c
		case asked == nil:
		case c.Dir == "in" && c.Msg.Method == "host/session.abort" && c.Msg.Params.Path.ID == session:
			aborting = c
		case c.Dir == "out" && aborting != nil && c.answers(aborting):
			s.abort = milliseconds(c.T - aborting.T)
		case c.Dir == "in" && c.answers(asked):
			var result struct {
				Text string `json:"text"`
			}
			err := json.Unmarshal(c.Msg.Result, &result)
			s.took, s.text = milliseconds(c.T-asked.T), result.Text
			return s, err
		}
	}
	return s, fmt.Errorf("the recording has no answer to /stop in %s", session)
}

// answers reports whether a message of the other side is the answer to a request.
func (c *crossing) answers(request *crossing) bool {
	return c.Msg.Method == "" && string(c.Msg.ID) == string(request.Msg.ID)
}

func milliseconds(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

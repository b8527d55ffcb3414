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
		Params struct {
			Type       string `json:"type"`
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

func milliseconds(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

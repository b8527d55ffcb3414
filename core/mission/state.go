package mission

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Phase is where a mission stands.
type Phase string

// The phases of a mission. An active one goes on by itself; a paused one does so
// after the person's next message; the others are over.
const (
	Active  Phase = "active"
	Paused  Phase = "paused"
	Done    Phase = "done"
	Stopped Phase = "stopped"
)

// Over reports whether nothing of the mission is left to do.
func (p Phase) Over() bool { return p == Done || p == Stopped }

// State is what is kept of a mission, as JSON.
type State struct {
	Session   string `json:"session"`
	Directory string `json:"directory"`
	// Objective is what the person asked for, shortened.
	Objective string `json:"objective"`
	Phase     Phase  `json:"phase"`
	// Reason is why it is paused or over, as the end of a sentence.
	Reason string `json:"reason,omitempty"`
	// Iteration counts the continuations that were sent.
	Iteration int `json:"iteration"`
	// Prompt is the message id of the newest. Unseen says that it may not have
	// reached its session: it is stored before it is sent.
	Prompt string `json:"prompt,omitempty"`
	Unseen bool   `json:"unseen,omitempty"`
	// Keys tell what the newest turns came to, and Idle how many in a row came to
	// nothing; Failures counts those that the provider failed.
	Keys     []string `json:"keys,omitempty"`
	Idle     int      `json:"idle,omitempty"`
	Failures int      `json:"failures,omitempty"`
	// Listed says that there was something to do in its files.
	Listed bool `json:"listed,omitempty"`
	// Agent and Model are those of the newest message of a person: continuations go
	// on with them.
	Agent string     `json:"agent,omitempty"`
	Model host.Model `json:"model,omitzero"`
	// Held says that a person stopped it while tasks of the session ran: nothing is
	// told of them before its next message.
	Held bool `json:"held,omitempty"`
	// Halted is the OpenCode process that has ended the mission of another one.
	Halted string `json:"halted,omitempty"`
	// Used is what the session itself had used at the time Counted; Before is what its
	// tasks had used when the mission began.
	Used    task.Usage `json:"used"`
	Counted time.Time  `json:"counted"`
	Before  task.Usage `json:"before"`
	// Todos is what the last merge of OpenCode's own todo list saw.
	Todos   todo.Base `json:"todos,omitempty"`
	Started time.Time `json:"started"`
}

// Settings are what users may choose for a workspace.
type Settings struct {
	// Countdown is how long a continuation waits for the person to say something.
	Countdown time.Duration
	// Iterations is how many continuations a mission may have, Idle how many turns
	// in a row may come to nothing.
	Iterations, Idle int
	// Tokens and Cost (US dollars) bound what the session and its tasks may use
	// from the beginning of the mission; 0 is no limit.
	Tokens int64
	Cost   float64
	// Toasts shows what the mission does.
	Toasts bool
}

// DefaultSettings hold in a directory that was not opened with others.
func DefaultSettings() Settings {
	return Settings{Countdown: 3 * time.Second, Iterations: 100, Idle: 3, Toasts: true}
}

const (
	// objectiveLimit is how much of an objective is kept, in bytes.
	objectiveLimit = 4000
	// keysKept is how many turns are compared to tell whether anything is new.
	keysKept = 8
)

// encode returns the state as it is stored. What does not fit is what the last
// merge saw: without it the next one only takes items further.
func (s State) encode() ([]byte, error) {
	body, err := json.Marshal(s)
	if err == nil && len(body) > record.MaxBody {
		s.Todos = nil
		body, err = json.Marshal(s)
	}
	if err != nil {
		return nil, fmt.Errorf("mission of %s: %w", s.Session, err)
	}
	return body, nil
}

func decode(body []byte) (State, error) {
	var s State
	if err := json.Unmarshal(body, &s); err != nil {
		return State{}, fmt.Errorf("a stored mission cannot be read: %w", err)
	}
	return s, nil
}

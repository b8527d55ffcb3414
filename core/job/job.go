package job

import (
	"errors"
	"fmt"
	"time"
)

// State is where a command is in its life. The terminal ones are final.
type State string

// The states.
const (
	Pending     State = "pending"     // waits for a place
	Running     State = "running"     //
	Done        State = "done"        // exited by itself with code 0
	Error       State = "error"       // exited by itself with another code or by a signal, or could not start
	Timeout     State = "timeout"     // ended by us because its time was over
	Killed      State = "killed"      // ended by us because somebody asked for it
	Interrupted State = "interrupted" // ended because the sidecar did
)

// Terminal reports whether a command in this state has ended.
func (s State) Terminal() bool { return s != Pending && s != Running }

// Stream is one of the outputs of a command.
type Stream string

// The streams. On a terminal everything is on Stdout.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// streams lists them in the order in which they are read.
var streams = [...]Stream{Stdout, Stderr}

// Job is a command as it was at one moment. Its JSON is what records hold: names
// are only added.
type Job struct {
	ID        string `json:"id"`
	Label     string `json:"label,omitempty"`
	Command   string `json:"command"`
	Dir       string `json:"dir"`
	Worktree  string `json:"worktree,omitempty"`
	Directory string `json:"directory,omitempty"` // that OpenCode has open
	Session   string `json:"session,omitempty"`   // whoever launched it
	Notify    bool   `json:"notify,omitempty"`
	PTY       bool   `json:"pty,omitempty"`

	State    State         `json:"state"`
	Position int           `json:"-"` // in the queue, from 1; 0 for one that is not in it
	Timeout  time.Duration `json:"timeout"`
	Created  time.Time     `json:"created"`
	Started  time.Time     `json:"started,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"`
	Pid      int           `json:"pid,omitempty"`

	// Exited says that Code and Signal hold how the shell exited.
	Exited bool   `json:"exited,omitempty"`
	Code   int    `json:"code,omitempty"`   // -1 with a Signal
	Signal string `json:"signal,omitempty"` // such as "SIGKILL"; empty for an exit by itself
	// EndedBy is the session that has killed it, empty if none has.
	EndedBy string `json:"endedBy,omitempty"`
	// Problem says in a sentence what went wrong besides: why it could not start,
	// or what could not be ended.
	Problem string `json:"problem,omitempty"`

	// Left is how many processes of the command lived on when it had ended.
	Left int `json:"left,omitempty"`
	// Out and Err are what it has written so far.
	Out Written `json:"-"`
	Err Written `json:"-"`
	// Spill is the path of the files with all of its output, without the ending
	// .stdout.log or .stderr.log; empty if there are none.
	Spill string `json:"spill,omitempty"`
	// SpillCut says that a file holds only the beginning.
	SpillCut bool `json:"spillCut,omitempty"`
}

// Written counts the output on a stream.
type Written struct {
	Total   int64 // bytes that were written
	Dropped int64 // bytes of them that are not kept
}

// Took is how long the command has run, or ran.
func (j Job) Took() time.Duration {
	switch {
	case j.Started.IsZero():
		return 0
	case j.Ended.IsZero():
		return time.Since(j.Started)
	}
	return j.Ended.Sub(j.Started)
}

// The errors that callers tell apart, besides FieldError.
var (
	// ErrStopping refuses commands once the shutdown has begun.
	ErrStopping = errors.New("the sidecar is shutting down and starts no more commands")
	// ErrUnknown is wrapped by what is asked about a command that there is not.
	ErrUnknown = errors.New("there is no such command")
	// ErrEnded refuses what only a running command can do.
	ErrEnded = errors.New("the command has ended")
	// ErrNotRunning refuses the same of one that waits for its place.
	ErrNotRunning = errors.New("the command has not started yet")
	// ErrNoInput refuses to write to a command that was started without input, or
	// whose input was closed.
	ErrNoInput = errors.New("the command has no open input")
	// ErrFull refuses a command when too many wait already.
	ErrFull = errors.New("too many commands are waiting")
)

// FieldError is an argument that cannot be accepted.
type FieldError struct {
	Field  string // as the tools name it
	Reason string
	Err    error // what it wraps; may be nil
}

// Error names the field and says what is wrong with it.
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap returns Err.
func (e *FieldError) Unwrap() error { return e.Err }

func wrong(field, format string, args ...any) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

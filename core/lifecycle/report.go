package lifecycle

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is how a handler ended.
type Outcome string

// The outcomes of a handler.
const (
	OutcomeOK      Outcome = "ok"
	OutcomeError   Outcome = "error"   // it returned an error
	OutcomePanic   Outcome = "panic"   // it panicked; Err is a *PanicError with the stack
	OutcomeTimeout Outcome = "timeout" // its time was up before it had finished
	OutcomeSkipped Outcome = "skipped" // the budget was used up before its turn
)

// ErrAbandoned is in the report of a handler, or of the refuse hooks, that did
// not return in time: the goroutine may still run.
var ErrAbandoned = errors.New("lifecycle: did not return in time and was abandoned")

var (
	errGoexit  = errors.New("lifecycle: the handler ended its goroutine instead of returning")
	errSkipped = errors.New("lifecycle: no time was left")
)

// HandlerReport says how one handler ended.
type HandlerReport struct {
	Name     string
	Priority int
	Took     time.Duration
	Outcome  Outcome
	// Err is nil exactly when Outcome is OutcomeOK. It wraps ErrAbandoned for a
	// handler whose goroutine is left behind.
	Err error
}

// Report says how a shutdown went.
type Report struct {
	// Reason is that of the caller who started the run.
	Reason  string
	Started time.Time
	Took    time.Duration
	// Budget is what the run had in the end: the first caller's, or less when
	// a later one was in more of a hurry.
	Budget time.Duration
	// Complete is false in a report taken while the run goes on.
	Complete bool
	// RefuseErr joins the panics of the refuse hooks, and ErrAbandoned when
	// they did not return in time.
	RefuseErr error
	// Handlers are in the order of the phases, and within a phase in the order
	// of registration. A phase appears when it has ended.
	Handlers []HandlerReport
}

// Clean reports whether the run is complete and everything ended well.
func (r Report) Clean() bool {
	for _, h := range r.Handlers {
		if h.Outcome != OutcomeOK {
			return false
		}
	}
	return r.Complete && r.RefuseErr == nil
}

// PanicError is the panic of a handler or a refuse hook.
type PanicError struct {
	Value any
	Stack []byte
}

// Error says what was thrown, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("lifecycle: panic: %v", e.Value) }

// Unwrap returns the value when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

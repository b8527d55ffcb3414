package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// ErrClosed is in the chain of what Serve returns after Close, and of what
// Invoke and Notify return once the connection has ended.
var ErrClosed = errors.New("rpc: connection closed")

// FrameError ends a connection: from here on the position in the byte stream
// is unknown.
type FrameError struct {
	// Reason says what could not be read.
	Reason string
	kind   wire.Kind
}

// Error implements error.
func (e *FrameError) Error() string { return "rpc: unreadable frame: " + e.Reason }

// answer is the last message on a connection with an unreadable frame.
func (e *FrameError) answer() *Error {
	code := wire.CodeParse
	if e.kind == wire.KindTooLarge {
		code = wire.CodeRefused
	}
	return Errorf(code, e.kind, "The frame cannot be read: %s. The connection is closed.", e.Reason)
}

// StreamError ends a connection whose input or output failed.
type StreamError struct {
	// Op is "read" or "write".
	Op  string
	Err error
}

// Error implements error.
func (e *StreamError) Error() string { return "rpc: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the error of the stream.
func (e *StreamError) Unwrap() error { return e.Err }

// Error is an error as it crosses the wire. A handler that returns one, at any
// depth of its error chain, has it sent as it is; Invoke returns one when the
// peer answered with an error.
type Error struct {
	// Code is one of the codes of package wire.
	Code int
	// Message is one sentence for the user that says what to do.
	Message string
	// Data is for programs.
	Data wire.ErrorData

	cause  error
	remote bool
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause given to Because, which never crosses the wire.
func (e *Error) Unwrap() error { return e.cause }

// Because returns a copy that carries cause for the log and for errors.Is.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Remote reports whether the error was answered by the peer, so that it speaks
// of what the peer did and not of what this side was asked to do.
func (e *Error) Remote() bool { return e.remote }

// Errorf returns an error with the given code and kind.
func Errorf(code int, kind wire.Kind, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Data: wire.ErrorData{Kind: kind}}
}

// InvalidParams returns the error of a bad argument. field is its JSON path;
// the sentence should name the accepted values.
func InvalidParams(field, format string, args ...any) *Error {
	e := Errorf(wire.CodeInvalidParams, wire.KindInvalidParams, format, args...)
	e.Data.Field = field
	return e
}

// Refused returns the error of a request that was understood but is not
// allowed or not possible now; kind says why.
func Refused(kind wire.Kind, format string, args ...any) *Error {
	return Errorf(wire.CodeRefused, kind, format, args...)
}

// NotFound returns the error of a request that names something unknown.
func NotFound(format string, args ...any) *Error {
	return Refused(wire.KindNotFound, format, args...)
}

// invalidRequest is the error of JSON that is no message, or of a message that
// may not come now.
func invalidRequest(format string, args ...any) *Error {
	return Errorf(wire.CodeInvalidRequest, wire.KindParse, format, args...)
}

func errCancelled() *Error {
	return Errorf(wire.CodeCancelled, wire.KindCancelled, "The request was cancelled.")
}

func errShuttingDown() *Error {
	return Refused(wire.KindShuttingDown, "The sidecar is shutting down; start the request again after its restart.")
}

// mapError finds the error to answer to a request that failed with err. The
// order matters: what the peer cancelled is cancelled whatever the handler made
// of it; an error that was made for the wire is more exact than anything below.
func mapError(method string, err error, cancelled, closing bool, custom func(error) *Error) *Error {
	own, ok := errors.AsType[*Error](err)
	switch {
	case cancelled:
		return errCancelled().Because(err)
	case ok && !own.remote:
		return own
	case closing && errors.Is(err, context.Canceled), errors.Is(err, ErrClosed):
		return errShuttingDown().Because(err)
	}
	if custom != nil {
		if e := custom(err); e != nil {
			return e
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Refused(wire.KindTimeout, "%s did not finish in time.", method).Because(err)
	case ok:
		// What the peer answered to a call of ours says nothing about its own
		// request: its code (unknown method, say) must not come back as ours.
		e := Errorf(wire.CodeHost, wire.KindHost, "A call to OpenCode failed: %s", own.Message)
		e.Data.Status, e.Data.Name = own.Data.Status, own.Data.Name
		return e.Because(err)
	}
	return internalError(method).Because(err)
}

func internalError(method string) *Error {
	return Errorf(wire.CodeInternal, wire.KindInternal, "%s failed inside the sidecar; its log has the details.", method)
}

// wireError is the form that the library sends.
func (e *Error) wireError() *jsonrpc2.Error {
	// A struct of strings and numbers always encodes.
	data, _ := json.Marshal(e.Data)
	return &jsonrpc2.Error{Code: int64(e.Code), Message: e.Message, Data: (*json.RawMessage)(&data)}
}

// parseRemote reads the error member of an answer. A peer's malformed error is
// still an error.
func parseRemote(raw []byte) *Error {
	var w struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		e := Errorf(wire.CodeInternal, wire.KindInternal, "The peer answered with an error that cannot be read.").Because(err)
		e.remote = true
		return e
	}
	e := &Error{Code: w.Code, Message: w.Message, remote: true}
	// Data of another shape, from a library on the other side, is left out.
	if json.Unmarshal(w.Data, &e.Data) != nil {
		e.Data = wire.ErrorData{}
	}
	return e
}

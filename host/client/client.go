// Package client makes the typed calls to OpenCode, through the shim. Each call
// but Ask has a deadline of its own, because a host call may hang, and fails with a
// *host.CallError, host.ErrWorkspaceClosed or the error of its context.
package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Deadlines of calls. OpenCode answers reads within milliseconds; creating a
// session or accepting a prompt can wait for its own start-up.
const (
	readDeadline  = 10 * time.Second
	writeDeadline = 60 * time.Second
)

// Caller sends a request to the shim and decodes its answer. An error answer is
// an error with a method Detail.
type Caller interface {
	Call(ctx context.Context, method string, params, result any) error
}

// Client is OpenCode as the sidecar calls it. It is safe for concurrent use.
type Client struct {
	caller  Caller
	resolve func(directory string) (workspace string, ok bool)
}

// New returns a client. resolve maps a directory to the workspace id under
// which the shim knows it now.
func New(caller Caller, resolve func(directory string) (string, bool)) *Client {
	return &Client{caller: caller, resolve: resolve}
}

// invoke makes one call for a directory. fill gets the workspace id.
func invoke[P, R any](ctx context.Context, c *Client, m wire.Call[P, R], directory string, limit time.Duration, fill func(workspace string) P) (R, error) {
	var result R
	workspace, ok := c.resolve(directory)
	if !ok {
		return result, fmt.Errorf("%s in %s: %w", m.Name, directory, host.ErrWorkspaceClosed)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		&host.CallError{Call: m.Name, Message: fmt.Sprintf("no answer within %s", limit)})
	defer cancel()
	err := c.caller.Call(ctx, m.Name, fill(workspace), &result)
	return result, describe(ctx, m.Name, err)
}

// detailed is an error answer of the shim.
type detailed interface {
	error
	Detail() (message string, data wire.ErrorData)
}

func describe(ctx context.Context, call string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", call, cause)
	}
	if e, ok := errors.AsType[detailed](err); ok {
		message, data := e.Detail()
		return &host.CallError{Call: call, Status: data.Status, Name: data.Name, Message: message}
	}
	return &host.CallError{Call: call, Message: err.Error()}
}

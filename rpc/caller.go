package rpc

import (
	"context"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Call is Invoke for callers that know the method by name: host/client, which
// depends on the contract and not on this package. Errors are those of Invoke.
func (c *Conn) Call(ctx context.Context, method string, params, result any) error {
	return c.call(ctx, method, params, result)
}

// Detail returns the message and the data of an error answer, for callers that
// see it through an interface of their own.
func (e *Error) Detail() (message string, data wire.ErrorData) { return e.Message, e.Data }

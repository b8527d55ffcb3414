// Package rpc is the transport between the shim and the sidecar: JSON-RPC 2.0
// in Content-Length frames over a pair of byte streams, both sides calling.
//
// It stands on github.com/sourcegraph/jsonrpc2, which supplies the read loop,
// the message model, the hooks and the closed state, and mends what that
// library leaves open:
//
//   - Frames. A bad payload is answered and the connection goes on; only an
//     unreadable header ends it. See frameReader.
//   - Cost. The library decodes params three times and writes them back sorted.
//     Here the envelope is split by hand, the library gets an empty message in
//     its place, and its OnRecv and OnSend hooks put the raw bytes back. See
//     stream.
//   - Blocking. The library writes under a lock. Here a write is an append to a
//     queue that one goroutine empties, so a peer that does not read blocks
//     neither handlers nor the reader. See writer.
//   - Calls. The library keeps the entry of a call that was given up until the
//     peer answers, perhaps never, and does not tell the peer. Here a call is
//     retired at once and `$/cancelRequest` follows it. See calls.
//   - Handlers. The library runs them on the read goroutine. Here they run
//     concurrently under a cap, or one after another where the contract says
//     Ordered; they can be cancelled, may panic, and are waited for. See
//     dispatcher.
//   - Errors. The library sends wrapped errors with code 0. Here one place maps
//     errors to codes, kinds and sentences. See Error.
//
// The read loop decodes, matches answers, cancels and hands off. It never waits
// for a handler, for the writer or for the peer, so that two peers that flood
// each other with calls cannot lock each other.
package rpc

// Package wire is the contract between the shim and the sidecar: the methods,
// their parameters and results, the error kinds and the version.
//
// The typed descriptors below (Initialize, ToolCall, ...) are the only source.
// The router takes its types from them, and `sidecar generate` writes the
// shim's TypeScript types and the protocol reference from the same table.
package wire

import "reflect"

// Version is the version of the sidecar and of the shim. Both must be equal:
// the handshake compares them to the letter, because the two are always
// installed together and a half-updated pair is the one thing users cannot see.
const Version = "0.1.0"

// Protocol counts incompatible changes of this package.
const Protocol = 1

// Method describes one JSON-RPC method.
type Method struct {
	// Name is the method on the wire, `noun/verb`.
	Name string
	// Doc is one or two sentences for the protocol reference.
	Doc string
	// ToHost is true for calls that the sidecar makes.
	ToHost bool
	// Notification is true when no answer is sent.
	Notification bool
	// Ordered methods are handled one after another in arrival order, on one
	// worker. Their handlers must not call the host: the answer could be queued
	// behind them.
	Ordered bool
	// Early methods are accepted before `initialize` has succeeded.
	Early bool
	// Params and Result are the Go types of the payloads; Result is nil for a
	// notification.
	Params, Result reflect.Type
}

// Call is the typed descriptor of a request method.
type Call[P, R any] struct{ Method }

// Notice is the typed descriptor of a notification.
type Notice[P any] struct{ Method }

// Empty is the payload of methods that carry nothing.
type Empty struct{}

type option func(*Method)

func toHost(m *Method)  { m.ToHost = true }
func ordered(m *Method) { m.Ordered = true }
func early(m *Method)   { m.Early = true }

func call[P, R any](name, doc string, opts ...option) Call[P, R] {
	m := Method{Name: name, Doc: doc, Params: reflect.TypeFor[P](), Result: reflect.TypeFor[R]()}
	for _, o := range opts {
		o(&m)
	}
	return Call[P, R]{m}
}

func notice[P any](name, doc string, opts ...option) Notice[P] {
	m := Method{Name: name, Doc: doc, Notification: true, Params: reflect.TypeFor[P]()}
	for _, o := range opts {
		o(&m)
	}
	return Notice[P]{m}
}

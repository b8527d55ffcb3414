package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// Router maps methods to typed handlers. It is filled once, at wiring time, and
// may then serve any number of connections.
type Router struct {
	host   bool
	sealed atomic.Bool
	routes map[string]*route
}

// route serves one method. decoded is called when params is no longer in use.
type route struct {
	method wire.Method
	serve  func(ctx context.Context, params []byte, decoded func()) (json.RawMessage, error)
}

// NewRouter returns an empty router for the sidecar's side.
func NewRouter() *Router { return &Router{routes: map[string]*route{}} }

// NewHostRouter returns an empty router for the other side, for programs that
// play the shim: it takes the methods marked ToHost and no others, and a
// connection with it asks for no `initialize`.
func NewHostRouter() *Router { return &Router{host: true, routes: map[string]*route{}} }

// Handle registers the handler of a request. fn runs concurrently with every
// other handler unless the method is Ordered; its ctx ends when the peer
// cancels the request or the connection ends. It panics on a method that has a
// handler or belongs to the other side.
func Handle[P, R any](r *Router, m wire.Call[P, R], fn func(ctx context.Context, p P) (R, error)) {
	r.add(m.Method, func(ctx context.Context, params []byte, decoded func()) (json.RawMessage, error) {
		var p P
		err := decode(params, &p)
		decoded()
		if err != nil {
			return nil, err
		}
		res, err := fn(ctx, p)
		if err != nil {
			return nil, err
		}
		return encode(res)
	})
}

// HandleNotice registers the handler of a notification. The rules of Handle
// hold.
func HandleNotice[P any](r *Router, m wire.Notice[P], fn func(ctx context.Context, p P)) {
	r.add(m.Method, func(ctx context.Context, params []byte, decoded func()) (json.RawMessage, error) {
		var p P
		err := decode(params, &p)
		decoded()
		if err != nil {
			return nil, err
		}
		fn(ctx, p)
		return nil, nil
	})
}

func (r *Router) add(m wire.Method, serve func(context.Context, []byte, func()) (json.RawMessage, error)) {
	switch {
	case r.sealed.Load():
		panic("rpc: " + m.Name + " is registered after the router was put to use")
	case m.ToHost != r.host:
		panic("rpc: " + m.Name + " is not handled on this side")
	case m.Name == wire.Cancel.Name:
		panic("rpc: " + m.Name + " is handled by the connection")
	case r.routes[m.Name] != nil:
		panic("rpc: " + m.Name + " is registered twice")
	}
	r.routes[m.Name] = &route{method: m, serve: serve}
}

// Missing returns the methods of this side's contract that have no handler.
func (r *Router) Missing() []string {
	var missing []string
	for _, m := range wire.Methods() {
		if m.ToHost == r.host && m.Name != wire.Cancel.Name && r.routes[m.Name] == nil {
			missing = append(missing, m.Name)
		}
	}
	return missing
}

// intern decodes a method name, without a copy for the known ones.
func (r *Router) intern(raw []byte) string {
	if rt := r.routes[string(raw[1:len(raw)-1])]; rt != nil {
		return rt.method.Name
	}
	return unquote(raw)
}

// decode reads params into p. Unknown members are skipped, so that a newer peer
// can send more; absent params are an empty object.
func decode(params []byte, p any) error {
	if len(params) == 0 || string(params) == "null" {
		params = []byte("{}")
	}
	err := json.Unmarshal(params, p)
	if err == nil {
		return nil
	}
	te, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return InvalidParams("params", "The parameters cannot be read: %v.", err).Because(err)
	}
	field := te.Field
	if field == "" {
		field = "params"
	}
	return InvalidParams(field, "The parameter %s must be %s, not %s.", field, wanted(te.Type), got(te.Value)).Because(err)
}

// wanted names a Go type in the words of JSON.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("an integer of %d bits, not negative", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Pointer:
		return wanted(t.Elem())
	}
	return "an object"
}

// got puts an article before encoding/json's word for a value.
func got(v string) string {
	switch {
	case v == "bool":
		return "true or false"
	case v == "array":
		return "a list"
	case v == "object":
		return "an object"
	case strings.HasPrefix(v, "number "):
		return "the " + v
	}
	return "a " + v
}

// encode is json.Marshal without its escapes for HTML, which make source code
// a sixth longer and help nobody here.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("rpc: encode result: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

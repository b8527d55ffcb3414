package rpc

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"
	"sync"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// errCancelRequest is the cause of the context of a request that the peer
// cancelled.
var errCancelRequest = errors.New("rpc: cancelled by the peer")

// dispatcher runs requests. Its goroutines are those of the running handlers;
// stop waits for them.
type dispatcher struct {
	router   *Router
	log      zerolog.Logger
	mapError func(error) *Error
	free     func(*buffer)
	base     context.Context // parent of every request
	sending  context.Context // base without its end: answers outlive it

	handlers sync.WaitGroup

	mu         sync.Mutex // held for bookkeeping only, never around a handler or a send
	stopped    bool
	session    session
	requests   map[string]*request // by key of the id
	concurrent lane
	ordered    lane
	yielded    int
}

// session is how far the handshake is.
type session int

const (
	fresh session = iota
	initializing
	ready
)

// lane is a queue in arrival order with a number of slots. The ordered methods
// have a lane of one slot, which is what puts them in order.
type lane struct {
	slots   int
	running int
	waiting list.List // of *request
}

// request is one inbound request or notification from its arrival to its end.
type request struct {
	d      *dispatcher
	lib    *jsonrpc2.Conn
	route  *route
	in     inbound
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Under dispatcher.mu.
	lane      *lane
	place     *list.Element // while it waits
	holds     bool          // a slot of the lane
	parked    int           // calls to the peer that it waits for
	gaveBack  bool          // its slot, by Yield
	cancelled bool          // by the peer
	ended     bool
}

type requestKey struct{}

// Yield gives back the slot of the handler that ctx belongs to, for the rest of
// its run, so that a long wait does not keep others from starting. It has no
// effect in a handler of an ordered method, whose slot is its place in the
// order, and none outside a handler.
func Yield(ctx context.Context) {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return
	}
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.ended || r.gaveBack || r.lane == &d.ordered {
		return
	}
	r.gaveBack = true
	d.yielded++
	d.releaseSlot(r)
}

// park gives the slot of ctx's handler back while it waits for the peer, and
// returns the function that takes it again. Without that, handlers of both
// sides that call each other back could hold all slots and wait for one. The
// way back does not wait, at the price of a few handlers over the cap.
func park(ctx context.Context) (unpark func()) {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok || r.lane == &r.d.ordered {
		return func() {}
	}
	d := r.d
	d.mu.Lock()
	defer d.mu.Unlock()
	r.parked++
	d.releaseSlot(r)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		r.parked--
		if r.parked == 0 && !r.gaveBack && !r.ended {
			r.holds = true
			r.lane.running++
		}
	}
}

// dispatch runs on the read goroutine: it must not wait for anything.
func (d *dispatcher) dispatch(lib *jsonrpc2.Conn, req *jsonrpc2.Request, in inbound) {
	if in.bad != nil {
		d.sendError(lib, in.id, "", in.bad)
		return
	}
	if req.Method == wire.Cancel.Name && req.Notif {
		d.cancel(lib, in)
		d.free(in.body)
		return
	}
	r := &request{d: d, lib: lib, route: d.router.routes[req.Method], in: in}
	if refusal := d.admit(r, req); refusal != nil {
		d.free(in.body)
		if req.Notif {
			d.log.Debug().Str("method", clip(req.Method)).Str("reason", refusal.Message).Msg("ignored a notification")
			return
		}
		d.sendError(lib, in.id, req.Method, refusal)
	}
}

// admit queues or starts r, or says why not.
func (d *dispatcher) admit(r *request, req *jsonrpc2.Request) *Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	early := r.route != nil && r.route.method.Early
	switch {
	case d.stopped:
		return errShuttingDown()
	case d.session != ready && !early && !d.router.host:
		return Errorf(wire.CodeNotInitialized, wire.KindNotInitialized, "Call initialize before %s.", clip(req.Method))
	case r.route == nil && req.Method != wire.Cancel.Name:
		return Errorf(wire.CodeMethodNotFound, wire.KindUnknownMethod, "There is no method %q.", clip(req.Method))
	case r.route == nil || r.route.method.Notification != req.Notif:
		if req.Notif {
			return invalidRequest("%s is a request and needs an id.", req.Method)
		}
		return invalidRequest("%s is a notification and takes no id.", req.Method)
	case !req.Notif && d.requests[r.in.key] != nil:
		return Errorf(wire.CodeInvalidRequest, wire.KindConflict, "The id %s is in use by a request that has not been answered.", clip(r.in.id))
	case req.Method == wire.Initialize.Name && !d.router.host:
		if d.session != fresh {
			return Errorf(wire.CodeInvalidRequest, wire.KindConflict, "This connection is already initialized.")
		}
		d.session = initializing
	}
	if !req.Notif {
		d.requests[r.in.key] = r
	}
	r.lane = &d.concurrent
	if r.route.method.Ordered {
		r.lane = &d.ordered
	}
	ctx, cancel := context.WithCancelCause(d.base)
	r.ctx, r.cancel = context.WithValue(ctx, requestKey{}, r), cancel
	if r.lane.running < r.lane.slots && r.lane.waiting.Len() == 0 {
		d.start(r)
	} else {
		r.place = r.lane.waiting.PushBack(r)
	}
	return nil
}

// start gives r a slot. d.mu is held.
func (d *dispatcher) start(r *request) {
	r.holds = true
	r.lane.running++
	d.handlers.Go(func() { d.run(r) })
}

// releaseSlot takes r's slot, if it has one, for those who wait. d.mu is held.
func (d *dispatcher) releaseSlot(r *request) {
	if !r.holds {
		return
	}
	r.holds = false
	l := r.lane
	l.running--
	for l.running < l.slots {
		front := l.waiting.Front()
		if front == nil {
			return
		}
		next := l.waiting.Remove(front).(*request)
		next.place = nil
		d.start(next)
	}
}

// run is the boundary where a panic of a handler stops.
func (d *dispatcher) run(r *request) {
	name := r.route.method.Name
	var (
		result   json.RawMessage
		err      error
		returned bool
	)
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			d.log.Error().Str("method", name).Any("panic", recover()).Bytes("stack", debug.Stack()).Msg("a handler panicked")
			err = internalError(name)
		}
		d.finish(r, result, err)
	}()
	result, err = r.route.serve(r.ctx, r.in.params, func() {
		d.free(r.in.body)
		r.in.params, r.in.body = nil, nil
	})
	returned = true
}

// finish answers r and lets go of everything it holds. The id is free again
// before the peer can read the answer.
func (d *dispatcher) finish(r *request, result json.RawMessage, err error) {
	d.mu.Lock()
	r.ended = true
	if !r.route.method.Notification {
		delete(d.requests, r.in.key)
	}
	if r.route.method.Name == wire.Initialize.Name && !d.router.host {
		d.session = fresh
		if err == nil {
			d.session = ready
		}
	}
	cancelled, closing := r.cancelled, d.stopped || d.base.Err() != nil
	d.mu.Unlock()

	name := r.route.method.Name
	switch {
	case r.route.method.Notification:
		if err != nil {
			d.log.Warn().Str("method", name).Err(err).Msg("a notification failed")
		}
	case err != nil:
		d.sendError(r.lib, r.in.id, name, mapError(name, err, cancelled, closing, d.mapError))
	default:
		// A result is sent even after a cancel: the work was done, and to say
		// otherwise would hide what it left behind.
		d.sendResult(r.lib, r.in.id, name, result)
	}
	r.cancel(nil)

	d.mu.Lock()
	defer d.mu.Unlock()
	if r.gaveBack {
		d.yielded--
	}
	d.releaseSlot(r)
}

// cancel serves `$/cancelRequest` on the read goroutine. A request that still
// waits is answered here and never runs.
func (d *dispatcher) cancel(lib *jsonrpc2.Conn, in inbound) {
	var p wire.CancelParams
	err := decode(in.params, &p)
	_, key, ok := parseID(p.ID)
	if err != nil || !ok {
		d.log.Debug().Msg("ignored a cancel without a readable id")
		return
	}
	d.mu.Lock()
	r := d.requests[key]
	if r == nil {
		d.mu.Unlock()
		return // answered meanwhile: the two messages have crossed
	}
	r.cancelled = true
	queued := r.place != nil
	if queued {
		d.drop(r)
	}
	d.mu.Unlock()
	r.cancel(errCancelRequest)
	if queued {
		d.sendError(lib, r.in.id, r.route.method.Name, errCancelled())
	}
}

// drop takes a waiting request out of its lane. d.mu is held.
func (d *dispatcher) drop(r *request) {
	r.lane.waiting.Remove(r.place)
	r.place = nil
	r.ended = true
	if !r.route.method.Notification {
		delete(d.requests, r.in.key)
	}
	d.free(r.in.body)
	r.in.params, r.in.body = nil, nil
}

// stop refuses what comes from now on and answers what waits. The caller ends
// the base context and then waits for the handlers.
func (d *dispatcher) stop() {
	var dropped []*request
	d.mu.Lock()
	d.stopped = true
	for _, l := range []*lane{&d.concurrent, &d.ordered} {
		for e := l.waiting.Front(); e != nil; e = l.waiting.Front() {
			r := e.Value.(*request)
			d.drop(r)
			dropped = append(dropped, r)
		}
	}
	d.mu.Unlock()
	for _, r := range dropped {
		r.cancel(nil)
		if !r.route.method.Notification {
			d.sendError(r.lib, r.in.id, r.route.method.Name, errShuttingDown())
		}
	}
}

func (d *dispatcher) sendResult(lib *jsonrpc2.Conn, id, method string, result json.RawMessage) {
	err := lib.SendResponse(d.sending, &jsonrpc2.Response{ID: jsonrpc2.ID{Str: id, IsString: true}, Result: &result})
	if errors.Is(err, errTooLarge) {
		d.sendError(lib, id, method, Refused(wire.KindTooLarge, "The result of %s has %d bytes, more than a message can hold; ask for less.", method, len(result)))
		return
	}
	if err != nil {
		d.log.Debug().Str("method", method).Err(err).Msg("an answer was not sent")
	}
}

func (d *dispatcher) sendError(lib *jsonrpc2.Conn, id, method string, e *Error) {
	ev := d.log.Debug()
	if e.Code == wire.CodeInternal {
		ev = d.log.Error()
	}
	ev.Str("method", clip(method)).Int("code", e.Code).Str("kind", string(e.Data.Kind)).AnErr("cause", e.cause).Msg("answered with an error")
	resp := &jsonrpc2.Response{ID: jsonrpc2.ID{Str: id, IsString: true}, Error: e.wireError()}
	err := lib.SendResponse(d.sending, resp)
	if errors.Is(err, errTooLarge) { // somebody put a whole output into a sentence
		resp.Error = Errorf(e.Code, e.Data.Kind, "%s", clip(e.Message)).wireError()
		err = lib.SendResponse(d.sending, resp)
	}
	if err != nil {
		d.log.Debug().Str("method", clip(method)).Err(err).Msg("an answer was not sent")
	}
}

// clip keeps a peer's text short in sentences and logs.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

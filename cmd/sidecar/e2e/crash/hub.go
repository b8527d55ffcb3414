package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// hub does what the shim's hub does: there is one sidecar; when it dies its
// pending calls fail, the next one is started at once and the workspace is opened
// again; calls that come meanwhile wait for it, events are kept for it. It has
// no loop guard and no backoff, or a hundred deaths would take an hour.
type hub struct {
	Config
	ledger *ledger
	killer *killer
	setup  fakeshim.Setup
	log    *os.File

	ending atomic.Bool
	warned sync.Once
	old    sync.WaitGroup // dead sidecars whose calls are still carried out

	mu      sync.Mutex
	current *sidecar      // has been started
	ready   chan struct{} // closed once current has the workspace open, or all is over
	early   []host.Event
}

// sidecar is one life of it.
type sidecar struct {
	*fakeshim.Shim
	life   int
	killed atomic.Bool
	shaken bool // hands; the hub's mu guards it
}

func (s *sidecar) kill() {
	if s.killed.CompareAndSwap(false, true) {
		s.Kill()
	}
}

func newHub(c Config, l *ledger, k *killer, setup fakeshim.Setup) *hub {
	return &hub{Config: c, ledger: l, killer: k, setup: setup, ready: make(chan struct{})}
}

// serve keeps a sidecar running until close, or until one ends that nobody
// killed: that is its error.
func (h *hub) serve(ctx context.Context) (err error) {
	defer func() {
		h.old.Wait()
		err = errors.Join(err, h.log.Close())
	}()
	if h.log, err = os.Create(filepath.Join(h.Dir, "stderr.log")); err != nil {
		return err
	}
	for life := 0; ; life++ {
		s, err := h.start(ctx, life)
		if err != nil && s == nil {
			return err
		}
		if err == nil {
			select {
			case <-s.Exited:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			s.kill()
		}
		if !s.killed.Load() {
			return errors.Join(err, h.ended(s))
		}
		h.mu.Lock()
		select {
		case <-h.ready:
			h.ready = make(chan struct{})
		default:
		}
		h.mu.Unlock()
		h.old.Go(func() { // what it had asked for is still carried out
			<-s.Done
			_ = s.Process.End() // killed: we know
		})
		if ctx.Err() != nil {
			return nil
		}
	}
}

// ended judges an end that was no kill.
func (h *hub) ended(s *sidecar) error {
	err := s.End()
	if h.ending.Load() && err == nil {
		return nil
	}
	return fmt.Errorf("the sidecar of life %d ended by itself: %w", s.life, errors.Join(errors.New("nobody killed it"), err))
}

// start starts a sidecar. With an error it is not usable, and nil if it was never
// one.
func (h *hub) start(ctx context.Context, life int) (*sidecar, error) {
	p, err := fakeshim.Start(filepath.Join(h.Root, "bin", "sidecar"), filepath.Join(h.Dir, "state"), h.log)
	if err != nil {
		return nil, err
	}
	s := &sidecar{life: life}
	s.Shim = fakeshim.Attach(ctx, p, fakeshim.Router(h.ledger, h.setup.Directory, h.around(ctx, s)))
	h.mu.Lock()
	h.current = s
	h.mu.Unlock()
	h.killer.born(s)
	setup := h.setup
	setup.Restarts = life
	shaking, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	if err := s.Handshake(shaking, setup); err != nil {
		return s, fmt.Errorf("the handshake of life %d: %w", life, err)
	}
	h.mu.Lock()
	s.shaken = true
	for _, e := range h.early {
		s.Emit(e)
	}
	h.early = nil
	h.mu.Unlock()
	opening, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	warnings, err := s.Open(opening, setup)
	if err != nil {
		return s, fmt.Errorf("opening the workspace in life %d: %w", life, err)
	}
	if len(warnings) > 0 {
		h.warned.Do(func() { h.Log("the sidecar warns: %q", warnings) })
	}
	h.killer.pass(s, opened)
	h.mu.Lock()
	close(h.ready)
	h.mu.Unlock()
	return s, nil
}

// get returns a sidecar that can be called, as soon as there is one.
func (h *hub) get(ctx context.Context) (*sidecar, error) {
	for {
		h.mu.Lock()
		ready := h.ready
		h.mu.Unlock()
		select {
		case <-ready:
			h.mu.Lock()
			s := h.current
			h.mu.Unlock()
			if !s.killed.Load() {
				return s, nil
			}
			select { // its death is about to be noticed
			case <-s.Exited:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if !pause(ctx, time.Millisecond) {
				return nil, context.Cause(ctx)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// emit passes an event of the host on.
func (h *hub) emit(_ string, e host.Event) {
	h.mu.Lock()
	s := h.current
	if s == nil || !s.shaken {
		h.early = append(h.early, e)
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	if e.Type == host.EventSessionIdle && h.ledger.child(e.Session) {
		h.killer.pass(s, finished) // the turn has ended, and the sidecar does not know it yet
	}
	s.Emit(e)
}

// around carries out the calls of a sidecar, also after its death: what OpenCode
// has received, it does, sometimes late.
func (h *hub) around(ctx context.Context, s *sidecar) fakeshim.Around {
	return func(_ context.Context, c fakeshim.Call, do func(context.Context) error) error {
		what, effect := h.classify(c)
		if !effect {
			return do(ctx)
		}
		h.ledger.touch()
		h.killer.pass(s, what+received)
		wait := time.Duration(rand.Int64N(int64(3 * time.Millisecond)))
		pause(ctx, wait)
		if s.killed.Load() && rand.IntN(2) == 0 {
			pause(ctx, time.Duration(rand.Int64N(int64(lateLimit))))
		}
		err := do(ctx)
		h.ledger.touch()
		h.killer.pass(s, what+executed)
		return err
	}
}

// classify names the calls that have an effect.
func (h *hub) classify(c fakeshim.Call) (what moment, effect bool) {
	switch c.Method {
	case wire.HostSessionCreate.Name:
		return creating, true
	case wire.HostSessionAbort.Name:
		return aborting, true
	case wire.HostSessionPromptAsync.Name:
		if h.ledger.child(c.Session) {
			return prompting, true
		}
		return waking, true
	}
	return "", false
}

// close ends the last sidecar in order.
func (h *hub) close() error {
	h.ending.Store(true)
	h.mu.Lock()
	s := h.current
	h.mu.Unlock()
	if s == nil {
		return nil
	}
	start := time.Now()
	_ = s.In.Close() // it may have ended already
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	select {
	case <-s.Exited:
		h.Log("the last sidecar ended %s after its input", time.Since(start).Round(time.Millisecond))
		return nil
	case <-limit.C:
		s.kill()
		return errors.New("the last sidecar did not end within 5 s of its input's end")
	}
}

package transcript

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Sidecar is a live sidecar that has just been started.
type Sidecar struct {
	In   io.WriteCloser // what it reads; closing it ends the sidecar
	Out  io.Reader      // what it writes; ends with it
	Wait func() error   // returns when it has ended; an error says how, if not well
	Kill func()         // ends it at once, and with it Out
	// Next starts the sidecar that comes after this one was killed and finds what
	// it has left. It is nil where a transcript is of one sidecar.
	Next func(context.Context) (Sidecar, error)
}

// Options are what a replay has to know. The zero value of an optional field
// means what is said there.
type Options struct {
	// Directory is an existing folder, without links in its path, that stands for
	// `<dir>`; the one above it should hold nothing else: it stands for `<root>`.
	Directory string
	// Version, Protocol and ManifestHash go into the handshake.
	Version      string
	Protocol     int
	ManifestHash string
	// PID is the process id that the host claims to have.
	PID int
	// Settle, if set, returns when the sidecar has done everything that what it
	// was sent so far sets off: synctest.Wait. Without it the sidecar may still be
	// at work when the next message is sent.
	Settle func()
	// Pause, if set, is called before each message that is sent: for tests of
	// slow hosts.
	Pause func()
	// Patience is how long a message may take; 15 s when zero, which is three
	// times the slowest of the sidecar's polls.
	Patience time.Duration
	// EndWithin is how long the sidecar may take to end after EOF; 2 s when zero.
	EndWithin time.Duration
	// Update takes what the sidecar sends for what should be recorded, as long as
	// it corresponds to an entry.
	Update bool
}

// Replay plays the shim's side of a transcript and checks that the sidecar plays
// the other. It returns the transcript, which with Options.Update is the new one.
// A difference is a *Mismatch; any other error is a failure to replay. Replay
// ends the sidecar and returns when it has ended.
//
// A message of the shim is sent once every message that the sidecar has to send
// is there that was recorded before it. The sidecar may be early, because what
// it does for one session does not wait for another, with one exception: a
// prompt for a session that was idle when it was recorded must not come while
// the session is busy.
//
// How often the sidecar looks something up depends on timers and on the speed of
// the machine. So only the first of several look-ups at a thing has to come,
// whatever part of it they ask for, and further ones may at any time; all are
// answered with what the transcript has shown up to then, in the case of
// host/session.status also by its events. A `hook/messages.transform` that is
// answered with `again` before its time is repeated, as the shim does.
//
// A `<time>` of a message is when the replay first tells of it. A file that a
// person saved is saved in Options.Directory, and a sidecar that was killed is
// killed, after which Sidecar.Next has to start another.
func Replay(ctx context.Context, t Transcript, s Sidecar, o Options) (Transcript, error) {
	if o.Patience <= 0 {
		o.Patience = 15 * time.Second
	}
	if o.EndWithin <= 0 {
		o.EndWithin = 2 * time.Second
	}
	t.Entries = slices.Clone(t.Entries)
	r := newReplay(t, o)
	r.begin(s)
	err := r.run(ctx)
	if err != nil {
		r.giveUp()
	}
	broken, ended := r.finish()
	if err == nil && broken != nil && t.Entries[len(t.Entries)-1].Kind != EOF {
		err = fmt.Errorf("%s: the sidecar's output: %w", t.Name, broken)
	}
	if err == nil && ended != nil {
		err = &Mismatch{Where: r.where(len(t.Entries) - 1), Problem: fmt.Sprintf("the sidecar did not end well: %v", ended)}
	}
	return r.t, err
}

// replay is one replay. Everything happens on one goroutine; a second one reads.
type replay struct {
	t     Transcript
	o     Options
	lexer *lexer
	known values
	names *bindings
	host  *hostState
	clock *clock

	s        Sidecar
	inbox    chan message
	read     chan error // what the sidecar's output ended with
	from, to int        // the entries of this sidecar

	at     int               // the entry that is due
	done   map[int]bool      // the sidecar's entries that came
	first  map[string]int    // the entry that looks at a thing first, by thingKey
	calls  map[string]int    // entries that call, by id
	liveID map[string]any    // ids of the sidecar's live calls, by ours
	ourID  map[string]string // ids of our calls, by what we sent
	extra  int               // calls that were repeated
	busy   map[int]bool      // prompts that were recorded while their session was busy
	closed map[string]bool   // workspaces that the host has closed
	held   []look
	recent []string // the newest heads of live messages
}

func newReplay(t Transcript, o Options) *replay {
	r := &replay{
		t: t, o: o,
		lexer: newLexer(o.Directory), names: newBindings(), host: newHostState(), clock: newClock(),
		done: map[int]bool{}, first: map[string]int{}, calls: map[string]int{},
		liveID: map[string]any{}, ourID: map[string]string{}, busy: busyAt(t.Entries), closed: map[string]bool{},
		known: values{
			"dir": o.Directory, "root": filepath.Dir(o.Directory),
			"pid": strconv.Itoa(o.PID), "version": o.Version, "protocol": strconv.Itoa(o.Protocol),
			"manifest": o.ManifestHash, "hash": "0000000000000000000000000000000000000000",
			"port": "1", "duration": "1.0s", "project": "project", "slug": "slug", "ms": "1",
		},
	}
	for i, e := range t.Entries {
		if e.Kind != Call {
			continue
		}
		r.calls[e.ID] = i
		if key := thingKey(e.Method, e.Body); e.Sidecar && isRead(e.Method) {
			if _, ok := r.first[key]; !ok {
				r.first[key] = i
			}
		}
	}
	return r
}

func (r *replay) run(ctx context.Context) error {
	for ; r.at < len(r.t.Entries); r.at++ {
		e := r.t.Entries[r.at]
		if e.Kind == Exit {
			return r.ended(ctx)
		}
		if e.Sidecar {
			if err := r.await(ctx, r.at); err != nil {
				return err
			}
			continue
		}
		if err := r.settle(); err != nil {
			return err
		}
		if err := r.play(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// giveUp ends a sidecar that does not do what was recorded: in order, if it can, so
// that it leaves nothing running.
func (r *replay) giveUp() {
	_ = r.s.In.Close()
	limit := time.NewTimer(r.o.EndWithin)
	defer limit.Stop()
	for {
		select {
		case _, ok := <-r.inbox:
			if ok {
				continue
			}
		case <-limit.C:
		}
		r.s.Kill()
		return
	}
}

// settle takes what the sidecar has sent.
func (r *replay) settle() error {
	for {
		if r.o.Settle != nil {
			r.o.Settle()
		}
		select {
		case m, ok := <-r.inbox:
			if !ok {
				return r.missing(r.at, "to be sent: the sidecar has ended")
			}
			if err := r.take(m); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// await waits until an entry of the sidecar has come.
func (r *replay) await(ctx context.Context, index int) error {
	if r.optional(index) || r.done[index] {
		return nil
	}
	patience := time.NewTimer(r.o.Patience)
	defer patience.Stop()
	for !r.done[index] {
		select {
		case m, ok := <-r.inbox:
			if !ok {
				return r.missing(index, "before the sidecar ended")
			}
			if err := r.take(m); err != nil {
				return err
			}
		case <-patience.C:
			return r.missing(index, fmt.Sprintf("within %s", r.o.Patience))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// ended waits for the end that the sidecar decides on itself, which takes it the
// 10 s in which a workspace may come back.
func (r *replay) ended(ctx context.Context) error {
	patience := time.NewTimer(2 * r.o.Patience)
	defer patience.Stop()
	for {
		select {
		case m, ok := <-r.inbox:
			if !ok {
				return nil
			}
			if err := r.take(m); err != nil {
				return err
			}
		case <-patience.C:
			return r.missing(r.at, fmt.Sprintf("within %s", 2*r.o.Patience))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// play sends an entry of the shim.
func (r *replay) play(ctx context.Context, e Entry) error {
	if r.o.Pause != nil {
		r.o.Pause()
	}
	switch {
	case e.Kind == EOF:
		return r.eof(ctx)
	case e.Kind == Kill:
		return r.kill(ctx)
	case e.Kind == File:
		return r.save(e)
	case e.answers():
		return r.answer(e)
	case e.Method == methodCancel:
		id, err := strconv.Atoi(text(field(e.Body, "id")))
		if err != nil {
			return fmt.Errorf("%s: it cancels no call of ours", r.where(r.at))
		}
		return r.send(message{Method: e.Method}, map[string]any{"id": id}, Notice)
	}
	m := message{Method: e.Method}
	if e.Kind == Call {
		m.ID = json.RawMessage(e.ID)
		r.ourID[e.ID] = e.ID
	}
	switch e.Method {
	case methodEvent:
		r.host.event(e)
	case methodClose:
		if err := r.close(text(field(e.Body, "workspace"))); err != nil {
			return err
		}
	}
	return r.send(m, e.Body, e.Kind)
}

// answer sends a recorded answer, to all that wait for it.
func (r *replay) answer(e Entry) error {
	call := r.t.Entries[r.calls[e.ID]]
	if !isRead(call.Method) {
		return r.reply(r.liveID[e.ID], e)
	}
	return r.shown(call, e)
}

func (r *replay) reply(id any, e Entry) error {
	return r.send(message{ID: encode(id)}, e.Body, e.Kind)
}

// send writes a message with its tokens resolved.
func (r *replay) send(m message, body any, kind Kind) error {
	v, err := r.names.render(r.clock.set(body), r.known)
	if err != nil {
		return fmt.Errorf("%s: %w", r.where(r.at), err)
	}
	switch kind {
	case Result:
		m.Result = encode(v)
	case Error:
		m.Error = encode(v)
	default:
		m.Params = encode(v)
	}
	if err := writeFrame(r.s.In, m); err != nil {
		return r.missing(r.at, fmt.Sprintf("to be sent: %v", err))
	}
	return nil
}

func encode(v any) json.RawMessage { return json.RawMessage(compact(v)) }

// eof closes the pipe and waits for the end of the output.
func (r *replay) eof(ctx context.Context) error {
	if err := r.s.In.Close(); err != nil {
		return fmt.Errorf("closing the sidecar's input: %w", err)
	}
	limit := time.NewTimer(r.o.EndWithin)
	defer limit.Stop()
	for {
		select {
		case _, ok := <-r.inbox: // a call or two that it still tries
			if !ok {
				return nil
			}
		case <-limit.C:
			return &Mismatch{Where: r.where(r.at), Problem: fmt.Sprintf("the sidecar did not end within %s", r.o.EndWithin)}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

var errNotJSON = errors.New("a message of the sidecar that is no JSON")

// take judges one message of the sidecar.
func (r *replay) take(m message) error {
	e := Entry{Sidecar: true, Method: m.Method, Kind: Notice}
	body := m.Params
	switch {
	case m.Method != "" && len(m.ID) > 0:
		e.Kind = Call
	case m.Method != "":
	case len(m.Error) > 0:
		e.Kind, body = Error, m.Error
	default:
		e.Kind, body = Result, m.Result
	}
	if len(body) == 0 {
		body = json.RawMessage("{}")
	}
	v, err := decode(body)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotJSON, err)
	}
	e.Body = v
	var id any
	if len(m.ID) > 0 {
		if id, err = decode(m.ID); err != nil {
			return fmt.Errorf("%w: %w", errNotJSON, err)
		}
	}
	if e.answers() {
		e.ID = r.ourID[plain(id)]
	}
	if r.recent = append(r.recent, e.head()); len(r.recent) > 8 {
		r.recent = r.recent[1:]
	}
	switch {
	case e.Method == methodCancel:
		given := compact(field(v, "id"))
		r.held = slices.DeleteFunc(r.held, func(l look) bool { return compact(l.id) == given })
		return nil
	case e.Kind == Call && isRead(e.Method):
		return r.lookUp(e, id)
	case e.answers() && r.tooSoon(e):
		return r.again(e.ID)
	}
	return r.match(e, id)
}

// match finds the entry that a live message is, in the order of the file.
func (r *replay) match(e Entry, id any) error {
	for i := r.from; i < r.to; i++ {
		want := r.t.Entries[i]
		if !want.Sidecar || r.done[i] || r.optional(i) || want.Kind != e.Kind || want.Method != e.Method {
			continue
		}
		if e.answers() && want.ID != e.ID {
			continue
		}
		trial := r.names.clone()
		if !trial.unify(r.lexer, want.Body, e.Body, "") {
			continue
		}
		r.names = trial
		return r.matched(i, id)
	}
	if r.o.Update {
		if i := r.nearest(e); i >= 0 {
			r.adopt(i, e)
			return r.matched(i, id)
		}
	}
	return r.unexpected(e)
}

func (r *replay) matched(i int, id any) error {
	r.done[i] = true
	e := r.t.Entries[i]
	if e.Kind == Call {
		r.liveID[e.ID] = id
	}
	if session := text(field(e.Body, "path", "id")); e.Method == methodPrompt && !r.busy[i] && r.host.busy[session] != nil {
		return &Mismatch{Where: r.where(i), Problem: fmt.Sprintf("this came while %s was busy; it was recorded after the session had become idle", session)}
	}
	return nil
}

// tooSoon reports whether an answer asks to be called again where the recorded
// one had something to say.
func (r *replay) tooSoon(e Entry) bool {
	i, ok := r.calls[e.ID]
	if !ok || r.t.Entries[i].Method != methodTransform || field(e.Body, "again") != true {
		return false
	}
	return !slices.ContainsFunc(r.t.Entries, func(want Entry) bool {
		return want.Sidecar && want.ID == e.ID && want.answers() && field(want.Body, "again") == true
	})
}

// again repeats a call of ours under a new id, as the shim does.
func (r *replay) again(id string) error {
	r.extra++
	live := strconv.Itoa(1_000_000 + r.extra)
	r.ourID[live] = id
	e := r.t.Entries[r.calls[id]]
	return r.send(message{ID: json.RawMessage(live), Method: e.Method}, e.Body, Call)
}

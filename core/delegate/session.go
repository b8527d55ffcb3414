package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// stopLimit is how long an abort may take to show.
	stopLimit = 8 * time.Second
	// abortAgain is how long an abort is given before it is repeated.
	abortAgain = 250 * time.Millisecond
	// settleLimit is how long after a prompt its turn may still begin: 2.2 s were
	// seen in a fresh instance.
	settleLimit = 4 * time.Second
	// lookLimit bounds the search for a message of ours.
	lookLimit = 5 * time.Second
)

// stopSession aborts a session and waits until OpenCode shows it stopped. An
// abort that meets the beginning of a turn can be lost, so it is repeated while
// the session is busy; and a prompt that was accepted a moment ago may begin its
// turn only after the abort, so unless a turn was seen the session must stay idle
// for settle, or show that the turn of the prompt messageID has begun and ended.
func (e *Engine) stopSession(ctx context.Context, directory, session, messageID string, settle time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopLimit, fmt.Errorf("still busy after %s", stopLimit))
	defer cancel()
	var idle, asked time.Time
	busy, failures := true, 0
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		var err error
		if busy && time.Since(asked) >= abortAgain {
			if err = e.host.Abort(ctx, directory, session); host.NotFound(err) {
				return nil
			} else if err == nil {
				asked = time.Now()
			}
		}
		var statuses map[string]host.Status
		if err == nil {
			statuses, err = e.host.Statuses(ctx, directory)
		}
		if err != nil {
			if failures++; failures == 3 {
				return err
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(wait):
				continue
			}
		}
		failures = 0
		if _, busy = statuses[session]; busy {
			idle, settle = time.Time{}, 0
		} else if idle.IsZero() {
			idle = time.Now()
		}
		if !busy && (time.Since(idle) >= settle || e.began(ctx, directory, session, messageID)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// settled waits until a session is idle, for as long as a stop may take. OpenCode
// shows how a turn has failed a moment before it is over, and swallows a prompt
// that comes in between.
func (e *Engine) settled(ctx context.Context, directory, session string) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		statuses, err := e.host.Statuses(ctx, directory)
		if _, busy := statuses[session]; err == nil && !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// began reports whether a turn has answered a prompt in any way.
func (e *Engine) began(ctx context.Context, directory, session, messageID string) bool {
	messages, err := e.read(ctx, directory, session, messageID)
	if err != nil {
		return false
	}
	v := judge(messages, messageID)
	return v.state != "" || v.idle != nil
}

// read returns the newest messages of a session, back to the one named.
func (e *Engine) read(ctx context.Context, directory, session, back string) ([]host.Message, error) {
	for limit := 16; ; limit *= 4 {
		messages, err := e.host.Messages(ctx, directory, session, limit)
		if err != nil || len(messages) < limit || limit > 4096 {
			return messages, err
		}
		for _, m := range messages {
			if m.ID == back {
				return messages, nil
			}
		}
	}
}

// arrived reports whether a prompt of ours is known to be in its session.
func (e *Engine) arrived(ctx context.Context, directory, session, messageID string) bool {
	found, _ := e.lookup(ctx, directory, session, messageID)
	return found
}

// lookup looks for a message of ours; with an error it may be there or not.
func (e *Engine) lookup(ctx context.Context, directory, session, messageID string) (bool, error) {
	m, err := e.find(ctx, directory, session, messageID)
	return m.ID != "", err
}

// find returns a message of ours, the zero message if it is not there. With an
// error it may be there or not.
func (e *Engine) find(ctx context.Context, directory, session, messageID string) (host.Message, error) {
	// The caller may have been called off in the middle of the very call that is
	// looked for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
	defer cancel()
	messages, err := e.read(ctx, directory, session, messageID)
	if err != nil {
		return host.Message{}, err
	}
	for _, m := range messages {
		if m.ID == messageID {
			return m, nil
		}
	}
	return host.Message{}, nil
}

// arrives waits a moment for a prompt of ours to be stored. With an error it may
// be there or not.
func (e *Engine) arrives(ctx context.Context, directory, session, messageID string) (bool, error) {
	for wait := 25 * time.Millisecond; ; wait *= 2 {
		found, err := e.lookup(ctx, directory, session, messageID)
		if found {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if wait > time.Second {
			return false, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

package mission

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// lookEvery is the time between two looks at an active mission of which no
	// event came: they can be lost.
	lookEvery = 5 * time.Second
	// restFor is how long a session has to be at rest before that is believed:
	// between two turns of one conversation, and before a reload, it rests too.
	restFor = 500 * time.Millisecond
	// turnLimit is how long a turn that was asked for may take to show.
	turnLimit = 10 * time.Second
	// triesLimit is how often one continuation is sent before its mission pauses,
	// failuresLimit how many turns in a row the provider may fail.
	triesLimit, failuresLimit = 3, 3
)

// drive looks after a mission for as long as it is active and ours.
func (d *Driver) drive(ctx context.Context, m *mission) {
	defer d.parked(m)
	defer d.caught("a mission", func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		m.state.Phase, m.state.Reason = Paused, "a bug of the sidecar got in the way; its log has the details"
		m.paused = time.Now()
		d.keepSoonLocked(m)
	})
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for d.active(m) {
		select {
		case <-ctx.Done():
			return
		case <-m.quit:
			return
		case <-m.hints:
		case <-timer.C:
		}
		if d.isHeadless() {
			d.extend(ctx, m)
		} else {
			d.consider(ctx, m)
		}
		timer.Reset(lookEvery)
	}
}

// parked notes that nobody drives a mission, unless it became active meanwhile.
func (d *Driver) parked(m *mission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.driving = false
	if d.activeLocked(m) {
		d.nudgeLocked(m)
	}
}

func (d *Driver) active(m *mission) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.activeLocked(m)
}

func (d *Driver) isHeadless() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.headless
}

// consider decides what becomes of a mission whose session may have come to rest.
func (d *Driver) consider(ctx context.Context, m *mission) {
	stirred := d.stirs(m)
	if d.fled(ctx, m, stirred) {
		d.apply(ctx, m, judgement{verdict: pause, reason: stoppedTurn}, stirred)
		return
	}
	if !d.resting(ctx, m) || !d.undisturbed(ctx, m, stirred, restFor) {
		return
	}
	j := d.judge(ctx, m)
	if j.verdict != proceed {
		d.apply(ctx, m, j, stirred)
		return
	}
	countdown := d.settings(m.directory).Countdown << j.failures
	if countdown > 0 {
		d.toast(ctx, m, "info", countdown, fmt.Sprintf("It goes on in %s: %s. Say something to take over, /stop ends it.", countdown.Round(time.Second/10), j.gate))
	}
	if !d.undisturbed(ctx, m, stirred, countdown) || !d.resting(ctx, m) {
		return
	}
	if j = d.judge(ctx, m); j.verdict != proceed { // somebody may have edited the list meanwhile
		d.apply(ctx, m, j, stirred)
		return
	}
	d.proceed(ctx, m, j, stirred)
}

// fled reports whether a person has stopped the session's turn: then it rests,
// whatever its tasks do.
func (d *Driver) fled(ctx context.Context, m *mission, stirred int) bool {
	if !d.escaped(m) {
		return false
	}
	statuses, err := d.host.Statuses(ctx, m.directory)
	_, busy := statuses[m.session]
	return err == nil && !busy && d.undisturbed(ctx, m, stirred, restFor)
}

func (d *Driver) escaped(m *mission) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.escaped
}

// resting reports whether nothing of a session runs or waits.
func (d *Driver) resting(ctx context.Context, m *mission) bool {
	if !d.active(m) || d.tasks.Unsettled(m.session) {
		return false
	}
	statuses, err := d.host.Statuses(ctx, m.directory)
	_, busy := statuses[m.session]
	return err == nil && !busy
}

func (d *Driver) stirs(m *mission) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.stirred
}

// stillLocked reports whether what was judged when m.stirred had a value holds.
func (d *Driver) stillLocked(m *mission, stirred int) bool {
	return m.stirred == stirred && d.activeLocked(m)
}

// undisturbed waits; it is false as soon as something stirs in the session.
func (d *Driver) undisturbed(ctx context.Context, m *mission, stirred int, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		d.mu.Lock()
		still := d.stillLocked(m, stirred)
		d.mu.Unlock()
		if !still {
			return false
		}
		select {
		case <-timer.C:
			return true
		case <-m.hints:
		case <-m.quit:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// apply does what a verdict other than to proceed says, unless something stirred
// since, and tells people.
func (d *Driver) apply(ctx context.Context, m *mission, j judgement, stirred int) {
	phase, over := map[verdict]Phase{finish: Done, stop: Stopped, pause: Paused}[j.verdict]
	if !over {
		return
	}
	d.mu.Lock()
	if !d.stillLocked(m, stirred) {
		d.mu.Unlock()
		return
	}
	m.state.Phase, m.state.Reason = phase, j.reason
	m.span.fold(&m.state)
	m.paused = time.Now()
	d.mu.Unlock()
	_ = d.keep(ctx, m) // which logs, and tries again
	d.log.Info().Str("session", m.session).Str("phase", string(phase)).Str("reason", j.reason).Msg("mission")
	switch phase {
	case Done:
		d.toast(ctx, m, "success", 8*time.Second, "Done: "+j.reason+".")
	case Paused:
		d.toast(ctx, m, "warning", 8*time.Second, "Paused: "+j.reason+". It goes on with your next message; /stop ends it.")
	case Stopped:
		d.toast(ctx, m, "warning", 10*time.Second, "Stopped: "+j.reason+". /task without words takes it up again.")
	}
}

// proceed sends the next continuation, unless something stirred since.
func (d *Driver) proceed(ctx context.Context, m *mission, j judgement, stirred int) {
	d.mu.Lock()
	if !d.stillLocked(m, stirred) {
		d.mu.Unlock()
		return
	}
	if !m.state.Unseen { // else one that was stored did not get through: it goes again under its id
		m.next(d.ids.Next(), j)
	}
	prompt := host.Prompt{Session: m.session, MessageID: m.state.Prompt, Synthetic: true, Text: continuation(m.state, d.settingsLocked(m.directory), j, d.headless)}
	if m.tries == 0 { // else OpenCode may no longer know them, and swallows such a prompt
		prompt.Agent, prompt.Model = j.agent, j.model
	}
	headless := d.headless
	d.mu.Unlock()
	if !headless {
		// Stored before it is sent: after a crash it is looked for before anything is
		// sent. That it cannot be stored is no reason to stop.
		_ = d.keep(ctx, m)
	}
	d.mu.Lock()
	wanted := d.stillLocked(m, stirred)
	if wanted {
		m.tries++
		m.awaited = time.Now()
		d.rememberLocked(prompt.MessageID)
		if headless { // the next chance to go on may come at once
			d.keepSoonLocked(m)
		}
	}
	d.mu.Unlock()
	if wanted {
		d.send(ctx, m, prompt, headless)
	}
}

// sentKept is how many messages of ours are known as such.
const sentKept = 64

func (d *Driver) rememberLocked(id string) {
	if !slices.Contains(d.sent, id) {
		d.sent = append(d.sent, id)
		d.sent = d.sent[max(0, len(d.sent)-sentKept):]
	}
}

// send sends a continuation. In `opencode run` there is no later look that would
// repeat one whose call failed: a known message id is safe to repeat at once,
// unless it has arrived.
func (d *Driver) send(ctx context.Context, m *mission, prompt host.Prompt, again bool) {
	err := d.host.Prompt(ctx, m.directory, prompt)
	if err != nil && again {
		messages, unread := d.host.Messages(ctx, m.directory, m.session, 8)
		if unread == nil && !holds(messages, prompt.MessageID) {
			err = d.host.Prompt(ctx, m.directory, prompt)
		}
	}
	if err != nil {
		d.log.Warn().Err(err).Str("session", m.session).Msg("the mission's next turn could not be started")
	}
}

// next begins a continuation: the driver's mu is held.
func (m *mission) next(id string, j judgement) {
	s := &m.state
	s.Iteration++
	s.Prompt, s.Unseen = id, true
	s.Idle, s.Failures = j.idle, j.failures
	m.span.fold(s)
	m.calls, m.tries, m.latest = map[string]string{}, 0, nil
	if j.key != "" {
		s.Keys = append(s.Keys, j.key)
		s.Keys = s.Keys[max(0, len(s.Keys)-keysKept):]
	}
}

// extend goes on from a turn that is about to end: in `opencode run` the session
// must have its next message before it is idle, a few milliseconds later. So it
// goes by what was read when the turn's last step began, and asks, reads and
// stores nothing first.
func (d *Driver) extend(ctx context.Context, m *mission) {
	d.mu.Lock()
	ending, stirred, latest := m.ending, m.stirred, m.latest
	fresh := ending != m.continued
	m.continued = ending
	m.state.Unseen = false
	d.mu.Unlock()
	switch {
	case !fresh:
		d.mu.Lock()
		d.errandLocked(func(ctx context.Context) { d.learn(ctx, m) })
		d.mu.Unlock()
		return
	case d.tasks.Unsettled(m.session): // whose results keep the turn going
		return
	case latest == nil:
		latest = d.see(ctx, m)
	}
	if j := d.decide(m, latest, nil); j.verdict == proceed {
		d.proceed(ctx, m, j, stirred)
	} else {
		d.apply(ctx, m, j, stirred)
	}
}

// learn finds out with which agent and model a person has spoken.
func (d *Driver) learn(ctx context.Context, m *mission) {
	messages, err := d.host.Messages(ctx, m.directory, m.session, 8)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		m.speaker(messages)
	}
}

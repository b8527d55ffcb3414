package mission

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// lookEvery is the time between two looks at an active mission of which no
	// event came: they can be lost.
	lookEvery = 5 * time.Second
	// settle is how long a session has to be at rest before that is believed:
	// between two turns of one conversation, and before a reload, it rests too.
	settle = 500 * time.Millisecond
	// turnLimit is how long the turn that a person began may take to show.
	turnLimit = 10 * time.Second
	// triesLimit is how often one continuation is sent before its mission pauses,
	// failuresLimit how many turns in a row the provider may fail.
	triesLimit, failuresLimit = 3, 3
)

// drive looks after a mission for as long as it is active and ours.
func (d *Driver) drive(ctx context.Context, m *mission) {
	defer d.rest(m)
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

// rest notes that nobody drives a mission, unless it became active meanwhile.
func (d *Driver) rest(m *mission) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.driving = false
	if m.Phase == Active {
		d.nudgeLocked(m)
	}
}

func (d *Driver) active(m *mission) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.Phase == Active && d.missions[m.session] == m && !d.stopped
}

func (d *Driver) isHeadless() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.headless
}

// consider decides what becomes of a mission whose session may have come to rest.
func (d *Driver) consider(ctx context.Context, m *mission) {
	stirred := d.stirs(m)
	if !d.resting(ctx, m) || !d.calm(ctx, m, stirred, settle) {
		return
	}
	v := d.judge(ctx, m)
	if v.verdict != goOn {
		d.conclude(ctx, m, v)
		return
	}
	wait := d.settings(m.directory).Countdown << v.failures
	if wait > 0 {
		d.toast(ctx, m, "info", wait, fmt.Sprintf("It goes on in %s: %s. Say something to take over, /stop ends it.", wait.Round(time.Second), v.gate))
	}
	if !d.calm(ctx, m, stirred, wait) || !d.resting(ctx, m) {
		return
	}
	if v = d.judge(ctx, m); v.verdict != goOn { // somebody may have edited the list meanwhile
		d.conclude(ctx, m, v)
		return
	}
	d.goOn(ctx, m, v, stirred)
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

// calm waits; it is false as soon as something stirs in the session.
func (d *Driver) calm(ctx context.Context, m *mission, stirred int, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		d.mu.Lock()
		still := m.stirred == stirred && m.Phase == Active && d.missions[m.session] == m
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

// conclude does what a verdict other than to go on says.
func (d *Driver) conclude(ctx context.Context, m *mission, v judgement) {
	switch v.verdict {
	case finished:
		d.end(ctx, m, Done, v.reason)
	case stop:
		d.end(ctx, m, Stopped, v.reason)
	case pause:
		d.end(ctx, m, Paused, v.reason)
	}
}

// end leaves a mission in a phase other than active, and tells people.
func (d *Driver) end(ctx context.Context, m *mission, phase Phase, reason string) {
	if !d.active(m) {
		return
	}
	_ = d.save(ctx, m, func(s *State) { // it is logged, and holds for this process
		s.Phase, s.Reason = phase, reason
		s.Used = s.Used.Plus(m.spend.fold())
	})
	d.log.Info().Str("session", m.session).Str("phase", string(phase)).Str("reason", reason).Msg("mission")
	switch phase {
	case Done:
		d.toast(ctx, m, "success", 8*time.Second, "Done: "+reason+".")
	case Paused:
		d.toast(ctx, m, "warning", 8*time.Second, "Paused: "+reason+". It goes on with your next message; /stop ends it.")
	case Stopped:
		d.toast(ctx, m, "warning", 10*time.Second, "Stopped: "+reason+". /task without words takes it up again.")
	}
}

// goOn sends the next continuation, unless something stirred since.
func (d *Driver) goOn(ctx context.Context, m *mission, v judgement, stirred int) {
	d.mu.Lock()
	if m.stirred != stirred || m.Phase != Active || d.missions[m.session] != m || d.stopped {
		d.mu.Unlock()
		return
	}
	if !m.Unseen { // else one that was stored did not get through: it goes again under its id
		m.next(d.ids.Next(), v)
	}
	prompt := host.Prompt{Session: m.session, MessageID: m.Prompt, Synthetic: true, Text: continuation(m.State, d.places[m.directory].settings, v, d.headless)}
	if m.tries == 0 { // else OpenCode may no longer know them, and swallows such a prompt
		prompt.Agent, prompt.Model = v.agent, v.model
	}
	m.tries++
	m.asked = time.Now()
	headless := d.headless
	d.mu.Unlock()
	unchanged := func(*State) {}
	if !headless {
		// Stored before it is sent: after a crash it is looked for before anything is
		// sent. That it cannot be stored is no reason to stop; it has been logged.
		_ = d.save(ctx, m, unchanged)
	}
	if headless || d.stirs(m) == stirred {
		if err := d.host.Prompt(ctx, m.directory, prompt); err != nil {
			d.log.Warn().Err(err).Str("session", m.session).Msg("the mission's next turn could not be started")
		}
	}
	if headless {
		_ = d.save(ctx, m, unchanged)
	}
}

// next begins a continuation: the driver's mu is held.
func (m *mission) next(id string, v judgement) {
	m.Iteration++
	m.Prompt, m.Unseen = id, true
	m.Idle, m.Failures = v.idle, v.failures
	m.Used = m.Used.Plus(m.spend.fold())
	m.calls, m.tries = map[string]string{}, 0
	if v.key != "" {
		m.Keys = append(m.Keys, v.key)
		m.Keys = m.Keys[max(0, len(m.Keys)-keysKept):]
	}
}

// extend goes on from a turn that is about to end: in `opencode run` the session
// must have its next message before it is idle, so nothing is asked of OpenCode
// first, and nothing stored.
func (d *Driver) extend(ctx context.Context, m *mission) {
	d.mu.Lock()
	ending, stirred := m.ending, m.stirred
	fresh := ending != m.continued
	m.continued = ending
	m.Unseen = false
	d.mu.Unlock()
	if !fresh || d.tasks.Unsettled(m.session) { // whose results keep the turn going
		return
	}
	if v := d.weigh(ctx, m, nil); v.verdict == goOn {
		d.goOn(ctx, m, v, stirred)
	} else {
		d.conclude(ctx, m, v)
	}
}

package mission

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// verdict is what becomes of a mission whose session rests.
type verdict int

const (
	proceed verdict = iota
	later           // it does not rest, or cannot be judged now
	finish          // nothing is left to do
	pause           // a person has the word
	stop            // a limit is reached
)

// judgement is a verdict and what it rests on.
type judgement struct {
	verdict verdict
	reason  string // as the end of a sentence
	gate    gate
	key     string // what the turns since the last continuation came to
	// idle counts the turns in a row that came to nothing, failures those that the
	// provider failed; both with the one that is judged.
	idle, failures int
	failure        string
	agent          string // to go on with
	model          host.Model
}

// outlook is what the files and the tasks say about a mission.
type outlook struct {
	gate  gate
	err   error      // why the files cannot be read
	tasks task.Usage // what all tasks of the session have used
}

// see reads the files and what the tasks have used.
func (d *Driver) see(ctx context.Context, m *mission) *outlook {
	o := &outlook{}
	o.gate, o.err = d.readGate(m.worktree)
	spent, err := d.tasks.Spent(ctx, m.session)
	if err != nil {
		d.log.Warn().Err(err).Str("session", m.session).Msg("what the tasks of a mission have used is not readable")
	}
	o.tasks = spent
	return o
}

// stoppedTurn is the reason of a pause after Esc.
const stoppedTurn = "you stopped its turn"

// judge reads what the session's last turn came to and decides.
func (d *Driver) judge(ctx context.Context, m *mission) judgement {
	if d.escaped(m) { // whatever it came to
		return judgement{verdict: pause, reason: stoppedTurn}
	}
	all, since, err := d.read(ctx, m)
	if host.NotFound(err) {
		return judgement{verdict: stop, reason: "its session was deleted"}
	}
	if err != nil || len(since) == 0 {
		return judgement{verdict: later}
	}
	last := since[len(since)-1]
	d.mu.Lock()
	if m.state.Prompt == "" || holds(since, m.state.Prompt) {
		m.state.Unseen, m.tries = false, 0
	}
	for _, msg := range since {
		if msg.Role == host.Assistant {
			m.span.note(msg.ID, msg.Created, msg.Usage)
		}
	}
	m.speaker(all)
	awaited, tries, reloaded := m.awaited, m.tries, m.reloaded
	d.mu.Unlock()
	aborted := delegate.AbortedAt(since)
	begun := last.Role == host.Assistant && !last.Created.Before(awaited.Truncate(time.Millisecond))
	switch {
	case d.escaped(m) || !aborted.IsZero() && aborted.After(reloaded):
		return judgement{verdict: pause, reason: stoppedTurn}
	case !begun && time.Since(last.Created) < turnLimit, !begun && time.Since(awaited) < turnLimit:
		return judgement{verdict: later} // the turn that was asked for has not begun
	case tries >= triesLimit:
		return judgement{verdict: pause, reason: "OpenCode takes no message that goes on with it"}
	}
	j := d.decide(m, d.see(ctx, m), since)
	if j.verdict != proceed {
		return j
	}
	switch why := interrupted(last); {
	case why != "":
		j.verdict, j.reason = pause, why
	case last.Error != nil && j.failures >= failuresLimit:
		j.verdict, j.reason = pause, fmt.Sprintf("%s failed: %s", inARow(j.failures), last.Error.Error())
	}
	return j
}

// interrupted says why a person has the word after a message, "" if nobody has.
func interrupted(last host.Message) string {
	switch {
	case last.Role != host.Assistant || last.Error != nil:
		return ""
	case last.Finish == "tool-calls": // OpenCode ends a turn so when a person refuses a call
		return "a call was refused"
	case asks(last.Text()):
		return "the agent asks you something"
	}
	return ""
}

// listed is a line of a list, such as the choices that follow a question.
var listed = regexp.MustCompile(`^\s*([-*+•]|[0-9]{1,2}[.)]|\(?[a-zA-Z][.)])\s`)

// asks reports whether a text ends with a question: its last paragraph holds one,
// before the choices if there are any.
func asks(text string) bool {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	choices := true
	for _, line := range slices.Backward(lines) {
		switch blank := strings.TrimSpace(line) == ""; {
		case questions.MatchString(line):
			return true
		case choices && (blank || listed.MatchString(line)):
		case blank:
			return false
		default:
			choices = false
		}
	}
	return false
}

// questions is a question mark at the end of a sentence, not in code.
var questions = regexp.MustCompile("[^\\s?][?？]+[*_\"')»”’]*(\\s|$)")

// doubtFor is how long a list has to be gone, or not readable, to be believed so:
// an editor that saves it may remove it for a moment.
const doubtFor = 2 * time.Second

// decide goes by the files, the limits and what the turns came to. Without
// messages it goes by what events told.
func (d *Driver) decide(m *mission, o *outlook, messages []host.Message) judgement {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := judgement{gate: o.gate, agent: m.state.Agent, model: m.state.Model}
	end := func(v verdict, reason string, args ...any) judgement {
		j.verdict, j.reason = v, fmt.Sprintf(reason, args...)
		return j
	}
	gone := o.err == nil && !o.gate.driven() && m.state.Listed
	if o.err == nil && !gone {
		m.doubt = time.Time{}
		m.state.Listed = o.gate.driven()
	} else if m.doubt.IsZero() {
		m.doubt = time.Now()
	}
	switch {
	case !m.doubt.IsZero() && time.Since(m.doubt) < doubtFor && d.headless:
		return j // there is no later: it goes on, and the next turn sees
	case !m.doubt.IsZero() && time.Since(m.doubt) < doubtFor:
		return end(later, "")
	case o.err != nil:
		return end(pause, "%v", o.err)
	case gone:
		return end(pause, "its todo list is gone")
	case !o.gate.driven():
		return end(finish, "there is no todo list to go on with")
	case !o.gate.open():
		return end(finish, "%s", o.gate)
	}
	at := d.settingsLocked(m.directory)
	if why := at.exceeded(m.usedWith(o.tasks)); why != "" {
		return end(stop, "%s", why)
	}
	if m.state.Iteration >= at.Iterations && !m.state.Unseen {
		return end(stop, "it has gone on %s, the most that missionIterations allows, and %s", times(m.state.Iteration), o.gate)
	}
	if m.state.Unseen { // what was before a continuation that did not get through has been judged
		j.idle, j.failures = m.state.Idle, m.state.Failures
		return j
	}
	if n := len(messages); n > 0 && messages[n-1].Error != nil && !messages[n-1].Error.Aborted() {
		j.failures, j.idle, j.failure = m.state.Failures+1, m.state.Idle, messages[n-1].Error.Error()
		return j
	}
	// Words alone are no progress, whatever they say, nor are the same calls again.
	j.key = keyOf(o.gate.version(), m.callsOf(messages))
	if slices.Contains(m.state.Keys, j.key) {
		j.idle = m.state.Idle + 1
	}
	if j.idle >= at.Idle {
		return end(stop, "nothing came of %s, and %s", theLast(j.idle), o.gate)
	}
	return j
}

// usedWith is what a mission has used so far, its tasks included: the driver's mu
// is held.
func (m *mission) usedWith(tasks task.Usage) task.Usage {
	return m.state.Used.Plus(m.span.sum()).Plus(tasks).Plus(m.state.Before.Negative())
}

// callsOf lists the tool calls since the newest continuation with their
// arguments. A call of which no event told them counts as a new one.
func (m *mission) callsOf(messages []host.Message) []string {
	var list []string
	for _, call := range m.calls {
		list = append(list, call)
	}
	for _, msg := range messages {
		for _, p := range msg.Parts {
			if p.Type == "tool" && m.calls[p.Call] == "" {
				list = append(list, p.Tool+" "+p.Call)
			}
		}
	}
	slices.Sort(list)
	return list
}

// keyOf tells apart what turns came to: the state of the lists, and the calls.
func keyOf(version string, calls []string) string {
	sum := sha256.New()
	for _, text := range append([]string{version}, calls...) {
		fmt.Fprintf(sum, "%d %s\n", len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// spanLimit is how many messages of a mission are read at most.
const spanLimit = 1024

// read reads a session back to the newest continuation, or to where the mission
// began, and returns all that it read and the messages since: the newest at least.
// What is before a continuation that did not arrive has been judged.
func (d *Driver) read(ctx context.Context, m *mission) (all, since []host.Message, err error) {
	d.mu.Lock()
	prompt, started := m.state.Prompt, m.state.Started
	d.mu.Unlock()
	for limit := 32; ; limit *= 4 {
		all, err = d.host.Messages(ctx, m.directory, m.session, limit)
		if err != nil || len(all) == 0 {
			return nil, nil, err
		}
		from := slices.IndexFunc(all, func(msg host.Message) bool {
			return msg.ID == prompt || prompt == "" && !msg.Created.Before(started.Truncate(time.Millisecond))
		})
		complete := len(all) < limit || limit >= spanLimit
		if from > 0 || from == 0 && (prompt != "" || complete) {
			return all, all[from:], nil
		}
		if complete {
			return all, all[len(all)-1:], nil
		}
	}
}

func holds(messages []host.Message, id string) bool {
	return slices.ContainsFunc(messages, func(msg host.Message) bool { return msg.ID == id })
}

// speaker takes note of the agent and the model that the newest message of a
// person asked for, if it is among the messages; of the newest of anybody if none
// is known. The driver's mu is held.
func (m *mission) speaker(messages []host.Message) {
	for _, msg := range slices.Backward(messages) {
		if msg.Role == host.User && (msg.ID == m.heard || m.state.Agent == "" && m.heard == "") && msg.Agent != "" {
			m.state.Agent, m.state.Model = msg.Agent, msg.Model
			return
		}
	}
}

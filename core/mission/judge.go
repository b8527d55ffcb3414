package mission

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// verdict is what becomes of a mission whose session rests.
type verdict int

const (
	goOn     verdict = iota
	wait             // it does not rest, or cannot be judged now
	finished         // nothing is left to do
	pause            // a person has the word
	stop             // a limit is reached
)

// judgement is a verdict and what it rests on.
type judgement struct {
	verdict verdict
	reason  string
	gate    gate
	key     string // what the turns since the last continuation came to
	// idle counts the turns in a row that came to nothing, failures those that the
	// provider failed; both with the one that is judged.
	idle, failures int
	failure        string
	agent          string // of the newest user message
	model          host.Model
}

// doubtFor is how long a list has to be gone, or not readable, to be believed so.
const doubtFor = 2 * time.Second

// judge reads what the session's last turn came to and weighs the mission.
func (d *Driver) judge(ctx context.Context, m *mission) judgement {
	all, messages, err := d.turns(ctx, m)
	if host.NotFound(err) {
		return judgement{verdict: stop, reason: "its session was deleted"}
	}
	if err != nil || len(messages) == 0 {
		return judgement{verdict: wait}
	}
	last := messages[len(messages)-1]
	d.mu.Lock()
	asked, prompt := m.asked, m.Prompt
	excused := ended(last).Before(m.adopted)
	if arrived := prompt == "" || slices.ContainsFunc(messages, func(msg host.Message) bool { return msg.ID == prompt }); arrived {
		m.Unseen, m.tries = false, 0
	}
	tries := m.tries
	for _, msg := range messages {
		if msg.Role == host.Assistant {
			m.spend.note(msg.ID, msg.Usage)
		}
	}
	d.mu.Unlock()
	if last.Created.Before(asked) && time.Since(asked) < turnLimit {
		return judgement{verdict: wait} // the turn that was asked for has not begun
	}
	if last.Role == host.User && time.Since(last.Created) < turnLimit {
		return judgement{verdict: wait}
	}
	if tries >= triesLimit {
		return judgement{verdict: pause, reason: "OpenCode takes no message that goes on with it"}
	}
	v := d.weigh(ctx, m, messages)
	v.agent, v.model = speaker(all)
	if v.verdict != goOn {
		return v
	}
	switch why := interrupted(last); {
	case last.Error.Aborted() && excused: // by the end of a process or a reload
	case why != "":
		v.verdict, v.reason = pause, why
	case last.Error != nil && v.failures >= failuresLimit:
		v.verdict, v.reason = pause, fmt.Sprintf("%d turns in a row failed: %s", v.failures, last.Error.Error())
	}
	return v
}

// ended is when a message was complete, or begun if it never was.
func ended(msg host.Message) time.Time {
	if msg.Completed.IsZero() {
		return msg.Created
	}
	return msg.Completed
}

// interrupted says why a person has the word after a message, "" if nobody has.
func interrupted(last host.Message) string {
	switch {
	case last.Role != host.Assistant:
		return ""
	case last.Error.Aborted():
		return "you stopped its turn"
	case last.Error != nil:
		return ""
	case last.Finish == "tool-calls": // OpenCode ends a turn so when a person refuses a call
		return "a call was refused"
	case asks(last.Text()):
		return "the agent asks you something"
	}
	return ""
}

// asks reports whether a text ends with a question.
func asks(text string) bool {
	text = strings.TrimRight(text, " \t\r\n*_`\"')»”’")
	return strings.HasSuffix(text, "?") || strings.HasSuffix(text, "？")
}

// weigh decides by the files, the limits and what the turns came to. Without
// messages it goes by what events told.
func (d *Driver) weigh(ctx context.Context, m *mission, messages []host.Message) judgement {
	g, err := d.gate(m.worktree)
	d.mu.Lock()
	gone := !g.driven() && m.Listed
	m.Listed = m.Listed || g.driven()
	if err != nil || gone { // perhaps only while an editor saves it
		if m.doubt.IsZero() {
			m.doubt = time.Now()
		}
	} else {
		m.doubt = time.Time{}
	}
	doubtful := !m.doubt.IsZero() && time.Since(m.doubt) < doubtFor && !d.headless
	d.mu.Unlock()
	v := judgement{gate: g}
	switch {
	case doubtful:
		v.verdict = wait
		return v
	case err != nil:
		v.verdict, v.reason = pause, err.Error()
		return v
	case gone:
		v.verdict, v.reason = pause, "its todo list is gone"
		return v
	case !g.driven():
		v.verdict, v.reason = finished, "there is no todo list to go on with"
		return v
	case !g.open():
		v.verdict, v.reason = finished, g.String()
		return v
	}
	tasks, err := d.tasks.Spent(ctx, m.session)
	if err != nil {
		d.log.Warn().Err(err).Str("session", m.session).Msg("what the tasks of a mission have used is not readable")
	}
	at := d.settings(m.directory)
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.agent == "" {
		v.agent = m.agent
	}
	used := m.Used.Plus(m.spend.sum()).Plus(tasks).Plus(m.Before.Negative())
	if why := at.exceeded(used); why != "" {
		v.verdict, v.reason = stop, why
		return v
	}
	if m.Iteration >= at.Iterations {
		v.verdict, v.reason = stop, fmt.Sprintf("it has gone on %d times, the most that missionIterations allows, and %s", m.Iteration, g)
		return v
	}
	if n := len(messages); n > 0 && messages[n-1].Error != nil {
		v.failures, v.idle, v.failure = m.Failures+1, m.Idle, messages[n-1].Error.Error()
		return v
	}
	// Words alone are no progress, whatever they say, nor are the same calls again.
	v.key = keyOf(g.version(), m.callsOf(messages))
	if slices.Contains(m.Keys, v.key) {
		v.idle = m.Idle + 1
	}
	if v.idle >= at.Idle {
		v.verdict, v.reason = stop, fmt.Sprintf("nothing came of the last %d turns, and %s", v.idle, g)
	}
	return v
}

// callsOf lists the tool calls since the newest continuation, with their arguments
// where an event told them.
func (m *mission) callsOf(messages []host.Message) []string {
	calls := map[string]string{}
	for id, call := range m.calls {
		calls[id] = call
	}
	for _, msg := range messages {
		for _, p := range msg.Parts {
			if p.Type == "tool" && calls[p.Call] == "" {
				calls[p.Call] = p.Tool
			}
		}
	}
	list := make([]string, 0, len(calls))
	for _, call := range calls {
		list = append(list, call)
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

// turns reads a session back to the newest continuation, or to where the mission
// began, and returns all that it read and the messages since: the newest at least.
// What is before a continuation that did not arrive has been judged.
func (d *Driver) turns(ctx context.Context, m *mission) (all, since []host.Message, err error) {
	d.mu.Lock()
	prompt, started := m.Prompt, m.Started
	d.mu.Unlock()
	for limit := 32; ; limit *= 4 {
		all, err = d.host.Messages(ctx, m.directory, m.session, limit)
		if err != nil || len(all) == 0 {
			return nil, nil, err
		}
		from := slices.IndexFunc(all, func(msg host.Message) bool {
			return msg.ID == prompt || prompt == "" && !msg.Created.Before(started)
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

// speaker is the agent and the model that the newest user message asked for, so
// that a continuation goes on with them.
func speaker(messages []host.Message) (string, host.Model) {
	for _, msg := range slices.Backward(messages) {
		if msg.Role == host.User {
			return msg.Agent, msg.Model
		}
	}
	return "", host.Model{}
}

// used is what a mission has used so far, its tasks included.
func (d *Driver) used(ctx context.Context, m *mission) task.Usage {
	tasks, err := d.tasks.Spent(ctx, m.session)
	if err != nil {
		d.log.Debug().Err(err).Str("session", m.session).Msg("what the tasks of a mission have used is not readable")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.Used.Plus(m.spend.sum()).Plus(tasks).Plus(m.Before.Negative())
}

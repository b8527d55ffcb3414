package delegate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// script is how the model answers the prompts of a task: what its tries get, one
// after the other, the last one for all that follow; and how such a task may end
// if nobody gets in its way.
type script struct {
	tries []fake.Reply
	end   task.State
	early bool // OpenCode calls it idle before the turn has begun
	// fractal scripts delegate in their first try: in the background, synchronously,
	// or both. told is how the model answers when it is told of those tasks, and
	// further, that it delegates once more then.
	fractal    bool
	back, sync bool
	told       []fake.Reply
	further    bool
}

var (
	refusedKey = &host.MessageError{Name: "ProviderAuthError", Message: "no key"}
	badRequest = &host.MessageError{Name: "APIError", Status: 400, Message: "no such thing"}
	tooBusy    = &host.MessageError{Name: "APIError", Status: 503, Message: "overloaded", Retryable: true}
)

// The answer of a reply with the text "ok" is unlike all others: the model below
// numbers them.
var scripts = map[string]script{
	"ok":        {tries: []fake.Reply{{Text: "ok"}}, end: task.Completed},
	"slow":      {tries: []fake.Reply{{Text: "ok", After: 40 * time.Second}}, end: task.Completed},
	"tool":      {tries: []fake.Reply{{Text: "ok", ToolFor: 5 * time.Second, After: 3 * time.Second}}, end: task.Completed},
	"early":     {tries: []fake.Reply{{Text: "ok", After: 8 * time.Second}}, end: task.Completed, early: true},
	"empty":     {tries: []fake.Reply{{After: time.Second}}, end: task.Failed},
	"length":    {tries: []fake.Reply{{Text: "half", Finish: "length", After: time.Second}}, end: task.Failed},
	"fatal":     {tries: []fake.Reply{{Error: badRequest, After: time.Second}}, end: task.Failed},
	"auth":      {tries: []fake.Reply{{Error: refusedKey}}, end: task.Failed},
	"recovers":  {tries: []fake.Reply{{Error: tooBusy, After: time.Second}, {Text: "ok", After: time.Second}}, end: task.Completed},
	"never":     {tries: []fake.Reply{{Error: tooBusy, After: 2 * time.Second}}, end: task.Failed},
	"silent":    {tries: []fake.Reply{{Silent: true, After: time.Second}}, end: task.Interrupted},
	"hang":      {tries: []fake.Reply{{Hang: true}}, end: task.Timeout},
	"tool hang": {tries: []fake.Reply{{Hang: true, Calls: []host.ToolCall{{Tool: "read", Input: `{"a":1}`}, {Tool: "bash", Input: `{"b":1}`}}}}, end: task.Timeout},

	"spreads":        {tries: []fake.Reply{progress}, end: task.Completed, fractal: true, back: true},
	"asks":           {tries: []fake.Reply{progress}, end: task.Completed, fractal: true, sync: true},
	"does both":      {tries: []fake.Reply{progress}, end: task.Completed, fractal: true, back: true, sync: true},
	"goes on":        {tries: []fake.Reply{{Text: "progress", After: 40 * time.Second}}, end: task.Completed, fractal: true, back: true},
	"spreads twice":  {tries: []fake.Reply{progress}, end: task.Completed, fractal: true, back: true, further: true},
	"asks later":     {tries: []fake.Reply{progress}, end: task.Completed, fractal: true, back: true, sync: true, further: true},
	"gives up":       {tries: []fake.Reply{{Error: badRequest, After: 5 * time.Second}}, end: task.Failed, fractal: true, back: true},
	"stumbles":       {tries: []fake.Reply{{Error: tooBusy, After: 5 * time.Second}, progress}, end: task.Completed, fractal: true, back: true, sync: true},
	"never ends":     {tries: []fake.Reply{{Hang: true}}, end: task.Timeout, fractal: true, back: true},
	"told in vain":   {tries: []fake.Reply{progress}, told: []fake.Reply{{Hang: true}}, end: task.Timeout, fractal: true, back: true},
	"told to death":  {tries: []fake.Reply{progress}, told: []fake.Reply{{Error: badRequest, After: time.Second}}, end: task.Failed, fractal: true, back: true},
	"told too early": {tries: []fake.Reply{progress}, told: []fake.Reply{{Error: tooBusy, After: time.Second}, progress}, end: task.Completed, fractal: true, back: true},
	"told nothing":   {tries: []fake.Reply{progress}, told: []fake.Reply{{After: time.Second}}, end: task.Failed, fractal: true, back: true},
}

// A task that delegates says how far it is: see model.standing.
var progress = fake.Reply{Text: "progress", After: time.Second}

// order is the names of the scripts; the first ones are the most likely.
var order = []string{"ok", "ok", "slow", "slow", "tool", "early", "empty", "length", "fatal", "auth", "recovers", "never", "silent", "hang", "tool hang"}

// fractalOrder is the same of those that delegate, innerOrder of what they delegate.
var (
	fractalOrder = []string{
		"spreads", "spreads", "asks", "asks", "does both", "does both", "goes on", "spreads twice", "spreads twice", "asks later",
		"gives up", "stumbles", "never ends", "told in vain", "told to death", "told too early", "told nothing",
	}
	innerOrder = append([]string{"spreads", "asks", "does both", "spreads twice", "ok", "ok", "slow"}, order...)
)

// dice is a source of chance that all goroutines of a schedule share.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{r: rand.New(rand.NewPCG(seed, 1))} }

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) one(in int) bool { return d.below(in) == 0 }

func (d *dice) within(t time.Duration) time.Duration { return time.Duration(d.below(int(t))) }

// model answers prompts by the scripts that they name.
type model struct {
	dice *dice
	emit func(host.Event)

	mu     sync.Mutex
	script map[string]string // by session, that of the newest prompt of a task
	tries  map[string]int    // of it
	given  int               // answers

	// Of sessions that delegate.
	read     func(session string) []host.Message
	expected map[string]map[task.ID]bool // the tasks of whose end it is to be told, since that prompt
	heard    map[string]int              // how often it was told, since that prompt
}

func newModel(seed uint64) *model {
	return &model{dice: newDice(seed), script: map[string]string{}, tries: map[string]int{}, expected: map[string]map[task.ID]bool{}, heard: map[string]int{}}
}

// answer implements fake.OpenCode's Answer.
func (m *model) answer(p host.Prompt, s host.Session) fake.Reply {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given++
	text := fmt.Sprintf("answer %d", m.given)
	name, ours := strings.CutPrefix(p.Text, "play ")
	switch {
	case s.Parent == "" && p.Synthetic:
		return fake.Reply{Text: "thanks", After: m.dice.within(3 * time.Second)}
	case s.Parent == "":
		return fake.Reply{Text: "well", After: m.dice.within(20 * time.Second)}
	case ours:
		m.script[s.ID], m.tries[s.ID], m.heard[s.ID] = name, 0, 0
		delete(m.expected, s.ID)
	case strings.HasPrefix(p.Text, "The last turn ended in an error"), strings.HasPrefix(p.Text, "The message above has no answer"):
	case p.Synthetic && scripts[m.script[s.ID]].fractal:
		return m.told(p, s.ID)
	default: // a person, or a further message to the task
		return fake.Reply{Text: text, After: m.dice.within(5 * time.Second)}
	}
	script, try := scripts[m.script[s.ID]], m.tries[s.ID]
	reply := script.tries[min(try, len(script.tries)-1)]
	m.tries[s.ID]++
	if script.fractal && try == 0 {
		reply.Calls = []host.ToolCall{m.delegation(script.back && !script.further || !script.sync, script.sync && !script.further)}
	}
	if reply.Text == "ok" {
		reply.Text = text
	}
	if script.early {
		m.emit(host.Event{Type: host.EventSessionIdle, Session: s.ID})
	}
	return m.standing(s.ID, reply)
}

// told answers what is said to a task that delegates, mostly how its own tasks ended.
func (m *model) told(p host.Prompt, session string) fake.Reply {
	script, reply := scripts[m.script[session]], progress
	if outcomes.MatchString(p.Text) {
		if n := len(script.told); n > 0 {
			reply = script.told[min(m.heard[session], n-1)]
		}
		if script.further && m.heard[session] == 0 {
			reply.Calls = []host.ToolCall{m.delegation(!script.sync, script.sync)}
		}
		m.heard[session]++
	}
	return m.standing(session, reply)
}

// standing has a reply say whether the task is at its end: it is if it knows of
// the ends of all that it has delegated.
func (m *model) standing(session string, r fake.Reply) fake.Reply {
	if r.Text != "progress" {
		return r
	}
	word := "final"
	if len(r.Calls) > 0 && strings.Contains(r.Calls[0].Input, inBackground) {
		word = "waiting"
	}
	if m.unawareLocked(session) {
		word = "waiting"
	}
	r.Text = fmt.Sprintf("%s %d", word, m.given)
	return r
}

// unawareLocked reports whether a session was not told of a task of its own.
func (m *model) unawareLocked(session string) bool {
	known := map[string]bool{}
	for end := range told(m.read(session)) {
		id, _, _ := strings.Cut(end, "/")
		known[id] = true
	}
	for id := range m.expected[session] {
		if !known[string(id)] {
			return true
		}
	}
	return false
}

// expect notes that a session is to be told of a task's end.
func (m *model) expect(session string, id task.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.expected[session] == nil {
		m.expected[session] = map[task.ID]bool{}
	}
	m.expected[session][id] = true
}

// expects reports whether a session was to be told of any task's end.
func (m *model) expects(session string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.expected[session]) > 0
}

const inBackground, inCall = "background", "call"

// delegation is a step of tool calls that delegate, which schedule.delegate makes:
// one a line, of a kind and a script.
func (m *model) delegation(back, sync bool) host.ToolCall {
	var lines []string
	for n := 1 + m.dice.below(3); n > 0; n-- {
		kind := inBackground
		if sync && (!back || m.dice.one(2)) {
			kind = inCall
		}
		lines = append(lines, kind+" "+innerOrder[m.dice.below(len(innerOrder))])
	}
	return host.ToolCall{Tool: nameDelegate, Input: strings.Join(lines, "\n")}
}

// proofs are the texts that may be the result of the attempt whose prompt is
// messageID: finished answers to it, to what joined its turn, or to what was
// typed by nobody after that and before the prompt next.
func proofs(history []host.Message, messageID, next string) (texts []string) {
	ours := map[string]bool{}
	answered, ended := false, time.Time{}
	for _, m := range history {
		person := slices.ContainsFunc(m.Parts, func(p host.Part) bool { return !p.Synthetic })
		switch {
		case next != "" && m.ID == next:
			return texts
		case m.ID == messageID:
			ours[m.ID] = true
		case m.Role == host.User && len(ours) > 0 && (!answered || !person && m.Created.After(ended)):
			ours[m.ID], answered = true, false
		case m.Role == host.Assistant && ours[m.Parent] && m.Finish != "tool-calls" && !m.Completed.IsZero() && !answered:
			answered, ended = true, time.Time{}
			if m.Error.Aborted() {
				ended = m.Completed // what was queued then has no answer
			}
			if m.Finish == "stop" && m.Error == nil {
				texts = append(texts, m.Text())
			}
		}
	}
	return texts
}

// outcomes finds the headings of tasks in what a session was told.
var outcomes = regexp.MustCompile(`\] (task_[0-9a-f]{8}) "[^"]*" \(agent [a-z]+, (?:attempt (\d+), )?`)

// told counts how often a session was told of each attempt.
func told(history []host.Message) map[string]int {
	count := map[string]int{}
	for _, m := range history {
		for _, p := range m.Parts {
			if m.Role != host.User || !p.Synthetic {
				continue
			}
			for _, found := range outcomes.FindAllStringSubmatch(p.Text, -1) {
				attempt := found[2]
				if attempt == "" {
					attempt = "1"
				}
				count[found[1]+"/"+attempt]++
			}
		}
	}
	return count
}

// judgeStore is a store that holds every update against what may never happen,
// whoever asks for it.
type judgeStore struct {
	task.Store
	fail  func(format string, args ...any)
	check func(now task.Task) // may be nil; of those that complete
}

func (s judgeStore) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	var was, now task.Task
	got, err := s.Store.Update(ctx, id, at, func(t *task.Task) {
		was = *t
		change(t)
		now = *t
	})
	if err == nil {
		if wrong := unlawful(was, now); wrong != "" {
			s.fail("%s: an update %s\nwas %+v\nnow %+v", id, wrong, was, now)
		}
		if s.check != nil && now.State == task.Completed && was.State != now.State {
			s.check(now)
		}
	}
	return got, err
}

// unlawful says what is wrong with an update, "" if nothing is.
func unlawful(was, now task.Task) string {
	same := now.Attempt == was.Attempt
	past := len(was.Past)
	switch {
	case now.Told && !now.State.Terminal():
		return "tells of a task that has not ended"
	case now.State == task.Completed && (now.MessageID == "" || now.Result == "" || now.Error != ""):
		return "completes a task without an answer"
	case was.Session != "" && now.Session != was.Session:
		return "changes the session"
	case same && was.MessageID != "" && now.MessageID != was.MessageID:
		return "gives an attempt a second prompt"
	case same && was.Told && !now.Told:
		return "takes back that it was told"
	case same && was.State.Terminal() && (now.State != was.State || now.Result != was.Result || now.Error != was.Error || !now.Ended.Equal(was.Ended)):
		return "changes an end"
	case same && len(now.Past) != past, !same && (len(now.Past) != past+1 || now.Past[past].MessageID != was.MessageID):
		return "does not keep the attempts"
	case !same && was.State.Terminal() && (now.Past[past].Result != was.Result || now.Past[past].State != was.State || now.Past[past].Error != was.Error):
		return "loses a result"
	}
	return ""
}

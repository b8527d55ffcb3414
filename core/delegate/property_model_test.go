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
}

// order is the names of the scripts; the first ones are the most likely.
var order = []string{"ok", "ok", "slow", "slow", "tool", "early", "empty", "length", "fatal", "auth", "recovers", "never", "silent", "hang", "tool hang"}

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
		m.script[s.ID], m.tries[s.ID] = name, 0
	case strings.HasPrefix(p.Text, "The last turn ended in an error"), strings.HasPrefix(p.Text, "The message above has no answer"):
	default: // a person, or a further message to the task
		return fake.Reply{Text: text, After: m.dice.within(5 * time.Second)}
	}
	script := scripts[m.script[s.ID]]
	reply := script.tries[min(m.tries[s.ID], len(script.tries)-1)]
	m.tries[s.ID]++
	if reply.Text == "ok" {
		reply.Text = text
	}
	if script.early {
		m.emit(host.Event{Type: host.EventSessionIdle, Session: s.ID})
	}
	return reply
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
	fail func(format string, args ...any)
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

package crash

import (
	"context"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// ledger is the host, and what it saw.
type ledger struct {
	*fake.OpenCode
	directory string
	jobs      map[string]*job // by mark; fixed before the run
	changed   atomic.Int64    // Unix nanoseconds of the last call that had an effect

	mu       sync.Mutex
	children []host.Session
	turns    map[string]int // that the model was paid for, by mark
	wakes    map[string]int // the same of parents, by message
	strange  []string       // prompts that are nobody's
}

func newLedger(directory string) *ledger {
	l := &ledger{directory: directory, jobs: map[string]*job{}, turns: map[string]int{}, wakes: map[string]int{}}
	l.OpenCode = fake.New(l.answer)
	return l
}

// answer plays the model. Every call of it is a turn that costs money.
func (l *ledger) answer(p host.Prompt, s host.Session) fake.Reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Parent == "" {
		l.wakes[p.MessageID]++
		if !p.Synthetic { // a person's
			return fake.Reply{After: time.Duration(rand.Int64N(int64(turnLimit))), Text: "Done."}
		}
		return fake.Reply{After: 30 * time.Millisecond, Text: "Noted."}
	}
	j := l.jobs[markPattern.FindString(s.Title)]
	if j == nil {
		l.strange = append(l.strange, p.Text)
		return fake.Reply{Text: "What?"}
	}
	l.turns[j.mark]++
	return j.reply(l.turns[j.mark])
}

// CreateSession records the child.
func (l *ledger) CreateSession(ctx context.Context, directory string, n host.NewSession) (host.Session, error) {
	s, err := l.OpenCode.CreateSession(ctx, directory, n)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.children = append(l.children, s)
	}
	return s, err
}

// child reports whether a session was made by the sidecar.
func (l *ledger) child(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.children {
		if s.ID == id {
			return true
		}
	}
	return false
}

// prompts are the messages of a session that tell its agent to work, and how
// often text was appended to one of them.
func (l *ledger) prompts(session string) (messages, appended int) {
	for _, m := range l.History(session) {
		if m.Role != host.User || len(m.Parts) == 0 || m.Parts[0].Synthetic {
			continue
		}
		messages++
		appended += len(m.Parts) - 1
	}
	return messages, appended
}

// outcome begins what a parent reads about an ended task.
var outcome = regexp.MustCompile(`\[(?:DONE|ERROR|TIMEOUT|CANCELLED|WARNING)\] (task_[0-9a-f]{8})\b`)

var taskID = regexp.MustCompile(`task_[0-9a-f]{8}`)

// told counts what a parent reads.
type told struct {
	messages []string // that name the task
	repeated int      // times that one of them says the same again
}

// outcomes maps the ids of tasks to what their parent was told of them.
func (l *ledger) outcomes(parent string) map[string]told {
	all := map[string]told{}
	for _, m := range l.History(parent) {
		if m.Role != host.User {
			continue
		}
		var text strings.Builder
		for _, p := range m.Parts {
			if p.Synthetic {
				text.WriteString(p.Text + "\n")
			}
		}
		here := map[string]int{}
		for _, found := range outcome.FindAllStringSubmatch(text.String(), -1) {
			here[found[1]]++
		}
		for id, n := range here {
			t := all[id]
			t.messages = append(t.messages, m.ID)
			t.repeated += n - 1
			all[id] = t
		}
	}
	return all
}

func (l *ledger) touch() { l.changed.Store(time.Now().UnixNano()) }

// quiet is how long the host was not asked for anything that has an effect.
func (l *ledger) quiet() time.Duration { return time.Since(time.Unix(0, l.changed.Load())) }

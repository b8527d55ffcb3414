package crash

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// kind is how a task is launched.
type kind string

const (
	launched  kind = "task/launch"
	delegated kind = "delegate_task in the background"
	batched   kind = "delegate_tasks"
	awaited   kind = "delegate_task that waits" // in flight when a kill comes
)

// end is what the script of its model makes of a task.
type end string

const (
	answers end = "answers"
	fails   end = "fails"
	retried end = "answers at the second try"
	hangs   end = "hangs"      // until its timeout
	stopped end = "is stopped" // by task/cancel
)

// job is a task that is to be launched. The fields below the line are the
// launcher's ledger, which the ledger's mu guards.
type job struct {
	mark   string // names it in its prompt and its description
	kind   kind
	end    end
	parent string
	group  string // of a batch
	wake   string // policy, of a batch
	batch  []*job // the first of a batch launches all
	after  time.Duration
	pause  time.Duration // before the next launch
	stopIn time.Duration // before task/cancel

	id       string // as acknowledged; "" if the launch was not
	tried    bool   // the launch was sent
	refusal  error  // an answer that was no acknowledgement
	answered bool   // awaited only: the call returned the outcome
	output   string // awaited only: what it returned
	stopped  bool   // task/cancel was acknowledged
}

// parents of background tasks, besides one for each call that waits.
const parents = 5

const batchSize = 4

// wakes are the policies, drawn from as often as they are named.
var wakes = []string{wakeEach, wakeEach, wakeAll, wakeAll, wakeNone}

const (
	wakeEach = "each"
	wakeAll  = "all"
	wakeNone = "none"
)

// plans draws n jobs in the order of their launches.
func plans(r *rand.Rand, l *ledger, n int) []*job {
	var shared []string
	for range parents {
		shared = append(shared, l.Open(l.directory))
	}
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(r.Int64N(int64(to-from))) }
	var jobs []*job
	next := func(k kind, parent string) *job {
		j := &job{
			mark: fmt.Sprintf("n%03d", len(jobs)+1), kind: k, end: answers, parent: parent,
			after: between(50*time.Millisecond, 400*time.Millisecond), pause: between(0, 150*time.Millisecond),
			stopIn: between(0, 800*time.Millisecond),
		}
		switch x := r.IntN(100); {
		case x < 6:
			j.end = fails
		case x < 10:
			j.end = retried
		case x < 13 && k != awaited:
			j.end = hangs
		case x < 20 && k != awaited:
			j.end = stopped
		}
		jobs = append(jobs, j)
		l.jobs[j.mark] = j
		return j
	}
	for len(jobs) < n {
		parent := shared[r.IntN(parents)]
		switch x := r.IntN(100); {
		case x < 45:
			next(launched, parent)
		case x < 75:
			next(delegated, parent)
		case x < 90 || n-len(jobs) < batchSize:
			next(awaited, l.Open(l.directory)) // a turn that waits keeps its session busy
		default:
			first := next(batched, parent)
			first.batch, first.group, first.wake = []*job{first}, "group of "+first.mark, wakes[r.IntN(len(wakes))]
			for range batchSize - 1 {
				j := next(batched, parent)
				j.group, j.wake, j.pause = first.group, first.wake, 0
				first.batch = append(first.batch, j)
			}
		}
	}
	return jobs
}

var markPattern = regexp.MustCompile(`\bn\d{3}\b`)

func (j *job) description() string { return "part " + j.mark }

func (j *job) prompt() string { return "Look at part " + j.mark + "." }

func (j *job) answer() string { return "All is well in " + j.mark + "." }

// turns is how often the model is asked.
func (j *job) turns() int {
	if j.end == retried {
		return 2
	}
	return 1
}

// reply is the model's script for the n-th turn.
func (j *job) reply(n int) fake.Reply {
	switch j.end {
	case retried:
		if n == 1 {
			busy := &host.MessageError{Name: "APIError", Message: "scripted overload", Status: 529, Retryable: true, RetryAfter: 200 * time.Millisecond}
			return fake.Reply{After: j.after, Error: busy}
		}
	case fails:
		return fake.Reply{After: j.after, Error: &host.MessageError{Name: "APIError", Message: "scripted failure", Status: 400}}
	case hangs, stopped:
		return fake.Reply{Hang: true}
	}
	return fake.Reply{After: j.after, Text: j.answer()}
}

// state is how the task has to end.
func (j *job) state() string {
	switch {
	case j.end == fails:
		return "error"
	case j.end == stopped && j.stopped:
		return "cancelled"
	case j.end == answers || j.end == retried:
		return "completed"
	}
	return "timeout"
}

package mission

import (
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// spending is what a session has used in a span of time, by message: a message is
// reported many times while it grows, and now and then when it is long complete.
// What was used before is in the State.
type spending struct {
	floor, began time.Time             // of the span before, of this one
	counted      map[string]task.Usage // of messages in the span before
	used         map[string]task.Usage // beyond that
}

func newSpending() spending {
	now := time.Now().Truncate(time.Millisecond) // messages know no less
	return spending{floor: now, began: now, used: map[string]task.Usage{}}
}

// note takes what a message has used so far. One from before the span before has
// been counted, or is none of ours.
func (s *spending) note(message string, created time.Time, u host.Usage) {
	if u != (host.Usage{}) && !created.Before(s.floor) {
		s.used[message] = task.Usage(u).Plus(s.counted[message].Negative())
	}
}

func (s *spending) sum() (all task.Usage) {
	for _, u := range s.used {
		all = all.Plus(u)
	}
	return all
}

// fold moves the sum into a mission's state and begins a new span.
func (s *spending) fold(into *State) {
	all, next := s.sum(), newSpending()
	next.floor, next.counted = s.began, map[string]task.Usage{}
	for message, u := range s.used {
		next.counted[message] = u.Plus(s.counted[message])
	}
	*s = next
	into.Used, into.Counted = into.Used.Plus(all), next.began
}

// exceeded says which part of the budget is used up, "" if none is.
func (s Settings) exceeded(u task.Usage) string {
	switch {
	case s.Tokens > 0 && u.Tokens() >= s.Tokens:
		return fmt.Sprintf("it has used %d tokens of the %d that missionTokens allows", u.Tokens(), s.Tokens)
	case s.Cost > 0 && u.Cost >= s.Cost:
		return fmt.Sprintf("it has cost $%.4g of the $%.4g that missionCost allows", u.Cost, s.Cost)
	}
	return ""
}

package mission

import (
	"fmt"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// spending is what a session has used since a continuation was sent, by message:
// a message is reported many times while it grows. What was used before is in
// the State.
type spending struct {
	now map[string]task.Usage
	old map[string]bool // counted before: late reports of them are not counted again
}

func (s *spending) note(message string, u host.Usage) {
	if u == (host.Usage{}) || s.old[message] {
		return
	}
	if s.now == nil {
		s.now = map[string]task.Usage{}
	}
	s.now[message] = task.Usage(u)
}

func (s *spending) sum() (all task.Usage) {
	for _, u := range s.now {
		all = all.Plus(u)
	}
	return all
}

// fold returns the sum and begins anew.
func (s *spending) fold() task.Usage {
	all := s.sum()
	s.old = make(map[string]bool, len(s.now))
	for message := range s.now {
		s.old[message] = true
	}
	s.now = nil
	return all
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

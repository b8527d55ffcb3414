package todo

import (
	"fmt"
	"strings"
)

// State is how far an item has come.
type State uint8

// The states, in the order in which work goes through them. Completed and
// Cancelled are terminal: nothing is left to be done.
const (
	Pending State = iota
	InProgress
	Completed
	Cancelled
)

// stateOf reads the byte between the brackets of a box.
func stateOf(mark byte) (State, bool) {
	switch mark {
	case ' ':
		return Pending, true
	case '/', '.':
		return InProgress, true
	case 'x', 'X':
		return Completed, true
	case '-':
		return Cancelled, true
	}
	return 0, false
}

// ParseState reads the word for a state, in any case: OpenCode's own words
// (pending, in_progress, completed, cancelled), those of the task tools
// (progress, done, failed: an item that failed is one on which no work is left),
// or a mark as it stands in a box. It reports false for any other word.
func ParseState(word string) (State, bool) {
	switch strings.ToLower(strings.NewReplacer("-", "_", " ", "_").Replace(strings.TrimSpace(word))) {
	case "pending", "todo", "open":
		return Pending, true
	case "in_progress", "progress", "inprogress", "running":
		return InProgress, true
	case "completed", "complete", "done":
		return Completed, true
	case "cancelled", "canceled", "failed":
		return Cancelled, true
	}
	if inner, ok := strings.CutPrefix(word, "["); ok && len(inner) == 2 && inner[1] == ']' {
		return stateOf(inner[0])
	}
	if len(word) == 1 && word != " " {
		return stateOf(word[0])
	}
	return 0, false
}

// Mark is the byte that stands for the state in a box that is written by us.
func (s State) Mark() byte {
	switch s {
	case InProgress:
		return '/'
	case Completed:
		return 'x'
	case Cancelled:
		return '-'
	default:
		return ' '
	}
}

// Terminal reports whether no work is left.
func (s State) Terminal() bool { return s == Completed || s == Cancelled }

// String is OpenCode's word for the state.
func (s State) String() string {
	switch s {
	case Pending:
		return "pending"
	case InProgress:
		return "in_progress"
	case Completed:
		return "completed"
	case Cancelled:
		return "cancelled"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// MarshalText writes the state as its word.
func (s State) MarshalText() ([]byte, error) {
	if s > Cancelled {
		return nil, fmt.Errorf("todo: no such state: %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what MarshalText wrote, and the words of ParseState.
func (s *State) UnmarshalText(text []byte) error {
	state, ok := ParseState(string(text))
	if !ok {
		return fmt.Errorf("todo: %q is no state; accepted are pending, in_progress, completed and cancelled", text)
	}
	*s = state
	return nil
}

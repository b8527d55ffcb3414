// Package lifecycle ends the sidecar in order. Every room registers how it
// ends and at which priority; [Manager.Shutdown] runs the handlers once, lower
// priorities first, those of one priority together, within a budget that no
// handler can overrun.
//
// # Time
//
// A run has a deadline: its budget, or less when a later caller is in more of a
// hurry. A phase (all handlers of one priority) gets at most HandlerLimit and
// never the time that belongs to the phases after it: for each of them
// PhaseReserve is set aside, or an equal share of what is left when there is
// not enough for that. So a hanging agent costs the store its patience but
// never its last write. A reserve that a phase does not use goes to the next
// ones.
//
// The context of a handler ends a little before its phase does (a tenth of the
// phase, at most 50 ms), so that a handler that obeys can still return and be
// waited for. One that does not is abandoned: the report says so, its goroutine
// is left to itself, and the run goes on.
package lifecycle

import "time"

// The priorities of the house, lowest first. Between them there is room.
const (
	PriorityTodo    = 10  // the last sync of todo.md
	PriorityJanitor = 10  // retention of .opencode
	PriorityPools   = 15  // connections to tools and plugins
	PriorityJobs    = 20  // background commands
	PriorityTasks   = 30  // delegated agents
	PriorityPlugins = 40  // child-process plugins
	PriorityStore   = 90  // the last writes
	PriorityLogs    = 100 // after everything that may log

	// MaxPriority is the highest priority; 0 is the lowest.
	MaxPriority = 100
)

// The budgets of the house.
const (
	// BudgetDispose is for a shutdown that OpenCode asked for and waits for.
	BudgetDispose = 4 * time.Second
	// BudgetHostGone is for a host that has gone: nobody waits, and what we
	// leave running is an orphan.
	BudgetHostGone = 1500 * time.Millisecond
	// HandlerLimit is the longest that one handler may take.
	HandlerLimit = 5 * time.Second
	// PhaseReserve is what every later phase is sure of: enough for a commit
	// and its fsync on a slow disk.
	PhaseReserve = 100 * time.Millisecond
)

package delegate

import "time"

// Settings are what users may choose for a workspace. They can change while
// tasks run; a task keeps the deadlines that it started with.
type Settings struct {
	// Timeout ends an attempt that runs for longer, Silence one that shows no sign
	// of life, Queue one that waits longer for its slot; Queue 0 is no limit.
	Timeout, Silence, Queue time.Duration
	// SyncWait is how long a synchronous delegation waits before it hands back the id.
	SyncWait time.Duration
	// PermissionWait is how long a task's question for permission waits for a
	// person before it is refused.
	PermissionWait time.Duration
	// Deferral is how long a busy session keeps results waiting before they join
	// its running turn.
	Deferral time.Duration
	// MaxOpen is how many open tasks one session may have, MaxTree how many all
	// sessions below one that a person opened.
	MaxOpen, MaxTree int
	// MaxDepth is how deep sessions may nest; from Terminal on none delegates.
	MaxDepth, Terminal int
	// Attempts is how often a task is tried in all, Fallback the models that it
	// goes on with, by agent, "*" for all others.
	Attempts int
	Fallback map[string][]string
	// Task and Tree bound what one task, and all tasks below one session, may use.
	Task, Tree Budget
	// Calls and Repeats bound the tool calls of an attempt: in all, and equal ones
	// in a row. 0 is no limit.
	Calls, Repeats int
	// Reviewers names the agent that checks what the completed background tasks of
	// an agent did, by that agent; there is none for those that are not named.
	Reviewers map[string]string
	// Toasts shows toasts about tasks.
	Toasts bool
	// Pool lets a task take over the session of an earlier one.
	Pool bool
	// Archive appends ended tasks to the workspace's archive.
	Archive bool
}

// Budget bounds usage. Zero fields bound nothing.
type Budget struct {
	Tokens int64
	Cost   float64 // US dollars
}

// DefaultSettings are design.md's defaults.
func DefaultSettings() Settings {
	return Settings{
		Timeout: 60 * time.Minute, Silence: 15 * time.Minute, SyncWait: 5 * time.Minute,
		PermissionWait: 5 * time.Minute, Deferral: 10 * time.Minute, MaxOpen: 100, MaxTree: 200,
		MaxDepth: 3, Terminal: 2, Attempts: 3, Calls: 1000, Repeats: 10, Toasts: true,
	}
}

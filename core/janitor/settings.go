package janitor

import (
	"time"
)

// Rule is one of the things that a pass does, at an interval of its own.
type Rule string

// The rules, in the order in which a pass applies them.
const (
	// History packs the history of todo.md, and drops packed ones that are old.
	History Rule = "history"
	// Archives drops archives of tasks that are old.
	Archives Rule = "archives"
	// Documents halves a document cache that is too large.
	Documents Rule = "documents"
	// Limits drops what was not used for longest while there is too much.
	Limits Rule = "limits"
	// Checkpoint has the task database take in its log. It concerns the machine,
	// not a folder.
	Checkpoint Rule = "checkpoint"
)

// Modules is what becomes of the packages that OpenCode installs.
type Modules string

// What becomes of them when OpenCode closes the project.
const (
	// Keep leaves them.
	Keep Modules = "keep"
	// Shrink leaves the small form of which OpenCode is content.
	Shrink Modules = "shrink"
	// Remove leaves nothing; OpenCode installs them at its next start.
	Remove Modules = "remove"
)

// Settings are how a project is kept. Sizes are bytes.
type Settings struct {
	// Off is that nothing is done at all.
	Off bool
	// Modules is what becomes of OpenCode's packages; empty is Keep.
	Modules Modules
	// Delay is how long after its first use a project is looked at: a start has
	// enough to do.
	Delay time.Duration
	// Files and Bytes are how much of ours is kept.
	Files int
	Bytes int64
	// Cap is from how many files in the folder on ours go even so.
	Cap int
	// ArchiveAge is how long archives of tasks are kept after they were last used,
	// HistoryAge how long packed histories are.
	ArchiveAge, HistoryAge time.Duration
	// DocumentBytes is how large the document cache may get.
	DocumentBytes int64
	// TrashAge is how long the trash keeps what went.
	TrashAge time.Duration
	// Every is how often a rule is applied while the project is used.
	Every map[Rule]time.Duration
}

// Defaults are the limits and intervals of opencode-orchestrator, with limits of
// their own for what is ours.
func Defaults() Settings {
	return Settings{
		Modules: Keep, Delay: time.Minute, Files: 150, Bytes: 1536 << 10, Cap: 500,
		ArchiveAge: 7 * 24 * time.Hour, HistoryAge: 30 * 24 * time.Hour, DocumentBytes: 10 << 20, TrashAge: 7 * 24 * time.Hour,
		Every: map[Rule]time.Duration{
			History: 6 * time.Hour, Archives: 5 * time.Minute, Documents: 30 * time.Minute,
			Limits: 5 * time.Minute, Checkpoint: 10 * time.Minute,
		},
	}
}

// folderRules are those that concern a folder.
var folderRules = [...]Rule{History, Archives, Documents, Limits}

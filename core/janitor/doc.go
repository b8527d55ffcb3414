// Package janitor keeps the .opencode folders of projects small without ever
// taking anything from their users.
//
// What may go is decided by place, name and proof, in this order. Only files at
// the places where this plugin and the one before it (opencode-orchestrator)
// write are considered at all: archives of tasks, the history of todo.md and the
// document cache. Of those, only a file that is provably theirs goes: one that is
// byte for byte what a ledger says we wrote, or of which every line has the form
// that they write. A file that git tracks, one behind a symbolic link and one that
// somebody has added to stay, and whatever is unknown is never looked into.
//
// What goes, goes to a trash outside of the project (core/janitor/trash) for a
// while. What OpenCode installs is the business of core/janitor/modules.
//
// A Janitor runs passes: a pass does for one folder what is due by its rules. It
// begins a minute after a project was first used, and is due again only when
// somebody has used the project since: when nothing happens, nothing wakes.
package janitor

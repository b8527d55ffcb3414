// Package modules knows what OpenCode installs into its config folders and can
// take it away again without harm.
//
// At each start OpenCode puts @opencode-ai/plugin and all that it depends on
// into every config folder: node_modules with thousands of files,
// package-lock.json, package.json and .gitignore. Nothing but local plugins and
// tools that import packages ever reads it. [Inspect] says what a folder holds
// and whether anybody needs it, [Remove] takes all of it away until OpenCode's
// next start, and [Shrink] leaves the little that keeps OpenCode from
// installing anything; [Regrow] undoes that once there is a local plugin.
//
// What cannot be proven to be OpenCode's own is never touched: whatever is
// unknown, unreadable, too large or tracked by git counts as the user's.
//
// OpenCode installs unless node_modules exists and package-lock.json names
// every dependency of package.json and @opencode-ai/plugin (names only). So the
// lock file is what says that all is well. It is the first to be removed and
// the last to be written: a process that is killed in between leaves a folder
// that OpenCode repairs at its next start, and that Remove or Shrink take up
// where they were.
//
// The functions start no goroutines, never follow a link, reach nothing outside
// of the folder and hold no more than a batch of names in memory. They are not
// safe to be run at the same time on the same folder; an OpenCode that installs
// meanwhile may make them fail, but harms nobody.
package modules

import (
	"errors"
	"fmt"
)

// State is what a folder holds of OpenCode's packages.
type State string

// The states of a folder.
const (
	// Absent means that nothing is installed.
	Absent State = "absent"
	// Full means OpenCode's packages, or what an interrupted installation or
	// removal left of them.
	Full State = "full"
	// Small is the form that [Shrink] leaves.
	Small State = "small"
	// Foreign means that something there is not OpenCode's alone, see
	// [Report.Reasons].
	Foreign State = "foreign"
)

// Need is a file that needs installed packages at run time.
type Need struct {
	// File is slash-separated and relative to the folder.
	File string
	// Import is the package as the file names it. It is "" where Unsure says
	// why nobody can tell.
	Import string
	Unsure string
}

// String is half a sentence such as `plugin/a.ts imports "zod"`.
func (n Need) String() string {
	if n.Unsure != "" {
		return n.File + " " + n.Unsure
	}
	return fmt.Sprintf("%s imports %q", n.File, n.Import)
}

// Report is what [Inspect] found.
type Report struct {
	State State
	// Files and Bytes count what is in node_modules; links are not followed.
	Files int
	Bytes int64
	// Version is that of @opencode-ai/plugin: the installed one, else the one
	// that is asked for, else "".
	Version string
	// Needs are the files that need packages, by name.
	Needs []Need
	// Local are the local plugins and tools, with or without needs, by name;
	// also those that a configuration file of the folder names by path.
	Local []string
	// Reasons say, a sentence each, why the folder's packages are not
	// OpenCode's alone.
	Reasons []string
}

// Removable returns nil if [Remove] would hurt nobody, else one sentence that
// says whom.
func (r Report) Removable() error {
	switch {
	case len(r.Reasons) > 0:
		return errors.New(r.Reasons[0])
	case len(r.Needs) > 0:
		return fmt.Errorf("%s, so the packages are needed", r.Needs[0])
	}
	return nil
}

// Shrinkable is like Removable for [Shrink]. It is stricter: in the small form
// OpenCode believes that all is installed, so that a local plugin or tool would
// silently fail as soon as it imports a package.
func (r Report) Shrinkable() error {
	if err := r.Removable(); err != nil {
		return err
	}
	if len(r.Local) > 0 {
		return fmt.Errorf("%s is a local plugin or tool, which may come to need the packages", r.Local[0])
	}
	return nil
}

package main

import (
	"os"
	"os/user"
	"path/filepath"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
)

// memoryOnly is the path of a store that keeps nothing.
const memoryOnly = "memory"

// storePath is where the tasks are kept: where the option says, else in a file of
// the state folder, and homeless, in memory, where there is no home for one.
func storePath(o config.Options, env func(string) (string, bool)) (path string, homeless bool) {
	if o.Store != "" {
		return o.Store, false
	}
	state, ok := env("XDG_STATE_HOME")
	if !ok || !filepath.IsAbs(state) {
		home, ok := env("HOME")
		if !ok || !filepath.IsAbs(home) {
			return memoryOnly, true
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "opencode-sidecar", "tasks.db"), false
}

// withHome answers for HOME, where the environment has none, what the system
// knows of the user, as the shim does for the log.
func withHome(env func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env(name)
		if name != "HOME" || value != "" {
			return value, ok
		}
		if home, err := os.UserHomeDir(); err == nil { // of Windows, where HOME is not used
			return home, true
		}
		if u, err := user.Current(); err == nil && u.HomeDir != "" {
			return u.HomeDir, true
		}
		return value, ok
	}
}

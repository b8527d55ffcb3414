package main

import (
	"fmt"
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
	folder, homeless := stateFolder(env)
	if homeless {
		return memoryOnly, true
	}
	return filepath.Join(folder, "tasks.db"), false
}

// stateFolder is our folder among those of the state of programs. Homeless, it is
// one for temporary files, which all processes of the user share too.
func stateFolder(env func(string) (string, bool)) (folder string, homeless bool) {
	state, ok := env("XDG_STATE_HOME")
	if !ok || !filepath.IsAbs(state) {
		home, ok := env("HOME")
		if !ok || !filepath.IsAbs(home) {
			return filepath.Join(os.TempDir(), fmt.Sprintf("opencode-sidecar-%d", os.Getuid())), true
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "opencode-sidecar"), false
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

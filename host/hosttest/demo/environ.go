package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dropped are the variables of the user's environment that would lead OpenCode,
// the plugin or us astray.
var dropped = []string{
	// The server that we start is for us alone and listens on loopback.
	"OPENCODE_SERVER_PASSWORD", "OPENCODE_SERVER_USERNAME",
	// These would leave out the plugin, or take another sidecar than the checkout's.
	"OPENCODE_PURE", "OPENCODE_DISABLE_PROJECT_CONFIG", "OPENCODE_SIDECAR_BIN",
	// OpenCode sets these for what it runs, and we may run in there.
	"OPENCODE", "OPENCODE_PID", "OPENCODE_CLIENT", "AGENT",
	// The temporary project has its own.
	"PWD", "OLDPWD", "TMPDIR", "XDG_STATE_HOME", "HOSTTEST_COOKIE", "NO_PROXY", "no_proxy",
}

// userEnviron turns the shielded environment of a test project into the user's:
// it returns what is to be added to the former. environ is the user's, root the
// temporary folder.
func userEnviron(environ []string, root string) []string {
	lookup := map[string]string{}
	var env []string
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		lookup[name] = value
		if !slices.Contains(dropped, name) {
			env = append(env, v)
		}
	}
	home := lookup["HOME"]
	return append(env,
		"XDG_CONFIG_HOME="+or(lookup["XDG_CONFIG_HOME"], filepath.Join(home, ".config")),
		"XDG_DATA_HOME="+or(lookup["XDG_DATA_HOME"], filepath.Join(home, ".local", "share")),
		"XDG_CACHE_HOME="+or(lookup["XDG_CACHE_HOME"], filepath.Join(home, ".cache")),
		// The sidecar's records of the demo go with the temporary folder.
		"XDG_STATE_HOME="+filepath.Join(root, "state"),
		"NO_PROXY="+strings.Trim(or(lookup["NO_PROXY"], lookup["no_proxy"])+",127.0.0.1,localhost", ","),
		// What the shielded environment turns off and a real model may need.
		"OPENCODE_DISABLE_MODELS_FETCH="+or(lookup["OPENCODE_DISABLE_MODELS_FETCH"], "0"),
		"npm_config_fetch_retries="+or(lookup["npm_config_fetch_retries"], "2"),
		// A commit hook or a signing key of the user's would stop the project's first commit.
		"GIT_CONFIG_GLOBAL="+os.DevNull,
	)
}

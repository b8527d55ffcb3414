package main

import (
	"os/user"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestStorePath(t *testing.T) {
	for name, c := range map[string]struct {
		env      map[string]string
		path     string
		homeless bool
	}{
		"home":             {map[string]string{"HOME": "/home/me"}, "/home/me/.local/state/opencode-sidecar/tasks.db", false},
		"state folder":     {map[string]string{"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, "/state/opencode-sidecar/tasks.db", false},
		"relative state":   {map[string]string{"HOME": "/home/me", "XDG_STATE_HOME": "state"}, "/home/me/.local/state/opencode-sidecar/tasks.db", false},
		"named":            {map[string]string{"HOME": "/home/me", "OPENCODE_SIDECAR_STORE": "/my/tasks.db"}, "/my/tasks.db", false},
		"relative":         {map[string]string{"HOME": "/home/me", "OPENCODE_SIDECAR_STORE": "tasks.db"}, "/home/me/.local/state/opencode-sidecar/tasks.db", false},
		"memory":           {map[string]string{"HOME": "/home/me", "OPENCODE_SIDECAR_STORE": "memory"}, memoryOnly, false},
		"no home":          {nil, memoryOnly, true},
		"a relative home":  {map[string]string{"HOME": "me"}, memoryOnly, true},
		"named, no home":   {map[string]string{"OPENCODE_SIDECAR_STORE": "/my/tasks.db"}, "/my/tasks.db", false},
		"a state, no home": {map[string]string{"XDG_STATE_HOME": "/state"}, "/state/opencode-sidecar/tasks.db", false},
	} {
		options, _, _ := config.Load(nil, environment(c.env))
		if path, homeless := storePath(options, environment(c.env)); path != c.path || homeless != c.homeless {
			t.Errorf("%s: %s, homeless %v; want %s, %v", name, path, homeless, c.path, c.homeless)
		}
	}
}

func TestHomeIsKnownWithoutTheVariable(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", me.HomeDir)
	for _, vars := range []map[string]string{nil, {"HOME": ""}} {
		if home, ok := withHome(environment(vars))("HOME"); !ok || home != me.HomeDir {
			t.Errorf("with %v: %q, %v; want %q", vars, home, ok, me.HomeDir)
		}
	}
	env := withHome(environment(map[string]string{"HOME": "/mine", "OTHER": "x"}))
	if home, _ := env("HOME"); home != "/mine" {
		t.Errorf("HOME is %q", home)
	}
	if _, ok := env("NONE"); ok {
		t.Error("another variable is made up")
	}
}

// A sidecar that cannot keep tasks says so, and what to set.
func TestWhereTasksAreKeptIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"no home":  {nil, "Set HOME or XDG_STATE_HOME, or name a file in OPENCODE_SIDECAR_STORE."},
		"relative": {map[string]string{"OPENCODE_SIDECAR_STORE": "tasks.db", "XDG_STATE_HOME": t.TempDir()}, `OPENCODE_SIDECAR_STORE is "tasks.db"; accepted is an absolute path or memory; the default is used`},
		"memory":   {map[string]string{"OPENCODE_SIDECAR_STORE": "memory"}, ""},
	} {
		s := start(t, c.env)
		if err := s.initialize(hash(t)); err != nil {
			t.Fatal(err)
		}
		res, err := rpc.Invoke(s.ctx(), s.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: "wrk_1", Directory: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(res.Warnings, "|"); !strings.HasSuffix(got, c.want) || (c.want == "") != (got == "") || len(res.Warnings) > 1 {
			t.Errorf("%s: warned of %q", name, got)
		}
		s.hangUp()
		s.ends(exitOK)
	}
}

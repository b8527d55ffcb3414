package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

func TestParseOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prompt")
	if err := os.WriteFile(file, []byte("Do it."), 0o600); err != nil {
		t.Fatal(err)
	}
	model := &hosttest.ModelRef{ProviderID: "p", ModelID: "m/x"}
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want options
		err  string
	}{
		"nothing":      {want: options{timeout: 2 * time.Minute}},
		"flags":        {args: []string{"--keep", "--timeout", "90s"}, want: options{keep: true, timeout: 90 * time.Second}},
		"model":        {env: map[string]string{"MODEL": "p/m/x"}, want: options{model: model, timeout: 10 * time.Minute}},
		"prompt":       {env: map[string]string{"MODEL": "p/m/x", "DEMO_PROMPT": file}, want: options{model: model, request: "Do it.", timeout: 10 * time.Minute}},
		"half a model": {env: map[string]string{"MODEL": "p/"}, err: "MODEL=p/ is not of the form provider/model"},
		"no file":      {env: map[string]string{"MODEL": "p/m", "DEMO_PROMPT": "/no/such"}, err: "DEMO_PROMPT cannot be read"},
		"argument":     {args: []string{"more"}, err: `"more" is no flag`},
		"flag":         {args: []string{"--loud"}, err: "-loud"},
		"past":         {args: []string{"--timeout", "-1s"}, err: "lies in the past"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseOptions(tc.args, func(k string) string { return tc.env[k] }, &bytes.Buffer{})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(options{})); diff != "" || err != nil {
				t.Errorf("error %v, -want +got\n%s", err, diff)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := parseOptions([]string{"--help"}, func(string) string { return "" }, &out); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	for line := range strings.Lines(out.String()) {
		if width(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("too wide: %s", line)
		}
	}
	for _, word := range []string{"--keep", "--timeout", "MODEL", "DEMO_PROMPT", "OPENCODE_BIN", "NO_COLOR"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("%s is missing", word)
		}
	}
}

func TestUserEnviron(t *testing.T) {
	env := userEnviron([]string{"HOME=/home/u", "KEY=k", "OPENCODE_SERVER_PASSWORD=s", "HOSTTEST_COOKIE=c", "NO_PROXY=corp", "XDG_DATA_HOME=/data", "PWD=/x"}, "/tmp/root")
	for _, want := range []string{
		"HOME=/home/u", "KEY=k", "XDG_CONFIG_HOME=/home/u/.config", "XDG_DATA_HOME=/data", "XDG_CACHE_HOME=/home/u/.cache",
		"XDG_STATE_HOME=/tmp/root/state", "NO_PROXY=corp,127.0.0.1,localhost",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
	for _, v := range env {
		if name, _, _ := strings.Cut(v, "="); slices.Contains([]string{"OPENCODE_SERVER_PASSWORD", "HOSTTEST_COOKIE", "PWD"}, name) {
			t.Errorf("%s is passed on", v)
		}
	}
}

func TestFindShim(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := findShim(below); err == nil || !strings.Contains(err.Error(), "is in no checkout") {
		t.Errorf("error %v outside of a checkout", err)
	}
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", module+"\n\ngo 1.26\n")
	write("bin/sidecar", "")
	if _, err := findShim(below); err == nil || !strings.Contains(err.Error(), "shim/dist/index.js is missing: run `make build`") {
		t.Errorf("error %v without the plugin", err)
	}
	write("shim/dist/index.js", "")
	got, err := findShim(below)
	if err != nil || got != filepath.Join(root, "shim") {
		t.Errorf("shim %q, %v", got, err)
	}
}

// Both missions ask for the same six tasks.
func TestMissions(t *testing.T) {
	m := scriptedMission()
	for _, o := range orders() {
		if !strings.Contains(m.prompt, o.name) || !strings.Contains(request(), o.name) {
			t.Errorf("%s is asked for only once", o.name)
		}
	}
	if n := len(orders()); n != 6 || !strings.Contains(m.prompt, `{"taskId":"{{task 5}}"}`) {
		t.Errorf("%d tasks in %s", n, m.prompt)
	}
	if got := userMission(options{request: "Do it."}).prompt; got != "Do it." {
		t.Errorf("prompt %q", got)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// bench is what the measurements share.
type bench struct {
	quick    bool
	profiles string
	root     string // of the checkout
	binary   string // the sidecar
	opencode string
	temp     string
	stderr   io.Writer

	bundle func() (string, error) // shim/bench as one file, made once
	began  time.Time
	mu     sync.Mutex // guards stderr
}

func newBench(ctx context.Context, quick bool, profiles string, stderr io.Writer) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("find the checkout: %w", err)
	}
	b := &bench{quick: quick, profiles: profiles, root: filepath.Dir(strings.TrimSpace(string(out))), stderr: stderr, began: time.Now()}
	b.binary = filepath.Join(b.root, "bin", "sidecar")
	for _, file := range []string{b.binary, filepath.Join(b.root, "shim", "dist", "index.js")} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("run `make build` first: %w", err)
		}
	}
	if b.opencode, err = hosttest.Install(ctx); err != nil {
		return nil, err
	}
	if b.temp, err = os.MkdirTemp("", "sidecar-bench-"); err != nil {
		return nil, err
	}
	b.bundle = sync.OnceValues(func() (string, error) { return b.makeBundle(ctx) })
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.temp) } // a temporary folder

// times is how often to repeat something.
func (b *bench) times(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// progress tells a person who waits what is going on.
func (b *bench) progress(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.stderr, "%5.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// makeBundle bundles shim/bench with the shim's own sources.
func (b *bench) makeBundle(ctx context.Context) (string, error) {
	shim := filepath.Join(b.root, "shim")
	out := filepath.Join(b.temp, "bench.mjs")
	// vscode-jsonrpc is CommonJS and asks for node's modules by require.
	banner := `--banner:js=import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);`
	cmd := exec.CommandContext(ctx, filepath.Join(shim, "node_modules", ".bin", "esbuild"), filepath.Join("bench", "main.ts"),
		"--bundle", "--format=esm", "--platform=node", "--target=node20,es2023", "--log-level=warning", banner, "--outfile="+out)
	cmd.Dir = shim
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bundle shim/bench: %w: %s", err, text)
	}
	return out, nil
}

// script runs one part of shim/bench in the runtime that OpenCode is made of,
// and decodes what it prints.
func (b *bench) script(ctx context.Context, part string, config map[string]any, result any) error {
	bundle, err := b.bundle()
	if err != nil {
		return err
	}
	if config == nil {
		config = map[string]any{}
	}
	echo, err := os.Executable()
	if err != nil {
		return err
	}
	config["sidecar"], config["echo"], config["echoEnv"] = b.binary, echo, echoEnv
	config["plugin"] = filepath.Join(b.root, "shim", "dist", "index.js")
	input, err := json.Marshal(config)
	if err != nil {
		return err
	}
	// Tasks that an earlier part has stored are none of this one's.
	state, err := os.MkdirTemp(b.temp, "state-")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.opencode, bundle, part, string(input))
	cmd.Dir = b.temp
	cmd.Env = []string{
		"BUN_BE_BUN=1", "PATH=" + os.Getenv("PATH"), "HOME=" + b.temp, "XDG_STATE_HOME=" + state,
		"OPENCODE_SIDECAR_BIN=" + b.binary,
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("shim/bench %s: %w: %s", part, err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), result); err != nil {
		return fmt.Errorf("shim/bench %s printed %.200q: %w", part, stdout.String(), err)
	}
	return nil
}

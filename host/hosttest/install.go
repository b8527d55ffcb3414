package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// OpenCodeVersion is the version that the tests are written against.
const OpenCodeVersion = "1.18.33"

// versionTimeout is generous because the first start of a 180 MB binary reads
// it from disk.
const versionTimeout = 60 * time.Second

// ErrNoOpenCode is wrapped by [Install] when no usable binary was found.
var ErrNoOpenCode = errors.New("no usable OpenCode binary")

// Install returns the path of OpenCode's binary: $OPENCODE_BIN or, in this
// module's shim/node_modules, the first one that runs on this machine and is
// [OpenCodeVersion]. It installs nothing; the error says what does.
func Install(ctx context.Context) (string, error) {
	if path := os.Getenv("OPENCODE_BIN"); path != "" {
		if err := checkVersion(ctx, path); err != nil {
			return "", fmt.Errorf("%w: OPENCODE_BIN=%s: %w", ErrNoOpenCode, path, err)
		}
		return path, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoOpenCode, err)
	}
	modules := filepath.Join(root, "shim", "node_modules")
	var failures []error
	for _, path := range candidates(modules) {
		if err := checkVersion(ctx, path); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", path, err))
			continue
		}
		return path, nil
	}
	if len(failures) == 0 {
		return "", fmt.Errorf("%w in %s: run `make deps`, or set OPENCODE_BIN", ErrNoOpenCode, modules)
	}
	return "", fmt.Errorf("%w (run `make deps`, or set OPENCODE_BIN): %w", ErrNoOpenCode, errors.Join(failures...))
}

// candidates lists the binaries of the npm packages. The main package holds
// the right one if npm ran its install script; the platform packages come in
// variants for older processors and other C libraries.
func candidates(modules string) []string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	paths := []string{filepath.Join(modules, "opencode-ai", "bin", "opencode.exe")}
	platform, _ := filepath.Glob(filepath.Join(modules, "opencode-"+runtime.GOOS+"-"+arch+"*", "bin", "opencode*"))
	var found []string
	for _, path := range append(paths, platform...) {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			found = append(found, path)
		}
	}
	return found
}

// proven has the binaries that checkVersion has run with success: each time costs
// most of a second of a processor.
var proven sync.Map

// checkVersion runs the binary in an empty home, so that it touches nothing of
// the caller's.
func checkVersion(ctx context.Context, path string) error {
	if _, known := proven.Load(path); known {
		return nil
	}
	home, err := os.MkdirTemp("", "opencode-version-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Dir = home
	cmd.Env = baseEnv(home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("--version: %w: %s", err, strings.TrimSpace(out.String()))
	}
	if got := strings.TrimSpace(out.String()); got != OpenCodeVersion {
		return fmt.Errorf("it is version %q, the tests need %s", got, OpenCodeVersion)
	}
	proven.Store(path, true)
	return nil
}

// moduleRoot finds the checkout above the working directory by its shim.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shim", "package.json")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no shim/package.json above %s: run it from within the checkout, or set OPENCODE_BIN", start)
		}
	}
}

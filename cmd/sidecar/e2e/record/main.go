// Command record makes testdata/transcripts: it plays every behaviour with the
// real OpenCode, the real shim and the real binary, and writes what crossed the
// pipe. Run it in the checkout after `make build`:
//
//	go run ./cmd/sidecar/e2e/record [NAME...]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/transcript"
)

const (
	// sceneLimit bounds one scene on a busy machine.
	sceneLimit = 2 * time.Minute
	// tries is how often a scene is recorded before it is given up. A recording
	// in which two timers happened to fall together cannot be replayed.
	tries = 3
	// replays is how often a recording has to be replayed before it is kept.
	replays = 3
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: record [NAME...]\n\nRecords testdata/transcripts anew, all or those named.")
	}
	flag.Parse()
	failed := false
	for _, s := range scenes() {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), s.name) {
			continue
		}
		start := time.Now()
		err := produce(context.Background(), s)
		fmt.Fprintf(os.Stderr, "%-12s %5.1fs", s.name, time.Since(start).Seconds())
		if err != nil {
			fmt.Fprintf(os.Stderr, "  %v", err)
			failed = true
		}
		fmt.Fprintln(os.Stderr)
	}
	if failed {
		os.Exit(1)
	}
}

// produce records a scene until it can be replayed, and writes it.
func produce(ctx context.Context, s scene) error {
	var errs []error
	for range tries {
		text, checkout, err := recordScene(ctx, s)
		if err == nil {
			err = check(ctx, checkout, text)
		}
		if err == nil {
			return os.WriteFile(filepath.Join(checkout, "testdata", "transcripts", s.name+".txt"), []byte(text), 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recordScene plays a scene and returns its transcript.
func recordScene(ctx context.Context, s scene) (text, checkout string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sceneLimit, fmt.Errorf("%s took longer than %s", s.name, sceneLimit))
	defer cancel()
	dir, err := os.MkdirTemp("", "record-")
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	raw := filepath.Join(dir, "raw.jsonl")
	rig, err := e2e.NewRig(ctx, map[string]any{"toasts": false}, "OPENCODE_SIDECAR_RECORD="+raw)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	mode := "opencode serve"
	if s.play == nil {
		mode = "opencode run"
		result, err := rig.RunAndWait(ctx, strings.Join(s.prompt, "\n"))
		if err != nil {
			return "", "", fmt.Errorf("opencode run: %w", err)
		}
		if result.Code != 0 {
			return "", "", fmt.Errorf("opencode run: exit code %d\n%s", result.Code, result.Stderr)
		}
	} else if err := perform(ctx, s, rig, raw); err != nil {
		return "", "", err
	}
	file, err := os.Open(raw)
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	recording, err := transcript.Normalize(file)
	if err != nil {
		return "", "", err
	}
	recording.Comment = []string{s.about, "OpenCode " + hosttest.OpenCodeVersion + ", " + mode}
	return transcript.Format(recording), rig.Checkout, nil
}

// perform plays a scene with a server, and kills it.
func perform(ctx context.Context, s scene, rig *e2e.Rig, raw string) error {
	server, err := rig.Serve(ctx)
	if err != nil {
		return err
	}
	session, err := server.CreateSession(ctx, hosttest.NewSession{Title: "main"})
	if err != nil {
		return err
	}
	if err := server.PromptAsync(ctx, session.ID, hosttest.Text(s.prompt...)); err != nil {
		return err
	}
	if err := s.play(ctx, &stage{rig, server, session.ID, raw}); err != nil {
		return err
	}
	return server.Stop(ctx)
}

// check replays a transcript against the binary.
func check(ctx context.Context, checkout, text string) error {
	file, err := os.CreateTemp("", "transcript-*.txt")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	for range replays {
		if out, err := exec.CommandContext(ctx, filepath.Join(checkout, "bin", "sidecar"), "transcript", "replay", file.Name()).CombinedOutput(); err != nil {
			return fmt.Errorf("what was recorded cannot be replayed: %w\n%s", err, out)
		}
	}
	return nil
}

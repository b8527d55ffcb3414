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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
		fmt.Fprintln(flag.CommandLine.Output(), "usage: record [-keep FOLDER] [NAME...]\n\nRecords testdata/transcripts anew, all or those named.")
		flag.PrintDefaults()
	}
	keep := flag.String("keep", "", "a folder for what was recorded and cannot be replayed")
	flag.Parse()
	failed := false
	for _, s := range scenes() {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), s.name) {
			continue
		}
		start := time.Now()
		err := produce(context.Background(), s, *keep)
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

// produce records a scene until it can be replayed, and writes it. What cannot goes
// into the folder keep, unless that is "".
func produce(ctx context.Context, s scene, keep string) error {
	var errs []error
	for range tries {
		text, checkout, err := recordScene(ctx, s)
		if err == nil {
			if err = check(ctx, checkout, text); err != nil && keep != "" {
				err = errors.Join(err, os.WriteFile(filepath.Join(keep, s.name+".txt"), []byte(text), 0o644))
			}
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
	options := map[string]any{"toasts": false}
	maps.Copy(options, s.options)
	rig, err := e2e.NewRig(ctx, options, "OPENCODE_SIDECAR_RECORD="+raw)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	mode := "opencode serve"
	if s.play == nil {
		mode = "opencode run"
		var arguments []string
		if s.command != "" {
			arguments = []string{"--command", s.command}
		}
		result, err := rig.RunAndWait(ctx, strings.Join(s.prompt, "\n"), arguments...)
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
	on := &stage{rig, server, session.ID, raw}
	if s.command == "" {
		if err := server.PromptAsync(ctx, session.ID, hosttest.Text(s.prompt...)); err != nil {
			return err
		}
		if err := s.play(ctx, on); err != nil {
			return err
		}
		return server.Stop(ctx)
	}
	// A command is answered at the end of its turn: the scene plays meanwhile, and
	// may well be why there is no answer.
	meanwhile, leave := context.WithCancel(ctx)
	var command sync.WaitGroup
	var refused error
	command.Go(func() { refused = on.slash(s.command, s.prompt...)(meanwhile) })
	err = s.play(ctx, on)
	leave()
	command.Wait()
	if err != nil {
		return errors.Join(err, refused)
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

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/transcript"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const transcriptUsage = `sidecar transcript reads and replays recordings of the pipe between OpenCode's plugin and the sidecar.

Usage:
  sidecar transcript normalize [-about TEXT] [-opencode VERSION] RAW
        turn what OPENCODE_SIDECAR_RECORD=RAW has recorded into a transcript, on standard output
  sidecar transcript replay [-binary PATH] FILE...
        play the plugin's side of each file against a sidecar, this one unless told otherwise,
        and show what it answers differently; the exit code is then 1
`

// transcriptCommand serves `sidecar transcript`.
func transcriptCommand(args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("sidecar transcript "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, transcriptUsage) }
	about := flags.String("about", "", "")
	version := flags.String("opencode", "", "")
	binary := flags.String("binary", "", "")
	switch command {
	case "normalize", "replay":
	case "help", "-h", "--help":
		fmt.Fprint(stdout, transcriptUsage)
		return 0
	default:
		flags.Usage()
		return 2
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() == 0 || command == "normalize" && flags.NArg() != 1 {
		flags.Usage()
		return 2
	}
	if command == "normalize" {
		if err := normalize(stdout, flags.Arg(0), *about, *version); err != nil {
			fmt.Fprintf(stderr, "sidecar transcript normalize: %v\n", err)
			return 1
		}
		return 0
	}
	code := 0
	for _, file := range flags.Args() {
		if err := replayFile(context.Background(), file, *binary); err != nil {
			fmt.Fprintln(stdout, err)
			code = 1
			continue
		}
		fmt.Fprintf(stdout, "%s: the same\n", file)
	}
	return code
}

func normalize(out io.Writer, raw, about, version string) error {
	file, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer file.Close()
	t, err := transcript.Normalize(file)
	if err != nil {
		return fmt.Errorf("%s: %w", raw, err)
	}
	if about != "" {
		t.Comment = append(t.Comment, about)
	}
	if version != "" {
		t.Comment = append(t.Comment, "OpenCode "+version)
	}
	_, err = io.WriteString(out, transcript.Format(t))
	return err
}

// replayFile replays one file against a sidecar process; binary "" is this one.
func replayFile(ctx context.Context, file, binary string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	t, err := transcript.Parse(file, string(content))
	if err != nil {
		return err
	}
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return err
		}
	}
	root, err := os.MkdirTemp("", "sidecar-replay-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(root) }()
	options, err := replayOptions(root)
	if err != nil {
		return err
	}
	// A process may be stopped for a while on a busy machine; that it ends within
	// its budget is measured where time is virtual.
	options.EndWithin = 5 * time.Second
	live, err := startSidecar(ctx, binary, root)
	if err != nil {
		return err
	}
	_, err = transcript.Replay(ctx, t, live, options)
	return err
}

// replayOptions makes a project folder within root and describes the host that
// this binary belongs to.
func replayOptions(root string) (transcript.Options, error) {
	tools, err := declaredTools()
	if err != nil {
		return transcript.Options{}, err
	}
	// The sidecar resolves links in paths.
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return transcript.Options{}, err
	}
	directory := filepath.Join(root, "project")
	if err := os.Mkdir(directory, 0o700); err != nil {
		return transcript.Options{}, err
	}
	return transcript.Options{
		Directory: directory, PID: os.Getpid(),
		Version: wire.Version, Protocol: wire.Protocol, ManifestHash: manifestOf(tools).hash(),
	}, nil
}

// startSidecar starts `binary serve` in an environment of its own: nothing of
// the user's is read or written. It is killed when ctx ends.
func startSidecar(ctx context.Context, binary, root string) (transcript.Sidecar, error) {
	c := exec.CommandContext(ctx, binary, "serve")
	c.Dir = root
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + root, "TMPDIR=" + root, "XDG_STATE_HOME=" + filepath.Join(root, "state")}
	in, err := c.StdinPipe()
	if err != nil {
		return transcript.Sidecar{}, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return transcript.Sidecar{}, err
	}
	if err := c.Start(); err != nil {
		return transcript.Sidecar{}, err
	}
	next := func(ctx context.Context) (transcript.Sidecar, error) { return startSidecar(ctx, binary, root) }
	return transcript.Sidecar{In: in, Out: out, Wait: c.Wait, Kill: func() { _ = c.Process.Kill() }, Next: next}, nil
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const help = `Shows six background agents at work in the real OpenCode ` + hosttest.OpenCodeVersion + `.

  make demo                        with a scripted model: no key, no network,
                                   nothing of yours is read or changed
  MODEL=provider/model make demo   with a model of yours

Flags, as in: go run ./host/hosttest/demo --keep
  --keep         keep the temporary folder with the logs of OpenCode and the
                 sidecar, and print where it is
  --timeout D    give up after this long (2m; 10m with MODEL)
  --help         this text

The scripted model plays a fixed script, but whatever is shown happened: the
board follows OpenCode's events, the table holds what the plugin told the main
agent ("queued" is the time from its call to the creation of the task's
session). The exit code is 0 only if 4 tasks completed, 1 ended in an error and
1 was cancelled, the main agent was told of each exactly once, OpenCode's own
sessions say the same, and no process is left.

With MODEL, your OpenCode configuration, keys and data folder are used as they
are, only this checkout's plugin is added, and the model costs what about eight
short conversations cost. In a temporary project with a few small files it is
asked to let six small read-only tasks run. Questions and permission requests
are refused, since nobody is there to answer them; the sessions are deleted at
the end. A model may do something else than it was asked for, so the exit code
is 0 if it delegated at least one task, was told of each exactly once, and no
process is left. This way has been tried with the scripted model as a provider
in a made-up user's configuration, never with a provider that costs money.

Environment:
  MODEL         provider/model; "opencode models" lists yours
  DEMO_PROMPT   with MODEL: a file with a request to send instead
  OPENCODE_BIN  OpenCode's binary (default: the one in shim/node_modules)
  NO_COLOR      no colours
`

// options are what the user chose.
type options struct {
	keep    bool
	timeout time.Duration
	// model is the user's own model, nil for the scripted one.
	model *hosttest.ModelRef
	// request replaces the built-in one if it is not "".
	request string
}

// parseOptions reads arguments and environment. With flag.ErrHelp, the help has
// been written to out.
func parseOptions(args []string, env func(string) string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.DurationVar(&o.timeout, "timeout", 0, "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, help)
		}
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", flags.Arg(0))
	}
	if name := env("MODEL"); name != "" {
		provider, model, ok := strings.Cut(name, "/")
		if !ok || provider == "" || model == "" {
			return o, fmt.Errorf("MODEL=%s is not of the form provider/model, as `opencode models` prints them", name)
		}
		o.model = &hosttest.ModelRef{ProviderID: provider, ModelID: model}
		if file := env("DEMO_PROMPT"); file != "" {
			text, err := os.ReadFile(file)
			if err != nil {
				return o, fmt.Errorf("DEMO_PROMPT cannot be read: %w", err)
			}
			o.request = string(text)
		}
	}
	switch {
	case o.timeout < 0:
		return o, fmt.Errorf("--timeout %s lies in the past", o.timeout)
	case o.timeout == 0 && o.model != nil:
		o.timeout = 10 * time.Minute
	case o.timeout == 0:
		o.timeout = 2 * time.Minute
	}
	return o, nil
}

// modelName is how people are told which model works.
func (o options) modelName() string {
	if o.model == nil {
		return "scripted model"
	}
	return o.model.ProviderID + "/" + o.model.ModelID
}

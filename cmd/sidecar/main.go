// Command sidecar is the Go half of opencode-sidecar. OpenCode's plugin starts
// `sidecar serve`; the other subcommands are for people and for builds.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const usage = `sidecar runs background agents for OpenCode.

Usage:
  sidecar serve        speak JSON-RPC on stdin and stdout (OpenCode's plugin starts this)
  sidecar tasks        list, show, cancel and follow background tasks
  sidecar forget       erase the prompts and results of ended tasks
  sidecar clean        clean the .opencode folder of a project, or put back what went
  sidecar doctor       say what is in order here and what is not
  sidecar generate     write the generated files of the shim
  sidecar transcript   normalize and replay recordings of the pipe
  sidecar version      print the version
  sidecar help         print this

Options are set in OpenCode's plugin list or as OPENCODE_SIDECAR_* variables; see the README.
`

func main() {
	// A broken stdout must not kill the process before it has cleaned up, and in
	// a terminal the host's Ctrl-C and hang-up are the host's to act on.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT)
	stdout := os.Stdout
	os.Stdout = os.Stderr // nothing but frames may reach the channel
	os.Exit(run(os.Args[1:], os.Stdin, stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command := "help"
	if len(args) > 0 {
		command = args[0]
		args = args[1:]
	}
	env := withHome(os.LookupEnv)
	switch command {
	case "serve":
		return serve(stdin, stdout, stderr, env)
	case "tasks":
		return commandLine(tasksCommand, args, stdin, stdout, stderr, env)
	case "forget":
		return commandLine(forgetCommand, args, stdin, stdout, stderr, env)
	case "clean":
		return commandLine(cleanCommand, args, stdin, stdout, stderr, env)
	case "doctor":
		return commandLine(doctorCommand, args, stdin, stdout, stderr, env)
	case "generate":
		return generate(args, stderr)
	case "transcript":
		return transcriptCommand(args, stdout, stderr)
	case "version", "--version", "-v":
		fmt.Fprintln(stdout, wire.Version)
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "sidecar: there is no command %q; `sidecar help` lists them\n", command)
	return 2
}

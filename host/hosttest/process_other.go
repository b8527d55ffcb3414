//go:build !unix

package hosttest

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// endSignal returns nil: there are no signals here.
func endSignal(*os.ProcessState) os.Signal { return nil }

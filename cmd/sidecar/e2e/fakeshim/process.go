// Package fakeshim plays the shim for the real binary: it starts a sidecar,
// shakes hands with it, serves its calls with an OpenCode in memory and passes
// that one's events on. Tests and benchmarks share it.
package fakeshim

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// endLimit is how long a sidecar may take to end once its input is closed.
const endLimit = 5 * time.Second

// Process is a running `sidecar serve` with its pipes. Whoever started it calls
// End once, also after Kill.
type Process struct {
	Cmd *exec.Cmd
	In  *os.File // to its stdin
	Out *os.File // from its stdout
	// Exited is closed when it has ended.
	Exited <-chan struct{}

	end func() error // waits, and says how it ended
}

// Start starts `sidecar serve` in the folder state, which is its home and takes
// its database. log gets its stderr, nil drops it.
func Start(binary, state string, log *os.File) (*Process, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer stdout.Close()
	cmd := exec.Command(binary, "serve")
	cmd.Dir = state
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + state, "XDG_STATE_HOME=" + state}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if log != nil {
		cmd.Stderr = log
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	exited := make(chan struct{})
	var how error
	go func() {
		defer close(exited)
		how = cmd.Wait()
	}()
	return &Process{Cmd: cmd, In: in, Out: out, Exited: exited, end: func() error {
		<-exited
		return how
	}}, nil
}

// Kill ends the process as kill -9 does. It does not wait.
func (p *Process) Kill() { _ = p.Cmd.Process.Kill() } // it may have ended: that is what we want

// End closes its input, waits for its end, by force after a while, and returns
// how it ended.
func (p *Process) End() error {
	_ = p.In.Close() // perhaps it is closed already: that is what we want
	force := time.AfterFunc(endLimit, p.Kill)
	defer force.Stop()
	err := p.end()
	_ = p.Out.Close()
	return err
}

package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// outputEvery is how often waiting for output reads the file again.
const outputEvery = 10 * time.Millisecond

// Process is one run of the OpenCode binary, in a process group of its own.
// Its output goes to files, not pipes, so that a child that outlives it never
// keeps anybody waiting.
type Process struct {
	cmd            *exec.Cmd
	start          time.Time
	stdout, stderr string // paths
	done           chan struct{}
	result         Result // valid when done is closed
}

// Result is how a process ended.
type Result struct {
	// Code is the exit code, or -1 if a signal ended it, which is then Signal.
	Code     int
	Signal   os.Signal
	Stdout   string
	Stderr   string
	Duration time.Duration
}

// start runs the binary in the project folder. The context does not end the
// process; Kill and the project's Close do.
func (p *Project) start(name, stdin string, args ...string) (*Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	base := filepath.Join(p.logDir(), fmt.Sprintf("%s-%d", name, len(p.started)+1))
	process := &Process{stdout: base + ".out", stderr: base + ".err", done: make(chan struct{})}
	cmd := exec.Command(p.binary, args...)
	cmd.Dir, cmd.Env = p.Dir, p.env
	ownGroup(cmd)
	if err := os.WriteFile(base+".in", []byte(stdin), 0o600); err != nil {
		return nil, err
	}
	in, err := os.Open(base + ".in")
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.Create(process.stdout)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errOut, err := os.Create(process.stderr)
	if err != nil {
		return nil, err
	}
	defer errOut.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errOut
	process.cmd, process.start = cmd, time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start OpenCode: %w", err)
	}
	p.started = append(p.started, process)
	go process.reap()
	return process, nil
}

// reap collects the exit status. It ends with the process.
func (p *Process) reap() {
	_ = p.cmd.Wait() // the state says it all
	state := p.cmd.ProcessState
	p.result = Result{
		Code:     state.ExitCode(),
		Signal:   endSignal(state),
		Stdout:   p.Stdout(),
		Stderr:   p.Stderr(),
		Duration: time.Since(p.start),
	}
	close(p.done)
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended. The only error is the context's; the
// process then goes on.
func (p *Process) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result, nil
	case <-ctx.Done():
		return Result{}, fmt.Errorf("OpenCode (pid %d) has not ended: %w", p.PID(), context.Cause(ctx))
	}
}

// Signal sends a signal to the process alone, not to its children.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process with SIGKILL, not its children. It does not wait.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() } // fails only if it has ended

// Stdout returns the standard output so far.
func (p *Process) Stdout() string { return readAll(p.stdout) }

// Stderr returns the standard error so far.
func (p *Process) Stderr() string { return readAll(p.stderr) }

// Output returns both, for error messages.
func (p *Process) Output() string { return p.Stdout() + p.Stderr() }

// WaitOutput returns when the standard output holds the text, and how long
// after the start that was. It fails if the process ends without it.
func (p *Process) WaitOutput(ctx context.Context, text string) (time.Duration, error) {
	tick := time.NewTicker(outputEvery)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		if strings.Contains(p.Stdout(), text) {
			return time.Since(p.start), nil
		}
		if ended {
			return 0, fmt.Errorf("OpenCode ended without printing %q: %s", text, p.Output())
		}
		select {
		case <-tick.C:
		case <-p.done:
		case <-ctx.Done():
			return 0, fmt.Errorf("OpenCode has not printed %q but %q: %w", text, p.Output(), context.Cause(ctx))
		}
	}
}

func readAll(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("(output lost: %v)", err)
	}
	return string(data)
}

package hosttest

import (
	"context"
	"fmt"
)

// Run starts `opencode run` with the scripted model and the prompt, and
// returns at once. The prompt goes over stdin and reaches the session to the
// letter; given as an argument OpenCode would put it in quotes. More arguments
// of `run` may be given, such as "--session", id.
func (p *Project) Run(prompt string, args ...string) (*Process, error) {
	args = append([]string{"run", "-m", provider + "/" + mainModel}, args...)
	return p.start("run", prompt, args...)
}

// Command starts any other command of OpenCode with an empty stdin.
func (p *Project) Command(args ...string) (*Process, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("OpenCode needs a command here: without one it opens its terminal interface")
	}
	return p.start(args[0], "", args...)
}

// RunAndWait runs a prompt to the end. If the context ends first, the process
// is killed and the error says what it had printed.
func (p *Project) RunAndWait(ctx context.Context, prompt string, args ...string) (Result, error) {
	process, err := p.Run(prompt, args...)
	if err != nil {
		return Result{}, err
	}
	result, err := process.Wait(ctx)
	if err != nil {
		process.Kill()
		return Result{}, fmt.Errorf("%w; it printed: %s", err, process.Output())
	}
	return result, nil
}

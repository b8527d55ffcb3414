package job

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
)

// process is a command that has been started.
type process struct {
	tree  *proc.Tree
	over  chan struct{} // closed when its shell has exited and its output is read
	files []*os.File    // our ends of its streams
	feeds sync.WaitGroup
}

// close closes our ends of its streams. It may be called again.
func (p *process) close() {
	for _, f := range p.files {
		_ = f.Close()
	}
	p.feeds.Wait()
}

// plumbing is both ends of a command's streams.
type plumbing struct {
	child  [3]*os.File // its standard streams
	input  *os.File    // our end of them; nil where there is none
	output [len(streams)]*os.File
}

// spawn starts the command and those who read its output. It returns nil if
// somebody had it ended before.
func (r *run) spawn() (*process, error) {
	r.mu.Lock()
	condemned := r.verdict != ""
	r.mu.Unlock()
	if condemned {
		return nil, nil
	}
	// What was allowed is this directory, not what has come into its place since.
	if real, err := filepath.EvalSymlinks(r.spec.Dir); err == nil && real != filepath.Clean(r.spec.Dir) {
		return nil, wrong("cwd", "%s leads to %s now", r.spec.Dir, real)
	}
	pipes, err := r.plumb()
	if err != nil {
		return nil, err
	}
	defer closeAll(pipes.child[:])
	p := &process{over: make(chan struct{}), files: pipes.ours()}
	cmd := shellCommand(r.engine.o.Shell, r.spec.Command)
	cmd.Dir = r.spec.Dir
	cmd.Env = r.environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes.child[0], pipes.child[1], pipes.child[2]
	if r.spec.PTY != nil {
		onTerminal(cmd)
	}
	spilled, spill := r.spill.open(r.id, r.spec, r.engine.writes)
	if p.tree, err = r.engine.o.Keeper.Start(cmd, r.cookie); err != nil {
		p.close()
		closeAll(spilled[:])
		return nil, explained(err, cmd)
	}
	feeds := pipes.input != nil && (r.spec.Input != "" || !r.spec.Interactive && r.spec.PTY == nil)
	if feeds {
		r.writing <- struct{}{} // before anybody else can
	}
	r.mu.Lock()
	r.job.State, r.job.Started, r.job.Pid, r.job.Spill = Running, time.Now(), p.tree.Pid(), spill
	r.tree = p.tree
	if r.spec.Interactive || r.spec.PTY != nil {
		r.input = pipes.input
	}
	r.mu.Unlock()
	var pumps sync.WaitGroup
	for i, f := range pipes.output {
		if f != nil {
			pumps.Go(func() { r.pump(i, f, spilled[i]) })
		}
	}
	if feeds {
		p.feeds.Go(func() { r.feed(pipes.input) })
	}
	go func() { // ends with the shell, which whoever attends to it sees to
		pumps.Wait()
		<-p.tree.Exited()
		close(p.over)
	}()
	return p, nil
}

// environment is that of the command.
func (r *run) environment() []string {
	base := r.engine.o.Env
	if base == nil {
		base = os.Environ()
	}
	env := environment(base, r.spec.Env)
	if r.spec.PTY != nil && !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "TERM=") && v != "TERM=dumb" && v != "TERM=" }) {
		env = append(env, "TERM=xterm-256color")
	}
	return append(env, "PWD="+r.spec.Dir)
}

// explained makes the text of a failed start one that says what to do about it.
func explained(err error, cmd *exec.Cmd) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		return wrong("env", "the command and its environment are too large for this system")
	case errors.Is(err, os.ErrNotExist):
		return cmp.Or(checkDir(cmd.Dir), err)
	}
	return err
}

// plumb makes the streams.
func (r *run) plumb() (pl *plumbing, err error) {
	pl = &plumbing{}
	if r.spec.PTY != nil {
		ours, theirs, err := openTerminal(sized(*r.spec.PTY))
		if err != nil {
			return nil, err
		}
		pl.child = [3]*os.File{theirs, theirs, theirs}
		pl.input, pl.output[0] = ours, ours
		return pl, nil
	}
	defer func() {
		if err != nil {
			closeAll(pl.child[:])
			closeAll(pl.ours())
		}
	}()
	if r.spec.Input == "" && !r.spec.Interactive {
		pl.child[0], err = os.Open(os.DevNull)
	} else {
		pl.child[0], pl.input, err = os.Pipe()
	}
	if err != nil {
		return nil, err
	}
	for i := range streams {
		if pl.output[i], pl.child[i+1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	return pl, nil
}

// ours are our ends.
func (pl *plumbing) ours() []*os.File {
	all := append([]*os.File{pl.input}, pl.output[:]...)
	return slices.DeleteFunc(all, func(f *os.File) bool { return f == nil })
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// sized is a size of which no side is missing.
func sized(s Size) Size {
	return Size{cmp.Or(s.Rows, defaultSize.Rows), cmp.Or(s.Cols, defaultSize.Cols)}
}

// pump reads a stream to its end. A terminal ends with an error of its own.
func (r *run) pump(stream int, from, spill *os.File) {
	limit := r.spill.maxFile()
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			r.take(stream, buf[:n])
			if spill != nil && limit >= 0 {
				m, writeErr := spill.Write(buf[:min(int64(n), limit)])
				if limit -= int64(m); m < n || writeErr != nil {
					limit = -1
					r.cut()
				}
			}
		}
		if err != nil {
			if spill != nil {
				_ = spill.Close()
			}
			return
		}
	}
}

// cut notes that a file does not hold all.
func (r *run) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job.SpillCut = true
}

// take keeps what a stream said and shows it to those who wait for it.
func (r *run) take(stream int, p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out[stream].write(p)
	for w := range r.waiters {
		w.feed(streams[stream], p)
		if w.done {
			delete(r.waiters, w)
		}
	}
}

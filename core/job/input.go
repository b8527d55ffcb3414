package job

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// feed gives the command its first input, and the end of it unless there may be
// more. It gives up the token of writing, which the caller has taken.
func (r *run) feed(to *os.File) {
	defer r.written()
	_, _ = io.WriteString(to, r.spec.Input) // what it does not read is its own affair
	if !r.spec.Interactive && r.spec.PTY == nil {
		_ = to.Close()
	}
}

// Write writes to the input of a command that runs, all of data unless the error
// says otherwise: it has been waited for as long as ctx lasts. It returns how much
// was written.
func (e *Engine) Write(ctx context.Context, id string, data []byte) (int, error) {
	r, err := e.find(id)
	if err != nil {
		return 0, err
	}
	if err := r.write(ctx); err != nil {
		return 0, err
	}
	defer r.written()
	f, err := r.openInput()
	if err != nil {
		return 0, err
	}
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = f.SetWriteDeadline(time.Unix(1, 0))
		close(late)
	})
	n, err := f.Write(data)
	if !stop() {
		<-late
		_ = f.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return n, nil
	case ctx.Err() != nil:
		return n, context.Cause(ctx)
	case errors.Is(err, os.ErrClosed):
		return n, ErrEnded
	case errors.Is(err, syscall.EPIPE):
		return n, ErrNoInput
	}
	return n, err
}

// CloseInput ends the input of a command: it reads the end of file. On a terminal
// the character for that is typed, which works at the beginning of a line.
func (e *Engine) CloseInput(ctx context.Context, id string) error {
	r, err := e.find(id)
	if err != nil {
		return err
	}
	if r.spec.PTY != nil {
		_, err := e.Write(ctx, id, []byte{0x04})
		return err
	}
	if err := r.write(ctx); err != nil { // what is being written comes first
		return err
	}
	defer r.written()
	f, err := r.openInput()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.input = nil
	r.mu.Unlock()
	return f.Close()
}

// write waits until nobody else writes to the input; written comes afterwards.
func (r *run) write(ctx context.Context) error {
	select {
	case r.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.done:
		return ErrEnded
	}
}

func (r *run) written() { <-r.writing }

// openInput returns the input of a command that runs.
func (r *run) openInput() (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.isOver:
		return nil, ErrEnded
	case r.job.State == Pending:
		return nil, ErrNotRunning
	case r.input == nil:
		return nil, ErrNoInput
	}
	return r.input, nil
}

// Resize changes the size of a command's terminal.
func (e *Engine) Resize(id string, s Size) error {
	if s.Rows < 1 || s.Cols < 1 || s.Rows > maxSide || s.Cols > maxSide {
		return wrong("pty", "rows and columns must be from 1 to %d, are %d and %d", maxSide, s.Rows, s.Cols)
	}
	r, err := e.find(id)
	if err != nil {
		return err
	}
	if r.spec.PTY == nil {
		return wrong("pty", "the command has no terminal")
	}
	f, err := r.openInput()
	if err != nil {
		return err
	}
	return resize(f, s)
}

package janitor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	gitLimit   = 20 * time.Second
	maxTracked = 64 << 20 // bytes of names
)

// tracked returns which files of a folder, and folders with such files, are under
// version control. An error means that nobody can tell, and that all of them may be.
func tracked(ctx context.Context, folder string) (func(name string) bool, error) {
	if !versioned(folder) {
		return func(string) bool { return false }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	// What the project configures must not run a program, and nothing is written.
	cmd := exec.CommandContext(ctx, "git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "ls-files", "-z")
	cmd.Dir, cmd.WaitDelay = folder, time.Second
	cmd.Env = withoutGit(os.Environ())
	var complaint bytes.Buffer
	cmd.Stderr = &limited{&complaint, 4 << 10}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("git, which knows what is under version control, cannot be run: %w", err)
	}
	names := map[string]bool{} // in lower case: the file system may make no difference
	lines := bufio.NewReader(&io.LimitedReader{R: out, N: maxTracked})
	for err == nil {
		var name string
		if name, err = lines.ReadString(0); err == nil {
			for name = strings.ToLower(strings.TrimSuffix(name, "\x00")); name != "." && !names[name]; name = path.Dir(name) {
				names[name] = true
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		cancel()
	} else if n, _ := out.Read(make([]byte, 1)); n > 0 {
		cancel()
		err = fmt.Errorf("git names more than %d bytes of files", maxTracked)
	} else {
		err = nil
	}
	if waited := cmd.Wait(); err == nil && waited != nil {
		err = fmt.Errorf("git cannot say what is under version control: %w: %s", waited, bytes.TrimSpace(complaint.Bytes()))
	}
	if err != nil {
		return nil, err
	}
	return func(name string) bool { return names[strings.ToLower(name)] }, nil
}

// versioned reports whether a folder may be in a repository.
func versioned(folder string) bool {
	for at := folder; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil || !errors.Is(err, os.ErrNotExist) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// withoutGit drops the variables by which git would look at another repository.
func withoutGit(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "GIT_") {
			out = append(out, v)
		}
	}
	return append(out, "LC_ALL=C")
}

// limited takes so many bytes and drops the rest.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	_, err := l.to.Write(p[:n])
	return len(p), err
}

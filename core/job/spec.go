package job

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxArgument is the longest argument or variable that Linux passes to a
	// program (MAX_ARG_STRLEN), its end included.
	maxArgument = 128 << 10
	// maxEnv is the most that all variables of a Spec may have together.
	maxEnv = 1 << 20
	// maxInput is the most that a command can be given at its start.
	maxInput = 1 << 20
	// maxLabel is how many characters a label may have.
	maxLabel = 200
	// maxSide is the most rows or columns of a terminal.
	maxSide = 2000
)

// Size is that of a terminal.
type Size struct{ Rows, Cols int }

// defaultSize is for a terminal that nobody looks at: wide, so that lines are not
// broken.
var defaultSize = Size{Rows: 50, Cols: 200}

// Spec is a command to run.
type Spec struct {
	// Command is a line for the shell.
	Command string
	// Dir is the absolute path of the directory that it runs in, without symbolic
	// links.
	Dir string
	// Label is what people call it; may be empty.
	Label string
	// Worktree, Directory (that OpenCode has open) and Session say for whom it runs;
	// they are only kept.
	Worktree, Directory, Session string
	// Notify is only kept: the launching session wants to know of the end.
	Notify bool
	// Env is added to the environment of the engine.
	Env map[string]string
	// Timeout is how long it may run; 0 for the engine's default. Waiting for a
	// place does not count.
	Timeout time.Duration
	// Input is what it can read from its standard input.
	Input string
	// Interactive keeps the input open for Write; without it the command reads
	// the end of file after Input.
	Interactive bool
	// PTY gives it a terminal of that size, which is interactive; the zero Size is
	// one that is wide. nil is no terminal.
	PTY *Size
	// Spill keeps all of its output in files, too, if the engine has a folder for
	// them; the settings may do so for all.
	Spill bool
}

// check returns a FieldError for what cannot be run.
func (s *Spec) check() error {
	switch {
	case strings.TrimSpace(s.Command) == "":
		return wrong("command", "must not be empty")
	case len(s.Command) >= maxArgument:
		return wrong("command", "has %d bytes, a shell takes less than %d; put it into a script", len(s.Command), maxArgument)
	case strings.ContainsRune(s.Command, 0):
		return wrong("command", "must not contain a NUL character")
	case s.Timeout < 0:
		return wrong("timeout", "must not be negative, is %v", s.Timeout)
	case utf8.RuneCountInString(s.Label) > maxLabel || strings.ContainsAny(s.Label, "\n\r\x00"):
		return wrong("label", "must be one line of at most %d characters", maxLabel)
	case len(s.Input) > maxInput:
		return wrong("stdin", "has %d bytes, at most %d are passed; put them into a file", len(s.Input), maxInput)
	case s.PTY != nil && (s.PTY.Rows < 0 || s.PTY.Cols < 0 || s.PTY.Rows > maxSide || s.PTY.Cols > maxSide):
		return wrong("pty", "rows and columns must be from 1 to %d, are %d and %d", maxSide, s.PTY.Rows, s.PTY.Cols)
	case s.PTY != nil && !hasTerminals:
		return wrong("pty", "there are no terminals on this system")
	}
	if err := checkEnv(s.Env); err != nil {
		return err
	}
	return checkDir(s.Dir)
}

// size is how many bytes it holds.
func (s *Spec) size() int {
	n := len(s.Command) + len(s.Input)
	for name, value := range s.Env {
		n += len(name) + len(value)
	}
	return n
}

func checkDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return wrong("cwd", "must be an absolute path, is %q", dir)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wrong("cwd", "%s does not exist", dir)
	case err != nil:
		return &FieldError{Field: "cwd", Reason: err.Error(), Err: err}
	case !info.IsDir():
		return wrong("cwd", "%s is not a directory", dir)
	}
	return nil
}

// variable is the name of a variable that a shell knows as one. Others may be
// functions to it.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkEnv(env map[string]string) error {
	all := 0
	for name, value := range env {
		size := len(name) + len(value) + 2
		all += size
		switch {
		case !variable.MatchString(name):
			return wrong("env", "%q is not the name of a variable", name)
		case strings.ContainsRune(value, 0):
			return wrong("env", "%s must not contain a NUL character", name)
		case size > maxArgument:
			return wrong("env", "%s has %d bytes, at most %d can be passed", name, size, maxArgument)
		case all > maxEnv:
			return wrong("env", "has more than %d bytes", maxEnv)
		}
	}
	return nil
}

// environment is base with the variables of env in the place of their namesakes.
func environment(base []string, env map[string]string) []string {
	out := make([]string, 0, len(base)+len(env))
	for _, v := range base {
		name, _, _ := strings.Cut(v, "=")
		if _, replaced := env[name]; !replaced {
			out = append(out, v)
		}
	}
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}

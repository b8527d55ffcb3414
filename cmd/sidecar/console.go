package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

// console is what a command for people has of the world.
type console struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	dir      string // the current directory
	now      func() time.Time
	asks     bool // in is a terminal, so somebody can answer
	width    int  // of the terminal that out is, 0 if it is none
}

// commandLine runs a command for people: other than the sidecar itself, it ends
// with its terminal and with Ctrl-C, and quietly when its reader has gone.
func commandLine(run func(context.Context, []string, *console) int, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	signal.Reset(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	c := &console{in: stdin, out: stdout, err: stderr, env: env, now: time.Now}
	var err error
	if c.dir, err = os.Getwd(); err != nil {
		fmt.Fprintf(stderr, "sidecar: the current directory cannot be read: %v\n", err)
		return 1
	}
	if in, ok := stdin.(*os.File); ok {
		c.asks = term.IsTerminal(int(in.Fd()))
	}
	if out, ok := stdout.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
		if c.width, _, err = term.GetSize(int(out.Fd())); err != nil || c.width <= 0 {
			c.width = 80
		}
	}
	return run(ctx, args, c)
}

// canonical is the one name of a folder. One that no longer exists is taken by its
// name.
func (c *console) canonical(dir string) string {
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(c.dir, dir)
	}
	return workspace.Workspace{Directory: dir}.Canonical().Directory
}

// worktree is the canonical worktree that a folder belongs to: the nearest one
// above that is under version control, else the folder itself.
func (c *console) worktree(dir string) string {
	dir = c.canonical(dir)
	for at := dir; ; at = filepath.Dir(at) {
		if versioned(at) {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func versioned(folder string) bool {
	_, err := os.Lstat(filepath.Join(folder, ".git"))
	return err == nil
}

// projectFolder is the folder of a project that is cleaned.
const projectFolder = ".opencode"

// project is the worktree that a folder belongs to, whose .opencode folders are
// meant. Somebody in one of them means the project around it.
func (c *console) project(dir string) string {
	w := c.worktree(dir)
	switch {
	case filepath.Base(w) == projectFolder && versioned(w): // on its own
		return c.project(filepath.Dir(w))
	case versioned(w):
		return w
	}
	project := w
	for at := w; at != filepath.Dir(at); at = filepath.Dir(at) {
		if filepath.Base(at) == projectFolder {
			project = filepath.Dir(at)
		}
	}
	return project
}

// above are the folders from one up to its project, in each of which OpenCode looks
// for an .opencode folder.
func (c *console) above(dir string) []string {
	at, project := c.canonical(dir), c.project(dir)
	folders := []string{at}
	for at != project && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		folders = append(folders, at)
	}
	return folders
}

// changes watches the task database that open has opened.
func (c *console) changes(every time.Duration) *watcher {
	options, _, _ := config.Load(nil, c.env)
	path, _ := storePath(options, c.env)
	return watch(path, every)
}

// open opens the task database; nil if there is none yet.
func (c *console) open() (*sqlitestore.Store, error) {
	options, warnings, _ := config.Load(nil, c.env)
	for _, w := range warnings {
		if w.Key == "store" { // the others are no concern of these commands
			fmt.Fprintln(c.err, w)
		}
	}
	path, homeless := storePath(options, c.env)
	if homeless {
		return nil, errors.New("there is no home folder in which tasks would be kept; set HOME or XDG_STATE_HOME, or name the database in " + config.EnvPrefix + "STORE")
	}
	if path == memoryOnly {
		return nil, errors.New("tasks are kept in memory only, where just their OpenCode sees them; name the database in " + config.EnvPrefix + "STORE")
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	store, found, err := sqlitestore.Open(sqlitestore.Options{Path: path, Log: zerolog.Nop()})
	for _, text := range found.Warnings {
		fmt.Fprintln(c.err, text)
	}
	return store, err
}

// alive reports whether an OpenCode process lives; in doubt it does. Tasks
// without an owner are not judged.
func alive(store *sqlitestore.Store, owner string) bool {
	if owner == "" {
		return true
	}
	lives, err := owners{store}.Alive(owner)
	return lives || err != nil
}

// plain returns text that came from a model without what a terminal would obey:
// escape sequences, and marks that reorder what is read.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

// oneLine is plain on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(plain(s)), " ") }

// colour wraps text into a colour for a terminal whose user wants any.
func (c *console) colour(code, s string) string {
	no, _ := c.env("NO_COLOR")
	kind, _ := c.env("TERM")
	if c.width == 0 || no != "" || kind == "dumb" || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// quiet is how long a command is silent on a terminal.
const quiet = 2 * time.Second

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// fileName shows a name that may hold anything: as it is, or quoted if a terminal
// would obey or hide something in it.
func fileName(s string) string {
	odd := func(r rune) bool { return !strconv.IsPrint(r) }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, odd) || strings.TrimSpace(s) != s || s == "" {
		return strconv.Quote(s)
	}
	return s
}

// table writes rows in columns, the first of which is the head. On a terminal the
// first column takes no more than half of it, and the last one is cut.
func (c *console) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		if c.width > 0 {
			row[0] = runewidth.Truncate(row[0], max(c.width/2, 2*minDescription), "…")
		}
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	for n, row := range rows {
		c.row(row, widths, n == 0)
	}
}

// meanwhile says on a terminal what is going on if that takes long. The function
// that it returns is called when it is over.
func (c *console) meanwhile(text string) (done func()) {
	file, ok := c.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func() {}
	}
	said := make(chan struct{})
	timer := time.AfterFunc(quiet, func() {
		defer close(said)
		fmt.Fprintln(c.err, text)
	})
	return func() {
		if !timer.Stop() {
			<-said
		}
	}
}

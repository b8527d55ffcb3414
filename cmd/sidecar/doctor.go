package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const doctorUsage = `sidecar doctor says what it finds in order, what is worth a note and what is a problem, and what to do:
of the sidecar's own folder, of the .opencode folders from DIR up to its worktree, of the packages that
OpenCode has installed into them, and of the configuration that names the plugin.

Usage:
  sidecar doctor [DIR]
        look at DIR; without, at the current folder

It changes nothing. Whether the state folder can be written is tried with an empty file that is removed
at once. Options are those of the OPENCODE_SIDECAR_* variables and the defaults; those in opencode.json are
not read here.

The exit code is 0 if there is no problem, 1 if there is one, 2 if the command was not understood.
`

const (
	// listedAtMost is how many things of a kind one finding names.
	listedAtMost = 10
)

// doctorCommand serves `sidecar doctor`.
func doctorCommand(ctx context.Context, args []string, c *console) int {
	const command = "doctor"
	rest, code, ok := c.parse(command, doctorUsage, flags(), args)
	if !ok {
		return code
	}
	dir := c.dir
	switch {
	case len(rest) > 1:
		return c.misused(command, fmt.Sprintf("%q is not expected; name one folder", rest[1]))
	case len(rest) == 1 && rest[0] == "":
		return c.misused(command, "the folder is empty; name one or leave it out")
	case len(rest) == 1:
		if dir = rest[0]; !filepath.IsAbs(dir) {
			dir = filepath.Join(c.dir, dir)
		}
	}
	if err := c.isFolder(dir); err != nil {
		return c.failed(command, err)
	}
	d := &doctor{c: c, dir: c.canonical(dir), project: c.project(dir)}
	d.options, d.warnings, _ = config.Load(nil, c.env)
	d.state, d.homeless = stateFolder(c.env)
	done := c.meanwhile("Looking at " + fileName(d.dir) + " …")
	for _, look := range []func(context.Context){d.sidecar, d.database, d.log, d.folders, d.plugin} {
		if ctx.Err() == nil {
			look(ctx)
		}
	}
	done()
	d.print()
	switch {
	case ctx.Err() != nil:
		return c.failed(command, errors.New("it was stopped; not everything was looked at"))
	case d.problems > 0:
		return 1
	}
	return 0
}

// doctor is one run of the command.
type doctor struct {
	c            *console
	dir, project string // canonical
	state        string
	homeless     bool
	options      config.Options
	warnings     []config.Warning

	text            strings.Builder
	problems, notes int
}

// section begins a section; ok, note and problem add a finding to it, one line each.
func (d *doctor) section(title string) {
	if d.text.Len() > 0 {
		d.text.WriteByte('\n')
	}
	d.text.WriteString(d.c.colour("1", oneLine(title)) + "\n")
}

func (d *doctor) ok(format string, args ...any) { d.finding("ok", "32", format, args) }

func (d *doctor) note(format string, args ...any) {
	d.notes++
	d.finding("note", "33", format, args)
}

func (d *doctor) problem(format string, args ...any) {
	d.problems++
	d.finding("problem", "31", format, args)
}

func (d *doctor) finding(mark, colour, format string, args []any) {
	pad := strings.Repeat(" ", len("problem")-len(mark)+2)
	d.text.WriteString("  " + d.c.colour(colour, mark) + pad + oneLine(fmt.Sprintf(format, args...)) + "\n")
}

func (d *doctor) print() {
	fmt.Fprint(d.c.out, d.text.String())
	fmt.Fprintf(d.c.out, "\n%s, %s.\n", count(d.problems, "problem"), count(d.notes, "note"))
}

// sidecar looks at this program and at the folder for its state.
func (d *doctor) sidecar(context.Context) {
	d.section("Sidecar")
	d.ok("version %s", wire.Version)
	for _, w := range d.warnings {
		d.note("%s", w)
	}
	if d.homeless {
		d.note("there is no home folder, so tasks are kept in memory and end with OpenCode; set HOME or XDG_STATE_HOME")
	}
	name := fileName(d.state)
	info, err := os.Stat(d.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("the state folder %s is not there yet; the first start makes it", name)
		return
	case err != nil:
		d.problem("the state folder %s cannot be used: %v; what is in its way has to go, or XDG_STATE_HOME has to name another place", name, err)
		return
	case !info.IsDir():
		d.problem("%s should be the state folder and is a file; move it away, or have XDG_STATE_HOME name another place", name)
		return
	}
	if err := writable(d.state); err != nil {
		d.problem("the state folder %s cannot be written: %v; give it back to its user or free space, else tasks are kept in memory only", name, err)
		return
	}
	files, size, err := contents(d.state, "")
	if err != nil {
		d.note("not all of the state folder %s can be read: %v", name, err)
		return
	}
	d.ok("the state folder %s can be written; it has %s, %s", name, count(files, "file"), janitor.Size(size))
}

// writable is nil if a file can be made in a folder. Permissions alone would not
// tell of full disks, of those mounted for reading only, or of quotas.
func writable(folder string) error {
	file, err := os.CreateTemp(folder, ".doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// contents counts what is below a folder, and not in one of the folders of it.
func contents(folder, without string) (files int, size int64, err error) {
	err = filepath.WalkDir(folder, func(at string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // it goes while we look
			return nil
		case err != nil:
			return err
		case e.IsDir() && without != "" && at == filepath.Join(folder, without):
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		files++
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return files, size, err
}

// database looks at the task database without opening it as the sidecar does,
// which would migrate it or set a damaged one aside.
func (d *doctor) database(ctx context.Context) {
	file, _ := storePath(d.options, d.c.env)
	if file == memoryOnly {
		if !d.homeless {
			d.note("tasks are kept in memory only, as the environment asks for")
		}
		return
	}
	name := fileName(file)
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("there is no task database %s yet; the first task makes it", name)
	case err != nil:
		d.problem("the task database %s cannot be looked at: %v", name, err)
	default:
		err = opens(ctx, file)
		if err != nil {
			d.problem("the task database %s, %s, cannot be opened: %v; OpenCode's next start sets a damaged one aside and saves what it can", name, janitor.Size(info.Size()), err)
		} else {
			d.ok("the task database %s opens and has %s; whether all of it is whole is not checked", name, janitor.Size(info.Size()))
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(file))
	aside := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(file)+".damaged-") {
			aside++
		}
	}
	if aside > 0 {
		d.note("%s of damaged databases that were set aside %s beside it; `sidecar forget --all` deletes them, and all tasks", count(aside, "file"), plural(aside, "lies", "lie"))
	}
}

// opens is nil if a file is a database that can be read. Immutable, it is opened
// without locks and files of its own, so that those who use it notice nothing.
func opens(ctx context.Context, file string) error {
	slashed := filepath.ToSlash(file)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	source := url.URL{Scheme: "file", Path: slashed, RawQuery: "mode=ro&immutable=1"}
	db, err := sql.Open("sqlite", source.String()) // whose driver comes with sqlitestore
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var version int
	return db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
}

func (d *doctor) log(context.Context) {
	file := d.options.Log
	if file == "" {
		file = filepath.Join(d.state, "sidecar.log")
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("there is no log %s yet", fileName(file))
	case err != nil:
		d.note("the log %s cannot be looked at: %v", fileName(file), err)
	case info.IsDir():
		d.problem("%s should be the log and is a folder; move it away", fileName(file))
	default:
		d.ok("the log is %s, %s", fileName(file), janitor.Size(info.Size()))
	}
}

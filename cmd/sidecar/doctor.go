package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
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
	// maxConfig is the size beyond which a configuration file is not read.
	maxConfig = 1 << 20
	// gitPatience is how long git may take.
	gitPatience = 20 * time.Second
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
	d := &doctor{c: c, dir: workspace.Workspace{Directory: dir}.Canonical().Directory, project: c.project(dir)}
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

// above are the folders from the one that is looked at up to its worktree.
func (d *doctor) above() []string {
	folders := []string{d.dir}
	for at := d.dir; at != d.project && at != filepath.Dir(at); {
		at = filepath.Dir(at)
		folders = append(folders, at)
	}
	if slices.Contains(folders, d.project) {
		return folders
	}
	return []string{d.project}
}

// folders looks at each .opencode folder.
func (d *doctor) folders(ctx context.Context) {
	found := false
	for _, at := range d.above() {
		folder := filepath.Join(at, projectFolder)
		info, err := os.Lstat(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		d.section(fileName(folder))
		switch {
		case err != nil:
			d.problem("it cannot be looked at: %v", err)
		case info.Mode()&fs.ModeSymlink != 0:
			d.note("it is a symbolic link; what is behind it is left alone, and nothing in it is cleaned")
		case !info.IsDir():
			d.problem("it is no folder, so OpenCode and the sidecar can keep nothing in it; move it away")
		default:
			d.files(ctx, at, folder)
			d.packages(ctx, at)
		}
	}
	if !found {
		d.section(projectFolder)
		d.ok("there is none from %s up to %s, so there is nothing to clean", fileName(d.dir), fileName(d.project))
	}
}

// files looks at what is in a folder beside packages, and at what of it went.
func (d *doctor) files(ctx context.Context, project, folder string) {
	set := janitorSettings(d.options)
	r, err := newJanitor(d.state, nil, nil, zerolog.Nop()).Clean(ctx, project, set, true)
	if err != nil {
		d.problem("it cannot be looked through: %v", err)
		return
	}
	for _, err := range r.Problems {
		d.problem("%v", err)
	}
	_, size, err := contents(folder, "node_modules")
	if err != nil {
		d.note("not all of it can be read: %v", err)
	}
	d.ok("it has %s, %s, packages aside; of these %d, %s, %s ours by place and name", count(r.Files, "file"), janitor.Size(size), r.Ours, janitor.Size(r.OursBytes), plural(r.Ours, "is", "are"))
	if set.Off {
		d.note("the janitor is off, so nothing is cleaned but by `sidecar clean`")
	}
	if n := len(r.Gone); n > 0 {
		d.ok("%s %s due for the trash; `sidecar clean --dry-run` lists them", count(n, "file"), plural(n, "is", "are"))
	}
	if left := r.Files - len(r.Gone); set.Cap > 0 && left > set.Cap {
		d.note("that is more than the %d files from which on ours go even when they are few; the others are yours, and only you can tell which of them are needed", set.Cap)
	}
	for i, s := range r.Stays {
		if i == listedAtMost {
			d.note("%d more stay", len(r.Stays)-i)
			break
		}
		d.note("%s stays: %s", fileName(s.Name), s.Why)
	}
	if len(r.Problems) == 0 { // which tell if git does not answer
		if n, err := trackedPlaces(ctx, d.project, folder); err != nil {
			d.note("git does not say what it tracks here: %v", err)
		} else if n > 0 {
			d.note("git tracks %s here that would otherwise be cleaned when old; what it tracks is left alone (`git rm --cached` gives it up)", count(n, "file"))
		}
	}
	d.trash(folder, set)
}

// trash looks at what the trash has of a folder.
func (d *doctor) trash(folder string, set janitor.Settings) {
	batches, err := trash.New(filepath.Join(d.state, "trash")).Batches(folder)
	if err != nil {
		d.problem("the trash cannot be looked at: %v", err)
		return
	}
	files, size, oldest := 0, int64(0), time.Time{}
	for _, s := range batches {
		files, size = files+s.Items, size+s.Bytes
		if oldest.IsZero() || s.Taken.Before(oldest) {
			oldest = s.Taken
		}
		if s.Problem != "" {
			d.problem("%s in the trash: %s; what can be read of it comes back with `sidecar clean --restore --batch %s`", s.Batch, s.Problem, s.Batch)
		}
	}
	if files == 0 {
		d.ok("nothing of it is in the trash")
		return
	}
	goes := "goes with the next cleaning"
	if left := oldest.Add(set.TrashAge).Sub(d.c.now()); left > 0 {
		goes = "goes in " + age(left)
	}
	d.ok("%s of it, %s, %s in the trash, of which the oldest %s; `sidecar clean --trash` lists what there is", count(files, "file"), janitor.Size(size), plural(files, "is", "are"), goes)
}

// trackedPlaces counts the files that git tracks at the places of what is cleaned.
// What the project configures must not run a program, and nothing is written.
func trackedPlaces(ctx context.Context, project, folder string) (n int, err error) {
	if _, err := os.Lstat(filepath.Join(project, ".git")); err != nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "ls-files", "-z", "--", "archive", "docs")
	cmd.Dir, cmd.WaitDelay = folder, time.Second
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	_, noCache := os.Lstat(filepath.Join(folder, "docs", "_metadata.json"))
	for name := range bytes.SplitSeq(out, []byte{0}) {
		name := string(name)
		task, _ := path.Match("archive/tasks/tasks_*.jsonl", name)
		document := noCache == nil && path.Dir(name) == "docs"
		if task || document || strings.HasPrefix(name, "archive/todo_history.") {
			n++
		}
	}
	return n, nil
}

// packages looks at what OpenCode has installed into a folder.
func (d *doctor) packages(ctx context.Context, project string) {
	r, err := newJanitor(d.state, nil, nil, zerolog.Nop()).Packages(ctx, project, janitor.Keep, true)
	if err != nil {
		d.note("OpenCode's packages cannot be looked at, so they stay: %v", err)
		return
	}
	version := ""
	if r.Version != "" {
		version = ", of @opencode-ai/plugin " + r.Version
	}
	switch {
	case r.State == modules.Absent:
		d.ok("OpenCode has installed no packages into it; its next start does, which takes 5 to 10 seconds")
	case r.State == modules.Foreign:
		d.note("%s, in node_modules; they are not OpenCode's alone and stay: %s", packageSize(r), some(r.Reasons))
	case r.State == modules.Small && len(r.Needs) > 0:
		d.problem("OpenCode's packages have their small form, but %s, and fails without them; delete package-lock.json there, and OpenCode installs them at its next start", r.Needs[0])
	case r.State == modules.Small:
		d.ok("OpenCode's packages have their small form, with which it starts and installs nothing")
	default:
		d.ok("OpenCode's packages are installed: %s%s", packageSize(r), version)
	}
	d.local(r)
	d.fits(r)
}

// local tells of local plugins and tools, and what is imported.
func (d *doctor) local(r modules.Report) {
	if len(r.Local) > 0 {
		names := make([]string, len(r.Local))
		for i, name := range r.Local {
			names[i] = fileName(name)
		}
		d.ok("local plugins and tools: %s", some(names))
	}
	needs := make([]string, len(r.Needs))
	for i, n := range r.Needs {
		needs[i] = n.String()
	}
	switch {
	case len(needs) > 0:
		d.ok("packages are needed: %s", some(needs))
	case len(r.Local) > 0:
		d.ok("none of them imports a package")
	}
}

// fits tells which setting of janitorNodeModules fits, and whether the one that
// holds does.
func (d *doctor) fits(r modules.Report) {
	fit := "keep fits, which is the default and starts fast"
	switch {
	case len(r.Reasons) > 0:
		fit = "keep fits: what is not OpenCode's alone stays in any case"
	case len(r.Needs) > 0:
		fit = "keep is right, as packages are needed"
	case len(r.Local) > 0:
		fit += "; shrink does not, as a local plugin or tool may come to need the packages; remove costs 5 to 10 seconds at each start and is for who wants no trace"
	default:
		fit += "; so does shrink, which starts as fast with next to no files, as there is no local plugin or tool; remove costs 5 to 10 seconds at each start and is for who wants no trace"
	}
	set := janitor.Modules(d.options.JanitorNodeModules)
	if set == janitor.Shrink && r.Shrinkable() != nil || set == janitor.Remove && r.Removable() != nil {
		d.note("janitorNodeModules is %s in the environment and has no effect here: %s", set, fit)
		return
	}
	d.ok("janitorNodeModules: %s", fit)
}

// some names the first few of many.
func some(things []string) string {
	if n := len(things) - listedAtMost; n > 0 {
		return strings.Join(things[:listedAtMost], "; ") + fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(things, "; ")
}

// plugin looks for the plugin in the configuration that OpenCode reads here.
func (d *doctor) plugin(context.Context) {
	d.section("Plugin")
	named, unsure := 0, 0
	look := func(base, name string, content []byte) {
		entries, err := pluginEntries(content)
		if err != nil {
			unsure++
			d.note("%s cannot be understood, so nobody can tell whether it names the plugin: %v", name, err)
		}
		for _, entry := range entries {
			switch {
			case d.isPlugin(base, entry):
				named++
				d.ok("%s names it: %s", name, fileName(entry))
			case strings.Contains(entry, "{env:") || strings.Contains(entry, "{file:"):
				unsure++
				d.note("%s names %s, which only OpenCode can fill in", name, fileName(entry))
			}
		}
	}
	for _, file := range d.configs() {
		content, err := readConfig(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unsure++
			d.note("%s cannot be read, so nobody can tell whether it names the plugin: %v", fileName(file), err)
		default:
			look(filepath.Dir(file), fileName(file), content)
		}
	}
	if content, ok := d.c.env("OPENCODE_CONFIG_CONTENT"); ok && content != "" {
		look(d.dir, "OPENCODE_CONFIG_CONTENT", []byte(content))
	}
	switch {
	case named > 1:
		d.note("it is named %d times; one is enough, and OpenCode takes the options of the last", named)
	case named == 0 && unsure == 0:
		d.note("no configuration that was found names it, so OpenCode does not load it here unless it comes in another way; the `plugin` list of opencode.json names it")
	}
}

// configs are the files in which OpenCode finds the plugins of the folder.
func (d *doctor) configs() (files []string) {
	add := func(folder string, names ...string) {
		for _, name := range names {
			if file := filepath.Join(folder, name); !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	for _, at := range d.above() {
		add(at, "opencode.json", "opencode.jsonc")
		add(filepath.Join(at, projectFolder), "opencode.json", "opencode.jsonc")
	}
	home, _ := d.c.env("HOME")
	if global, _ := d.c.env("XDG_CONFIG_HOME"); filepath.IsAbs(global) {
		add(filepath.Join(global, "opencode"), "opencode.json", "opencode.jsonc", "config.json")
	} else if home != "" {
		add(filepath.Join(home, ".config", "opencode"), "opencode.json", "opencode.jsonc", "config.json")
	}
	if home != "" {
		add(filepath.Join(home, projectFolder), "opencode.json", "opencode.jsonc")
	}
	if folder, _ := d.c.env("OPENCODE_CONFIG_DIR"); folder != "" {
		add(folder, "opencode.json", "opencode.jsonc")
	}
	if file, _ := d.c.env("OPENCODE_CONFIG"); file != "" {
		add(filepath.Dir(file), filepath.Base(file))
	}
	return files
}

func readConfig(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, errors.New("it is not a file")
	case info.Size() > maxConfig:
		return nil, errors.New("it is too large")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxConfig))
}

// isPlugin reports whether an entry of a plugin list is this plugin: by its name, or
// as the shim of the checkout that this program is in.
func (d *doctor) isPlugin(base, entry string) bool {
	if strings.Contains(entry, "opencode-sidecar") {
		return true
	}
	program, err := os.Executable()
	if err != nil {
		return false
	}
	resolve := func(name string) string { return workspace.Workspace{Directory: name}.Canonical().Directory }
	shim := filepath.Join(filepath.Dir(filepath.Dir(resolve(program))), "shim")
	at := strings.TrimPrefix(entry, "file://")
	if !filepath.IsAbs(at) {
		at = filepath.Join(base, at)
	}
	at = resolve(at)
	return at == shim || strings.HasPrefix(at, shim+string(filepath.Separator))
}

// What a reader of JSON with comments passes over. Strings come first, so that
// nothing in them is taken for a comment.
var (
	jsonComment = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|//[^\n]*|/\*(?s:.*?)\*/`)
	jsonComma   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|,\s*[\]}]`)
)

// pluginEntries reads the plugin list of a configuration in JSON with comments.
func pluginEntries(content []byte) (entries []string, err error) {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	content = jsonComment.ReplaceAllFunc(content, func(found []byte) []byte {
		if found[0] == '"' {
			return found
		}
		return []byte(" ")
	})
	content = jsonComma.ReplaceAllFunc(content, func(found []byte) []byte { return bytes.TrimPrefix(found, []byte(",")) })
	var list struct{ Plugin []any }
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	for _, entry := range list.Plugin {
		if tuple, ok := entry.([]any); ok && len(tuple) > 0 {
			entry = tuple[0]
		}
		if name, ok := entry.(string); ok {
			entries = append(entries, name)
		}
	}
	return entries, nil
}

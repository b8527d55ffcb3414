package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"mvdan.cc/sh/v3/syntax"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

const cleanUsage = `sidecar clean does at once what the janitor does while OpenCode runs: in each .opencode folder from DIR
up to its worktree it packs the history of todo.md and takes what is old or too much of our own files to a
trash. Nothing of yours goes, nor anything that git tracks.

Usage:
  sidecar clean [--dry-run] [--node-modules keep|shrink|remove] [DIR]
        clean the folders from DIR, or the current folder, up to the worktree that it belongs to
  sidecar clean --trash [DIR]
        list what cleanings took anywhere in that worktree, the newest first
  sidecar clean --restore [--batch ID] [--dry-run] [DIR]
        put back what the last cleaning of a folder in it took, or the one that --trash lists as ID;
        nothing is replaced

  --dry-run         change nothing and say what would be done
  --node-modules    what becomes of the packages that OpenCode installs into .opencode: they stay (keep),
                    are replaced by a small form that OpenCode takes for them (shrink), or go until its
                    next start (remove). They do not go to the trash. Packages that a plugin or tool of
                    yours needs stay, and all while an OpenCode has the project open. Default is the
                    option janitorNodeModules
  --batch ID        which cleaning is undone. What it took out of a folder that is gone, as after a project
                    was moved, is put into the project of DIR

Limits and ages are those of the OPENCODE_SIDECAR_JANITOR_* variables and the defaults; options in
opencode.json are not read here.

The exit code is 0 if all went well, 1 if something could not be done, 2 if the command was not understood.
`

// largePackages is from where on packages are worth a word that stay as they are.
const largePackages = 10 << 20

// cleanCommand serves `sidecar clean`.
func cleanCommand(ctx context.Context, args []string, c *console) int {
	const command = "clean"
	options, warnings, _ := config.Load(nil, c.env)
	k := cleaning{c: c, set: janitorSettings(options)}
	set := flags()
	set.BoolVar(&k.dry, "dry-run", false, "")
	restore, list := set.Bool("restore", false, ""), set.Bool("trash", false, "")
	batch := set.String("batch", "", "")
	set.Func("node-modules", "", func(s string) error {
		k.set.Modules = janitor.Modules(s)
		if !slices.Contains([]janitor.Modules{janitor.Keep, janitor.Shrink, janitor.Remove}, k.set.Modules) {
			return errors.New("accepted is keep, shrink or remove")
		}
		return nil
	})
	rest, code, ok := c.parse(command, cleanUsage, set, args)
	if !ok {
		return code
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case len(rest) > 0 && batchID.MatchString(rest[0]):
		return c.misused(command, fmt.Sprintf("%s names a cleaning, not a folder; did you mean --restore --batch %s?", rest[0], rest[0]))
	case len(rest) > 1:
		return c.misused(command, fmt.Sprintf("%q is not expected; one project is cleaned at a time", rest[1]))
	case len(rest) == 1 && rest[0] == "": // an unset variable in a script must not choose another project
		return c.misused(command, "the folder is empty; name one or leave it out")
	case *list && *restore:
		return c.misused(command, "--trash lists and --restore puts back; leave one out")
	case *list && k.dry:
		return c.misused(command, "--trash changes nothing; leave --dry-run out")
	case given["node-modules"] && (*list || *restore):
		return c.misused(command, "--node-modules is for cleaning; packages are not in the trash")
	case given["batch"] && !*restore:
		return c.misused(command, "--batch is for --restore, which puts back what that cleaning took")
	case given["batch"] && *batch == "":
		return c.misused(command, "--batch is empty; give it a value or leave it out")
	}
	for _, w := range warnings {
		if strings.HasPrefix(w.Key, "janitor") { // the others are no concern of this command
			fmt.Fprintln(c.err, w)
		}
	}
	if len(rest) > 0 {
		k.dir = rest[0]
	}
	k.asked = given["node-modules"]
	k.project = c.project(cmp.Or(k.dir, "."))
	k.state, _ = stateFolder(c.env)
	k.trash = trash.New(filepath.Join(k.state, "trash"))
	if !*list {
		if err := c.isFolder(cmp.Or(k.dir, ".")); err != nil {
			return c.failed(command, err)
		}
	}
	switch {
	case *list:
		return k.list()
	case *restore:
		return k.restore(ctx, *batch)
	}
	return k.clean(ctx)
}

func (c *console) isFolder(dir string) error {
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(c.dir, dir)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s", fileName(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", fileName(dir))
	}
	return nil
}

// cleaning is one run of the command.
type cleaning struct {
	c              *console
	set            janitor.Settings
	dry            bool
	asked          bool   // for something to become of the packages, beside what the environment wants
	dir            string // as it was given, "" if it was not
	project, state string
	trash          *trash.Trash
	several        bool // more than one folder is cleaned
}

func (k *cleaning) janitor() *janitor.Janitor {
	return newJanitor(k.state, nil, nil, zerolog.Nop())
}

func (k *cleaning) failed(err error) int {
	return k.c.failed("clean", errors.New(oneLine(err.Error())))
}

// say writes a sentence for people. Names in it have gone through fileName.
func (k *cleaning) say(format string, args ...any) { fmt.Fprintf(k.c.out, format+"\n", args...) }

// clean cleans each .opencode folder from DIR up to its worktree, one after the
// other, and returns the worst code.
func (k *cleaning) clean(ctx context.Context) (code int) {
	projects := slices.DeleteFunc(k.c.above(cmp.Or(k.dir, ".")), func(at string) bool {
		_, err := os.Lstat(filepath.Join(at, projectFolder))
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(projects) == 0 {
		projects = []string{k.project} // of which is said that it has none
	}
	k.several = len(projects) > 1
	for i, at := range projects {
		if ctx.Err() != nil {
			break
		}
		if i > 0 {
			k.say("")
		}
		code = max(code, k.folder(ctx, at))
	}
	if ctx.Err() != nil {
		return k.failed(errors.New("it was stopped; nothing else was done"))
	}
	return code
}

// folder cleans the .opencode folder of a project, and tells what went, what stays
// and what went wrong. It says nothing of what failed as ctx has ended.
func (k *cleaning) folder(ctx context.Context, project string) (code int) {
	folder := filepath.Join(project, projectFolder)
	done := k.c.meanwhile("Looking through " + fileName(folder) + " …")
	report, err := k.janitor().Clean(ctx, project, k.set, k.dry)
	done()
	if err == nil && report.Folder == "" {
		k.say("There is no %s, so there is nothing to clean.", fileName(folder))
		return 0
	}
	stopped := ctx.Err() != nil
	if err == nil || len(report.Gone) > 0 || len(report.Packed) > 0 {
		k.tell(report, stopped)
	}
	for _, problem := range append(report.Problems, err) {
		if problem == nil || stopped && errors.Is(problem, context.Cause(ctx)) {
			continue
		}
		code = k.failed(problem)
	}
	if err != nil || ctx.Err() != nil {
		return code
	}
	return max(code, k.packages(ctx, project))
}

// tell writes what went and what stays.
func (k *cleaning) tell(r janitor.Report, stopped bool) {
	went, changed, packed := "went", "", "Packed: "
	if k.dry {
		went, changed, packed = "would go", " Nothing was changed.", "Would be packed: "
	}
	gone := int64(0)
	rows := [][]string{{"FILE", "SIZE", "LAST USED", "WHY"}}
	for _, g := range r.Gone {
		gone += g.Size
		rows = append(rows, []string{fileName(g.Name), janitor.Size(g.Size), age(k.c.now().Sub(g.Used)) + " ago", oneLine(g.Why)})
	}
	if len(r.Gone) > 0 {
		k.c.table(rows)
		k.say("")
	}
	if len(r.Packed) > 0 {
		names := make([]string, len(r.Packed))
		for i, name := range r.Packed {
			names[i] = fileName(name)
		}
		k.say("%s.", packed+enumerate(names))
	}
	left, ours := r.Files-len(r.Gone), r.Ours-len(r.Gone)
	still := fmt.Sprintf("%s, of which %d %s ours", count(left, "file"), ours, plural(ours, "is", "are"))
	switch {
	case len(r.Gone) > 0:
		back := k.again("--restore") + " puts them back"
		if k.several { // of which it would be one
			back = k.again("--trash") + " lists them for --restore"
		}
		k.say("%s, %s, %s to the trash, %s, which keeps them for %s; %s. In %s %s left: %s.%s",
			count(len(r.Gone), "file"), janitor.Size(gone), went, fileName(filepath.Join(k.state, "trash")), inDays(k.set.TrashAge), back,
			fileName(r.Folder), k.would(plural(left, "is", "are")), still, changed)
	case len(r.Packed) > 0:
		k.say("Nothing else is to be cleaned in %s: it has %s.%s", fileName(r.Folder), still, changed)
	case len(r.Problems) == 0 && !stopped:
		k.say("There is nothing to clean in %s: it has %s.", fileName(r.Folder), still)
	}
	if len(r.Stays) > 0 {
		rows := [][]string{{"STAYS", "WHY"}}
		for _, s := range r.Stays {
			rows = append(rows, []string{fileName(s.Name), oneLine(s.Why)})
		}
		k.say("")
		k.c.table(rows)
		k.say("")
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// inDays is a time as people set it.
func inDays(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return count(int(d/(24*time.Hour)), "day")
	}
	return d.String()
}

// would is what is, or would be if anything were done.
func (k *cleaning) would(is string) string {
	if k.dry {
		return "would be"
	}
	return is
}

// again is how this command is given for the same project.
func (k *cleaning) again(args string) string {
	if quoted, err := syntax.Quote(k.dir, syntax.LangBash); k.dir != "" && err == nil {
		args += " " + quoted
	}
	return "`sidecar clean " + args + "`"
}

// packages has the packages that OpenCode has installed in a project become what is
// wanted, and says so.
func (k *cleaning) packages(ctx context.Context, project string) int {
	want := k.set.Modules
	done := k.c.meanwhile("Looking through OpenCode's packages …")
	r, err := k.janitor().Packages(ctx, project, want, k.dry || want == janitor.Keep)
	done()
	refused := janitor.Refusal(r, want)
	if err != nil && ctx.Err() != nil {
		return 0
	}
	if errors.Is(err, janitor.ErrOpen) {
		err = fmt.Errorf("OpenCode's packages stay: %w", err)
		if !k.asked {
			k.say("%s.", oneLine(err.Error()))
			return 0
		}
	}
	if err != nil && refused == nil {
		return k.failed(err)
	}
	what, were := "OpenCode's packages, "+packageSize(r)+",", k.would("were")
	switch {
	case want == janitor.Keep:
		if r.State == modules.Full && r.Bytes >= largePackages {
			k.say("%s stay. %s", what, k.advice(r))
		}
	case refused != nil:
		k.say("%s stay: %s.", what, oneLine(refused.Error()))
	case want == janitor.Shrink && r.State == modules.Small:
		k.say("OpenCode's packages have their small form already.")
	case want == janitor.Shrink:
		k.say("%s %s replaced by the small form, with which OpenCode starts as fast.", what, were)
	case r.State == modules.Absent:
		k.say("OpenCode has installed no packages here.")
	default:
		k.say("%s %s removed. OpenCode installs them at its next start, which takes 5 to 10 seconds.", what, were)
	}
	return 0
}

func packageSize(r modules.Report) string {
	return count(r.Files, "file") + " and " + janitor.Size(r.Bytes)
}

// advice says what could become of packages that are left as they are.
func (k *cleaning) advice(r modules.Report) string {
	switch refused := r.Removable(); {
	case refused != nil:
		return capital(oneLine(refused.Error())) + "."
	case r.Shrinkable() != nil:
		return "Nothing needs them; `sidecar doctor` says more."
	}
	return "Nothing needs them: " + k.again("--node-modules shrink") + " replaces them by a small form, with which OpenCode starts as fast."
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// folders looks at each .opencode folder.
func (d *doctor) folders(ctx context.Context) {
	found := false
	for _, at := range d.c.above(d.dir) {
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
	if r.Tracked > 0 {
		d.note("git tracks %s here that would otherwise be cleaned when old; what it tracks is left alone (`git rm --cached` gives it up)", count(r.Tracked, "file"))
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

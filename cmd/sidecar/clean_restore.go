package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// batchID is how the trash names its batches.
var batchID = regexp.MustCompile(`^\d{8}T\d{6}\.\d{6}Z-[A-Z2-7]{10}$`)

// batches are those of the project, the newest first: what was taken out of any
// .opencode folder in its worktree, and what is too damaged to tell.
func (k *cleaning) batches() ([]trash.Summary, error) {
	all, err := k.trash.Batches("")
	return slices.DeleteFunc(all, func(s trash.Summary) bool { return s.Folder != "" && !k.within(s.Folder) }), err
}

func (k *cleaning) within(folder string) bool {
	return filepath.Base(folder) == projectFolder && k.c.project(filepath.Dir(folder)) == k.project
}

// list tells what is in the trash.
func (k *cleaning) list() int {
	batches, err := k.batches()
	if err != nil {
		return k.failed(err)
	}
	if len(batches) == 0 {
		k.say("Nothing of %s is in the trash.", fileName(k.project))
		return k.gone()
	}
	code := 0
	for _, s := range batches {
		if s.Problem != "" {
			code = k.failed(fmt.Errorf("%s: %s", s.Batch, s.Problem))
		}
	}
	k.rows(batches)
	where := fileName(filepath.Join(k.state, "trash"))
	if k.c.isFolder(k.project) != nil {
		k.say("\nThey are in %s. %s is gone; `sidecar clean --restore --batch ID DIR` puts one of them into the project of DIR.", where, fileName(k.project))
		return code
	}
	k.say("\nThey are in %s; %s puts the last back, --batch ID another.", where, k.again("--restore"))
	return code
}

func (k *cleaning) rows(batches []trash.Summary) {
	rows := [][]string{{"ID", "TAKEN", "FILES", "SIZE", "KEPT FOR", "FROM"}}
	for _, s := range batches {
		rows = append(rows, []string{
			s.Batch, s.Taken.In(k.c.now().Location()).Format("2006-01-02 15:04"), strconv.Itoa(s.Items), janitor.Size(s.Bytes), k.keptFor(s), fileName(cmp.Or(s.Folder, "?")),
		})
	}
	k.c.table(rows)
}

// goneAtMost is how many batches are named whose folder is gone.
const goneAtMost = 3

// gone tells what was taken out of folders that are gone: somebody who finds nothing
// may have moved the project.
func (k *cleaning) gone() int {
	batches, err := k.trash.Batches("")
	if err != nil {
		return k.failed(err)
	}
	batches = slices.DeleteFunc(batches, func(s trash.Summary) bool { return s.Items == 0 || !homeless(s) })
	if len(batches) == 0 {
		return 0
	}
	k.say("\nIn the trash is what was taken out of folders that are gone, as those of a project that was moved:\n")
	few := batches[:min(len(batches), goneAtMost)]
	k.rows(few)
	more := ""
	if n := len(batches) - len(few); n > 0 {
		more = fmt.Sprintf("%d more %s there. ", n, plural(n, "is", "are"))
	}
	k.say("\n%s%s puts the newest into %s, another ID another.", more, k.again("--restore --batch "+few[0].Batch), fileName(k.into(few[0])))
	return 0
}

// homeless reports whether the folder around the one that a batch was taken out of
// is gone, so that it cannot go back there.
func homeless(s trash.Summary) bool {
	if s.Folder == "" {
		return false
	}
	info, err := os.Stat(filepath.Dir(s.Folder))
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir()
}

// into is the folder that a batch is put back into: the one that it was taken out
// of, or if that has no place any more, the one of the project. Of a project that
// was moved, what was taken out of a folder in it goes into its folder of that name
// if that is where DIR is.
func (k *cleaning) into(s trash.Summary) string {
	if !homeless(s) {
		return s.Folder
	}
	for _, at := range k.c.above(cmp.Or(k.dir, ".")) {
		name, err := filepath.Rel(k.project, at)
		if err == nil && name != "." && strings.HasSuffix(filepath.Dir(s.Folder), string(filepath.Separator)+name) {
			return filepath.Join(at, projectFolder)
		}
	}
	return filepath.Join(k.project, projectFolder)
}

// keptFor is how long a batch stays in the trash from now on.
func (k *cleaning) keptFor(s trash.Summary) string {
	left := s.Taken.Add(k.set.TrashAge).Sub(k.c.now())
	if left <= 0 {
		return "is due"
	}
	return age(left)
}

// restore puts a batch back, the newest one if it is "".
func (k *cleaning) restore(ctx context.Context, id string) int {
	s, err := k.choose(id)
	if err != nil {
		return k.failed(err)
	}
	if s.Batch == "" {
		k.say("Nothing of %s is in the trash, so there is nothing to put back.", fileName(k.project))
		return k.gone()
	}
	if k.dry {
		return k.wouldRestore(s)
	}
	done := k.c.meanwhile("Putting back " + count(s.Items, "file") + " …")
	into, from := k.into(s), ""
	if into != s.Folder {
		from = s.Folder
	}
	r, err := k.janitor().Restore(ctx, filepath.Dir(into), s.Batch, from)
	done()
	back := append(slices.Clone(r.Items), r.Already...)
	if err != nil && ctx.Err() == nil && len(back)+len(r.Left) == 0 {
		return k.failed(err)
	}
	if len(back) > 0 {
		rows := [][]string{{"FILE", "SIZE", "LAST CHANGED", "NOTE"}}
		for i, item := range back {
			note := ""
			if i >= len(r.Items) {
				note = "was there already"
			}
			rows = append(rows, k.restored(item, note))
		}
		k.c.table(rows)
		k.say("")
	}
	k.leftRows(r.Left)
	text := count(len(back), "file") + " of " + s.Batch + " " + plural(len(back), "is", "are") + " back in " + places(s, into) + "."
	if len(r.Left) > 0 {
		text += " " + count(len(r.Left), "file") + " " + plural(len(r.Left), "stays", "stay") + " in the trash."
	}
	if len(r.Items) > 0 {
		text += " It counts as used today."
	}
	k.say("%s", text)
	switch {
	case ctx.Err() != nil:
		return k.failed(errors.New("it was stopped; putting back again goes on where it ended"))
	case err != nil:
		return k.failed(err)
	case len(r.Left) > 0:
		return 1
	}
	return 0
}

// choose returns the batch that is put back; none if there is nothing.
func (k *cleaning) choose(id string) (trash.Summary, error) {
	if id == "" {
		batches, err := k.batches()
		for _, s := range batches {
			switch {
			case s.Folder == "" || s.Items == 0:
				continue
			case homeless(s): // which an older one is no substitute for
				return s, fmt.Errorf("%s was taken out of %s, which is gone; %s puts it into %s", s.Batch, fileName(s.Folder), k.again("--restore --batch "+s.Batch), fileName(k.into(s)))
			}
			return s, nil
		}
		return trash.Summary{}, err
	}
	all, err := k.trash.Batches("")
	if err != nil {
		return trash.Summary{}, err
	}
	for _, s := range all {
		switch {
		case s.Batch != id:
			continue
		case s.Folder == "":
			return s, fmt.Errorf("%s cannot be put back: %s", id, s.Problem)
		case !k.within(s.Folder) && !homeless(s):
			return s, fmt.Errorf("%s was taken out of %s; name that folder to put it back", id, fileName(s.Folder))
		}
		return s, nil
	}
	return trash.Summary{}, fmt.Errorf("there is no %q in the trash; %s lists what there is", id, k.again("--trash"))
}

// places names the folder that a batch is put back into, and the one that it was
// taken out of if that is another.
func places(s trash.Summary, into string) string {
	if into == s.Folder {
		return fileName(into)
	}
	return fileName(into) + "; it was taken out of " + fileName(s.Folder) + ", which is gone"
}

// wouldRestore lists a batch, and what is in the place of its files.
func (k *cleaning) wouldRestore(s trash.Summary) int {
	items, err := k.trash.Items(s.Batch)
	if err != nil && len(items) == 0 {
		return k.failed(err)
	}
	into := k.into(s)
	folder, openErr := janitor.OpenFolder(filepath.Dir(into))
	if openErr != nil && !errors.Is(openErr, fs.ErrNotExist) {
		return k.failed(openErr)
	}
	rows := [][]string{{"FILE", "SIZE", "LAST CHANGED", "NOTE"}}
	for _, item := range items {
		note := ""
		if folder != nil {
			if _, err := folder.Lstat(item.Name); err == nil {
				note = "a file is in its place; it stays in the trash unless they are the same"
			}
		}
		rows = append(rows, k.restored(item, note))
	}
	if folder != nil {
		_ = folder.Close()
	}
	k.c.table(rows)
	k.say("\n%s of %s would be put back into %s. Nothing was changed.", count(len(items), "file"), s.Batch, places(s, into))
	if err != nil {
		return k.failed(err)
	}
	return 0
}

func (k *cleaning) restored(item trash.Item, note string) []string {
	return []string{fileName(item.Name), janitor.Size(item.Size), age(k.c.now().Sub(item.Modified)) + " ago", note}
}

// leftRows tells what stays in the trash.
func (k *cleaning) leftRows(left []trash.Left) {
	if len(left) == 0 {
		return
	}
	rows := [][]string{{"STAYS IN THE TRASH", "WHY"}}
	for _, l := range left {
		rows = append(rows, []string{fileName(l.Name), oneLine(l.Reason)})
	}
	k.c.table(rows)
	k.say("")
}

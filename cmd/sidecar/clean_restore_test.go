package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCleanRestoreReplacesNothing(t *testing.T) {
	y := newYard(t)
	name := y.archive(9)
	y.run("clean", y.project)
	y.write(name, "another\n", 0)
	y.clean("--restore --dry-run", 0, `
FILE                                  SIZE      LAST CHANGED  NOTE
`+name+`  41 bytes  9d ago        a file is in its place; it stays in the trash unless they are the same

1 file of ID would be put back into PROJECT/.opencode. Nothing was changed.
`, "")
	y.clean("--restore", 1, `
STAYS IN THE TRASH                    WHY
`+name+`  another file is in its place

0 files of ID are back in PROJECT/.opencode. 1 file stays in the trash.
`, "")
	if err := os.RemoveAll(filepath.Join(y.project, ".opencode")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(y.root, filepath.Join(y.project, ".opencode")); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"--restore", "--restore --dry-run"} {
		y.clean(args, 1, "", "sidecar clean: PROJECT/.opencode is not a folder of its own but a symbolic link\n")
	}
	if err := os.Remove(filepath.Join(y.project, ".opencode")); err != nil {
		t.Fatal(err)
	}
	code, out, errs := y.run("clean", "--restore", "--batch", y.batch(), y.project)
	if _, err := os.Stat(filepath.Join(y.project, ".opencode", name)); err != nil || code != 0 || errs != "" {
		t.Errorf("code %d, %q, %q, %v", code, out, errs, err)
	}
}

// What a sidecar took out of a folder below the worktree is the project's too; what
// belongs to another project is not put back by chance.
func TestCleanRestoreChoosesByProject(t *testing.T) {
	y := newYard(t)
	y.archive(9)
	y.run("clean", y.project)
	id := y.batch()
	y.wants([]string{"clean", "--restore", "--batch", id, y.root}, 1, "", "sidecar clean: ID was taken out of PROJECT/.opencode; name that folder to put it back\n")
	y.wants([]string{"clean", "--restore", "--batch", "x", y.project}, 1, "", "sidecar clean: there is no \"x\" in the trash; `sidecar clean --trash PROJECT` lists what there is\n")
	if err := os.Mkdir(filepath.Join(y.root, ".git"), 0o755); err != nil { // the project is a part of a worktree now
		t.Fatal(err)
	}
	code, out, errs := y.run("clean", "--restore", y.root)
	if code != 0 || !strings.Contains(out, "1 file of ID is back in PROJECT/.opencode.") || errs != "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestCleanRestoresIntoAProjectThatWasMoved(t *testing.T) {
	y := newYard(t)
	name := y.archive(9)
	before := y.tree(y.project, false)
	y.run("clean", y.project)
	moved, id := y.moved(), y.batch()
	after := y.tree(y.root, true)
	const gone = `
In the trash is what was taken out of folders that are gone, as those of a project that was moved:

ID                                  TAKEN             FILES  SIZE      KEPT FOR  FROM
ID  2026-11-23 12:00  1      41 bytes  6d        PROJECT/.opencode

` + "`sidecar clean --restore --batch ID ROOT/moved`" + ` puts the newest into ROOT/moved/.opencode, another ID another.
`
	listed := `
FILE                                  SIZE      LAST CHANGED  NOTE
` + name + `  41 bytes  9d ago

`
	y.wants([]string{"clean", "--trash", moved}, 0, "Nothing of ROOT/moved is in the trash.\n"+gone, "")
	y.wants([]string{"clean", "--restore", moved}, 0, "Nothing of ROOT/moved is in the trash, so there is nothing to put back.\n"+gone, "")
	y.wants([]string{"clean", "--restore", "--dry-run", "--batch", id, moved}, 0, listed+"1 file of ID would be put back into ROOT/moved/.opencode; it was taken out of PROJECT/.opencode, which is gone. Nothing was changed.\n", "")
	y.wants([]string{"clean", "--trash", y.project}, 0, `
ID                                  TAKEN             FILES  SIZE      KEPT FOR  FROM
ID  2026-11-23 12:00  1      41 bytes  6d        PROJECT/.opencode

They are in STATE/trash. PROJECT is gone; `+"`sidecar clean --restore --batch ID DIR`"+` puts one of them into the project of DIR.
`, "")
	y.same("looking changes something", after, y.tree(y.root, true))
	y.wants([]string{"clean", "--restore", "--batch", id, moved}, 0, listed+"1 file of ID is back in ROOT/moved/.opencode; it was taken out of PROJECT/.opencode, which is gone. It counts as used today.\n", "")
	y.same("what came back is not what went", before, y.tree(moved, false))
	y.wants([]string{"clean", "--trash", moved}, 0, "Nothing of ROOT/moved is in the trash.\n", "")
}

func TestCleanRestoresIntoTheFolderOfTheSameName(t *testing.T) {
	y := newYard(t)
	sub := y.nested()
	y.run("clean", sub) // the newest is that of the project, then that of the folder in it
	fromProject := y.batch()
	batches, err := filepath.Glob(filepath.Join(y.state, "trash", "2*[A-Z2-7]"))
	if err != nil || len(batches) != 2 {
		t.Fatal(batches, err)
	}
	sub = filepath.Join(y.moved(), "sub")
	for id, into := range map[string]string{filepath.Base(batches[0]): "ROOT/moved/sub/.opencode", fromProject: "ROOT/moved/.opencode"} {
		code, out, errs := y.run("clean", "--restore", "--batch", id, sub)
		if code != 0 || !strings.Contains(out, "1 file of ID is back in "+into+"; it was taken out of PROJECT/") || errs != "" {
			t.Errorf("code %d, %q, %q", code, out, errs)
		}
	}
}

// A folder of the project that is gone is not brought back, nor is what was in it
// put elsewhere unless somebody says so.
func TestCleanRestoreOfAFolderThatIsGone(t *testing.T) {
	y := newYard(t)
	sub := y.nested()
	if err := os.RemoveAll(filepath.Join(y.project, ".opencode")); err != nil {
		t.Fatal(err)
	}
	y.run("clean", sub)
	if err := os.RemoveAll(sub); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"--restore", "--restore --dry-run"} {
		y.clean(args, 1, "", "sidecar clean: ID was taken out of PROJECT/sub/.opencode, which is gone; `sidecar clean --restore --batch ID PROJECT` puts it into PROJECT/.opencode\n")
	}
	code, out, errs := y.run("clean", "--restore", "--batch", y.batch(), y.project)
	if code != 0 || !strings.Contains(out, "1 file of ID is back in PROJECT/.opencode; it was taken out of PROJECT/sub/.opencode, which is gone.") || errs != "" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

func TestCleanNamesAFewOfTheFoldersThatAreGone(t *testing.T) {
	y := newYard(t)
	project := y.project
	for i := range 4 {
		y.project = filepath.Join(y.root, fmt.Sprint("gone", i))
		y.archive(9)
		y.run("clean", y.project)
		if err := os.RemoveAll(y.project); err != nil {
			t.Fatal(err)
		}
	}
	y.project = project
	_, out, _ := y.run("clean", "--restore", project)
	if strings.Contains(out, "gone0") || strings.Count(out, "ROOT/gone") != 3 || !strings.Contains(out, "\n1 more is there.") {
		t.Error(out)
	}
}

package janitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// OpenFolder opens the .opencode folder of a project; fs.ErrNotExist if it has none. A
// link in its place is refused. The caller closes it.
func OpenFolder(project string) (*os.Root, error) {
	f, err := openFolder(project)
	if err != nil {
		return nil, err
	}
	return f.root, nil
}

// Restore puts back what a batch of the trash took out of a project's folder, which is
// made if it is gone, and counts it as used now: it does not go again before its time.
// from is the folder that it was taken out of if that is another one, as that of a
// project that was moved; else it is empty. What is wrong with the batch is told as
// trash.Trash.Restore does.
func (j *Janitor) Restore(ctx context.Context, project, batch, from string) (trash.Restored, error) {
	f, err := openFolder(project)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeFolder(project); err == nil {
			f, err = openFolder(project)
		}
	}
	if err != nil {
		return trash.Restored{}, err
	}
	defer f.close()
	c, err := j.claim(f.path)
	if err != nil {
		return trash.Restored{}, fmt.Errorf("%s: %w", f.path, err)
	}
	defer c.release()
	r, err := j.o.Trash.Restore(ctx, f.root, cmp.Or(from, f.path), batch)
	for _, item := range slices.Concat(r.Items, r.Already) { // those too that a process put back which was killed then
		c.ledger.Used[item.Name] = j.o.Now()
	}
	if from != "" { // whose ledger has the entries of its documents
		c.ledger.Dropped = append(c.ledger.Dropped, j.remembered(from).Dropped...)
	}
	if len(r.Items)+len(r.Already) > 0 {
		err = errors.Join(err, f.settle(&c.ledger), c.save())
	}
	return r, err
}

func makeFolder(project string) error {
	root, err := os.OpenRoot(project)
	if err != nil {
		return err
	}
	return errors.Join(root.Mkdir(folderName, 0o755), root.Close())
}

package janitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// folderName is that of the folders that are kept small.
const folderName = ".opencode"

// folder is an open .opencode folder. Everything goes through root, so that
// nothing outside of it is ever reached.
type folder struct {
	path string // absolute, for people and as the folder's name elsewhere
	root *os.Root
}

// openFolder opens the .opencode folder of a project. A link in its place is an
// error: what is behind it belongs to another place.
func openFolder(project string) (*folder, error) {
	parent, err := os.OpenRoot(project)
	if err != nil {
		return nil, err
	}
	defer func() { _ = parent.Close() }()
	seen, err := parent.Lstat(folderName)
	if err != nil {
		return nil, err
	}
	if !seen.IsDir() {
		return nil, fmt.Errorf("%s is not a folder of its own but %s", filepath.Join(project, folderName), describe(seen.Mode()))
	}
	root, err := parent.OpenRoot(folderName)
	if err != nil {
		return nil, err
	}
	if is, err := root.Stat("."); err != nil || !os.SameFile(seen, is) {
		_ = root.Close()
		return nil, errors.Join(fmt.Errorf("%s was replaced just now", filepath.Join(project, folderName)), err)
	}
	return &folder{path: filepath.Join(project, folderName), root: root}, nil
}

func (f *folder) close() { _ = f.root.Close() }

func describe(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsRegular():
		return "a file"
	default:
		return "something else"
	}
}

// plainParents is an error unless every folder above name is a folder and no
// symbolic link.
func (f *folder) plainParents(name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		info, err := f.root.Lstat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is %s", dir, describe(info.Mode()))
		}
	}
	return nil
}

// entriesAtOnce is how many names of a folder are held at a time.
const entriesAtOnce = 512

// walk visits everything below the folder but what is behind links and skip. A
// folder that cannot be read, or vanishes, is told to failed and passed over.
func (f *folder) walk(ctx context.Context, skip string, visit func(dir string, e fs.DirEntry), failed func(error)) error {
	open := []string{"."}
	for len(open) > 0 {
		dir := open[len(open)-1]
		open = open[:len(open)-1]
		err := f.list(ctx, dir, func(e fs.DirEntry) {
			if name := path.Join(dir, e.Name()); e.IsDir() && name != skip {
				open = append(open, name)
			}
			visit(dir, e)
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			failed(err)
		}
	}
	return nil
}

// list visits what is in a folder.
func (f *folder) list(ctx context.Context, dir string, visit func(fs.DirEntry)) error {
	at, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	for {
		entries, err := at.ReadDir(entriesAtOnce)
		for _, e := range entries {
			visit(e)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// read returns the content of a regular file of at most limit bytes.
func (f *folder) read(name string, limit int64) ([]byte, error) {
	file, info, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return content, err
}

// open opens a regular file that is no link and not behind one.
func (f *folder) open(name string) (*os.File, fs.FileInfo, error) {
	if err := f.plainParents(name); err != nil {
		return nil, nil, err
	}
	seen, err := f.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !seen.Mode().IsRegular() { // opening a pipe would wait
		return nil, nil, fmt.Errorf("%s is %s", name, describe(seen.Mode()))
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !os.SameFile(seen, info) {
		err = fmt.Errorf("%s was replaced just now", name)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

package todo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks is how many symbolic links a path may go through.
const maxLinks = 40

// step is a part of a path on the way to what it leads to: a name in a folder
// below the root.
type step struct {
	folder, name string
	link         bool
}

// resolve follows the symbolic links of a path below root and returns the path
// of what it leads to, from root; that need not exist. A link may be absolute if
// it leads below one of directories, which are other names of root. An error
// wraps ErrOutside when a link leads out of root. The steps are those taken up to
// there, or to what does not exist.
func resolve(root *os.Root, directories []string, name string) (path string, steps []step, err error) {
	todo, done := split(name), "."
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			if done == "." {
				return "", steps, ErrOutside
			}
			done = filepath.Dir(done)
			continue
		}
		here := filepath.Join(done, part)
		steps = append(steps, step{folder: done, name: part})
		info, err := root.Lstat(here)
		if errors.Is(err, fs.ErrNotExist) {
			here = filepath.Join(append([]string{here}, todo...)...)
			if !filepath.IsLocal(here) {
				return "", steps, ErrOutside
			}
			return here, steps, nil
		}
		if err != nil {
			return "", steps, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = here
			continue
		}
		steps[len(steps)-1].link = true
		if links++; links > maxLinks {
			return "", steps, fmt.Errorf("%s goes through more than %d symbolic links", name, maxLinks)
		}
		to, err := root.Readlink(here)
		if err != nil {
			return "", steps, err
		}
		if filepath.IsAbs(to) {
			below, ok := inside(directories, to)
			if !ok {
				return "", steps, fmt.Errorf("%w: %s -> %s", ErrOutside, here, to)
			}
			to, done = below, "."
		}
		todo = append(split(to), todo...)
	}
	return done, steps, nil
}

// places finds where a change of the file would show: in the last folder on the
// way to it that is there, and in each with a symbolic link on the way. An error
// means that there is no worktree.
func (f *File) places() (places, error) {
	at, err := f.root()
	if err != nil {
		return places{}, err
	}
	defer func() { _ = at.Close() }()
	_, steps, _ := resolve(at.Root, []string{at.directory, f.directory}, Path) // what is wrong, reading tells
	p := places{names: make(map[string]bool)}
	for i, s := range steps {
		if s.link || i == len(steps)-1 {
			folder := filepath.Join(at.directory, s.folder)
			p.names[filepath.Join(folder, s.name)] = true
			if !slices.Contains(p.folders, folder) {
				p.folders = append(p.folders, folder)
			}
		}
	}
	return p, nil
}

func inside(directories []string, path string) (string, bool) {
	for _, d := range directories {
		if below, err := filepath.Rel(d, path); err == nil && filepath.IsLocal(below) {
			return below, true
		}
	}
	return "", false
}

func split(path string) []string {
	var parts []string
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == filepath.Separator }) {
		if part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

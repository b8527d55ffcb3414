package todo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links a path may go through.
const maxLinks = 40

// resolve follows the symbolic links of a path below root and returns the path
// of what it leads to, from root; that need not exist. A link may be absolute if
// it leads below one of directories, which are other names of root. An error
// wraps ErrOutside when a link leads out of root.
func resolve(root *os.Root, directories []string, name string) (string, error) {
	todo, done := split(name), "."
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			if done == "." {
				return "", ErrOutside
			}
			done = filepath.Dir(done)
			continue
		}
		here := filepath.Join(done, part)
		info, err := root.Lstat(here)
		if errors.Is(err, fs.ErrNotExist) {
			here = filepath.Join(append([]string{here}, todo...)...)
			if !filepath.IsLocal(here) {
				return "", ErrOutside
			}
			return here, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = here
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s goes through more than %d symbolic links", name, maxLinks)
		}
		to, err := root.Readlink(here)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) {
			below, ok := inside(directories, to)
			if !ok {
				return "", fmt.Errorf("%w: %s -> %s", ErrOutside, here, to)
			}
			to, done = below, "."
		}
		todo = append(split(to), todo...)
	}
	return done, nil
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

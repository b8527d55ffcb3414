package modules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// batch is how many names of a folder are held in memory at once.
const batch = 256

// binName is npm's folder of links to programs.
const binName = ".bin"

// retired is what npm renames a package to while it replaces it, and leaves
// behind if it is killed.
var retired = regexp.MustCompile(`^\.(.+)-[0-9A-Za-z]{8}$`)

// tree looks at node_modules.
func (s *survey) tree(ctx context.Context, folder *os.Root, tracked func(string) bool) error {
	info, err := folder.Lstat(modulesName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		s.because("%s is a link", modulesName)
		return nil
	case !info.IsDir():
		s.because("%s is not a folder", modulesName)
		return nil
	case tracked(modulesName):
		s.because("%s has files that are tracked by git", modulesName)
		return nil
	}
	s.modules = true
	lock, err := hiddenLock(folder)
	if err != nil {
		if !errors.Is(err, errUnusual) {
			return err
		}
		s.because("%s/%s %s", modulesName, hiddenLockName, errors.Unwrap(err))
	}
	if v := lock.Packages[pluginDirectory].Version; v != "" {
		s.Version = v
	}
	modules, err := folder.OpenRoot(modulesName)
	if err != nil {
		return err
	}
	defer modules.Close()
	s.listed = map[string]bool{}
	c := &census{survey: s, packages: lock.Packages}
	return c.folder(ctx, modules, modulesName, kindModules)
}

// hiddenLock reads npm's list of what it has put into node_modules. Without one
// it is empty. What it says that OpenCode did not ask for is an error.
func hiddenLock(folder *os.Root) (npmLock, error) {
	content, err := readFile(folder, modulesName+"/"+hiddenLockName, lockLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return npmLock{}, nil
	}
	if err != nil {
		return npmLock{}, err
	}
	var lock npmLock
	if json.Unmarshal(content, &lock) != nil {
		return npmLock{}, unusual{errNoJSON}
	}
	if err := lock.foreign(); err != nil {
		return npmLock{}, unusual{err}
	}
	return lock, nil
}

// kind is what a folder in node_modules is.
type kind int

const (
	kindModules kind = iota // a node_modules
	kindScope               // @scope
	kindPackage
	kindBin
	kindInside // below a package
	kindTrash  // was OpenCode's, as it is known from when it was put there
)

// census counts the files of node_modules and finds what OpenCode did not put
// there.
type census struct {
	*survey
	packages map[string]lockEntry
	blamed   int
}

// maxBlame bounds the reasons that node_modules gives: people read them.
const maxBlame = 10

func (c *census) blame(format string, args ...any) {
	if c.blamed++; c.blamed <= maxBlame {
		c.because(format, args...)
	}
}

func (c *census) folder(ctx context.Context, dir *os.Root, name string, k kind) error {
	return eachEntry(ctx, dir, func(info fs.FileInfo) error {
		inside := path.Join(name, info.Name())
		is, ours := c.judge(dir, inside, info, k)
		if !ours {
			c.blame("%s was not installed by OpenCode", inside)
		}
		if name == modulesName {
			c.listed[info.Name()] = ours
		}
		if !info.IsDir() {
			c.Files++
			if info.Mode().IsRegular() {
				c.Bytes += info.Size()
			}
			return nil
		}
		sub, err := dir.OpenRoot(info.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		defer sub.Close()
		return c.folder(ctx, sub, inside, is)
	})
}

// judge says what an entry is and whether npm made it for OpenCode. The content
// of what is not ours is not judged.
func (c *census) judge(dir *os.Root, name string, info fs.FileInfo, parent kind) (is kind, ours bool) {
	base, isDir, regular := info.Name(), info.IsDir(), info.Mode().IsRegular()
	switch parent {
	case kindTrash:
		return kindTrash, true
	case kindBin:
		return kindTrash, regular || info.Mode()&fs.ModeSymlink != 0 && staysInside(dir, name, base)
	case kindModules, kindScope:
		_, listed := c.packages[name]
		m := retired.FindStringSubmatch(base)
		switch {
		case parent == kindModules && base == binName:
			return kindBin, isDir
		case name == modulesName+"/"+hiddenLockName, name == modulesName+"/"+temporaryName:
			return kindTrash, regular
		case name == modulesName+"/"+trashName:
			return kindTrash, isDir
		case m != nil:
			_, listed = c.packages[path.Join(path.Dir(name), m[1])]
			return kindTrash, isDir && listed
		case listed:
			return kindPackage, isDir
		case parent == kindModules && strings.HasPrefix(base, "@"):
			return kindScope, isDir
		}
		return kindTrash, false
	case kindPackage:
		if base == modulesName {
			return kindModules, isDir
		}
	}
	// npm unpacks no links, so somebody else made this one.
	return kindInside, isDir || regular
}

// staysInside reports whether a link leads to somewhere in node_modules.
func staysInside(dir *os.Root, name, base string) bool {
	target, err := dir.Readlink(base)
	if err != nil || path.IsAbs(target) || strings.Contains(target, `\`) {
		return false
	}
	return strings.HasPrefix(path.Join(path.Dir(name), target), modulesName+"/")
}

// eachEntry calls do for all that is in a folder, in no order. What vanishes
// meanwhile is left out. ctx ends it between two entries.
func eachEntry(ctx context.Context, dir *os.Root, do func(fs.FileInfo) error) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(batch)
		for _, name := range names {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			info, err := dir.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := do(info); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

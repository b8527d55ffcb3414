package modules

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// The names of what OpenCode writes into a config folder.
const (
	modulesName     = "node_modules"
	lockName        = "package-lock.json"
	bunLockName     = "bun.lock"
	packageName     = "package.json"
	ignoreName      = ".gitignore"
	hiddenLockName  = ".package-lock.json" // in node_modules: npm's list of what is there
	pluginPackage   = "@opencode-ai/plugin"
	pluginDirectory = modulesName + "/" + pluginPackage
)

// Names of our own, both in node_modules: git ignores it, and npm ignores what
// starts with a dot there.
const (
	trashName     = ".opencode-sidecar-removing"
	temporaryName = ".opencode-sidecar-lock"
)

// others are files that only other package managers write, or people. Who has
// one looks after the packages himself.
var others = []string{"npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "pnpm-workspace.yaml", "bun.lockb"}

// Inspect says what the folder, one of OpenCode's config folders, holds.
//
// The function tracked says whether git tracks the file of that name in the
// folder, or anything below it. It may be nil if the folder belongs to no
// repository. What is not as expected is reported and no error: an error means
// that the folder could not be read or that ctx has ended.
func Inspect(ctx context.Context, folder *os.Root, tracked func(name string) bool) (Report, error) {
	s, err := look(ctx, folder, tracked)
	if err != nil {
		return Report{}, fmt.Errorf("inspecting OpenCode's packages: %w", err)
	}
	return s.Report, nil
}

// survey is a report with what Remove and Shrink must know besides.
type survey struct {
	Report
	// found are the files beside node_modules that are OpenCode's own, by
	// name, with the content that proved it.
	found map[string][]byte
	// modules says whether there is a node_modules.
	modules bool
	// listed are the names in node_modules that are OpenCode's own.
	listed map[string]bool
}

func look(ctx context.Context, folder *os.Root, tracked func(string) bool) (*survey, error) {
	if tracked == nil {
		tracked = func(string) bool { return false }
	}
	s := &survey{found: map[string][]byte{}}
	if err := s.files(folder, tracked); err != nil {
		return nil, err
	}
	if err := s.tree(ctx, folder, tracked); err != nil {
		return nil, err
	}
	users, err := users(ctx, folder)
	if err != nil {
		return nil, err
	}
	s.Local, s.Needs = users.local, users.needs
	s.State = s.state()
	return s, nil
}

func (s *survey) state() State {
	_, lock := s.found[lockName]
	_, bun := s.found[bunLockName]
	switch {
	case len(s.Reasons) > 0:
		return Foreign
	case !s.modules && !lock && !bun:
		return Absent
	case s.modules && s.Files == 0 && len(s.listed) == 0 && isSmall(s.found[lockName]):
		return Small
	}
	return Full
}

func (s *survey) because(format string, args ...any) {
	s.Reasons = append(s.Reasons, fmt.Sprintf(format, args...))
}

// files looks at what is beside node_modules.
func (s *survey) files(folder *os.Root, tracked func(string) bool) error {
	// In this order the version that is named is the best known one.
	for _, f := range []struct {
		name  string
		check func([]byte) (verdict, error)
	}{{lockName, checkLock}, {bunLockName, checkBunLock}, {packageName, checkPackage}, {ignoreName, checkIgnore}} {
		content, err := readFile(folder, f.name, lockLimit)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, errUnusual) && f.name == ignoreName:
			continue // stays, and says nothing of the packages
		case errors.Is(err, errUnusual):
			s.because("%s %s", f.name, errors.Unwrap(err))
			continue
		case err != nil:
			return err
		}
		v, err := f.check(content)
		if err != nil {
			s.because("%s %s", f.name, err)
			continue
		}
		if s.Version == "" {
			s.Version = v.version
		}
		switch {
		case v.exact && !tracked(f.name):
			s.found[f.name] = content
		case v.exact && f.name != ignoreName: // which stays, and says nothing of the packages
			s.because("%s is tracked by git", f.name)
		}
	}
	for _, name := range others {
		if _, err := folder.Lstat(name); err == nil {
			s.because("%s shows that another package manager is used", name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// errUnusual is a file that OpenCode cannot have written; it wraps the rest of
// a sentence about it.
var errUnusual = errors.New("not a usual file")

type unusual struct{ error }

func (u unusual) Is(target error) bool { return target == errUnusual }
func (u unusual) Unwrap() error        { return u.error }

// readFile reads a regular file of at most limit bytes.
func readFile(folder *os.Root, name string, limit int64) ([]byte, error) {
	info, err := folder.Lstat(name)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, unusual{errors.New("is a link")}
	case !info.Mode().IsRegular():
		return nil, unusual{errors.New("is not a file")}
	case info.Size() > limit:
		return nil, unusual{errors.New("is too large")}
	}
	content, err := folder.ReadFile(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil, unusual{errors.New("cannot be read")}
	}
	if err == nil && int64(len(content)) > limit {
		return nil, unusual{errors.New("is too large")}
	}
	return content, err
}

// sorted returns the values without repetition.
func sorted(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

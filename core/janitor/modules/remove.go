package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Remove takes away all that OpenCode installed, and package.json and
// .gitignore if they are exactly as it wrote them. OpenCode installs all again
// at its next start. The report is of before. The error is that of
// [Report.Removable] if somebody would be hurt; after any other, the end of ctx
// included, what is left is whole as far as OpenCode is concerned, and Remove
// can be called again.
func Remove(ctx context.Context, folder *os.Root, tracked func(string) bool) (Report, error) {
	s, err := look(ctx, folder, tracked)
	if err != nil {
		return Report{}, fmt.Errorf("removing OpenCode's packages: %w", err)
	}
	if err := s.Removable(); err != nil {
		return s.Report, err
	}
	if err := s.remove(ctx, folder); err != nil {
		return s.Report, fmt.Errorf("removing OpenCode's packages: %w", err)
	}
	return s.Report, nil
}

func (s *survey) remove(ctx context.Context, folder *os.Root) error {
	if err := s.clear(ctx, folder); err != nil {
		return err
	}
	if s.modules {
		if err := folder.Remove(modulesName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.drop(folder, packageName); err != nil {
		return err
	}
	// Without it git would show a package.json that stays.
	if _, err := folder.Lstat(packageName); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.drop(folder, ignoreName)
}

// Shrink leaves the small form: an empty node_modules and a lock file that
// names what would be in it, so that OpenCode starts at once and installs
// nothing. The report is of before; a folder in the small form stays as it is,
// and one without anything gets the small form. For errors see [Remove] and
// [Report.Shrinkable].
func Shrink(ctx context.Context, folder *os.Root, tracked func(string) bool) (Report, error) {
	s, err := look(ctx, folder, tracked)
	if err != nil {
		return Report{}, fmt.Errorf("shrinking OpenCode's packages: %w", err)
	}
	if err := s.Shrinkable(); err != nil || s.State == Small {
		return s.Report, err
	}
	if err := s.shrink(ctx, folder); err != nil {
		return s.Report, fmt.Errorf("shrinking OpenCode's packages: %w", err)
	}
	return s.Report, nil
}

func (s *survey) shrink(ctx context.Context, folder *os.Root) error {
	if err := s.clear(ctx, folder); err != nil {
		return err
	}
	if err := folder.Mkdir(modulesName, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The new file is made in node_modules, where git does not see what a
	// killed process leaves, and moved out of it.
	temporary := modulesName + "/" + temporaryName
	if err := write(folder, temporary, smallLock(s.Version)); err != nil {
		return errors.Join(err, folder.Remove(temporary))
	}
	if err := s.settle(ctx, folder); err != nil {
		return errors.Join(err, folder.Remove(temporary))
	}
	return nil
}

// settle moves the new lock file to its place, unless an OpenCode has begun to
// install: the lock file would say that what is there is whole. One that
// OpenCode has just written is replaced, since it fits an empty node_modules
// even less.
func (s *survey) settle(ctx context.Context, folder *os.Root) error {
	modules, err := folder.OpenRoot(modulesName)
	if err != nil {
		return err
	}
	defer modules.Close()
	err = eachEntry(ctx, modules, func(info fs.FileInfo) error {
		if info.Name() != temporaryName {
			return appeared(info.Name())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return folder.Rename(modulesName+"/"+temporaryName, lockName)
}

func appeared(name string) error {
	return fmt.Errorf("%s/%s has appeared meanwhile", modulesName, name)
}

func write(folder *os.Root, name string, content []byte) error {
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Regrow undoes the small form if the folder has a local plugin or tool, or
// anything else that may import a package: then it removes the lock file that
// [Shrink] wrote, and node_modules if it is empty, so that OpenCode installs at
// its next start. It reports whether it did. A lock file that git tracks by now is left,
// with an error that says what to do; tracked is called only if there is anything to undo.
func Regrow(ctx context.Context, folder *os.Root, tracked func(context.Context) (func(name string) bool, error)) (done bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("undoing the small form of OpenCode's packages: %w", err)
		}
	}()
	lock, err := readFile(folder, lockName, lockLimit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errUnusual) || err == nil && !isSmall(lock) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	users, err := users(ctx, folder)
	if err != nil || len(users.local)+len(users.needs) == 0 {
		return false, err
	}
	versioned, err := tracked(ctx)
	if err != nil {
		return false, err
	}
	if versioned(lockName) {
		return false, fmt.Errorf("%s is tracked by git; `git rm` it, and OpenCode installs what is needed at its next start", lockName)
	}
	if err := folder.Remove(lockName); err != nil {
		return false, err
	}
	// OpenCode installs without a lock file in any case. A folder that is not
	// empty is refused by the system, whose errors for it differ; a link would
	// be removed.
	if info, err := folder.Lstat(modulesName); err == nil && info.IsDir() {
		_ = folder.Remove(modulesName)
	}
	return true, nil
}

// clear removes the lock files and then all that is in node_modules.
func (s *survey) clear(ctx context.Context, folder *os.Root) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, name := range []string{lockName, bunLockName} {
		if err := s.drop(folder, name); err != nil {
			return err
		}
	}
	if !s.modules {
		return nil
	}
	info, err := folder.Lstat(modulesName)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s has changed meanwhile", modulesName)
	}
	modules, err := folder.OpenRoot(modulesName)
	if err != nil {
		return err
	}
	defer modules.Close()
	return s.empty(ctx, modules)
}

// drop removes a file if it is still what was found to be OpenCode's.
func (s *survey) drop(folder *os.Root, name string) error {
	content, ours := s.found[name]
	if !ours {
		return nil
	}
	now, err := readFile(folder, name, lockLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !bytes.Equal(now, content) {
		return errors.Join(fmt.Errorf("%s has changed meanwhile", name), err)
	}
	return folder.Remove(name)
}

// empty removes all that is in node_modules.
//
// npm believes its own list, and that a package is whole whose folder is there.
// So no package is ever seen with some of its files: each is moved away first,
// into a folder that npm does not look at. The list itself goes last, since it
// is the proof that the rest may go.
func (s *survey) empty(ctx context.Context, modules *os.Root) error {
	if err := discard(ctx, modules, trashName); err != nil {
		return err
	}
	if err := modules.Mkdir(trashName, 0o755); err != nil {
		return err
	}
	// A folder that changes while it is listed may leave out names.
	for moved := true; moved; {
		moved = false
		err := eachEntry(ctx, modules, func(info fs.FileInfo) error {
			name := info.Name()
			switch {
			case name == trashName || name == hiddenLockName:
				return nil
			case !s.listed[name]:
				return appeared(name)
			}
			moved = true
			return modules.Rename(name, trashName+"/"+name)
		})
		if err != nil {
			return err
		}
	}
	if err := discard(ctx, modules, trashName); err != nil {
		return err
	}
	return ignoreMissing(modules.Remove(hiddenLockName))
}

// discard removes a file, or a folder with all that is in it, a batch of names
// at a time. Links are removed as what they are.
func discard(ctx context.Context, dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if err != nil {
		return ignoreMissing(err)
	}
	if info.IsDir() {
		if err := discardContent(ctx, dir, name); err != nil {
			return err
		}
	}
	return ignoreMissing(dir.Remove(name))
}

func discardContent(ctx context.Context, parent *os.Root, name string) error {
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return ignoreMissing(err)
	}
	defer dir.Close()
	for {
		// Opened anew for each batch: a folder that shrinks while it is listed
		// may leave out names.
		names, err := firstNames(dir)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := discard(ctx, dir, name); err != nil {
				return err
			}
		}
	}
}

func firstNames(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, ignoreMissing(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(batch)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

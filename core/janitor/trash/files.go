package trash

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sum is what a file's content is told by.
type sum = [sha256.Size]byte

// checkName refuses what is not a slash path below a folder. Everything else is
// a name: people's files may be called anything.
func checkName(name string) error {
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." || elem == ".." || strings.ContainsRune(elem, 0) {
			return fmt.Errorf("%q is no path below a folder", name)
		}
	}
	if filepath.Separator != '/' && strings.ContainsAny(name, `\:`) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%q is no path below a folder on this system", name)
	}
	return nil
}

// openParent opens the folder that a checked name lies in, and returns the name it
// has in there. It goes down through real folders only, never a link, and what it
// returns stays that folder whatever is renamed meanwhile. With build it makes the
// folders that are missing.
func openParent(root *os.Root, name string, build bool) (parent *os.Root, base string, err error) {
	at, err := root.OpenRoot(".")
	if err != nil {
		return nil, "", err
	}
	for {
		elem, rest, more := strings.Cut(name, "/")
		if !more {
			return at, elem, nil
		}
		next, err := enter(at, elem, build)
		_ = at.Close()
		if err != nil {
			return nil, "", err
		}
		at, name = next, rest
	}
}

// enter opens a folder in a folder.
func enter(in *os.Root, name string, build bool) (*os.Root, error) {
	info, err := in.Lstat(name)
	if build && errors.Is(err, fs.ErrNotExist) {
		if err := in.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := syncFolder(in); err != nil {
			return nil, err
		}
		info, err = in.Lstat(name)
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %q on the way to it is no folder but %s", ErrNotPlain, name, kind(info))
	}
	folder, err := in.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	// Opening follows links, and one may have come since the look.
	now, err := folder.Stat(".")
	if err == nil && !os.SameFile(info, now) {
		err = fmt.Errorf("%w: %q on the way to it is another folder now", ErrChanged, name)
	}
	if err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

// openPlain opens a regular file in a folder to read it, and nothing else: not
// what a link points to, not a pipe.
func openPlain(parent *os.Root, base string) (*os.File, fs.FileInfo, error) {
	info, err := parent.Lstat(base)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w but %s", ErrNotPlain, kind(info))
	}
	file, err := parent.OpenFile(base, os.O_RDONLY|dontWait, 0)
	if err != nil {
		return nil, nil, err
	}
	now, err := file.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = fmt.Errorf("%w: another file is in its place", ErrChanged)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, now, nil
}

func kind(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return "a file"
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	default:
		return "something special (" + mode.String() + ")"
	}
}

// unchanged returns nil if a file is what it was when it was seen.
func unchanged(seen, now fs.FileInfo) error {
	switch {
	case !now.Mode().IsRegular():
		return fmt.Errorf("%w: it is %s now", ErrChanged, kind(now))
	case !os.SameFile(seen, now):
		return fmt.Errorf("%w: another file is in its place", ErrChanged)
	case seen.Size() != now.Size():
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrChanged, now.Size(), seen.Size())
	case !seen.ModTime().Equal(now.ModTime()):
		return fmt.Errorf("%w: it was written to", ErrChanged)
	case linkCount(now) > 1:
		return fmt.Errorf("%w: it has %d names (hard links)", ErrNotPlain, linkCount(now))
	}
	return nil
}

// digest reads all of r, but no more than a byte over size, into w and says what
// it was.
func digest(w io.Writer, r io.Reader, size int64) (s sum, n int64, err error) {
	var h hash.Hash = sha256.New()
	n, err = io.Copy(io.MultiWriter(w, h), io.LimitReader(r, size+1))
	return sum(h.Sum(nil)), n, err
}

// place gives a file that is in a folder under one name its proper one, and never
// replaces anything: the error is an fs.ErrExist if the name is taken. Afterwards
// the file does not have its first name any more, unless there was an error.
//
// A link is what cannot replace a file on any system. File systems without hard
// links (FAT, some network ones) get a second copy instead, under the proper name
// from its first byte on, since all ways to rename there may replace. A kill in
// the middle of that leaves a part of the file, and the whole under its first name.
func place(parent *os.Root, temporary, base string) error {
	info, err := parent.Lstat(temporary)
	if err != nil {
		return err
	}
	if info.IsDir() { // has no links, but cannot replace a file or a folder with something in it either
		return parent.Rename(temporary, base)
	}
	err = parent.Link(temporary, base)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		if copyErr := duplicate(parent, temporary, base); copyErr != nil {
			return errors.Join(copyErr, err)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	_ = parent.Remove(temporary) // it has its name; another one more does no harm
	return nil
}

// duplicate copies a file within a folder, to a name that is not taken.
func duplicate(parent *os.Root, from, to string) error {
	source, info, err := openPlain(parent, from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := parent.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(target, source)
	if err == nil && n != info.Size() {
		err = ErrChanged
	}
	if err == nil {
		err = target.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = target.Sync()
	}
	err = errors.Join(err, target.Close())
	if err == nil {
		err = parent.Chtimes(to, info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = syncFolder(parent) // before the other name goes
	}
	if err != nil {
		_ = parent.Remove(to)
	}
	return err
}

// endOfFolder is nil for an error that only says that a folder has no more names.
func endOfFolder(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

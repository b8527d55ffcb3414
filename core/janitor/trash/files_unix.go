//go:build unix

package trash

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// dontWait keeps opening a pipe, which has taken a file's place, from waiting for
// a writer.
const dontWait = syscall.O_NONBLOCK

// linkCount returns how many names a file has.
func linkCount(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink) //nolint:unconvert // its size differs between systems
	}
	return 1
}

// syncFolder makes what was made and removed in a folder durable.
func syncFolder(folder *os.Root) error {
	file, err := folder.Open(".")
	if err != nil {
		return err
	}
	err = file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // this file system does it by itself, or not at all
	}
	return errors.Join(err, file.Close())
}

// syncRead makes a file durable that is open for reading.
func syncRead(file *os.File) error {
	err := file.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

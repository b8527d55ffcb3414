package janitor

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The history is rotated in two steps, each of which leaves every line in exactly
// one place that counts. It is renamed while nobody writes, which sets it aside; and
// what is set aside is packed: written to a temporary file, flushed, read again and
// compared, given its name, and only then is the plain one removed. A process that is
// killed in between leaves a plain file that the next pass packs, or one that is
// packed already, which the next pass compares and removes.

// packing is a temporary file of that, which nobody else names like this.
var packing = regexp.MustCompile(`^\.(todo_history\..{1,60}\.jsonl\.gz)\.[0-9a-z]{8}\.tmp$`)

// setAside renames the history, and returns its new name; "" if there is nothing in
// it. exclusive runs a function while nobody adds to the history.
func (f *folder) setAside(ctx context.Context, now time.Time, exclusive func(context.Context, func() error) error) (name string, err error) {
	if empty, err := f.isEmpty(historyName); err != nil || empty {
		return "", err
	}
	err = exclusive(ctx, func() error {
		if empty, err := f.isEmpty(historyName); err != nil || empty {
			return err
		}
		if name, err = f.freeName(now); err != nil {
			return err
		}
		// Nobody else makes such names while the folder is claimed.
		if err := f.root.Rename(historyName, name); err != nil {
			return err
		}
		return f.sync(archiveDir)
	})
	return name, err
}

// isEmpty reports whether there is nothing in a file, or no file.
func (f *folder) isEmpty(name string) (bool, error) {
	info, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s is %s", name, describe(info.Mode()))
	}
	return info.Size() == 0, nil
}

// freeName is a name for a history that is set aside now, which no file has, packed
// or not.
func (f *folder) freeName(now time.Time) (string, error) {
	stamp := now.UTC().Format("2006-01-02T15-04-05Z")
	for n := 1; n < 10_000; n++ {
		name := historyBegin + stamp + ".jsonl"
		if n > 1 {
			name = numbered(name, n)
		}
		_, plain := f.root.Lstat(name)
		_, packed := f.root.Lstat(name + ".gz")
		if errors.Is(plain, fs.ErrNotExist) && errors.Is(packed, fs.ErrNotExist) {
			return name, nil
		}
		if plain != nil && !errors.Is(plain, fs.ErrNotExist) {
			return "", plain
		}
	}
	return "", fmt.Errorf("%s%s has all its names taken", historyBegin, stamp)
}

// numbered is the name of a history with another number, and a time if it had none.
func numbered(name string, n int) string {
	stamp := strings.TrimSuffix(strings.TrimPrefix(name, historyBegin), ".jsonl")
	if len(stamp) == len(time.DateOnly) {
		stamp += "T00-00-00Z"
	}
	stamp, _, _ = strings.Cut(stamp, "Z")
	return fmt.Sprintf("%s%sZ-%d.jsonl", historyBegin, stamp, n)
}

// pack packs a history that was set aside, and removes it. It returns the name of
// what it wrote, and what that is.
func (f *folder) pack(ctx context.Context, name string) (packed string, m made, err error) {
	seen, err := f.root.Lstat(name)
	if err != nil {
		return "", m, err
	}
	packed = name + ".gz"
	for n := 2; ; n++ {
		_, err := f.root.Lstat(packed)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", m, err
		}
		if m, err = f.samePacked(ctx, name, packed); err == nil {
			return packed, m, f.drop(name, packed, seen) // written before a process was killed
		}
		if n == 10_000 {
			return "", m, fmt.Errorf("%s has all its names taken", packed)
		}
		packed = numbered(name, n) + ".gz"
	}
	temporary := fmt.Sprintf("%s/.%s.%s.tmp", archiveDir, path.Base(packed), strings.ToLower(rand.Text()[:8]))
	if err := f.writePacked(ctx, name, temporary); err != nil {
		return "", m, fmt.Errorf("packing %s: %w", name, err)
	}
	defer func() { _ = f.root.Remove(temporary) }() // the name below is another link
	if m, err = f.samePacked(ctx, name, temporary); err != nil {
		return "", m, fmt.Errorf("what was packed of %s cannot be read back: %w", name, err)
	}
	if err := f.publish(temporary, packed); err != nil {
		return "", m, err
	}
	return packed, m, f.drop(name, packed, seen)
}

// publish gives a temporary file its name, unless somebody has that.
func (f *folder) publish(temporary, name string) error {
	err := f.root.Link(temporary, name)
	if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
		if _, taken := f.root.Lstat(name); !errors.Is(taken, fs.ErrNotExist) {
			return fmt.Errorf("%s is taken", name)
		}
		err = f.root.Rename(temporary, name)
	}
	if err != nil {
		return err
	}
	return f.sync(path.Dir(name))
}

// drop removes a history of which every byte is in a packed one. If somebody who does
// not lock has added to it since it was seen, the packed one goes instead.
func (f *folder) drop(name, packed string, seen fs.FileInfo) error {
	now, err := f.root.Lstat(name)
	if err != nil {
		return err
	}
	if !unchanged(seen, now) {
		err = fmt.Errorf("%s changed while it was packed", name)
		if os.SameFile(seen, now) && now.Size() > seen.Size() {
			err = errors.Join(err, f.root.Remove(packed))
		}
		return err
	}
	if err := f.root.Remove(name); err != nil {
		return err
	}
	return f.sync(path.Dir(name))
}

// writePacked packs a file into a new one.
func (f *folder) writePacked(ctx context.Context, from, to string) error {
	source, info, err := f.open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	err = f.create(to, info.Mode().Perm(), func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		packed, err := gzip.NewWriterLevel(buffered, gzip.BestCompression)
		if err != nil {
			return err
		}
		packed.ModTime = info.ModTime()
		if _, err := io.Copy(packed, readerOf{ctx, source}); err != nil {
			return err
		}
		return errors.Join(packed.Close(), buffered.Flush())
	})
	if err != nil {
		return err
	}
	return f.root.Chtimes(to, info.ModTime(), info.ModTime()) // it was used then
}

// samePacked is nil if a packed file holds every byte of a plain one and no more.
func (f *folder) samePacked(ctx context.Context, plain, packed string) (m made, err error) {
	source, before, err := f.open(plain)
	if err != nil {
		return m, err
	}
	defer func() { _ = source.Close() }()
	want, got, whole := sha256.New(), sha256.New(), sha256.New()
	if _, err := io.Copy(want, readerOf{ctx, source}); err != nil {
		return m, err
	}
	err = f.unpack(packed, func(r io.Reader) error {
		_, err := io.Copy(got, readerOf{ctx, r})
		return err
	})
	if err != nil {
		return m, err
	}
	if string(want.Sum(nil)) != string(got.Sum(nil)) {
		return m, errors.New("it holds something else")
	}
	if after, err := f.root.Lstat(plain); err != nil || !unchanged(before, after) {
		return m, errors.Join(fmt.Errorf("%s changed meanwhile", plain), err)
	}
	file, info, err := f.open(packed)
	if err != nil {
		return m, err
	}
	defer func() { _ = file.Close() }()
	if _, err := io.Copy(whole, file); err != nil {
		return m, err
	}
	return made{Size: info.Size(), Sum: hex.EncodeToString(whole.Sum(nil)), At: info.ModTime()}, nil
}

func unchanged(before, after fs.FileInfo) bool {
	return os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}

// readerOf reads until ctx ends.
type readerOf struct {
	ctx context.Context
	io.Reader
}

func (r readerOf) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// unlinkLeftovers takes away the temporary name that a file has besides its own if a
// process was killed in between, while it was packed or put back: a file with two names
// never goes.
func (f *folder) unlinkLeftovers(s *survey) (err error) {
	all := slices.Clone(s.ours)
	s.ours = slices.DeleteFunc(s.ours, func(c file) bool {
		if c.kind != leftover || !slices.ContainsFunc(all, func(other file) bool {
			return other.kind != leftover && path.Dir(other.name) == path.Dir(c.name) && os.SameFile(other.info, c.info)
		}) {
			return false
		}
		failed := f.root.Remove(c.name)
		err = errors.Join(err, failed)
		if failed != nil {
			return false
		}
		s.files--
		return true
	})
	return err
}

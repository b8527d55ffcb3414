package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	killFile = "cgroup.kill"
	// maxDepth is how far below a group of ours members are looked for.
	maxDepth = 32
	// vacation is how long the kernel may take to notice that a group is empty.
	vacation = 100 * time.Millisecond
)

// passing are the errors that tell of the moment, and nothing of a group.
var passing = []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EINTR}

// among reports whether an error is one of several.
func among(err error, several []error) bool {
	return slices.ContainsFunc(several, func(e error) bool { return errors.Is(err, e) })
}

// cohort is the control group of one tree. Whoever is in it was born there, below
// the leader, or was moved there by somebody who may do that to it. The path is
// opened anew, and judged, whenever it is used.
type cohort struct {
	path  string
	since uint64 // nothing of the tree is older
	below bool   // all of the tree descends from this process
	mixed bool   // somebody was in it that is not ours to end
}

// open opens the directory if it surely is one of ours: a group, made by this
// user, below another group and not where something is mounted, reached without
// any link.
func (c *cohort) open() (*os.File, error) {
	parent, dir, err := c.openBoth()
	if err != nil {
		return nil, err
	}
	_ = unix.Close(parent)
	return os.NewFile(uintptr(dir), c.path), nil
}

func (c *cohort) openBoth() (parent, dir int, err error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	const strict = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	parent, err = unix.Openat2(unix.AT_FDCWD, filepath.Dir(c.path), &unix.OpenHow{Flags: flags, Resolve: strict})
	if err != nil {
		return -1, -1, c.unusable(err)
	}
	dir, err = unix.Openat2(parent, filepath.Base(c.path), &unix.OpenHow{
		Flags: flags, Resolve: strict | unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH,
	})
	if err != nil {
		_ = unix.Close(parent)
		return -1, -1, c.unusable(err)
	}
	var fs unix.Statfs_t // of the parent as well: no mount lies between them
	if err = unix.Fstatfs(dir, &fs); err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC {
		err = unix.ENODEV
	}
	var st unix.Stat_t
	if err == nil {
		if err = unix.Fstat(dir, &st); err == nil && int(st.Uid) != os.Geteuid() {
			err = unix.EPERM
		}
	}
	if err != nil {
		_ = unix.Close(dir)
		_ = unix.Close(parent)
		return -1, -1, c.unusable(err)
	}
	return parent, dir, nil
}

func (c *cohort) unusable(why error) error { return fmt.Errorf("control group %s: %w", c.path, why) }

// join returns the members that are ours to end, and those that v does not know.
func (c *cohort) join(v *view) (lives []life, hidden []process, err error) {
	c.mixed = false
	dir, err := c.open()
	if err != nil {
		if among(err, passing) {
			return nil, nil, err
		}
		return nil, nil, nil // it is gone, or was never ours
	}
	defer dir.Close()
	pids, err := members(dir, maxDepth)
	if err != nil {
		return nil, nil, c.unusable(err)
	}
	r := roots{since: c.since, below: c.below}
	for _, pid := range pids {
		p, ok := v.byPid[pid]
		switch {
		case pid == 0, ok && !v.ours(p, r):
			c.mixed = true
		case ok:
			lives = append(lives, p.life)
		default: // without its tick nothing can be sent to it
			hidden = append(hidden, process{life: life{pid: pid}, state: '?'})
		}
	}
	return lives, hidden, nil
}

// kill kills whoever is in the group, at once, and reports whether it did; not if
// somebody was in it, when it was last joined, who is not ours to end.
func (c *cohort) kill() bool {
	if c.mixed {
		return false
	}
	dir, err := c.open()
	if err != nil {
		return false
	}
	defer dir.Close()
	f, err := openIn(dir, killFile, unix.O_WRONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteString("1")
	return err == nil
}

// remove removes the group and those below it. The kernel refuses with EBUSY
// while somebody is in one.
func (c *cohort) remove() error {
	parent, fd, err := c.openBoth()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }()
	dir := os.NewFile(uintptr(fd), c.path)
	defer dir.Close()
	return removeBelow(parent, dir, filepath.Base(c.path), maxDepth)
}

// removeEmpty is remove for a group whose members have all been seen dead: some
// kernels count them a moment longer, which is waited for.
func (c *cohort) removeEmpty() error {
	err := c.remove()
	if errors.Is(err, unix.EBUSY) && !c.mixed && c.vacated() {
		err = c.remove()
	}
	return err
}

// vacated waits, not for long, until the kernel says that nobody is in the group or
// below it, and reports whether it did.
func (c *cohort) vacated() bool {
	dir, err := c.open()
	if err != nil {
		return false
	}
	defer dir.Close()
	events, err := openIn(dir, "cgroup.events", unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer events.Close()
	over := time.Now().Add(vacation)
	for buf := make([]byte, 256); ; {
		n, err := events.ReadAt(buf, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return false
		}
		if bytes.Contains(buf[:n], []byte("populated 0")) {
			return true
		}
		left := time.Until(over)
		if left <= 0 {
			return false
		}
		changed := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}} // since it was read
		if _, err := unix.Poll(changed, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// removeBelow removes the group dir, which has that name in parent. Groups below
// are only looked for if they are in the way.
func removeBelow(parent int, dir *os.File, name string, depth int) error {
	err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOENT) { // somebody else was faster
		return nil
	}
	if !errors.Is(err, unix.EBUSY) || depth == 0 {
		return err
	}
	found := false
	for sub, err := range below(dir) {
		if err != nil {
			return err
		}
		found = true
		if err := removeBelow(int(dir.Fd()), sub, filepath.Base(sub.Name()), depth-1); err != nil {
			return err
		}
	}
	if found {
		return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	}
	return err
}

// members lists the processes in a group and in those below it. 0 stands for
// those that cannot be named.
func members(dir *os.File, depth int) (pids []int, err error) {
	f, err := openIn(dir, "cgroup.procs", unix.O_RDONLY)
	if err == nil {
		pids, err = pidsIn(f)
		_ = f.Close()
	}
	switch {
	case among(err, passing):
		return nil, err
	// The processes of a threaded group are listed above it; one that is being
	// removed has none.
	case err != nil && !among(err, []error{unix.EOPNOTSUPP, unix.ENODEV, unix.ENOENT}):
		pids = append(pids, 0)
	}
	for sub, err := range below(dir) {
		if err != nil {
			return nil, err
		}
		if depth == 0 {
			return append(pids, 0), nil
		}
		more, err := members(sub, depth-1)
		if err != nil {
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}

// below opens the groups right below one, each until the next is asked for. Those
// that go meanwhile are left out; an error is a passing one.
func below(dir *os.File) iter.Seq2[*os.File, error] {
	return func(yield func(*os.File, error) bool) {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return
		}
		entries, err := dir.ReadDir(-1)
		if among(err, passing) && !yield(nil, err) {
			return
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			sub, err := openIn(dir, e.Name(), unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil && !among(err, passing) {
				continue
			}
			more := yield(sub, err)
			_ = sub.Close()
			if !more {
				return
			}
		}
	}
}

// openIn opens what has a name in a directory, itself and no link.
func openIn(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

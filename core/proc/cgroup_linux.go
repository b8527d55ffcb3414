package proc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the names of our control groups; the tree's cookie follows.
const groupPrefix = "opencode-sidecar-"

// refusals are what the kernel says when a process may not, or cannot, be born
// into a control group.
var refusals = []error{
	unix.EACCES, unix.EPERM, unix.EBUSY, unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP, unix.ENODEV, unix.EBADF,
}

// groups makes the control groups that trees are born into, next to the processes
// of this one's own group. The zero value is ready; it looks for that group once.
type groups struct {
	mount string // the only mount point to look at; empty for any

	once sync.Once
	home string      // the directory of this process' own group; empty where there is none
	off  atomic.Bool // they cannot be made here, or not be entered
}

// where returns the directory to make groups in, or nothing.
func (g *groups) where() string {
	g.once.Do(func() {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return
		}
		for _, dir := range homes(string(mounts), string(own), g.mount) {
			// A mount may hide behind another one: the kernel has to agree.
			if pids, err := listed(filepath.Join(dir, "cgroup.procs")); err == nil && slices.Contains(pids, os.Getpid()) {
				g.home = dir
				return
			}
		}
	})
	if g.off.Load() {
		return ""
	}
	return g.home
}

// of returns the directory of the group for a cookie, or nothing.
func (g *groups) of(cookie string) string {
	home := g.where()
	if home == "" || !plain(cookie) {
		return ""
	}
	return filepath.Join(home, groupPrefix+cookie)
}

// homes returns the directories that the own group of a process may have: by its
// mountinfo and its list of groups, below one mount point or, if that is empty,
// any.
func homes(mounts, own, only string) (dirs []string) {
	path := ""
	for line := range strings.Lines(own) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = p
		}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil // none, or outside of what this process' namespace shows
	}
	for line := range strings.Lines(mounts) {
		left, right, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		if only != "" && point != only {
			continue
		}
		below, err := filepath.Rel(root, path)
		if err == nil && filepath.IsLocal(below) {
			dirs = append(dirs, filepath.Join(point, below))
		}
	}
	return dirs
}

// unescape decodes a path in mountinfo, where blanks and the like are octal.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// listed reads a file of pids; 0 stands for processes that this one cannot name.
func listed(file string) ([]int, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return pidsIn(f)
}

func pidsIn(r io.Reader) (pids []int, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(lines.Bytes())))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, lines.Err()
}

// launch starts cmd in a control group of its own, or without where that cannot
// be, and returns the directory of the group, if any.
func (k *Keeper) launch(cmd *exec.Cmd, cookie string) (group string, err error) {
	path := k.groups.of(cookie)
	if path == "" {
		return "", cmd.Start()
	}
	if err := unix.Mkdir(path, 0o755); err != nil {
		// Too many groups, say, or a second tree with that cookie: another one may do.
		if !among(err, passing) && !errors.Is(err, unix.EEXIST) {
			k.groups.off.Store(true)
		}
		return "", cmd.Start()
	}
	c := &cohort{path: path}
	defer func() {
		if group != "" {
			return
		}
		if c.removeEmpty() != nil { // it cannot be opened, though we have just made it
			_ = unix.Rmdir(path)
		}
	}()
	dir, err := c.open()
	if err == nil {
		defer dir.Close()
		err = unix.Faccessat(int(dir.Fd()), killFile, unix.W_OK, unix.AT_EACCESS)
	}
	if err != nil {
		if !among(err, passing) {
			k.groups.off.Store(true)
		}
		return "", cmd.Start()
	}
	again, attr := *cmd, *cmd.SysProcAttr // a Cmd starts once
	attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	cmd.SysProcAttr = &attr
	if err = cmd.Start(); err == nil {
		cmd.SysProcAttr = again.SysProcAttr // the descriptor is closed now
		return path, nil
	}
	if !among(err, refusals) {
		return "", err
	}
	*cmd = again
	if err = cmd.Start(); err == nil { // so it was the group
		k.groups.off.Store(true)
	}
	return "", err
}

// plain reports whether a cookie can end the name of a group.
func plain(cookie string) bool {
	return cookie != "" && len(cookie) <= 128 && !strings.ContainsFunc(cookie, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// recorded returns the groups of trees that another keeper has started. A mark is
// believed only if it names a directory that its cookie can have.
func recorded(marks []Mark) (cohorts []*cohort) {
	for _, m := range marks {
		leader, known := parse(m.Leader)
		if !plain(m.Cookie) || m.Leader != "" && !known { // of an earlier boot, then
			continue
		}
		if filepath.IsAbs(m.Group) && filepath.Clean(m.Group) == m.Group && filepath.Base(m.Group) == groupPrefix+m.Cookie {
			cohorts = append(cohorts, &cohort{path: m.Group, since: leader.start})
		}
	}
	return cohorts
}

// disband removes the group of a tree of which nothing may be left; the kernel
// refuses while somebody is in it. The caller holds t.mu.
func (t *Tree) disband() {
	for _, c := range t.cohorts() {
		t.disbanded(c.remove())
	}
}

// emptied removes the group of a tree of which nobody has been found there. The
// caller holds t.mu.
func (t *Tree) emptied(cohorts []*cohort) {
	for _, c := range cohorts {
		t.disbanded(c.removeEmpty())
	}
}

func (t *Tree) disbanded(err error) {
	t.system.disbanded = err == nil || errors.Is(err, unix.ENOENT)
}

// cohorts is the group of the tree, if it has one. The caller holds t.mu.
func (t *Tree) cohorts() []*cohort {
	if t.group == "" || t.system.disbanded {
		return nil
	}
	return []*cohort{{path: t.group, since: t.system.start, below: t.keeper.adopting()}}
}

// lookInto looks at all processes and at who is in the groups. Lives are those of
// members that are ours to end, and hidden stands for members that /proc does not
// show.
//
// The processes come first: a number that is read then and listed after is either
// still the same process, which is so a member, or names none that can be
// signalled.
func lookInto(cohorts []*cohort) (v *view, lives []life, hidden []process, err error) {
	for range 3 { // a member may have been born in between
		if v, err = look(); err != nil {
			return nil, nil, nil, err
		}
		lives, hidden = nil, nil
		for _, c := range cohorts {
			l, h, err := c.join(v)
			if err != nil {
				return nil, nil, nil, err
			}
			lives, hidden = append(lives, l...), append(hidden, h...)
		}
		if len(hidden) == 0 {
			break
		}
	}
	return v, lives, hidden, nil
}

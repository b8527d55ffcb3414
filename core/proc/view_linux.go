package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxEnviron is the most that is read of a process' environment: more than the
// kernel lets a process start with unless its stack limit was raised a lot.
const maxEnviron = 16 << 20

// life is one process for ever: its number and the tick of its start.
type life struct {
	pid   int
	start uint64
}

// process is what the kernel says of a process.
type process struct {
	life
	state                  byte
	parent, group, session int
	threads                int // the first one included, even if it has ended
}

// dead reports whether the process has ended, and is only waited for. The state is
// that of the first thread, which may end before the others.
func (p process) dead() bool { return (p.state == 'Z' || p.state == 'X') && p.threads <= 1 }

// view is all processes at about one moment.
type view struct {
	byPid map[int]process
	own   process
	// above are the processes that this one descends from, and itself: they are
	// nobody's to end.
	above map[int]bool
}

// look returns what runs now. A process that is born or dies meanwhile may be in
// it or not.
func look() (*view, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	v := &view{byPid: make(map[int]process, len(names)), above: map[int]bool{}}
	buf := make([]byte, 1024)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := stat(int(dir.Fd()), pid, buf); err == nil {
			v.byPid[pid] = p
		}
	}
	own, ok := v.byPid[os.Getpid()]
	if !ok {
		return nil, errors.New("/proc does not show this process")
	}
	v.own = own
	for p, ok := own, true; ok && !v.above[p.pid]; p, ok = v.byPid[p.parent] {
		v.above[p.pid] = true
	}
	return v, nil
}

// stat reads PID/stat below the open folder /proc; the name, its second field, may
// hold anything. buf is scratch.
func stat(proc, pid int, buf []byte) (process, error) {
	fd, err := unix.Openat(proc, strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, err
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if err != nil {
		return process{}, err
	}
	fields := bytes.Fields(buf[bytes.LastIndexByte(buf[:n], ')')+1 : n])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("unreadable state of process %d", pid)
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return process{
		life: life{pid, start}, state: fields[0][0],
		parent: number(1), group: number(2), session: number(3), threads: number(17),
	}, err
}

// current reads the state of one process.
func current(pid int) (process, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return process{}, err
	}
	defer proc.Close()
	return stat(int(proc.Fd()), pid, make([]byte, 1024))
}

// environ looks for the cookies that processes carry. The zero value is ready.
type environ struct{ buf []byte }

// carries reports whether a process carries one of the cookies. What may not be
// read is not ours.
func (e *environ) carries(pid int, cookies map[string]bool) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	defer f.Close()
	if e.buf == nil {
		e.buf = make([]byte, 16<<10)
	}
	n := 0
	for n < maxEnviron {
		if n == len(e.buf) {
			e.buf = append(e.buf, make([]byte, len(e.buf))...)
		}
		m, err := f.Read(e.buf[n:])
		if n += m; err != nil || m == 0 {
			break
		}
	}
	for v := range bytes.SplitSeq(e.buf[:n], []byte{0}) {
		value, ok := bytes.CutPrefix(v, []byte(CookieVar+"="))
		if !ok {
			continue
		}
		for c := range strings.SplitSeq(string(value), cookieSep) {
			if cookies[c] {
				return true
			}
		}
	}
	return false
}

// roots is what is known of trees before one looks.
type roots struct {
	cookies  map[string]bool
	lives    map[life]bool // processes that belong to them
	sessions map[int]bool  // sessions that are surely theirs
	led      map[int]bool  // sessions that are theirs if somebody with a cookie is in one
	since    uint64        // nothing of them is older
	below    bool          // all of them descend from this process
}

// members returns the processes of the trees, zombies included, by pid.
func (v *view) members(r roots) map[int]process {
	in := map[int]process{}
	var env environ
	for pid, p := range v.byPid {
		if !v.ours(p, r) {
			continue
		}
		switch {
		case r.lives[p.life], r.sessions[p.session]:
			in[pid] = p
		case !p.dead() && env.carries(pid, r.cookies):
			in[pid] = p
		}
	}
	sessions := map[int]bool{}
	for _, p := range in {
		if r.led[p.session] {
			sessions[p.session] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, p := range v.byPid {
			if _, known := in[pid]; known || !v.ours(p, r) {
				continue
			}
			_, child := in[p.parent]
			leader, led := in[p.session]
			if child || led && leader.session == p.session || sessions[p.session] {
				in[pid] = p
				grown = true
			}
		}
	}
	return in
}

// ours reports whether nothing speaks against it that a process is of the trees.
func (v *view) ours(p process, r roots) bool {
	return p.start >= r.since && p.pid > 1 && !v.above[p.pid] && (!r.below || v.below(p))
}

// below reports whether a process descends from this one.
func (v *view) below(p process) bool {
	for range len(v.byPid) {
		if p.parent == v.own.pid {
			return true
		}
		var ok bool
		if p, ok = v.byPid[p.parent]; !ok {
			return false
		}
	}
	return false
}

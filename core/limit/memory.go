package limit

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
)

// MemoryPressure returns a Flow.Pressure that says whether at least this
// percentage of the memory is used, by whichever is tighter: the machine's
// (MemAvailable), or the limit of a control group (version 2) that this process
// is in, at any level, where pages of files that can be dropped at once do not
// count as used. A percentage outside 1 to 99 switches it off. What cannot be
// read never presses, so on other systems than Linux it is never true.
//
// The function reads a few small files of the kernel's each time. It is safe for
// concurrent use.
func MemoryPressure(percent int) func() bool {
	if percent < 1 || percent > 99 || runtime.GOOS != "linux" {
		return func() bool { return false }
	}
	m := memory{os.DirFS("/")}
	return func() bool { return m.used() >= float64(percent)/100 }
}

// memory reads the memory's accounts below a root of the file system.
type memory struct{ root fs.FS }

// maxRead bounds the read of one file. What we look for is in the first lines.
const maxRead = 8 << 10

// used returns the share of the memory that is used, from 0; the highest of the
// machine and all control groups.
func (m memory) used() float64 {
	var buf [maxRead]byte
	used := 0.0
	info := m.read("proc/meminfo", &buf)
	total, ok := field(info, "MemTotal:")
	if available, ok2 := field(info, "MemAvailable:"); ok && ok2 && 0 < total && available <= total {
		used = float64(total-available) / float64(total)
	}
	for dir := m.group(&buf); ; dir = path.Dir(dir) {
		used = max(used, m.groupUsed("sys/fs/cgroup"+dir, &buf))
		if dir == "/" {
			return used
		}
	}
}

// group returns the control group of this process, from "/".
func (m memory) group(buf *[maxRead]byte) string {
	for line := range bytes.Lines(m.read("proc/self/cgroup", buf)) {
		if name, ok := bytes.CutPrefix(line, []byte("0::")); ok { // version 2
			// Clean, because a group outside of our name space begins with "/..".
			return path.Clean("/" + string(bytes.TrimSuffix(name, []byte("\n"))))
		}
	}
	return "/"
}

// groupUsed returns the share of a group's limit that is used, 0 without one.
func (m memory) groupUsed(dir string, buf *[maxRead]byte) float64 {
	dir = path.Clean(dir)
	limit, ok := number(m.read(dir+"/memory.max", buf)) // may say "max"
	if !ok || limit == 0 {
		return 0
	}
	current, ok := number(m.read(dir+"/memory.current", buf))
	if !ok {
		return 0
	}
	idle, _ := field(m.read(dir+"/memory.stat", buf), "inactive_file")
	return float64(current-min(idle, current)) / float64(limit)
}

// read returns the beginning of a file, or nothing.
func (m memory) read(name string, buf *[maxRead]byte) []byte {
	f, err := m.root.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	n, err := io.ReadFull(f, buf[:])
	if err != nil && n == 0 {
		return nil
	}
	return buf[:n]
}

// field returns the number behind a name at the beginning of a line.
func field(text []byte, name string) (uint64, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if ok && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			return number(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB")))
		}
	}
	return 0, false
}

// number reads a whole line as a number.
func number(text []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	return n, err == nil
}

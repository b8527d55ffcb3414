package limit

import (
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

// What Linux shows, shortened.
const (
	meminfo = "MemTotal:       1000000 kB\nMemFree:          10000 kB\nMemAvailable:    800000 kB\nBuffers: 5 kB\n" // 20 % used
	stat    = "anon 50\nfile 40\ninactive_anon 3\nactive_file 10\ninactive_file 30\n"
)

// The original looked at the share of its own heap that was in use, which is high
// for any process, and so found itself short of memory all the time.
func TestTheTighterOfMachineAndGroupsCounts(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"nothing to read": {nil, 0},
		"machine":         {map[string]string{"proc/meminfo": meminfo}, 0.20},
		"old kernel":      {map[string]string{"proc/meminfo": "MemTotal: 10 kB\nMemFree: 1 kB\n"}, 0},
		"nonsense":        {map[string]string{"proc/meminfo": "MemTotal: -1 kB\nMemAvailable: x\n\x00"}, 0},
		"more than all":   {map[string]string{"proc/meminfo": "MemTotal: 10 kB\nMemAvailable: 11 kB\n"}, 0},
		"own group": {map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "0::/user.slice/app-1.scope\n",
			"sys/fs/cgroup/user.slice/app-1.scope/memory.max":     "200\n",
			"sys/fs/cgroup/user.slice/app-1.scope/memory.current": "90\n",
			"sys/fs/cgroup/user.slice/app-1.scope/memory.stat":    stat,
		}, 0.30},
		"the one above is tighter": {map[string]string{
			"proc/meminfo":                      meminfo,
			"proc/self/cgroup":                  "9:name=systemd:/x\n0::/a/b/c\n",
			"sys/fs/cgroup/a/b/c/memory.max":    "1000\n",
			"sys/fs/cgroup/a/b/c/memory.stat":   stat,
			"sys/fs/cgroup/a/b/memory.max":      "max\n",
			"sys/fs/cgroup/a/memory.max":        "100\n",
			"sys/fs/cgroup/a/memory.current":    "99\n",
			"sys/fs/cgroup/a/memory.stat":       stat,
			"sys/fs/cgroup/a/b/memory.current":  "99999\n",
			"sys/fs/cgroup/a/b/c/memory.events": "",
		}, 0.69},
		"container, its own name space": {map[string]string{
			"proc/meminfo":                 meminfo,
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "100\n",
			"sys/fs/cgroup/memory.current": "95\n", // no memory.stat: all counts
		}, 0.95},
		"container, the host's name space": {map[string]string{
			"proc/self/cgroup":             "0::/docker/1234\n", // not there
			"sys/fs/cgroup/memory.max":     "100\n",
			"sys/fs/cgroup/memory.current": "50\n",
		}, 0.50},
		"a group outside of ours": {map[string]string{
			"proc/self/cgroup":               "0::/../../b\n",
			"sys/fs/cgroup/b/memory.max":     "100\n",
			"sys/fs/cgroup/b/memory.current": "40\n",
		}, 0.40},
		"more idle than current": {map[string]string{
			"sys/fs/cgroup/memory.max":     "100\n",
			"sys/fs/cgroup/memory.current": "20\n",
			"sys/fs/cgroup/memory.stat":    stat,
		}, 0},
		"a limit of nothing": {map[string]string{
			"sys/fs/cgroup/memory.max":     "0\n",
			"sys/fs/cgroup/memory.current": "20\n",
		}, 0},
		"version 1 only": {map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "4:memory:/a\n1:cpu:/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1\n",
		}, 0.20},
		"endless": {map[string]string{
			"proc/meminfo":     meminfo + strings.Repeat("x", 1<<20),
			"proc/self/cgroup": "0::/" + strings.Repeat("a", 1<<20),
		}, 0.20},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := (memory{root}).used(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v used, want %v", name, got, c.want)
		}
	}
}

func TestMemoryPressureCanBeOff(t *testing.T) {
	for _, percent := range []int{-1, 0, 100, 101} {
		if MemoryPressure(percent)() {
			t.Errorf("%d %%", percent)
		}
	}
	if pressed := MemoryPressure(1); runtime.GOOS != "linux" && pressed() {
		t.Error("nobody knows here")
	}
}

// In a child of the tests that has holdMemory set, hold takes childHolds bytes of
// memory, says so, and ends when its stdin does.
const (
	holdMemory = "LIMIT_TEST_HOLD_MEMORY"
	childHolds = 256 << 20
)

func hold() {
	memory := make([]byte, childHolds)
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1 // a page counts when it is touched
	}
	os.Stdout.Write(memory[:1])
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(memory)
}

func BenchmarkMemoryPressure(b *testing.B) {
	pressed := MemoryPressure(90)
	b.ReportAllocs()
	for b.Loop() {
		pressed()
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// facts are what a number has to be read with.
type facts struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	Memory   string `json:"memory"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
	Node     string `json:"node"`
	OpenCode string `json:"opencode"`
	Load     string `json:"load"`
	Quick    bool   `json:"quick,omitempty"`
}

func machine(ctx context.Context, b *bench) facts {
	f := facts{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: field("/proc/meminfo", "MemTotal"),
		Kernel: runtime.GOOS + " " + line("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Node: "none",
		OpenCode: hosttest.OpenCodeVersion, Load: loadAverage(), Quick: b.quick,
	}
	if out, err := exec.CommandContext(ctx, "node", "--version").Output(); err == nil {
		f.Node = strings.TrimSpace(string(out))
	}
	return f
}

func (f facts) print(w io.Writer) {
	fmt.Fprintf(w, "machine: %s, %d cores, memory %s, %s\n", f.CPU, f.Cores, f.Memory, f.Kernel)
	fmt.Fprintf(w, "with:    %s, Node %s, OpenCode %s; load average %s\n", f.Go, f.Node, f.OpenCode, f.Load)
	fmt.Fprintln(w, "original: the TypeScript plugin of the seed, measured on a machine of this kind")
	if f.Quick {
		fmt.Fprintln(w, "-quick: too few repetitions for the numbers to mean much")
	}
}

func loadAverage() string {
	words := strings.Fields(line("/proc/loadavg"))
	return strings.Join(words[:min(3, len(words))], " ")
}

// field returns the value of the first line of a file that starts with a name
// and a colon, "?" where there is none.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "?"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

func line(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(data))
}

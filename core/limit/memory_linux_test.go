package limit

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
)

// What another process takes shows on this machine, and so does what it gives
// back. Others take and give as well, so it may need a second look.
func TestWhatAProcessTakesIsSeen(t *testing.T) {
	m := memory{os.DirFS("/")}
	available := func() float64 {
		n, ok := field(m.read("proc/meminfo", new([maxRead]byte)), "MemAvailable:")
		if !ok {
			t.Fatal("MemAvailable cannot be read")
		}
		return float64(n) * 1024
	}
	for range 20 {
		used, before := m.used(), available()
		seen := false
		within(t, func() {
			seen = before-available() > childHolds/2 && m.used() > used
		})
		if seen {
			return
		}
	}
	t.Error("a process took 256 MiB, twenty times, and it never showed")
}

// within runs look while a child holds the memory.
func within(t *testing.T, look func()) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), holdMemory+"=1")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadByte(); err != nil {
		t.Error(err)
	} else {
		look()
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

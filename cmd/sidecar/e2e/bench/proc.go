package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is what a process has used up to a moment. It is read from /proc: on
// systems without it nothing can be said.
type usage struct {
	cpu      float64 // seconds
	switches int64   // of all threads, voluntary and not
	rss      float64 // bytes
	threads  int
}

func usageOf(pid int) (usage, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return usage{}, fmt.Errorf("process %d cannot be looked at in /proc", pid)
	}
	u := usage{threads: len(tasks), rss: resident(pid)}
	for _, t := range tasks {
		// schedstat counts nanoseconds; stat has ticks of 10 ms only.
		words := strings.Fields(line(filepath.Join(t, "schedstat")))
		ns, err := strconv.ParseFloat(words[0], 64)
		if err != nil {
			return usage{}, fmt.Errorf("the kernel keeps no schedstat: %w", err)
		}
		u.cpu += ns / 1e9
		for _, name := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
			n, err := strconv.ParseInt(field(filepath.Join(t, "status"), name), 10, 64)
			if err != nil {
				return usage{}, fmt.Errorf("context switches of process %d: %w", pid, err)
			}
			u.switches += n
		}
	}
	return u, nil
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) float64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n * 1024
}

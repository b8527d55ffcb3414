package trash

import (
	"fmt"
	"testing"
	"time"
)

// One file of 4 KiB, there and back: what a cleaning costs is its flushes.
func BenchmarkTakeAndRestore(b *testing.B) {
	files := map[string]string{}
	var names []string
	for n := range 100 {
		names = append(names, fmt.Sprint("archive/", n))
		files[names[n]] = string(make([]byte, 4096))
	}
	p := newProject(b, files)
	var taking, restoring time.Duration
	for b.Loop() {
		start := time.Now()
		p.take(day, names...)
		taking += time.Since(start)
		start = time.Now()
		p.restore("")
		restoring += time.Since(start)
	}
	each := float64(b.N * len(names))
	b.ReportMetric(float64(taking.Microseconds())/each, "µs/take")
	b.ReportMetric(float64(restoring.Microseconds())/each, "µs/restore")
}

package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

func TestTwoGigabytesCostLittle(t *testing.T) {
	r := with(t, Options{})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse // what lives: how it is laid out depends on the tests before
	}
	before := heap()
	const all = 2 << 30
	start := time.Now()
	j := r.start(Spec{Command: fmt.Sprintf("echo begin; head -c %d /dev/zero; echo; echo end; head -c 10000000 /dev/zero >&2", all), Timeout: 5 * time.Minute})
	var peak uint64
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	late := time.After(4 * time.Minute)
	for j, _ = r.Get(j.ID); !j.State.Terminal(); j, _ = r.Get(j.ID) {
		select {
		case <-again.C:
			peak = max(peak, heap())
		case <-late:
			t.Fatal("it does not end")
		}
	}
	grown := int64(max(peak, heap())) - int64(before)
	t.Logf("%d MB in %v, %d KB of memory", all>>20, time.Since(start), grown>>10)
	if j.State != Done || j.Out.Total != all+11 || j.Err.Total != 10_000_000 || j.Out.Dropped != all+11-DefaultBuffer {
		t.Errorf("%+v", j)
	}
	if limit := int64(5 << 20); grown > limit {
		t.Errorf("it costs %d bytes", grown)
	}
	out, _, _ := r.read(j, Query{})
	if !strings.HasPrefix(out, "begin\n\x00") || !strings.HasSuffix(out, "\x00\nend\n") {
		t.Errorf("%q … %q", out[:20], out[len(out)-20:])
	}
}

func TestTwoHundredAtOnceLoseNoByte(t *testing.T) {
	const commands = 200
	r := with(t, Options{Settings: Settings{Limit: commands}, Memory: 1 << 30, Keep: commands})
	var wg sync.WaitGroup
	for i := range commands {
		j := r.start(Spec{Command: "x=$(head -c 150000 /dev/urandom | base64); printf %s \"$x\" | sha256sum >&2; printf %s \"$x\""})
		wg.Go(func() {
			sum := sha256.New()
			var at Cursor
			var stderr strings.Builder
			// Half are read while they write, page by page.
			for more := i%2 == 0; more; {
				w := r.until(j, Until{Pattern: ".", Stream: Stdout, After: at})
				out, err := r.Read(j.ID, Query{After: at, Max: 10_000})
				if err != nil {
					t.Error(err)
					return
				}
				add(sum, &stderr, out)
				at = out.Next
				more = w.Reason != Ended
			}
			j := r.end(j)
			out, err := r.Read(j.ID, Query{After: at})
			if err != nil || j.State != Done {
				t.Errorf("%+v, %v", j, err)
				return
			}
			add(sum, &stderr, out)
			if got := hex.EncodeToString(sum.Sum(nil)); !strings.HasPrefix(stderr.String(), got) {
				t.Errorf("%d bytes have the sum %s, want %s", j.Out.Total, got, stderr.String())
			}
		})
	}
	wg.Wait()
}

// add takes in what was read.
func add(sum interface{ Write(p []byte) (int, error) }, stderr *strings.Builder, out Output) {
	for _, p := range out.Parts {
		if p.Stream == Stdout {
			_, _ = sum.Write([]byte(p.Text))
		} else {
			stderr.WriteString(p.Text)
		}
	}
}

func TestAThousandCommandsLeaveNothing(t *testing.T) {
	r := with(t, Options{Keep: 5})
	count := func() (files, goroutines int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names), runtime.NumGoroutine()
	}
	one := func(i int) {
		s := Spec{Command: "exit 1"}
		switch i % 5 {
		case 1:
			s.Input = "x"
		case 2:
			s.PTY = &Size{}
		case 3:
			s.Interactive = true
		case 4:
			s.Command = "echo x; sleep 300"
		}
		j := r.start(s)
		if i%5 == 4 {
			if _, err := r.Kill(t.Context(), j.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		if j = r.end(j); j.State != Error && j.State != Killed {
			t.Fatalf("%+v", j)
		}
		<-r.ended
	}
	for i := range 10 {
		one(i)
	}
	files, goroutines := count()
	start := time.Now()
	for i := range 1000 {
		one(i)
	}
	t.Logf("%v for each", time.Since(start)/1000)
	proctest.Eventually(t, "descriptors and goroutines are as before", func() bool {
		f, g := count()
		return f <= files && g <= goroutines
	})
	if n := len(r.runs); n > 6 {
		t.Errorf("%d are remembered", n)
	}
}

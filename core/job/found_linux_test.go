package job

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// A line that is kept is found, however much was printed after it.
func TestAFilterLooksAtAllThatIsKept(t *testing.T) {
	d := newDesk(t, Options{})
	_, id := d.says("run_background", `{"command":"echo ERROR early; seq -f 'noise noise noise %g' 5000","waitMs":20000}`)
	said, _ := d.says("check_background", `{"taskId":"`+id+`","filter":"ERROR"}`)
	d.holds(said, "ERROR early")
	said, _ = d.says("check_background", `{"taskId":"`+id+`","filter":"noise"}`)
	d.holds(said, "noise noise noise 5000\n", "earlier lines are left out")
	said, _ = d.says("check_background", `{"taskId":"`+id+`","cursor":"0.0"}`)
	d.holds(said, "ERROR early", "there is more; pass it to read on")
}

// Who may wait less long than somebody before does not wait for that one's grace.
func TestAStopHurriesAKill(t *testing.T) {
	r := with(t, Options{Grace: time.Minute})
	j := r.start(Spec{Command: "trap '' TERM; echo ready; while :; do sleep 1; done"})
	r.until(j, Until{Pattern: "ready"})
	killed := make(chan error, 1)
	go func() {
		_, err := r.Kill(context.Background(), j.ID, "ses_1")
		killed <- err
	}()
	proctest.Eventually(t, "it is condemned", func() bool {
		run, err := r.find(j.ID)
		if err != nil {
			return false
		}
		run.mu.Lock()
		defer run.mu.Unlock()
		return run.hasten != nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-killed; err != nil {
		t.Error(err)
	}
	if got, err := r.Get(j.ID); err != nil || got.State != Killed || got.EndedBy != "ses_1" || got.Left != 0 || got.Problem != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheOutputOfTheLastCommandIsNotForgotten(t *testing.T) {
	r := with(t, Options{Settings: Settings{Buffer: 32 << 10}, Memory: 1 << 10})
	j := r.end(r.start(Spec{Command: "seq 1 3000; echo end"}))
	<-r.ended
	if out, _, _ := r.read(j, Query{}); !strings.HasPrefix(out, "1\n2\n") || !strings.HasSuffix(out, "3000\nend\n") {
		t.Errorf("%d bytes are left", len(out))
	}
}

// The end of the input comes after what was written before.
func TestTheEndOfTheInputWaitsForTheInput(t *testing.T) {
	r := with(t, Options{})
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := r.start(Spec{Command: "echo ready; read x < go; wc -c", Input: strings.Repeat("x", 500_000), Interactive: true, Dir: dir})
	r.until(j, Until{Pattern: "ready"})
	closed := make(chan error, 1)
	go func() { closed <- r.CloseInput(t.Context(), j.ID) }()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j = r.end(j)
	if out, _, _ := r.read(j, Query{}); !strings.Contains(out, "500000") {
		t.Errorf("it has read %q", out)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestAQuestionAfterAProgressBarIsSeen(t *testing.T) {
	r := with(t, Options{})
	j := r.start(Spec{Command: `for i in $(seq 500); do printf 'building %d%%\r' $i; done; printf 'ready? '; exec sleep 300`})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if w, err := r.Wait(ctx, j.ID, Until{Pattern: `^ready\?`}); err != nil || w.Reason != Matched {
		t.Errorf("%+v, %v", w, err)
	}
}

// A folder that is allowed may be another one when the command has its place.
func TestAFolderThatWasExchangedIsRefused(t *testing.T) {
	d := newDesk(t, Options{Settings: Settings{Limit: 1}})
	sub := filepath.Join(d.project, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	_, first := d.says("run_background", `{"command":"exec sleep 300"}`)
	_, id := d.says("run_background", `{"command":"pwd -P","cwd":"sub"}`)
	if err := os.Rename(sub, sub+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), sub); err != nil {
		t.Fatal(err)
	}
	d.says("kill_background", `{"taskId":"`+first+`"}`)
	said, _ := d.says("check_background", `{"taskId":"`+id+`","waitMs":10000}`)
	d.holds(said, "[ERROR]", "could not start: cwd: "+sub+" leads to ")
}

// What waits for a place takes a bounded amount of memory.
func TestWhatWaitsIsBounded(t *testing.T) {
	r := with(t, Options{Settings: Settings{Limit: 1}})
	r.start(Spec{Command: "exec sleep 300"})
	input := strings.Repeat("x", maxInput)
	taken := 0
	for range 2 * maxHeldBack / maxInput {
		_, err := r.Start(t.Context(), Spec{Command: "cat", Dir: r.dir, Input: input})
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken++
	}
	if taken != maxHeldBack/maxInput-1 { // their lines count, too
		t.Errorf("%d were taken", taken)
	}
}

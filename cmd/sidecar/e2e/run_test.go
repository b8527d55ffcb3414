package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// `opencode run` ends at the main session's first idle and drops children:
// with us it ends when the background tasks have, and prints their results.
func TestRunWaitsForItsBackgroundTasks(t *testing.T) {
	r := newRig(t, nil)
	var scripts []string
	for i := range 6 {
		scripts = append(scripts, fmt.Sprintf("@wait %dms\n@say result-%d", 300+i*250, i))
	}
	res, err := r.RunAndWait(deadline(t, limit), strings.Join([]string{Batch(scripts...), "@say launched"}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 || !strings.Contains(res.Stdout, "launched") {
		t.Errorf("exit code %d, printed:\n%s\n%s", res.Code, res.Stdout, res.Stderr)
	}
	for i := range 6 {
		if !strings.Contains(res.Stdout, fmt.Sprintf("result-%d", i)) {
			t.Errorf("result-%d was not printed:\n%s", i, res.Stdout)
		}
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
}

// However a turn ends, its tasks are waited for.
func TestRunWaitsAfterATurnThatWasCutOff(t *testing.T) {
	r := newRig(t, nil)
	res, err := r.RunAndWait(deadline(t, limit), strings.Join([]string{Delegate(true, "@wait 1s", "@say the late result"), "@text cut off", "@finish length"}, "\n"))
	if err != nil || res.Code != 0 || !strings.Contains(res.Stdout, "the late result") {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunWithoutTasksIsLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	res, err := r.RunAndWait(deadline(t, limit), "@say just this")
	if err != nil || res.Code != 0 || strings.TrimSpace(res.Stdout) != "just this" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestCtrlCInTheWaitEndsRun(t *testing.T) {
	r := newRig(t, nil)
	ctx := deadline(t, limit)
	p, err := r.Project.Run(strings.Join([]string{Delegate(true, "@tag wait", "@hang"), "@say launched"}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Model.WaitLoad(ctx, "wait", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WaitOutput(ctx, "launched"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("ended only %v after Ctrl-C", took)
	}
	if err := r.Processes().WaitGone(deadline(t, gone)); err != nil {
		t.Error(err)
	}
}

// The sidecar dies while `opencode run` waits: the next one waits on.
func TestRunOutlivesItsSidecar(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record")
	r := newRig(t, nil, "OPENCODE_SIDECAR_RECORD="+record)
	ctx := deadline(t, limit)
	p, err := r.Project.Run(strings.Join([]string{Delegate(true, "@tag held", "@gate held", "@say the late result"), "@say launched"}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := &served{T: t, Rig: r, Server: &hosttest.Server{Process: p}}
	if err := r.Model.WaitLoad(ctx, "held", 1); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if _, err := p.WaitOutput(ctx, "launched"); err != nil {
		t.Fatal(err)
	}
	s.wait("the turn is held", func() bool {
		crossed, err := os.ReadFile(record)
		return err == nil && strings.Contains(string(crossed), `"again":true`)
	})
	before := s.sidecar()
	s.kill(before)
	s.wait("another sidecar runs", func() bool {
		now, err := s.Sidecars()
		return err == nil && len(now) == 1 && now[0].PID != before
	})
	r.Model.Open("held")
	res, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(res.Stdout, "the late result"); res.Code != 0 || n == 0 {
		t.Errorf("exit code %d, printed:\n%s\n%s", res.Code, res.Stdout, res.Stderr)
	}
	told := 0
	for _, q := range r.Model.Requests() {
		if q.Parent == "" {
			told = max(told, strings.Count(strings.Join(q.Texts("user"), "\n"), "[DONE] "))
		}
	}
	if told != 1 {
		t.Errorf("the result was told %d times", told)
	}
}

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
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

package delegate

import (
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

func TestOpenTasksDoNotHideUnreadOnesFromACompaction(t *testing.T) {
	answer := func(p host.Prompt, s host.Session) fake.Reply {
		return fake.Reply{Hang: p.Text == "hangs", Text: "done"}
	}
	play(t, 100, answer, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		first := r.launch("first")
		r.want(r.wait(first), task.Completed, "done")
		for range carryLimit + 5 {
			r.launch("hangs")
		}
		r.sleep(time.Second)
		text := strings.Join(r.engine.Compacting(t.Context(), r.main), "\n")
		if !strings.Contains(text, string(first)) {
			t.Error("the unread result is not carried")
		}
		if n := strings.Count(text, "\n[") - 1; n < carryLimit {
			t.Errorf("%d open tasks are named, want %d", n, carryLimit)
		}
	})
}

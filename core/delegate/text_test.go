package delegate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// However much has been written, a message stays readable and names every task.
func TestADigestIsBounded(t *testing.T) {
	var tasks []task.Task
	for i := range 100 {
		tasks = append(tasks, task.Task{ID: task.ID(fmt.Sprintf("task_%08x", i)), State: task.Completed, Agent: "general", Result: strings.Repeat("word ", 20_000)})
	}
	text := digest(tasks)
	if limit := digestAll + digestEach + len(tasks)*100; len(text) > limit {
		t.Errorf("%d bytes, want at most %d", len(text), limit)
	}
	whole, cut := strings.Count(text, "(cut; "), strings.Count(text, "more, which get_task_result returns")
	if whole < 3 || whole > 10 || cut != 1 {
		t.Errorf("%d results begin in it, %d times the rest is named", whole, cut)
	}
	for _, one := range tasks {
		if !strings.Contains(text, string(one.ID)) {
			t.Errorf("%s is not named", one.ID)
		}
	}
}

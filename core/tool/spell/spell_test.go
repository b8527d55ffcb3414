package spell_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool/spell"
)

func TestNear(t *testing.T) {
	names := []string{"get_task_result", "list_tasks", "cancel_task", "delegate_task", "list_agents", "mode", "id", "dir"}
	for _, tc := range []struct {
		word string
		want []string
	}{
		{"delgate_task", []string{"delegate_task"}},
		{"delegateTask", []string{"delegate_task"}},
		{"DELEGATE-TASK", []string{"delegate_task"}},
		{"list_task", []string{"list_tasks"}},
		{"mdoe", []string{"mode"}},
		{"get_task", []string{"get_task_result"}},
		{"directory", []string{"dir"}},
		{"list", []string{"list_tasks", "list_agents"}},
		{"is", nil}, // too short to guess
		{"webfetch", nil},
		{"", nil},
		{"___", nil},
		{strings.Repeat("delegate_task", 10), nil},
	} {
		if diff := cmp.Diff(tc.want, spell.Near(tc.word, names, 3)); diff != "" {
			t.Errorf("Near(%q) (-want +got):\n%s", tc.word, diff)
		}
	}
}

func TestNearestPrefersTheSmallestChange(t *testing.T) {
	got, ok := spell.Nearest("list_tasts", []string{"list_toasts", "list_tasks", "list"})
	if !ok || got != "list_tasks" {
		t.Errorf("Nearest = %q, %v", got, ok)
	}
	if got, ok := spell.Nearest("zzz", []string{"list"}); ok {
		t.Errorf("Nearest found %q for a word that is near nothing", got)
	}
}

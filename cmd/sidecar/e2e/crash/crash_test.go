package crash

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The environment variables with which a person repeats or varies a run.
const (
	seedEnv  = "CRASH_SEED"
	tasksEnv = "CRASH_TASKS"
	killsEnv = "CRASH_KILLS"
)

func number(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func checkout(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "bin", "sidecar")); err != nil {
		t.Fatalf("run `make build` first: %v", err)
	}
	return root
}

// The benchmark does the same with 100 kills and 200 tasks.
func TestKillsLoseAndDoubleNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	report, err := Run(ctx, Config{
		Root: checkout(t), Dir: dir, Log: t.Logf,
		Tasks: number(t, tasksEnv, 60), Kills: number(t, killsEnv, 20), Seed: seed(t),
	})
	if err != nil {
		t.Error(err)
	}
	judge(t, report)
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(dir, "stderr.log"))
		t.Logf("what the sidecars said last:\n%s", log[max(0, len(log)-10_000):])
	}
}

// The shim rests after the third death within a minute: hence four processes.
func TestKillsInTheRealOpenCodeLoseAndDoubleNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	report, err := OpenCode(ctx, []int{3, 3, 2, 2}, seed(t), t.Logf)
	if err != nil {
		t.Error(err)
	}
	judge(t, report)
}

func seed(t *testing.T) uint64 {
	t.Helper()
	return uint64(number(t, seedEnv, int(time.Now().UnixNano()%1_000_000)))
}

func judge(t *testing.T, r Report) {
	t.Helper()
	t.Logf("%s\nkilled: %s", r, r.Moments())
	for _, problem := range r.Problems {
		t.Log(problem)
	}
	if r.Broken() > 0 {
		t.Errorf("%d promises broken; repeat with %s=%d", r.Broken(), seedEnv, r.Seed)
	}
}

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
		Tasks: number(t, tasksEnv, 60), Kills: number(t, killsEnv, 20), Seed: uint64(number(t, seedEnv, int(time.Now().UnixNano()%1_000_000))),
	})
	t.Logf("%s\n%s", report, report.Moments())
	if err != nil {
		t.Error(err)
	}
	for _, problem := range report.Problems {
		t.Log(problem)
	}
	if report.Broken() > 0 {
		t.Errorf("%d promises broken; repeat with %s=%d", report.Broken(), seedEnv, report.Seed)
	}
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(dir, "stderr.log"))
		t.Logf("what the sidecars said last:\n%s", log[max(0, len(log)-10_000):])
	}
}

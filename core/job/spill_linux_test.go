package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSpilledOutputIsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "jobs")
	r := with(t, Options{Settings: Settings{Buffer: 1000}, Spill: Spill{Folder: dir}})
	j, out, _ := r.run(Spec{Command: "seq 1 10000; echo problem >&2", Spill: true})
	whole, err := os.ReadFile(j.Spill + ".stdout.log")
	if err != nil || j.Spill != filepath.Join(dir, j.ID) || int64(len(whole)) != j.Out.Total || !strings.HasSuffix(string(whole), "\n9999\n10000\n") {
		t.Errorf("%d bytes in %s, %v", len(whole), j.Spill, err)
	}
	if len(out) > 1100 {
		t.Errorf("%d bytes in memory", len(out))
	}
	if problem, err := os.ReadFile(j.Spill + ".stderr.log"); string(problem) != "problem\n" || err != nil {
		t.Errorf("%q, %v", problem, err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, j.Spill + ".stdout.log": 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if j, _, _ := r.run(Spec{Command: "true"}); j.Spill != "" {
		t.Errorf("%+v", j)
	}
	j, _, _ = r.run(Spec{Command: "echo x", Spill: true, PTY: &Size{}})
	if files, _ := filepath.Glob(j.Spill + "*"); len(files) != 1 {
		t.Errorf("%v", files)
	}
}

func TestSpilledFilesHaveALimit(t *testing.T) {
	r := with(t, Options{Spill: Spill{Folder: t.TempDir(), File: 100_000}})
	j, out, _ := r.run(Spec{Command: "head -c 300000 /dev/zero", Spill: true})
	if info, err := os.Stat(j.Spill + ".stdout.log"); err != nil || info.Size() != 100_000 || len(out) != 300_000 || j.State != Done {
		t.Errorf("%v, %v; %d in memory", info.Size(), err, len(out))
	}
}

func TestACommandRunsWithoutItsFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := with(t, Options{Spill: Spill{Folder: filepath.Join(file, "jobs")}})
	if j, out, _ := r.run(Spec{Command: "echo x", Spill: true}); j.State != Done || j.Spill != "" || out != "x\n" {
		t.Errorf("%+v", j)
	}
}

func TestOldFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{
		"job_new.stdout.log": time.Minute, "job_a.stdout.log": time.Hour, "job_b.stderr.log": 2 * time.Hour, "job_c.stdout.log": 3 * time.Hour,
		"job_old.stdout.log": 48 * time.Hour, "job_runs.stdout.log": 48 * time.Hour, "mine.log": 48 * time.Hour, "job_mine.txt": 48 * time.Hour,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "job_dir.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	names := func() string {
		entries, _ := os.ReadDir(dir)
		var out []string
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return strings.Join(out, " ")
	}
	Spill{Folder: dir, Total: 3000}.keeping(24*time.Hour).prune(now, func(id string) bool { return id == "job_runs" })
	if got, want := names(), "job_a.stdout.log job_b.stderr.log job_dir.log job_mine.txt job_new.stdout.log job_runs.stdout.log mine.log"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
	Spill{Folder: dir, Total: 10}.keeping(DefaultSpillAge).prune(now, func(id string) bool { return id == "job_runs" })
	if got, want := names(), "job_dir.log job_mine.txt job_new.stdout.log job_runs.stdout.log mine.log"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
}

// What memory has no room for is read from the files again.
func TestForgottenOutputIsInItsFile(t *testing.T) {
	r := with(t, Options{Memory: 3 << 10, Settings: Settings{Logs: true}, Spill: Spill{Folder: t.TempDir()}})
	var jobs []Job
	for i := range 3 {
		jobs = append(jobs, r.end(r.start(Spec{Command: fmt.Sprintf("seq %d 600; echo end; echo err >&2", i)})))
		<-r.ended
	}
	for i, j := range jobs {
		var want strings.Builder
		for n := i; n <= 600; n++ {
			fmt.Fprintln(&want, n)
		}
		if out, errs, _ := r.read(j, Query{}); out != want.String()+"end\n" || errs != "err\n" {
			t.Errorf("command %d: %d bytes, %q", i, len(out), errs)
		}
		if w, err := r.Wait(t.Context(), j.ID, Until{Pattern: "^end$"}); err != nil || w.Reason != Matched {
			t.Errorf("command %d: %+v, %v", i, w, err)
		}
	}
	old := jobs[0]
	if err := os.Remove(spillName(old.Spill, Stdout)); err != nil {
		t.Fatal(err)
	}
	if out, err := r.Read(old.ID, Query{Stream: Stdout}); err != nil || len(out.Parts) != 1 || out.Parts[0].Dropped == 0 {
		t.Errorf("without its file: %+v, %v", out, err)
	}
}

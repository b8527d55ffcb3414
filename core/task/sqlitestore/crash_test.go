package sqlitestore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestAKillLosesNothingThatWasAcknowledged(t *testing.T) {
	path := file(t)
	total := 0
	for round := range 20 {
		p := play(t, "write", path, fmt.Sprint(round*100_000))
		acknowledged := map[task.ID]string{}
		for range 1 + rand.IntN(300) {
			did, id, _ := strings.Cut(p.hear(t), " ")
			acknowledged[task.ID(id)] = did
		}
		_ = p.cmd.Process.Kill()
		for p.out.Scan() { // what it had still said
			did, id, _ := strings.Cut(p.out.Text(), " ")
			acknowledged[task.ID(id)] = did
		}
		p.kill()

		s, found, err := Open(Options{Path: path})
		if err != nil || len(found.Warnings) > 0 {
			t.Fatalf("round %d: opening after the kill: %v, warnings %q", round, err, found.Warnings)
		}
		if !found.Unclean {
			t.Errorf("round %d: the unclean end was not noticed", round)
		}
		for id, did := range acknowledged {
			got, err := s.Get(t.Context(), id)
			if err != nil || did == "completed" && (got.State != task.Completed || got.Result != "answer") {
				t.Fatalf("round %d: %s was acknowledged as %s: %+v, %v", round, id, did, got, err)
			}
		}
		if total += len(acknowledged); count(t, s) < total {
			t.Errorf("round %d: tasks of earlier rounds are missing", round)
		}
		if err := quickCheck(t.Context(), path); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d tasks acknowledged in 20 rounds", total)
}

func TestProcessesMayOpenFirstAllAtOnce(t *testing.T) {
	folder := t.TempDir()
	var all []*player
	for n := range 8 {
		all = append(all, play(t, "first", folder, fmt.Sprint(n)))
	}
	for round := range 20 {
		for _, p := range all {
			p.say(t)
		}
		for _, p := range all {
			if got := p.hear(t); got != "opened" {
				t.Fatalf("round %d: %s", round, got)
			}
		}
	}
	for round := range 20 {
		s := open(t, filepath.Join(folder, fmt.Sprint(round), "tasks.db"))
		if n := count(t, s); n != 8 {
			t.Errorf("round %d: %d tasks of 8 processes", round, n)
		}
	}
}

func TestTwoProcessesWriteWithoutGettingInTheWay(t *testing.T) {
	path := file(t)
	a, b := play(t, "paced", path, "0 1s"), play(t, "paced", path, "100000 1s")
	t.Logf("median and p99 in µs: %s; %s", a.hear(t), b.hear(t))
	for _, p := range []*player{a, b} {
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if n := count(t, open(t, path)); n != 1000 {
		t.Errorf("%d tasks stored, want 1000", n)
	}
}

func TestFilesAreTheUsersAlone(t *testing.T) {
	path := file(t)
	create(t, open(t, path), sample(1))
	for name, want := range map[string]os.FileMode{
		filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600, path + ".use": 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", filepath.Base(name), got, want)
		}
	}
}

//go:build unix

package sqlitestore

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func dead(t *testing.T, s *Store) []string {
	t.Helper()
	owners, err := s.DeadOwners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return owners
}

func TestAnOwnerLivesAsLongAsItsProcess(t *testing.T) {
	path := file(t)
	s := open(t, path)
	tk := sample(1)
	tk.Owner = "host/1 ü" // any name will do
	create(t, s, tk)
	if got := dead(t, s); !slices.Equal(got, []string{tk.Owner}) {
		t.Fatalf("dead owners %q before the claim", got)
	}

	p := play(t, "own", path, tk.Owner)
	p.hear(t)
	if got := dead(t, s); len(got) > 0 {
		t.Errorf("dead owners %q, but it lives", got)
	}
	if _, err := s.Claim(tk.Owner); !errors.Is(err, ErrOwned) {
		t.Errorf("claiming what another process owns: %v", err)
	}
	// A suspended machine is not dead.
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := dead(t, s); len(got) > 0 {
		t.Errorf("dead owners %q, but it is only suspended", got)
	}

	p.kill()
	if got := dead(t, s); !slices.Equal(got, []string{tk.Owner}) {
		t.Errorf("dead owners %q after the kill", got)
	}
	// The same host comes back.
	release, err := s.Claim(tk.Owner)
	if err != nil {
		t.Fatal(err)
	}
	if got := dead(t, s); len(got) > 0 {
		t.Errorf("dead owners %q after it came back", got)
	}
	if _, err := s.Claim(tk.Owner); !errors.Is(err, ErrOwned) {
		t.Errorf("claimed twice by one process: %v", err)
	}
	release()

	p = play(t, "own", path, tk.Owner)
	p.hear(t)
	p.say(t)
	p.hear(t)
	if got := dead(t, s); !slices.Equal(got, []string{tk.Owner}) {
		t.Errorf("dead owners %q after the release", got)
	}
	if left, err := os.ReadDir(s.owners); err != nil || len(left) > 0 {
		t.Errorf("locks left behind: %v, %v", left, err)
	}
}

func TestOnlyOwnersOfOpenTasksAreJudged(t *testing.T) {
	s := open(t, file(t))
	ended, nobody := sample(1), sample(2)
	ended.State, ended.Owner, nobody.Owner = task.Interrupted, "host-9", ""
	create(t, s, ended, nobody)
	if got := dead(t, s); len(got) > 0 {
		t.Errorf("dead owners %q", got)
	}
	for _, bad := range []string{"", string(make([]byte, 500))} {
		if _, err := s.Claim(bad); err == nil {
			t.Errorf("an owner of %d bytes was claimed", len(bad))
		}
	}
}

// A look for the dead must not take a claim away from the living.
func TestLookingForTheDeadDisturbsNobody(t *testing.T) {
	path := file(t)
	s, other := open(t, path), open(t, path)
	create(t, s, sample(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				dead(t, other)
			}
		}
	})
	for range 200 {
		release, err := s.Claim("host-1")
		if err != nil {
			t.Errorf("Claim: %v", err)
			break
		}
		if got := dead(t, s); len(got) > 0 {
			t.Errorf("dead owners %q while claimed", got)
		}
		release()
	}
	close(stop)
	wg.Wait()
}

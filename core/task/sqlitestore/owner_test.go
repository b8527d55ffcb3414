//go:build unix

package sqlitestore

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

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

func alive(t *testing.T, s *Store, owner string) bool {
	t.Helper()
	is, err := s.Alive(owner)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func TestAKilledOwnersPlaceIsFreeAtOnce(t *testing.T) {
	path := file(t)
	s := open(t, path)
	const owner = "1234-567890"
	if alive(t, s, owner) || alive(t, s, "") {
		t.Error("an owner that nobody has claimed is alive")
	}
	for range 5 {
		p := play(t, "own", path, owner)
		p.hear(t)
		if !alive(t, s, owner) {
			t.Error("an owner is not alive while its process runs")
		}
		start := time.Now()
		if _, err := s.Claim(owner); !errors.Is(err, ErrOwned) {
			t.Errorf("claiming what another process owns: %v", err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the refusal took %s", took)
		}
		if err := p.cmd.Process.Kill(); err != nil { // and it is not waited for
			t.Fatal(err)
		}
		release, err := s.Claim(owner)
		if err != nil {
			t.Fatal(err)
		}
		if !alive(t, s, owner) {
			t.Error("an owner is not alive to the process that claims it")
		}
		release()
		release()
		if alive(t, s, owner) {
			t.Error("an owner is alive after its release")
		}
		p.kill()
	}
}

func BenchmarkAlive(b *testing.B) {
	s := open(b, file(b))
	release, err := s.Claim("1234-567890")
	if err != nil {
		b.Fatal(err)
	}
	defer release()
	for b.Loop() {
		if is, err := s.Alive("1234-567890"); !is || err != nil {
			b.Fatal(is, err)
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
				alive(t, other, "host-1")
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
		if !alive(t, s, "host-1") {
			t.Error("not alive while claimed")
		}
		release()
	}
	close(stop)
	wg.Wait()
}

// A claim whose release nobody keeps is for the rest of the process.
func TestAClaimIsNotCollected(t *testing.T) {
	path := file(t)
	s, other := open(t, path), open(t, path)
	if _, err := s.Claim("another"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // what has a finalizer goes in the second collection
		runtime.GC()
	}
	if alive, err := other.Alive("another"); err != nil || !alive {
		t.Errorf("after a collection: alive is %v, %v", alive, err)
	}
}

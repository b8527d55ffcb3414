package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// TestInAProcessThatAdopts runs the tests above, and some of its own, in a
// process that adopts orphans: this one is not to.
func TestInAProcessThatAdopts(t *testing.T) {
	if os.Getenv(adoptVar) != "" {
		t.Run("orphans are reaped", orphansAreReaped)
		t.Run("orphans are ended", orphansAreEnded)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^Test(End|Left|AnEnded|InAProcess)")
	cmd.Env = append(os.Environ(), adoptVar+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// zombies are the children of this process that nobody has waited for.
func zombies(t *testing.T) (pids []int) {
	t.Helper()
	v, err := look()
	if err != nil {
		t.Fatal(err)
	}
	for pid, p := range v.byPid {
		if p.parent == v.own.pid && p.dead() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func orphansAreReaped(t *testing.T) {
	k := newKeeper(t)
	own := exec.Command("true") // somebody else's child
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	tree := grow(t, k, "(setsid sh -c 'sleep 0.01' &); (setsid sleep 0.01 &); (setsid true &)")
	<-tree.Exited()
	proctest.Eventually(t, "orphans die", func() bool { return len(zombies(t)) >= 5 })
	if err := k.ReapOrphans(); err != nil {
		t.Fatal(err)
	}
	want := []int{own.Process.Pid, tree.Pid()}
	got := zombies(t)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("zombies %v, want those that somebody waits for: %v", got, want)
	}
	if err := own.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := tree.Reap(); err != nil {
		t.Error(err)
	}
}

func orphansAreEnded(t *testing.T) {
	k, lost, kept := newKeeper(t), proctest.Nap(t), proctest.Nap(t)
	k.groups.off.Store(true) // they would tie the orphans to their tree
	tree := grow(t, k, "(env -i setsid sh -c '"+lost+" & "+lost+" & exit' &)")
	busy := grow(t, k, kept)
	proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(lost)) == 2 && len(proctest.Naps(kept)) == 1 })
	if _, err := tree.End(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Reap(); err != nil {
		t.Fatal(err)
	}
	if n := len(proctest.Naps(lost)); n != 2 {
		t.Fatalf("%d are left that nothing ties to the tree", n)
	}
	if _, err := k.EndOrphans(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := proctest.Naps(lost); len(left) > 0 {
		t.Errorf("still %v", left)
	}
	if n, err := busy.Left(); n != 1 && n != 2 || err != nil {
		t.Errorf("of a tree that runs are left %d, %v", n, err)
	}
}

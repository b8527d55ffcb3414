package proc

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

func TestSweepEndsWhatADeadKeeperLeft(t *testing.T) {
	for name, script := range scripts {
		for _, adopt := range []string{"", "1"} {
			t.Run(name+adopt, func(t *testing.T) {
				nap, other := proctest.Nap(t), proctest.Nap(t)
				mark := orphaned(t, strings.ReplaceAll(script, "NAP", nap), adopt, func() bool { return len(proctest.Naps(nap)) == 2 })
				k := newKeeper(t)
				neighbour := grow(t, k, other)
				if _, err := k.Sweep(t.Context(), []Mark{mark, {Cookie: NewCookie()}, {Leader: "1-1-x"}, {}}, 100*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				left := proctest.Naps(nap)
				if len(left) > 0 {
					t.Errorf("still %v", left)
				}
				if n, err := neighbour.Left(); n < 1 || err != nil {
					t.Errorf("of its neighbour are left %d, %v", n, err)
				}
			})
		}
	}
}

// orphaned runs a script by another process, kills that once the tree has grown,
// and returns the tree's mark.
func orphaned(t *testing.T, script, adopt string, grown func() bool) Mark {
	t.Helper()
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVar+"="+script, adoptVar+"="+adopt)
	if _, err := owner.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = owner.Process.Kill()
		_ = owner.Wait()
	}()
	var mark Mark
	if err := json.NewDecoder(out).Decode(&mark); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := NewKeeper().Sweep(context.Background(), []Mark{mark}, 0); err != nil {
			t.Error(err)
		}
	})
	proctest.Eventually(t, "the tree has grown", grown)
	return mark
}

func TestAnOldMarkHarmsNobody(t *testing.T) {
	k, nap := newKeeper(t), proctest.Nap(t)
	tree := grow(t, k, nap)
	l, ok := parse(tree.Mark().Leader)
	if !ok {
		t.Fatalf("%q is not understood", tree.Mark().Leader)
	}
	older, err := name(life{l.pid, l.start - 1})
	if err != nil {
		t.Fatal(err)
	}
	marks := []Mark{{Leader: older}, {Leader: strings.Replace(tree.Mark().Leader, "-", "-0", 1)}, {Leader: tree.Mark().Leader + "x"}}
	if e, err := k.Sweep(t.Context(), marks, 0); err != nil || e.Killed > 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if n, err := tree.Left(); n == 0 || err != nil {
		t.Errorf("left %d, %v", n, err)
	}
}

func TestSweepSparesWhoSweepsAndThoseAbove(t *testing.T) {
	cookie := NewCookie()
	v, err := look()
	if err != nil {
		t.Fatal(err)
	}
	r := roots{cookies: map[string]bool{cookie: true}, lives: map[life]bool{}, sessions: map[int]bool{v.own.session: true}}
	for pid := range v.above {
		r.lives[v.byPid[pid].life] = true
	}
	for pid := range v.members(r) {
		if v.above[pid] {
			t.Errorf("process %d is above us and to be ended", pid)
		}
	}
}

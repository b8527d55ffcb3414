package proc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

const (
	adoptVar = "PROC_TEST_ADOPT" // tests in a process that adopts orphans
	ownerVar = "PROC_TEST_OWNER" // a keeper to be killed: it runs this and tells its Mark
	groupVar = "PROC_TEST_GROUP" // the mount point where that one makes control groups

	headlessVar = "PROC_TEST_HEADLESS" // a process that lives on without its first thread
)

func TestMain(m *testing.M) {
	if script := os.Getenv(ownerVar); script != "" {
		os.Exit(ownTree(script))
	}
	if os.Getenv(headlessVar) != "" {
		loseHead()
	}
	os.Exit(verified(m))
}

// loseHead ends the first thread of this process and goes on for minutes.
func loseHead() {
	for range 100 { // each takes a thread for good, one of them the first
		taken := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(taken)
			if unix.Gettid() == os.Getpid() {
				_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
			}
			select {}
		}()
		<-taken
	}
	time.Sleep(5 * time.Minute)
}

// ownTree is a process that keeps a tree until it is killed.
func ownTree(script string) int {
	k := NewKeeper()
	k.groups.mount = os.Getenv(groupVar)
	if os.Getenv(adoptVar) != "" {
		if err := k.Adopt(); err != nil {
			return 1
		}
	}
	tree, err := k.Start(exec.Command("sh", "-c", script), NewCookie())
	if err != nil {
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(tree.Mark())
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 0
}

func newKeeper(t *testing.T) *Keeper {
	t.Helper()
	k := NewKeeper()
	if os.Getenv(adoptVar) != "" {
		if err := k.Adopt(); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// grow starts a tree that ends with the test.
func grow(t *testing.T, k *Keeper, script string) *Tree {
	t.Helper()
	tree, err := k.Start(exec.Command("sh", "-c", script), NewCookie())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := tree.End(context.Background(), 0); err != nil {
			t.Error(err)
		}
		if _, err := tree.Reap(); err != nil {
			t.Error(err)
		}
	})
	return tree
}

// scripts are trees of two naps, NAP, each in its own way hard to end.
var scripts = map[string]string{
	"background":      "NAP & NAP",
	"session":         "setsid NAP & NAP",
	"daemon":          "(setsid sh -c 'NAP & exit' &) ; NAP",
	"leaderless":      "setsid NAP & NAP & exit 3",
	"deaf":            "trap '' TERM; NAP & NAP & wait",
	"deaf daemon":     "(setsid sh -c 'trap \"\" TERM; NAP & NAP' >/dev/null 2>&1 &) ; exit",
	"no environment":  "env -i NAP & env -i NAP & wait",
	"stopped":         "NAP & NAP & sleep 0.1; kill -STOP $! $$",
	"session in tree": "setsid sh -c 'env -i NAP & env -i NAP; :' & wait",
}

func TestEndEndsTheWholeTree(t *testing.T) {
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			k, nap := newKeeper(t), proctest.Nap(t)
			other := exec.Command("sleep", "300") // in our session, and in a tree of its own
			other.Env = append(os.Environ(), CookieVar+"="+NewCookie())
			other.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			neighbour := grow(t, k, "exec sleep 300")
			tree := grow(t, k, strings.ReplaceAll(script, "NAP", nap))
			proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) == 2 })
			e, err := tree.End(t.Context(), 150*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("after %+v there are still %v", e, left)
			}
			if n, err := tree.Left(); n != 0 || err != nil {
				t.Errorf("left %d, %v", n, err)
			}
			if deaf := strings.Contains(script, "trap"); deaf != (e.Killed > 0) {
				t.Errorf("ended by %+v", e)
			}
			if n, err := neighbour.Left(); n != 1 || err != nil {
				t.Errorf("of its neighbour are left %d, %v", n, err)
			}
			if err := other.Process.Kill(); err != nil {
				t.Errorf("a process that is not of the tree: %v", err)
			}
			_ = other.Wait()
		})
	}
}

// A process whose first thread has ended looks like a zombie until the last one
// has.
func TestEndEndsAProcessWithoutItsFirstThread(t *testing.T) {
	k := newKeeper(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), headlessVar+"=1")
	tree, err := k.Start(cmd, NewCookie())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(tree.Pid(), unix.SIGKILL)
		if _, err := tree.Reap(); err != nil {
			t.Error(err)
		}
	}()
	proctest.Eventually(t, "its first thread has ended", func() bool {
		p, err := current(tree.Pid())
		return err == nil && p.state == 'Z'
	})
	if n, err := tree.Left(); n != 1 || err != nil {
		t.Errorf("left %d, %v", n, err)
	}
	if !Lives(tree.Mark().Leader) {
		t.Error("it is taken for dead")
	}
	if e, err := tree.End(t.Context(), time.Second); err != nil || e.Terminated != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	select {
	case <-tree.Exited():
	case <-time.After(10 * time.Second):
		t.Error("it has not ended")
	}
	if g := tree.Mark().Group; g != "" {
		gone(t, g)
	}
}

func TestEndFindsWhatLivesOnAfterItsLeader(t *testing.T) {
	k, nap := newKeeper(t), proctest.Nap(t)
	tree := grow(t, k, "env -i "+nap+" & "+nap+" & sleep 0.05; exit 7")
	state, err := tree.Reap()
	if err != nil || state.ExitCode() != 7 {
		t.Fatalf("%v, %v", state, err)
	}
	// The one without environment is known by its session, which the other one's
	// cookie proves ours.
	if _, err := tree.End(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
}

func TestLeftBeforeReapRemembersWhoLivesOn(t *testing.T) {
	k, nap := newKeeper(t), proctest.Nap(t)
	tree := grow(t, k, "env -i "+nap+" & setsid "+nap+" & exit 7")
	proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) == 2 })
	<-tree.Exited()
	if n, err := tree.Left(); n != 2 || err != nil {
		t.Fatalf("left %d, %v", n, err)
	}
	if state, err := tree.Reap(); err != nil || state.ExitCode() != 7 {
		t.Fatalf("%v, %v", state, err)
	}
	if _, err := tree.End(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
}

func TestEndBeatsATreeThatGrows(t *testing.T) {
	k, nap := newKeeper(t), proctest.Nap(t)
	tree := grow(t, k, "trap '' TERM; i=0; while [ $i -lt 400 ]; do "+nap+" & (setsid "+nap+" &); i=$((i+1)); done; wait")
	proctest.Eventually(t, "it grows", func() bool { return len(proctest.Naps(nap)) > 10 })
	if _, err := tree.End(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %d", len(left))
	}
}

func TestEndLetsATreeCleanUp(t *testing.T) {
	k := newKeeper(t)
	done := filepath.Join(t.TempDir(), "done")
	tree := grow(t, k, "trap 'sleep 0.1; echo clean >"+done+"; exit 0' TERM; echo >"+done+".ready; while :; do sleep 0.01; done")
	proctest.Eventually(t, "it is ready", func() bool { _, err := os.Stat(done + ".ready"); return err == nil })
	e, err := tree.End(t.Context(), 5*time.Second)
	if err != nil || e.Killed > 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if got, _ := os.ReadFile(done); string(got) != "clean\n" {
		t.Errorf("it wrote %q", got)
	}
}

func TestAnEndedContextStillKills(t *testing.T) {
	k, nap := newKeeper(t), proctest.Nap(t)
	tree := grow(t, k, "trap '' TERM; "+nap+" & wait")
	proctest.Eventually(t, "it sleeps", func() bool { return len(proctest.Naps(nap)) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if _, err := tree.End(ctx, time.Minute); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestSendSparesWhoHasOnlyTheNumber(t *testing.T) {
	tree := grow(t, newKeeper(t), "exec sleep 300")
	p, err := current(tree.Pid())
	if err != nil {
		t.Fatal(err)
	}
	p.start--
	if err := send(p, unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Errorf("send: %v", err)
	}
	if n, err := tree.Left(); n != 1 || err != nil {
		t.Errorf("left %d, %v", n, err)
	}
}

func TestCookiesNest(t *testing.T) {
	env := withCookie([]string{"A=1", "B=2"}, "one")
	env = withCookie(env, "two")
	env = withCookie(env, "two")
	if want := []string{CookieVar + "=one:two", "A=1", "B=2"}; !slices.Equal(env, want) {
		t.Errorf("%q, want %q", env, want)
	}
	for i := range 40 {
		env = withCookie(env, strconv.Itoa(i))
	}
	if got := strings.Split(env[0], ":"); len(got) != maxNested || got[maxNested-1] != "39" {
		t.Errorf("%q", got)
	}
	tree := grow(t, newKeeper(t), "exec env -S 'sh -c \"sleep 300\"'")
	var e environ
	proctest.Eventually(t, "the cookie is seen", func() bool { return e.carries(tree.Pid(), map[string]bool{tree.cookie: true}) })
	if e.carries(tree.Pid(), map[string]bool{tree.cookie[1:]: true}) {
		t.Error("a part of a cookie is one")
	}
}

// TestNothingIsLeftOfManyTrees starts and ends trees one after the other.
func TestNothingIsLeftOfManyTrees(t *testing.T) {
	k := newKeeper(t)
	files := func() int { f, _ := os.ReadDir("/proc/self/fd"); return len(f) }
	before := 0
	for i := range 60 {
		tree, err := k.Start(exec.Command("true"), NewCookie())
		if err != nil {
			t.Fatal(err)
		}
		<-tree.Exited()
		if n, err := tree.Left(); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := tree.Reap(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			before = files()
		}
	}
	proctest.Eventually(t, "all files are closed", func() bool { return files() <= before })
	if len(k.leaders) > 0 {
		t.Errorf("leaders %v", k.leaders)
	}
}

func BenchmarkLook(b *testing.B) {
	for b.Loop() {
		if _, err := look(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnd(b *testing.B) {
	k := NewKeeper()
	for b.Loop() {
		tree, err := k.Start(exec.Command("sh", "-c", "sleep 300 & setsid sleep 300"), NewCookie())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tree.End(b.Context(), time.Second); err != nil {
			b.Fatal(err)
		}
		if _, err := tree.Reap(); err != nil {
			b.Fatal(err)
		}
	}
}

package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// nameless is a daemon of two naps that nothing but a group ties to its tree.
const nameless = "(env -i setsid sh -c 'NAP & NAP; :' >/dev/null 2>&1 &)"

// grouping returns a keeper that finds the control groups at a mount point of this
// test's own or, where it may not mount, at the system's, and where it makes its
// groups. Where that cannot be, the test ends once it was seen that trees start,
// and end, without.
func grouping(t *testing.T) (k *Keeper, home string) {
	t.Helper()
	k = newKeeper(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "a mount")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		k.groups.mount = dir
	}
	if home := k.groups.where(); home != "" {
		probe := filepath.Join(home, NewCookie())
		if unix.Mkdir(probe, 0o755) == nil {
			_, err := os.Stat(filepath.Join(probe, killFile))
			if err := unix.Rmdir(probe); err != nil {
				t.Fatal(err)
			}
			if err == nil {
				return k, home
			}
		}
	}
	nap := proctest.Nap(t)
	tree := grow(t, k, nap)
	proctest.Eventually(t, "it sleeps", func() bool { return len(proctest.Naps(nap)) == 1 })
	if g := tree.Mark().Group; g != "" {
		t.Errorf("it is in the group %q", g)
	}
	if _, err := tree.End(t.Context(), time.Second); err != nil || len(proctest.Naps(nap)) > 0 {
		t.Errorf("%v; %d are left", err, len(proctest.Naps(nap)))
	}
	proctest.Lacks(t, "control groups (version 2) that it may write to")
	return nil, ""
}

// gone checks that a directory is not there.
func gone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is there: %v", dir, err)
	}
}

// group makes a control group and starts a nap in it that carries no cookie.
func group(t *testing.T, dir string) (nap string) {
	t.Helper()
	if err := unix.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	nap, cmd := occupy(t)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := (&cohort{path: dir}).removeEmpty(); err != nil {
			_ = unix.Rmdir(dir)
		}
		gone(t, dir)
	})
	move(t, cmd.Process.Pid, dir)
	return nap
}

// occupy starts a nap.
func occupy(t *testing.T) (string, *exec.Cmd) {
	t.Helper()
	nap := proctest.Nap(t)
	cmd := exec.Command("sleep", strings.Fields(nap)[1])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return nap, cmd
}

// move moves a process into a group.
func move(t *testing.T, pid int, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		t.Fatal(err)
	}
}

func TestEndFindsANamelessDaemonByItsGroup(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprint(deaf), func(t *testing.T) {
			k, home := grouping(t)
			nap, script := proctest.Nap(t), nameless
			if deaf {
				script = strings.Replace(script, "sh -c '", "sh -c 'trap \"\" TERM; ", 1)
			}
			tree := grow(t, k, strings.ReplaceAll(script, "NAP", nap))
			dir := tree.Mark().Group
			if want := filepath.Join(home, groupPrefix+tree.cookie); dir != want {
				t.Fatalf("group %q, want %q", dir, want)
			}
			<-tree.Exited()
			proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) == 2 })
			if n, err := tree.Left(); n != 3 || err != nil {
				t.Errorf("left %d, %v", n, err)
			}
			if _, err := tree.Reap(); err != nil {
				t.Fatal(err)
			}
			e, err := tree.End(t.Context(), 100*time.Millisecond)
			if err != nil || (e.Killed > 0) != deaf || e.Terminated == 0 {
				t.Errorf("%+v, %v", e, err)
			}
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("still %v", left)
			}
			if n, err := tree.Left(); n != 0 || err != nil {
				t.Errorf("left %d, %v", n, err)
			}
			gone(t, dir)
		})
	}
}

func TestEndReachesGroupsBelowAndSparesWhoWasMovedIn(t *testing.T) {
	k, home := grouping(t)
	elder, older := occupy(t)
	defer func() {
		_ = older.Process.Kill()
		_ = older.Wait()
	}()
	first, err := current(older.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// What is moved has to have started in an earlier tick than the leader.
	proctest.Eventually(t, "a tick has passed", func() bool {
		cmd := exec.Command("sleep", "300")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := current(cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err == nil && p.start > first.start
	})
	nap := proctest.Nap(t)
	tree := grow(t, k, strings.ReplaceAll(nameless, "NAP", nap))
	<-tree.Exited()
	proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) == 2 })
	below := filepath.Join(tree.Mark().Group, "below")
	if err := unix.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	move(t, proctest.Naps(nap)[0], below)
	move(t, older.Process.Pid, tree.Mark().Group)
	if _, err := tree.End(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
	if len(proctest.Naps(elder)) != 1 {
		t.Error("a process was ended that is older than the tree")
	}
	move(t, older.Process.Pid, home)
	if n, err := tree.Left(); n != 0 || err != nil {
		t.Errorf("left %d, %v", n, err)
	}
	gone(t, tree.Mark().Group)
}

func TestSweepFindsANamelessDaemonByItsGroup(t *testing.T) {
	for _, known := range []bool{true, false} { // or the keeper was killed before it could note its tree
		t.Run(fmt.Sprint(known), func(t *testing.T) {
			k, home := grouping(t)
			t.Setenv(groupVar, k.groups.mount)
			nap, other := proctest.Nap(t), proctest.Nap(t)
			mark := orphaned(t, strings.ReplaceAll(nameless, "NAP", nap), "", func() bool { return len(proctest.Naps(nap)) == 2 })
			if mark.Group != filepath.Join(home, groupPrefix+mark.Cookie) {
				t.Fatalf("group %q", mark.Group)
			}
			dir := mark.Group
			if !known {
				mark = k.Mark(mark.Cookie)
			}
			k = newKeeper(t) // of a process that runs elsewhere, and makes none
			k.groups.off.Store(true)
			neighbour := grow(t, k, other)
			e, err := k.Sweep(t.Context(), []Mark{mark}, time.Second)
			if err != nil || e.Terminated < 2 || e.Killed > 0 {
				t.Errorf("%+v, %v", e, err)
			}
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("still %v", left)
			}
			gone(t, dir)
			if n, err := neighbour.Left(); n < 1 || err != nil {
				t.Errorf("of its neighbour are left %d, %v", n, err)
			}
		})
	}
}

func TestAForgedGroupHarmsNobody(t *testing.T) {
	k, home := grouping(t)
	cookie, tmp := NewCookie(), t.TempDir()
	name := groupPrefix + cookie
	genuine, foreign := filepath.Join(home, name), filepath.Join(home, "not-"+name)
	victims := []string{group(t, genuine), group(t, foreign)}
	inner := filepath.Join(foreign, groupPrefix+"-")
	if err := unix.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}

	plainDir := filepath.Join(tmp, "plain", name)
	if err := os.MkdirAll(plainDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{"cgroup.procs": fmt.Sprintln(proctest.Naps(victims[0])[0]), killFile: ""} {
		if err := os.WriteFile(filepath.Join(plainDir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{name: genuine, "home": home, "above": filepath.Dir(home)} {
		if err := os.Symlink(to, filepath.Join(tmp, link)); err != nil {
			t.Fatal(err)
		}
	}
	mounted := filepath.Join(tmp, "mounted", name)
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if unix.Mount(foreign, mounted, "", unix.MS_BIND, "") == nil {
		t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
	}
	self, err := Identity(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel("/", genuine)
	if err != nil {
		t.Fatal(err)
	}
	for what, m := range map[string]Mark{
		"outside":            {Cookie: cookie, Group: plainDir},
		"another name":       {Cookie: cookie, Group: foreign},
		"another cookie":     {Cookie: NewCookie(), Group: genuine},
		"no cookie":          {Group: genuine},
		"dots":               {Cookie: cookie, Group: home + "/not-" + name + "/../" + name},
		"a slash":            {Cookie: cookie, Group: genuine + "/"},
		"a cookie of dots":   {Cookie: "/../" + name, Group: genuine},
		"a bad cookie":       {Cookie: "-", Group: inner},
		"a link":             {Cookie: cookie, Group: filepath.Join(tmp, name)},
		"a link above":       {Cookie: cookie, Group: filepath.Join(tmp, "home", name)},
		"a link far above":   {Cookie: cookie, Group: filepath.Join(tmp, "above", filepath.Base(home), name)},
		"a mount":            {Cookie: cookie, Group: mounted},
		"relative":           {Cookie: cookie, Group: relative},
		"another boot":       {Cookie: cookie, Group: genuine, Leader: strings.TrimRight(self, "0123456789abcdef") + "zz"},
		"a younger leader":   {Cookie: cookie, Group: genuine, Leader: younger(t)},
		"nothing":            {Cookie: cookie, Group: genuine + "x"},
		"the root of it all": {Cookie: cookie, Group: home},
	} {
		t.Run(what, func(t *testing.T) {
			if e, err := k.Sweep(t.Context(), []Mark{m}, 0); err != nil || e.Terminated+e.Killed > 0 {
				t.Errorf("%+v, %v", e, err)
			}
			for _, v := range victims {
				if len(proctest.Naps(v)) != 1 {
					t.Errorf("%s was ended", v)
				}
			}
			for _, dir := range []string{genuine, foreign, inner, plainDir} {
				if _, err := os.Stat(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := unix.Rmdir(inner); err != nil {
		t.Error(err)
	}
	// The true one, so that it is seen that the others could have been ended. Its
	// process is a child of this one, which has not waited for it yet.
	e, err := k.Sweep(t.Context(), []Mark{{Cookie: cookie, Group: genuine}}, time.Second)
	if err != nil || e.Terminated != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	gone(t, genuine)
}

// younger is the Identity that a process of this boot will have that starts in an
// hour: nothing of its tree is as old as what runs now.
func younger(t *testing.T) string {
	t.Helper()
	p, err := current(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	id, err := name(life{1 << 30, p.start + 360000})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSweepSparesItsOwnGroup(t *testing.T) {
	_, home := grouping(t)
	dir := filepath.Join(home, groupPrefix+NewCookie())
	nap := group(t, dir)
	c := &cohort{path: dir}
	v, err := look()
	if err != nil {
		t.Fatal(err)
	}
	lives, hidden, err := c.join(v)
	if len(lives) != 1 || len(hidden) > 0 || c.mixed || err != nil {
		t.Fatalf("%v, %v, %v, %v", lives, hidden, c.mixed, err)
	}
	above := lives[0].pid
	v.above[above] = true // as if the sweeper ran below it
	if lives, hidden, err := c.join(v); len(lives)+len(hidden) > 0 || !c.mixed || c.kill() || err != nil {
		t.Errorf("%v, %v, %v, %v", lives, hidden, c.mixed, err)
	}
	if len(proctest.Naps(nap)) != 1 {
		t.Error("it was ended")
	}
	delete(v.above, above)
	if _, _, err := c.join(v); c.mixed || !c.kill() || err != nil {
		t.Error("a group of ours is not killed")
	}
	proctest.Eventually(t, "it is killed", func() bool { return len(proctest.Naps(nap)) == 0 })
}

func TestAHuntKillsAGroupThatItCannotLookInto(t *testing.T) {
	_, home := grouping(t)
	c := &cohort{path: filepath.Join(home, groupPrefix+NewCookie())}
	nap := group(t, c.path)
	blind := &view{byPid: map[int]process{}} // as if /proc hid all others
	h := hunt{cohorts: []*cohort{c}, scan: func() ([]process, error) {
		lives, hidden, err := c.join(blind)
		if len(lives) > 0 {
			t.Errorf("lives %v", lives)
		}
		return hidden, err
	}}
	if e, err := h.end(t.Context(), time.Second); err != nil || e.Terminated+e.Killed > 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("still %v", left)
	}
}

// Some kernels count a process in its group for a while after it has been seen dead.
func TestAGroupIsRemovedOnceTheKernelCountsNobody(t *testing.T) {
	_, home := grouping(t)
	dir := filepath.Join(home, groupPrefix+NewCookie())
	pid := proctest.Naps(group(t, dir))[0]
	sub := filepath.Join(dir, "below")
	if err := unix.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	move(t, pid, sub)
	left := make(chan error, 1)
	time.AfterFunc(20*time.Millisecond, func() {
		left <- os.WriteFile(filepath.Join(home, "cgroup.procs"), fmt.Append(nil, pid), 0)
	})
	if err := (&cohort{path: dir}).removeEmpty(); err != nil {
		t.Error(err)
	}
	if err := <-left; err != nil {
		t.Error(err)
	}
	gone(t, dir)
}

func TestAGroupBelowMayGoMeanwhile(t *testing.T) {
	_, home := grouping(t)
	path := filepath.Join(home, NewCookie())
	if err := unix.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	above, err := os.Open(home)
	if err != nil {
		t.Fatal(err)
	}
	defer above.Close()
	for range 2 {
		if err := removeBelow(int(above.Fd()), dir, filepath.Base(path), 1); err != nil {
			t.Error(err)
		}
	}
	gone(t, path)
}

// A group that cannot be looked into for want of descriptors is neither gone nor
// empty, and groups are not given up for it.
func TestWithoutDescriptorsAGroupIsNotGone(t *testing.T) {
	k, home := grouping(t)
	cookie, other := NewCookie(), NewCookie()
	dir := filepath.Join(home, groupPrefix+cookie)
	group(t, dir)
	v, err := look()
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	cohorts := recorded([]Mark{{Cookie: cookie, Group: dir}})
	var joined error
	for _, c := range cohorts {
		_, _, joined = c.join(v)
	}
	_, started := k.Start(exec.Command("true"), other)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if len(cohorts) != 1 || !errors.Is(joined, unix.EMFILE) {
		t.Errorf("%d groups, %v", len(cohorts), joined)
	}
	if !errors.Is(started, unix.EMFILE) || k.groups.off.Load() {
		t.Errorf("%v, given up: %t", started, k.groups.off.Load())
	}
	gone(t, k.groups.of(other))
}

func TestNothingIsLeftOfManyGroups(t *testing.T) {
	k, _ := grouping(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it closes what was forgotten
	files := func() int { f, _ := os.ReadDir("/proc/self/fd"); return len(f) }
	before := 0
	for i := range 200 {
		name := "true"
		if i%4 == 3 { // it cannot start, with or without
			name = []string{"/no such program", "/etc/passwd"}[i%8/4]
		}
		cookie := NewCookie()
		tree, err := k.Start(exec.Command(name), cookie)
		if (err != nil) != (name != "true") {
			t.Fatal(err)
		}
		if err == nil {
			if i%2 == 0 {
				<-tree.Exited()
				if n, err := tree.Left(); n != 0 || err != nil {
					t.Fatal(n, err)
				}
			}
			if _, err := tree.Reap(); err != nil {
				t.Fatal(err)
			}
			if n, err := tree.Left(); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		if home := k.groups.home; home != "" {
			gone(t, filepath.Join(home, groupPrefix+cookie))
			if err == nil && (tree.Mark().Group == "") != k.groups.off.Load() {
				t.Fatalf("group %q", tree.Mark().Group)
			}
		}
		if i == 0 {
			before = files()
		}
	}
	proctest.Eventually(t, "all files are closed", func() bool { return files() <= before })
}

func TestStartDoesWithoutAGroup(t *testing.T) {
	_, home := grouping(t)
	homes := map[string]string{"no hierarchy": t.TempDir(), "nothing": filepath.Join(t.TempDir(), "nothing"), "a file": "/etc/passwd"}
	if home != "" {
		// Below a group with threads, one that is not threaded can be made but not
		// entered.
		domain := filepath.Join(home, NewCookie())
		for _, dir := range []string{domain, domain + "/threaded"} {
			if err := unix.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Rmdir(dir); err != nil {
					t.Error(err)
				}
			})
		}
		if err := os.WriteFile(domain+"/threaded/cgroup.type", []byte("threaded"), 0); err != nil {
			t.Fatal(err)
		}
		homes["not to be entered"] = domain
	}
	for what, home := range homes {
		t.Run(what, func(t *testing.T) {
			k := newKeeper(t)
			k.groups.once.Do(func() { k.groups.home = home })
			before, _ := os.ReadDir(home)
			for range 2 {
				nap := proctest.Nap(t)
				tree := grow(t, k, nap)
				proctest.Eventually(t, "it sleeps", func() bool { return len(proctest.Naps(nap)) == 1 })
				if g := tree.Mark().Group; g != "" || !k.groups.off.Load() {
					t.Errorf("group %q", g)
				}
				if n, err := tree.Left(); n < 1 || n > 2 || err != nil {
					t.Errorf("left %d, %v", n, err)
				}
			}
			if after, _ := os.ReadDir(home); len(after) != len(before) {
				t.Errorf("%v is left", after)
			}
		})
	}
}

func TestASecondTreeOfACookieHasNoGroup(t *testing.T) {
	k, _ := grouping(t)
	cookie := NewCookie()
	var groups []string
	for range 2 {
		tree, err := k.Start(exec.Command("sleep", "300"), cookie)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := tree.End(t.Context(), 0); err != nil {
				t.Error(err)
			}
			_, _ = tree.Reap()
		}()
		groups = append(groups, tree.Mark().Group)
	}
	if groups[0] == "" || groups[1] != "" || k.groups.off.Load() {
		t.Errorf("%q", groups)
	}
}

func TestHomes(t *testing.T) {
	const v1 = `32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu` + "\n"
	for name, c := range map[string]struct {
		mounts, own, only string
		want              []string
	}{
		"unified":         {"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice/a b\n", "", []string{"/sys/fs/cgroup/user.slice/a b"}},
		"root":            {"30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 none rw", "0::/", "", []string{"/sys/fs/cgroup"}},
		"hybrid":          {v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "1:cpu:/x\n0::/y\n", "", []string{"/sys/fs/cgroup/unified/y"}},
		"v1":              {v1, "1:cpu:/\n", "", nil},
		"v1, told of v2":  {v1, "1:cpu:/\n0::/\n", "", nil},
		"mounted in part": {"30 23 0:26 /pod /cg rw - cgroup2 c rw\n31 23 0:26 /other /cg2 rw - cgroup2 c rw\n", "0::/pod/x\n", "", []string{"/cg/x"}},
		"outside":         {"30 23 0:26 / /cg rw - cgroup2 c rw\n", "0::/../x\n", "", nil},
		"blanks":          {`30 23 0:26 / /a\040b\134040 rw - cgroup2 c rw`, "0::/x", `/a b\040`, []string{`/a b\040/x`}},
		"only one":        {"30 23 0:26 / /cg rw - cgroup2 c rw\n31 23 0:26 / /cg2 rw - cgroup2 c rw\n", "0::/\n", "/cg2", []string{"/cg2"}},
		"nonsense":        {"- cgroup2\n\n - \n1 2 - cgroup2", "0::", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, homes(c.mounts, c.own, c.only)); d != "" {
				t.Error(d)
			}
		})
	}
	if got := unescape(`a\0`); got != `a\0` {
		t.Errorf("%q", got)
	}
	if plain("") || plain("a/b") || plain("..") || !plain(NewCookie()) {
		t.Error("what a cookie is")
	}
	if pids, err := pidsIn(strings.NewReader("1\n0\n")); !slices.Equal(pids, []int{1, 0}) || err != nil {
		t.Errorf("%v, %v", pids, err)
	}
}

func BenchmarkStart(b *testing.B) {
	for _, off := range []bool{true, false} {
		b.Run(fmt.Sprintf("grouped=%t", !off), func(b *testing.B) {
			k := NewKeeper()
			k.groups.off.Store(off)
			for b.Loop() {
				tree, err := k.Start(exec.Command("true"), NewCookie())
				if err != nil {
					b.Fatal(err)
				}
				<-tree.Exited()
				if _, err := tree.Left(); err != nil {
					b.Fatal(err)
				}
				if _, err := tree.Reap(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package job

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

// trees run two naps, NAP, in ways that are hard to end.
var trees = map[string]string{
	"background":    "echo up; NAP & NAP",
	"session":       "echo up; setsid NAP & NAP",
	"daemon":        "echo up; (setsid sh -c 'NAP & NAP' >/dev/null 2>&1 &) ; NAP",
	"only a daemon": "echo up; (setsid sh -c 'NAP & NAP' >/dev/null 2>&1 </dev/null &)",
	"deaf":          "trap '' TERM; echo up; setsid NAP & NAP & wait",
}

// plant starts a tree and waits until it has grown.
func (r *rig) plant(script string) (Job, string) {
	r.Helper()
	nap := proctest.Nap(r.T)
	j := r.start(Spec{Command: strings.ReplaceAll(script, "NAP", nap)})
	proctest.Eventually(r.T, "both sleep", func() bool { return len(proctest.Naps(nap)) >= 2 })
	return j, nap
}

func TestNothingOutlivesItsCommand(t *testing.T) {
	for name, script := range trees {
		t.Run("kill "+name, func(t *testing.T) {
			r := with(t, Options{})
			j, nap := r.plant(script)
			if strings.Contains(name, "only") {
				if j := r.end(j); j.State != Done || j.Left < 1 {
					t.Errorf("%+v", j)
				}
			}
			j, err := r.Kill(t.Context(), j.ID, "")
			if left := proctest.Naps(nap); err != nil || len(left) > 0 || j.Left != 0 {
				t.Errorf("still %v; %+v, %v", left, j, err)
			}
			want := Killed
			if strings.Contains(name, "only") {
				want = Done // by itself, before
			}
			if j.State != want {
				t.Errorf("%+v", j)
			}
		})
		t.Run("stop "+name, func(t *testing.T) {
			r := with(t, Options{Grace: time.Minute})
			_, nap := r.plant(script)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := r.Stop(ctx); err != nil {
				t.Error(err)
			}
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("after %v still %v", time.Since(start), left)
			}
			records, err := r.o.Store.List(t.Context(), recordsOfJobs)
			if err != nil || len(records) > 0 {
				t.Errorf("records %v, %v", records, err)
			}
		})
		t.Run("end of Run "+name, func(t *testing.T) {
			r := with(t, Options{Grace: time.Minute})
			_, nap := r.plant(script)
			r.quit()
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("still %v", left)
			}
		})
		t.Run("timeout "+name, func(t *testing.T) {
			if strings.Contains(name, "only") {
				return // has ended long before
			}
			r := with(t, Options{Settings: Settings{Timeout: 400 * time.Millisecond}})
			j, nap := r.plant(script)
			if j := r.end(j); j.State != Timeout {
				t.Errorf("%+v", j)
			}
			if left := proctest.Naps(nap); len(left) > 0 {
				t.Errorf("still %v", left)
			}
		})
		for _, adopt := range []string{"", "1"} {
			t.Run("crash "+name+adopt, func(t *testing.T) { survivesNothing(t, script, adopt) })
			t.Run("end of input "+name+adopt, func(t *testing.T) {
				other := another(t, t.TempDir(), adopt)
				nap := proctest.Nap(t)
				other.start(t, Spec{Command: strings.ReplaceAll(script, "NAP", nap), Dir: t.TempDir()})
				proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) >= 2 })
				other.input.Close()
				if err := other.Wait(); err != nil {
					t.Error(err)
				}
				if left := proctest.Naps(nap); len(left) > 0 {
					t.Errorf("still %v", left)
				}
			})
		}
	}
}

// other is an engine in another process.
type other struct {
	*exec.Cmd
	input  interface{ Close() error }
	to     *json.Encoder
	answer *json.Decoder
}

// another starts an engine with its records in a folder; it is killed when the
// test ends, and what it has left running is ended.
func another(t *testing.T, dir, adopt string) *other {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerVar+"="+dir, adoptVar+"="+adopt, "GORACE=atexit_sleep_ms=0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := New(Options{Keeper: proc.NewKeeper(), Store: folder(dir)}).Recover(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &other{cmd, in, json.NewEncoder(in), json.NewDecoder(out)}
}

func (o *other) start(t *testing.T, s Spec) (j Job) {
	t.Helper()
	if err := o.to.Encode(s); err != nil {
		t.Fatal(err)
	}
	if err := o.answer.Decode(&j); err != nil {
		t.Fatal(err)
	}
	return j
}

// survivesNothing kills a process with an engine and lets the next one recover.
func survivesNothing(t *testing.T, script, adopt string) {
	dir, nap, kept := t.TempDir(), proctest.Nap(t), proctest.Nap(t)
	dying := another(t, dir, adopt)
	j := dying.start(t, Spec{Command: strings.ReplaceAll(script, "NAP", nap), Dir: t.TempDir(), Label: "survivor", Spill: true})
	proctest.Eventually(t, "both sleep", func() bool { return len(proctest.Naps(nap)) >= 2 })
	alive := another(t, dir, adopt)
	alive.start(t, Spec{Command: kept, Dir: t.TempDir()})
	proctest.Eventually(t, "the other sleeps", func() bool { return len(proctest.Naps(kept)) == 1 })
	spilled := filepath.Join(dir, "spill", j.ID+".stdout.log")
	proctest.Eventually(t, "its output is there", func() bool { b, _ := os.ReadFile(spilled); return string(b) == "up\n" })
	wasDone := strings.Contains(script, "</dev/null &)")
	if wasDone {
		proctest.Eventually(t, "its end is recorded", func() bool {
			b, _ := os.ReadFile(folder(dir).file(Kind, j.ID))
			return strings.Contains(decoded(b), `"told":true`)
		})
	}
	if err := dying.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dying.Wait()
	if n := len(proctest.Naps(nap)); n < 2 {
		t.Fatalf("only %d have survived", n)
	}

	r := with(t, Options{Store: folder(dir)})
	start := time.Now()
	n, err := r.Recover(t.Context())
	if n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if left := proctest.Naps(nap); len(left) > 0 {
		t.Errorf("after %v still %v", time.Since(start), left)
	}
	if len(proctest.Naps(kept)) != 1 {
		t.Error("a command of a living sidecar was ended")
	}
	j, err = r.Get(j.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := Interrupted
	if wasDone { // and its end was told by the one that died
		want = Done
	} else if told := <-r.ended; told.ID != j.ID || told.State != want {
		t.Errorf("told of %+v", told)
	}
	if j.State != want || j.Label != "survivor" || j.Ended.IsZero() || len(r.ended) > 0 {
		t.Errorf("%+v; %d more were told", j, len(r.ended))
	}
	if out, _, _ := r.read(j, Query{}); out != "up\n" {
		t.Errorf("its output is %q", out)
	}
	if n, err := r.Recover(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	if n := len(r.List(t.Context())); n != 1 {
		t.Errorf("%d are listed", n)
	}
}

// decoded is the body of a record that a folder holds.
func decoded(b []byte) string {
	var r struct{ Body []byte }
	_ = json.Unmarshal(b, &r)
	return string(r.Body)
}

// deadOwners are all dead, unless they are the one.
type deadOwners string

func (d deadOwners) Alive(owner string) (bool, error) {
	if owner == "broken" {
		return false, fmt.Errorf("the lock of %s cannot be tried", owner)
	}
	return owner == string(d), nil
}

func TestRecoverSparesOtherOwnersThatLive(t *testing.T) {
	for owner, ends := range map[string]bool{"living": false, "broken": false, "gone": true} {
		t.Run(owner, func(t *testing.T) {
			dir, nap := t.TempDir(), proctest.Nap(t)
			k := proc.NewKeeper()
			tree, err := k.Start(exec.Command("sh", "-c", nap), proc.NewCookie())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_, _ = tree.End(context.Background(), 0)
				_, _ = tree.Reap()
			}()
			foreign := New(Options{Keeper: k, Store: folder(dir)})
			foreign.self = "1-1-dead"
			foreign.Serve(owner)
			run := foreign.newRun(Spec{Command: nap})
			run.id, run.owner, run.tree = "job_1", owner, tree
			if err := run.record(t.Context()); err != nil {
				t.Fatal(err)
			}
			proctest.Eventually(t, "it sleeps", func() bool { return len(proctest.Naps(nap)) == 1 })
			r := with(t, Options{Store: folder(dir), Owners: deadOwners("living")})
			n, err := r.Recover(t.Context())
			if err != nil || (n == 1) != ends || (len(proctest.Naps(nap)) == 0) != ends {
				t.Errorf("%d, %v; %d sleep", n, err, len(proctest.Naps(nap)))
			}
			if len(r.List(t.Context())) > 0 || len(r.ended) > 0 {
				t.Error("another owner's command is listed")
			}
		})
	}
}

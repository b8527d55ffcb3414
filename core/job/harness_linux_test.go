package job

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

const (
	ownerVar = "JOB_TEST_OWNER" // an engine to be killed: it keeps its records here and runs a script
	adoptVar = "JOB_TEST_ADOPT" // and adopts orphans
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerVar); dir != "" {
		os.Exit(ownEngine(dir))
	}
	if os.Getenv(serverVar) != "" {
		os.Exit(serve())
	}
	goleak.VerifyTestMain(m)
}

// ownEngine is a process with an engine that runs what its input says until it is
// killed.
func ownEngine(dir string) int {
	k := proc.NewKeeper()
	if os.Getenv(adoptVar) != "" {
		if err := k.Adopt(); err != nil {
			return 1
		}
	}
	e := New(Options{Keeper: k, Store: folder(dir), Shell: []string{"/bin/sh", "-c"}, Spill: Spill{Folder: filepath.Join(dir, "spill")}})
	e.Serve("host")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	commands := json.NewDecoder(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		var s Spec
		if err := commands.Decode(&s); err != nil { // end of file: an ordered end
			stop, stopped := context.WithTimeout(ctx, time.Second)
			err := e.Stop(stop)
			stopped()
			cancel()
			wg.Wait()
			if err != nil {
				return 2
			}
			return 0
		}
		j, err := e.Start(ctx, s)
		if err != nil {
			return 3
		}
		_ = answers.Encode(j)
	}
}

// folder is a Store in files, one for each record.
type folder string

func (f folder) file(kind, key string) string { return filepath.Join(string(f), kind+"-"+key+".json") }

func (f folder) Put(_ context.Context, r record.Record) (record.Record, error) {
	if err := r.Check(); err != nil {
		return r, err
	}
	r.Version++
	b, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	tmp := f.file("tmp", r.Key)
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return r, err
	}
	return r, os.Rename(tmp, f.file(r.Kind, r.Key))
}

func (f folder) List(_ context.Context, q record.Query) (out []record.Record, err error) {
	files, err := filepath.Glob(f.file(q.Kind, "*"))
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var r record.Record
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, err
		}
		if q.Matches(&r) {
			out = append(out, r)
		}
	}
	return out, err
}

func (f folder) Delete(_ context.Context, kind, key string) error {
	if err := os.Remove(f.file(kind, key)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rig is an engine that runs until the test ends.
type rig struct {
	*testing.T
	*Engine
	dir   string
	ended chan Job
	quit  func() // ends Run and waits for it
}

var recordsOfJobs = record.Query{Kind: Kind}

// with starts an engine.
func with(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), ended: make(chan Job, 1000)}
	if o.Keeper == nil {
		o.Keeper = proc.NewKeeper()
	}
	if o.Store == nil {
		o.Store = record.NewMemory()
	}
	if o.Shell == nil {
		o.Shell = []string{"/bin/sh", "-c"}
	}
	if o.Grace == 0 {
		o.Grace = 200 * time.Millisecond
	}
	if o.Ended == nil {
		o.Ended = func(_ context.Context, j Job) { r.ended <- j }
	}
	o.Log = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	r.Engine = New(o)
	r.Serve("host")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.Engine.Run(ctx) })
	r.quit = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(r.quit)
	proctest.Eventually(t, "it runs", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.begun })
	return r
}

// start starts a command in the test's folder.
func (r *rig) start(s Spec) Job {
	r.Helper()
	if s.Dir == "" {
		s.Dir = r.dir
	}
	j, err := r.Start(r.Context(), s)
	if err != nil {
		r.Fatal(err)
	}
	return j
}

// end waits for the end of a command.
func (r *rig) end(j Job) Job {
	r.Helper()
	w := r.until(j, Until{})
	if w.Reason != Ended {
		r.Fatalf("%s: %s", j.Command, w.Reason)
	}
	return w.Job
}

func (r *rig) until(j Job, u Until) Waited {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	w, err := r.Wait(ctx, j.ID, u)
	if err != nil {
		r.Fatal(err)
	}
	return w
}

// read reads both streams from a cursor on.
func (r *rig) read(j Job, q Query) (stdout, stderr string, next Cursor) {
	r.Helper()
	out, err := r.Read(j.ID, q)
	if err != nil {
		r.Fatal(err)
	}
	for _, p := range out.Parts {
		if p.Stream == Stderr {
			stderr = p.Text
		} else {
			stdout = p.Text
		}
	}
	return stdout, stderr, out.Next
}

// run runs a command to its end and returns it with its output.
func (r *rig) run(s Spec) (j Job, stdout, stderr string) {
	r.Helper()
	j = r.end(r.start(s))
	stdout, stderr, _ = r.read(j, Query{})
	return j, stdout, stderr
}

// Package crash kills the sidecar with SIGKILL, again and again and at the worst
// moments, while it runs tasks, and holds it to its promise: no task is lost, no
// turn is paid for twice, every parent is told, none is told twice.
//
// Run does it with an OpenCode in memory and the real binary: this process is
// the shim and OpenCode, both of which live on. It keeps a ledger of what the
// launcher was told and of what the host saw, and compares the two at the end.
// OpenCode does it with the real OpenCode and the real shim.
package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
)

// The limits of a run.
const (
	// concurrency is the sidecar's limit; the host counts whether it is kept.
	concurrency = 6
	// taskTimeout ends the tasks whose model hangs. It is far longer than an
	// answer takes with a few crashes in between.
	taskTimeout = 12 * time.Second
	// endLimit is how long after the last kill everything may take to end.
	endLimit = 90 * time.Second
	// quietLimit is how long the sidecar must ask nothing of the host that has an
	// effect before what is missing counts as missing.
	quietLimit = 10 * time.Second
	// afterwards is how long a run that looks right is watched for a second turn
	// or a second message.
	afterwards = 3 * time.Second
	// lateLimit is the most by which the host carries out a call of a sidecar that
	// has died meanwhile.
	lateLimit = 300 * time.Millisecond
)

// Config says what to do.
type Config struct {
	// Root is the checkout, in which bin/sidecar is built.
	Root string
	// Dir takes the state of the sidecars; it must be empty.
	Dir string
	// Tasks are launched and Kills made meanwhile, spread over them.
	Tasks, Kills int
	// Seed decides what is launched and when is killed; the rest is the machine's.
	Seed uint64
	// Log gets a line for every kill, nil drops them.
	Log func(format string, args ...any)
}

// run is what the parts of a run share.
type run struct {
	Config
	ledger *ledger
	hub    *hub
	killer *killer
	jobs   []*job
}

// Run launches the tasks and kills the sidecar while they run, waits until all
// has ended, ends the last sidecar in order and compares the ledgers. Broken
// promises are in the report; an error says that the run itself went wrong.
// When it returns no process and no goroutine of it is left.
func Run(ctx context.Context, c Config) (report Report, err error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	began := time.Now()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r, err := newRun(ctx, c)
	if err != nil {
		return Report{}, err
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.hub.serve(ctx); err != nil {
			stop(err) // nothing will go on
		}
	})
	running.Go(func() { r.killer.work(ctx) })
	running.Go(func() { r.people(ctx) })
	r.launch(ctx)
	r.await(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("the run was cut short: %w", cause)
	} else {
		report, err = r.compare(ctx)
	}
	err = errors.Join(err, r.hub.close())
	stop(nil)
	running.Wait()
	r.ledger.Close()
	if err == nil {
		report.Store, err = checkStore(c.Dir)
	}
	report.Took = time.Since(began)
	return report, err
}

func newRun(ctx context.Context, c Config) (*run, error) {
	hash, err := fakeshim.ManifestHash(c.Root)
	if err != nil {
		return nil, err
	}
	project := filepath.Join(c.Dir, "project")
	if err := os.MkdirAll(project, 0o700); err != nil {
		return nil, err
	}
	plan := rand.New(rand.NewPCG(c.Seed, 1))
	r := &run{Config: c, ledger: newLedger(project)}
	r.jobs = plans(plan, r.ledger, c.Tasks)
	r.killer = newKiller(rand.New(rand.NewPCG(c.Seed, 2)), c.Kills, c.Log)
	r.hub = newHub(c, r.ledger, r.killer, fakeshim.Setup{Hash: hash, Directory: project, Options: map[string]any{
		"globalConcurrency": concurrency, "defaultConcurrency": concurrency, "maxTasksPerSession": 1000,
		"taskTimeout": taskTimeout.String(),
	}})
	r.ledger.Emit = r.hub.emit
	return r, ctx.Err()
}

// pause waits for d; it is false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// turnLimit is the most that a turn of a person takes, restLimit the most
	// between two of them.
	turnLimit, restLimit = 2 * time.Second, 1500 * time.Millisecond
)

// people talk to the sessions that have background tasks, until all kills were
// made: results have to wait for the end of such a turn, and sidecars die while
// they do.
func (r *run) people(ctx context.Context) {
	seen := map[string]bool{}
	var talking sync.WaitGroup
	defer talking.Wait()
	for _, j := range r.jobs {
		if j.kind == awaited || seen[j.parent] {
			continue
		}
		seen[j.parent] = true
		talking.Go(func() {
			for n := 0; r.killing() && pause(ctx, time.Duration(rand.Int64N(int64(restLimit)))); n++ {
				prompt := host.Prompt{Session: j.parent, MessageID: fmt.Sprintf("msg_person_%s_%d", j.parent, n), Agent: "build", Model: host.Model{Provider: "p", ID: "big"}, Text: "Go on."}
				if err := r.ledger.Prompt(ctx, r.ledger.directory, prompt); err != nil {
					return // the run is being cut short
				}
				pause(ctx, turnLimit)
			}
		})
	}
}

// killing reports whether kills are still to be made.
func (r *run) killing() bool {
	kills, _ := r.killer.made()
	return kills < r.Kills
}

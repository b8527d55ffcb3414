package crash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// await returns when all kills were made and everything has ended as far as it
// ever will: every task is known and terminal and every parent told, or nothing
// moves any more. Then it waits a little for what may come twice.
func (r *run) await(ctx context.Context) {
	for {
		kills, more := r.killer.made()
		if kills == r.Kills {
			break
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
	r.Log("all kills made; waiting for the end of all tasks")
	for limit := time.Now().Add(endLimit); time.Now().Before(limit); {
		report, err := r.compare(ctx)
		if err == nil && report.Open == 0 && (report.settled() || r.ledger.quiet() > quietLimit) {
			break
		}
		if err == nil && r.ledger.quiet() > taskTimeout+quietLimit {
			break // tasks that are open, but nobody works on them
		}
		if !pause(ctx, 250*time.Millisecond) {
			return
		}
	}
	pause(ctx, afterwards)
}

// compare compares what the launcher was told, what the sidecar says now, and
// what the host saw.
func (r *run) compare(ctx context.Context) (Report, error) {
	s, err := r.hub.get(ctx)
	if err != nil {
		return Report{}, err
	}
	known := map[string][]wire.Task{} // by mark
	outcomes := map[string]told{}     // by id
	asked := map[string]bool{}        // parents
	report := Report{Seed: r.Seed, Tasks: len(r.jobs), Kills: r.killer.when(), HighWater: r.ledger.HighWater(), Limit: concurrency}
	list, err := rpc.Invoke(ctx, s.Conn, wire.TaskList, wire.TaskListParams{Workspace: fakeshim.Workspace, Limit: 500})
	if err != nil {
		return Report{}, err
	}
	for _, t := range list.Tasks {
		if t, err = rpc.Invoke(ctx, s.Conn, wire.TaskGet, wire.TaskGetParams{ID: t.ID}); err != nil {
			return Report{}, err
		}
		mark := markPattern.FindString(t.Description)
		known[mark] = append(known[mark], t)
	}
	r.ledger.mu.Lock()
	jobs := make([]job, len(r.jobs))
	for i, j := range r.jobs {
		jobs[i] = *j
	}
	turns, wakes := maps.Clone(r.ledger.turns), maps.Clone(r.ledger.wakes)
	sessions, strange := slices.Clone(r.ledger.children), slices.Clone(r.ledger.strange)
	r.ledger.mu.Unlock()

	for _, j := range jobs {
		if !asked[j.parent] {
			asked[j.parent] = true
			maps.Copy(outcomes, r.ledger.outcomes(j.parent))
		}
	}
	for i := range jobs {
		report.judge(&jobs[i], known[jobs[i].mark], turns, outcomes)
	}
	for i := range jobs {
		report.judgeGroup(&jobs[i], outcomes)
	}
	for _, s := range sessions {
		messages, appended := r.ledger.prompts(s.ID)
		mark := markPattern.FindString(s.Title)
		switch {
		case messages == 0:
			report.Empty++
		case r.ledger.jobs[mark] != nil && messages > r.ledger.jobs[mark].turns():
			report.SecondPrompts += messages - r.ledger.jobs[mark].turns()
			report.problem("%s: %d prompts in %s", mark, messages, s.ID)
		}
		if appended > 0 {
			report.Repeated += appended
			report.problem("%s: its prompt in %s was sent %d times", mark, s.ID, appended+1)
		}
	}
	for message, n := range wakes {
		if n > 1 {
			report.SecondTurns += n - 1
			report.problem("the wake %s started %d turns", message, n)
		}
	}
	for _, text := range strange {
		report.problem("a child was asked something that no launch said: %q", text)
	}
	return report, nil
}

// judge adds one job to the report.
func (r *Report) judge(j *job, known []wire.Task, turns map[string]int, outcomes map[string]told) {
	switch {
	case j.refusal != nil:
		r.Refused++
		r.problem("%s (%s) was refused: %v", j.mark, j.kind, j.refusal)
	case j.id != "":
		r.Acknowledged++
	case !j.tried:
		r.problem("%s was never launched", j.mark)
	}
	if more := turns[j.mark] - j.turns(); more > 0 {
		r.SecondTurns += more
		r.problem("%s (%s, %s): its model was asked %d times", j.mark, j.kind, j.end, turns[j.mark])
	}
	if len(known) > 1 {
		r.Doubled += len(known) - 1
		r.problem("%s (%s) exists %d times", j.mark, j.kind, len(known))
	}
	if len(known) == 0 {
		if j.id != "" {
			r.Lost++
			r.problem("%s (%s, %s): %s was acknowledged and is unknown", j.mark, j.kind, j.end, j.id)
		}
		return
	}
	if j.id == "" {
		r.Unacknowledged++
	}
	t := known[0]
	if j.id != "" && t.ID != j.id {
		r.Lost++
		r.problem("%s was acknowledged as %s and is %s", j.mark, j.id, t.ID)
	}
	if t.State == "pending" || t.State == "running" {
		r.Open++
		r.problem("%s (%s, %s): %s is still %s (uncertain: %t)", j.mark, j.kind, j.end, t.ID, t.State, t.Uncertain)
		return
	}
	wrong := t.State != j.state() || j.state() == "completed" && t.Result != j.answer() || j.end == fails && !strings.Contains(t.Error, "scripted failure")
	if wrong {
		r.Wrong++
		r.problem("%s (%s, %s): %s is %s, want %s; result %q, error %q", j.mark, j.kind, j.end, t.ID, t.State, j.state(), t.Result, t.Error)
	}
	if turns[j.mark] == 0 && t.State == "completed" {
		r.Wrong++
		r.problem("%s: %s is completed, but its model was never asked", j.mark, t.ID)
	}
	r.judgeTelling(j, t, outcomes[t.ID])
}

// judgeTelling asks whether the parent has the outcome, and once.
func (r *Report) judgeTelling(j *job, t wire.Task, got told) {
	want := 1
	if j.wake == wakeNone {
		want = 0
	}
	if j.answered { // the answer of the call has told it
		want = 0
		if !strings.Contains(j.output, t.ID) || j.state() == "completed" && !strings.Contains(j.output, j.answer()) {
			r.Wrong++
			r.problem("%s: the call that waited for %s returned %q", j.mark, t.ID, j.output)
		}
	}
	if len(got.messages) < want {
		r.Untold++
		if j.kind == awaited {
			r.UntoldCalls++
		}
		r.problem("%s (%s, %s, acknowledged: %t): the parent was not told that %s is %s", j.mark, j.kind, j.end, j.id != "", t.ID, t.State)
	}
	if len(got.messages) > want {
		r.ToldTwice += len(got.messages) - want
		r.problem("%s (%s, %s): %d messages tell the parent about %s, want %d", j.mark, j.kind, j.end, len(got.messages), t.ID, want)
	}
	if got.repeated > 0 {
		r.Repeated += got.repeated
		r.problem("%s (%s, %s): one message tells the parent %d times about %s", j.mark, j.kind, j.end, got.repeated+1, t.ID)
	}
}

// judgeGroup asks whether a group that is told when all of it has ended was told
// in one message.
func (r *Report) judgeGroup(j *job, outcomes map[string]told) {
	if j.batch == nil || j.wake != wakeAll || j.id == "" {
		return
	}
	carried := map[string]bool{}
	for _, member := range j.batch {
		for _, message := range outcomes[member.id].messages {
			carried[message] = true
		}
	}
	if len(carried) > 1 {
		r.Scattered++
		r.problem("%s: its group was to be told when all had ended, and was in %d messages", j.mark, len(carried))
	}
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

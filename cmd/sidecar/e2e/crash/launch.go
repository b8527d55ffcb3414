package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// burst is for how many kills tasks are launched at a time: so that some wait
// for a slot, and the kills meet tasks in every state.
const burst = 3

// launch launches all jobs, spread over the kills, and returns when every launch
// was answered or failed.
func (r *run) launch(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	for i, j := range r.jobs {
		if !r.due(ctx, i) {
			return
		}
		if j.batch != nil || j.kind != batched {
			calls.Go(func() { r.launchOne(ctx, j) })
		}
		if !pause(ctx, j.pause) {
			return
		}
	}
}

// due waits until so many kills were made that the i-th job is to be launched.
func (r *run) due(ctx context.Context, i int) bool {
	for {
		kills, more := r.killer.made()
		allowed := len(r.jobs)
		if kills < r.Kills {
			allowed = len(r.jobs) * (kills - kills%burst + burst) / r.Kills
		}
		if i < allowed {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}

func (r *run) launchOne(ctx context.Context, j *job) {
	s, err := r.hub.get(ctx)
	if err != nil {
		return
	}
	jobs := []*job{j}
	if j.batch != nil {
		jobs = j.batch
	}
	r.note(func() {
		for _, j := range jobs {
			j.tried = true
		}
	})
	if j.kind == awaited {
		r.ledger.SetBusy(j.parent, true)
		defer r.ledger.SetBusy(j.parent, false)
	}
	ids, output, err := r.send(ctx, s, j)
	switch refused, isAnswer := errors.AsType[*rpc.Error](err); {
	case isAnswer:
		r.note(func() { j.refusal = refused })
		return
	case err != nil:
		return // the sidecar has died; whether the task exists is not known
	case len(ids) != len(jobs):
		r.note(func() { j.refusal = fmt.Errorf("%d of %d tasks were launched: %s", len(ids), len(jobs), output) })
		return
	}
	r.note(func() {
		for i, j := range jobs {
			j.id = ids[i]
		}
		j.answered, j.output = j.kind == awaited, output
	})
	r.killer.pass(s, answered)
	for i, j := range jobs {
		if j.end == stopped {
			r.stop(ctx, j, ids[i])
		}
	}
}

// note changes the launcher's ledger.
func (r *run) note(change func()) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	change()
}

// send sends the call of a job.
func (r *run) send(ctx context.Context, s *sidecar, j *job) (ids []string, output string, err error) {
	if j.kind == launched {
		r.killer.soon(s, sent)
		t, err := rpc.Invoke(ctx, s.Conn, wire.TaskLaunch, wire.TaskLaunchParams{
			Workspace: fakeshim.Workspace, ParentSession: j.parent, Agent: "general", Description: j.description(), Prompt: j.prompt(),
		})
		return []string{t.ID}, "", err
	}
	tool, args := "delegate_task", j.arguments()
	if j.kind == batched {
		var tasks []map[string]any
		for _, j := range j.batch {
			tasks = append(tasks, map[string]any{"agent": "general", "description": j.description(), "prompt": j.prompt()})
		}
		tool, args = "delegate_tasks", map[string]any{"tasks": tasks, "groupID": j.group, "wake": j.wake}
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, "", err
	}
	r.killer.soon(s, sent)
	res, err := rpc.Invoke(ctx, s.Conn, wire.ToolCall, wire.ToolCallParams{
		Workspace: fakeshim.Workspace, Tool: tool, Args: raw, SessionID: j.parent, MessageID: "msg_asks_" + j.mark, CallID: "call_" + j.mark, Agent: "build",
	})
	if err != nil {
		return nil, "", err
	}
	if id, ok := res.Metadata["taskId"].(string); ok {
		return []string{id}, res.Output, nil
	}
	list, _ := res.Metadata["taskIds"].([]any)
	for _, id := range list {
		ids = append(ids, fmt.Sprint(id))
	}
	return ids, res.Output, nil
}

func (j *job) arguments() map[string]any {
	return map[string]any{"agent": "general", "description": j.description(), "prompt": j.prompt(), "background": j.kind == delegated}
}

// stop cancels a task; a call that died with its sidecar is made again.
func (r *run) stop(ctx context.Context, j *job, id string) {
	if !pause(ctx, j.stopIn) {
		return
	}
	for {
		s, err := r.hub.get(ctx)
		if err != nil {
			return
		}
		_, err = rpc.Invoke(ctx, s.Conn, wire.TaskCancel, wire.TaskGetParams{ID: id})
		if _, isAnswer := errors.AsType[*rpc.Error](err); err == nil || isAnswer {
			// It had ended if the answer is an error: by the cancel whose answer was
			// lost, or the state will tell.
			r.note(func() { j.stopped = true })
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

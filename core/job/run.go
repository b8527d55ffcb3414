package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
)

const (
	// chunk is how much is read from a command at once.
	chunk = 32 << 10
	// endLimit bounds the ending of a tree, its grace not included.
	endLimit = 5 * time.Second
	// drainLimit is how long the output of an ended tree may take to be read.
	drainLimit = time.Second
)

// run is a command in this process. It goes through play once, or is abandoned.
type run struct {
	engine *Engine
	id     string
	owner  string
	spec   Spec
	spill  Spill
	cookie string
	done   chan struct{} // closed when it has ended and is recorded so
	told   chan struct{} // closed when Ended has returned
	begun  chan struct{} // closed when it was started, or never will be
	ending chan struct{} // closed when somebody wants its end

	// writing holds a token while the input is written to.
	writing chan struct{}

	mu      sync.Mutex // guards what follows
	job     Job
	out     [len(streams)]ring
	size    int  // of each ring
	gone    bool // what they kept was forgotten
	waiters map[*waiter]struct{}
	closed  bool // nothing more will be written
	verdict State
	grace   time.Duration
	hasten  func()   // ends the grace that runs; nil if none does
	input   *os.File // nil if there is none
	isOver  bool     // the job's state is final
	tree    *proc.Tree
	version int64 // of its record
	heard   bool  // Ended has returned
}

func (e *Engine) newRun(s Spec) *run {
	e.mu.Lock()
	settings := e.settings
	e.mu.Unlock()
	if s.Timeout == 0 {
		s.Timeout = settings.Timeout
	}
	s.Spill = s.Spill || settings.Logs
	r := &run{
		engine: e, spec: s, size: settings.Buffer, spill: e.o.Spill.keeping(settings.LogAge), cookie: proc.NewCookie(),
		done: make(chan struct{}), told: make(chan struct{}), begun: make(chan struct{}), ending: make(chan struct{}), writing: make(chan struct{}, 1),
		waiters: map[*waiter]struct{}{},
		job: Job{
			Label: s.Label, Command: s.Command, Dir: s.Dir, Worktree: s.Worktree, Directory: s.Directory, Session: s.Session,
			Notify: s.Notify, PTY: s.PTY != nil, State: Pending, Timeout: s.Timeout, Created: time.Now(),
		},
	}
	for i := range r.out {
		r.out[i] = newRing(r.size)
	}
	return r
}

// snapshot is the job as it is now.
func (r *run) snapshot() Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshotLocked()
}

func (r *run) snapshotLocked() Job {
	j := r.job
	j.Out = Written{r.out[0].total, r.out[0].dropped()}
	j.Err = Written{r.out[1].total, r.out[1].dropped()}
	return j
}

func (r *run) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job.Left
}

// kept is the memory that its output takes.
func (r *run) kept() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[0].kept() + r.out[1].kept()
}

// forget drops its output and returns how much memory it took.
func (r *run) forget() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.out[0].kept() + r.out[1].kept()
	r.out[0].forget()
	r.out[1].forget()
	r.gone = true
	return n
}

// outputs are the rings, or again what they kept, if that was forgotten and all of
// the output is in files. It is for use under mu, which it gives up meanwhile.
func (r *run) outputs() [len(streams)]ring {
	out, path := r.out, r.job.Spill
	if !r.gone || path == "" {
		return out
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	for i, s := range streams {
		if again, err := recall(path, s, r.size); err == nil && again.total == out[i].total {
			out[i] = again
		}
	}
	return out
}

// condemn makes a run end in a state on behalf of a session, unless it has another
// verdict already or has ended: then it may only shorten the grace. It does not
// wait.
func (r *run) condemn(as State, by string, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.isOver:
	case r.verdict == "":
		r.verdict, r.grace, r.job.EndedBy = as, grace, by
		close(r.ending)
	case r.hasten == nil:
		r.grace = min(r.grace, grace)
	default:
		time.AfterFunc(grace, r.hasten) // which does nothing any more once it is over
	}
}

// play runs the command to its end.
func (r *run) play(ctx context.Context) {
	p, err := r.spawn() //nolint:contextcheck // the tree is watched as long as it lives
	if err != nil {
		r.close(func(j *Job) { j.State, j.Problem = Error, "could not start: "+err.Error() })
		close(r.begun)
		r.finish(ctx, true)
		return
	}
	close(r.begun)
	if p == nil { // condemned before it began
		r.close(func(*Job) {})
		r.finish(ctx, true)
		return
	}
	noted := make(chan struct{})
	go func() { // waited for below
		defer close(noted)
		if err := r.record(ctx); err != nil {
			r.engine.o.Log.Warn().Err(err).Str("job", r.id).Msg("the start of a background command is not recorded")
		}
	}()
	problem := r.attend(ctx, p)
	<-noted
	r.settle(ctx, p, problem)
}

// attend waits for the end of the command, or ends it. It returns what could not
// be done.
func (r *run) attend(ctx context.Context, p *process) error {
	timer := time.NewTimer(r.spec.Timeout)
	defer timer.Stop()
	select {
	case <-p.over:
	case <-timer.C:
		r.condemn(Timeout, "", r.engine.o.Grace)
	case <-r.ending:
	}
	end, cancel := context.WithTimeout(ctx, r.engine.o.Grace+endLimit)
	defer cancel()
	grace, itself := r.judge(p, cancel)
	if itself {
		return nil
	}
	_, err := p.tree.End(end, grace)
	drain := time.NewTimer(drainLimit)
	defer drain.Stop()
	select {
	case <-p.over:
	case <-drain.C: // somebody holds it who is not of the tree
		p.close()
		if err == nil {
			<-p.over
		}
	}
	return err
}

// judge reports whether the command has ended by itself, perhaps a moment before
// somebody wanted its end; then nobody can any more. Else it returns the grace,
// which hasten ends.
func (r *run) judge(p *process, hasten func()) (grace time.Duration, itself bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-p.over:
		r.verdict, r.isOver = "", true
		return 0, true
	default:
		r.hasten = hasten
		return r.grace, false
	}
}

// settle writes down how the command has ended.
func (r *run) settle(ctx context.Context, p *process, problem error) {
	p.close()
	left, err := p.tree.Left()
	problem = errors.Join(problem, err)
	var state *os.ProcessState
	select {
	case <-p.tree.Exited():
		state, err = p.tree.Reap()
		problem = errors.Join(problem, err)
	default: // cannot be ended; it is said
	}
	r.close(func(j *Job) {
		j.Left = left
		if state != nil {
			j.Exited, j.Code, j.Signal = true, state.ExitCode(), signalName(state)
		}
		if problem != nil {
			j.Problem = strings.ReplaceAll(problem.Error(), "\n", "; ")
		}
		if j.State = Done; j.Code != 0 || !j.Exited {
			j.State = Error
		}
	})
	r.finish(ctx, true)
}

// abandon ends a run that has never had a place.
func (r *run) abandon(ctx context.Context, as State) {
	r.condemn(as, "", 0)
	r.close(func(*Job) {})
	r.finish(ctx, false)
}

// close makes the state final: what change says, unless somebody had the command
// ended.
func (r *run) close(change func(*Job)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.job)
	if r.verdict != "" {
		r.job.State = r.verdict
	}
	r.isOver, r.closed, r.input = true, true, nil
	r.spec.Input, r.spec.Env, r.spec.Command = "", nil, "" // may be large, and may be secret
	if len(r.job.Command) > maxRecorded {
		r.job.Command = strings.Clone(cutAt(r.job.Command, maxRecorded))
	}
	r.job.Ended = time.Now()
	for i := range r.out {
		r.out[i].settle()
	}
	for w := range r.waiters {
		w.finish()
	}
	clear(r.waiters)
}

// finish gives up the place that a closed run may have had, and tells of its end.
func (r *run) finish(ctx context.Context, hadPlace bool) {
	defer close(r.told)
	j := r.snapshot()
	if err := r.record(ctx); err != nil {
		r.engine.o.Log.Warn().Err(err).Str("job", r.id).Msg("the end of a background command is not recorded")
	}
	close(r.done)
	r.engine.retire(ctx, r, hadPlace)
	r.engine.tell(ctx, j)
	if j.Left == 0 && r.erase(ctx) {
		return
	}
	r.mu.Lock()
	r.heard = true
	gone := j.Left > 0 && r.job.Left == 0 // meanwhile, and its record with them
	r.mu.Unlock()
	if gone {
		return
	}
	if err := r.record(ctx); err != nil {
		r.engine.o.Log.Warn().Err(err).Str("job", r.id).Msg("who is left of a background command is not recorded")
	}
}

// tell calls Ended.
func (e *Engine) tell(ctx context.Context, j Job) {
	defer func() {
		if v := recover(); v != nil {
			e.o.Log.Error().Str("job", j.ID).Interface("panic", v).Bytes("stack", debug.Stack()).Msg("telling of the end of a background command")
		}
	}()
	e.o.Ended(ctx, j)
}

// clear ends what an ended command has left behind.
func (r *run) clear(ctx context.Context, grace time.Duration) error {
	r.mu.Lock()
	tree, left := r.tree, r.job.Left
	r.mu.Unlock()
	if tree == nil || left == 0 {
		return nil
	}
	_, err := tree.End(ctx, grace)
	if err = errors.Join(err, r.recount(ctx)); err != nil {
		return fmt.Errorf("background command %s: %w", r.id, err)
	}
	return nil
}

// recount looks who is left of an ended command that had left somebody behind,
// and lets its record go with the last one.
func (r *run) recount(ctx context.Context) error {
	r.mu.Lock()
	tree, left := r.tree, r.job.Left
	r.mu.Unlock()
	if tree == nil || left == 0 {
		return nil
	}
	left, err := tree.Left()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.job.Left = left
	r.mu.Unlock()
	if left == 0 {
		r.erase(context.WithoutCancel(ctx))
	}
	return nil
}

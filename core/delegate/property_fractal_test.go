package delegate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// The same with tasks that delegate, and slots so scarce that those who wait for
// tasks of their own would hold all of them: nobody waits for ever, nobody is at
// work without a slot, and what such a task says before it knows of the ends of
// its own is not its result.
func TestAnyFractalSchedule(t *testing.T) {
	fresh := rand.Uint64()
	t.Logf("the seed of this run is %d", fresh)
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6, fresh} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			m := newModel(seed)
			play(t, 1+int(seed%3), m.answer, func(t *testing.T, r *rig) {
				newSchedule(r, m, newDice(seed+1), seed%2 == 0).delegating().run(40)
			})
		})
	}
}

// What these schedules have found and is not mended: each of these lets one thing
// pass, and goes with the mending.
const (
	// After a crash a session that is at work may get its slot later than one that
	// only waits for its own tasks.
	looseAdoption = true
	// The end of a long tool call may pass for the end of a long silence.
	lateSilence = true
)

// givenUp is why a task ends whose launch was cut off.
const givenUp = "the call that asked for it was stopped"

// calls are the tool calls in which tasks delegate.
type calls struct {
	mu       sync.Mutex
	open     map[string]context.CancelFunc // by session
	aborted  map[string]bool               // sessions whose turn was stopped and is not over yet
	apart    map[string]bool               // sessions whose call was cut off: their turn goes on without a slot until it is over
	returned map[string]bool               // ends that a call returned
	dead     map[string]bool               // owners
	owner    string
}

// has reports whether a session needs no slot for what it does now.
func (c *calls) has(session string) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[session] != nil || c.apart[session]
}

// delegating has a schedule be one in which tasks delegate.
func (s *schedule) delegating() *schedule {
	s.calls = &calls{
		open: map[string]context.CancelFunc{}, aborted: map[string]bool{}, apart: map[string]bool{},
		returned: map[string]bool{}, dead: map[string]bool{}, owner: "host-1",
	}
	emit := s.host.Emit
	s.host.Emit = func(d string, ev host.Event) {
		emit(d, ev)
		switch {
		case ev.Type == host.EventSessionIdle:
			s.calls.mu.Lock()
			delete(s.calls.aborted, ev.Session)
			delete(s.calls.apart, ev.Session)
			s.calls.mu.Unlock()
		case ev.Type == host.EventPart && ev.Call.Tool == nameDelegate && ev.Call.Status == "running":
			s.delegate(ev.Session, ev.MessageID, ev.Call.Input) // on the turn's goroutine, which waits for it
		}
	}
	watched := s.rig.life.Store.(judgeStore)
	watched.check = s.checkLastWord
	s.rig.life.Store, s.rig.store = watched, watched
	s.hasten()
	return s
}

// hasten has tasks that hang in few slots not hold up all others for long, and
// calls be handed back.
func (s *schedule) hasten() {
	if s.calls != nil {
		s.configure(func(c *Settings) {
			c.Timeout, c.Silence, c.SyncWait = 15*time.Minute, 5*time.Minute, time.Minute
			if lateSilence {
				c.Silence = time.Hour
			}
		})
	}
}

// delegate makes the calls of one step of a session, which end when its turn is
// stopped or the sidecar dies.
func (s *schedule) delegate(session, message, lines string) {
	engine := s.rig.hears.Load()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := s.calls
	c.mu.Lock()
	if engine == nil || c.aborted[session] {
		c.mu.Unlock()
		return
	}
	c.open[session] = cancel
	c.mu.Unlock()
	var calls sync.WaitGroup
	for line := range strings.SplitSeq(lines, "\n") {
		kind, name, _ := strings.Cut(line, " ")
		spec := Spec{
			Directory: dir, Worktree: dir, Parent: session, Message: message, ParentAgent: "general",
			Agent: []string{"general", "general", "explore"}[s.dice.below(3)], Description: "inner", Prompt: "play " + name,
			Priority: []task.Priority{task.High, task.NormalPriority, task.Low}[s.dice.below(3)],
			Wake:     []task.Wake{task.WakeEach, task.WakeEach, task.WakeAll, task.WakeNone}[s.dice.below(4)],
		}
		if scripts[name].fractal {
			spec.Mode = task.Fractal
		}
		if kind == inBackground {
			spec.Background = true
			if t, err := engine.Launch(ctx, spec); err == nil && spec.Wake != task.WakeNone {
				s.model.expect(session, t.ID)
			}
			continue
		}
		calls.Go(func() {
			t, err := engine.Delegate(ctx, spec)
			switch {
			case err != nil:
			case t.State.Terminal():
				c.mu.Lock()
				c.returned[attempt(t)] = true
				c.mu.Unlock()
			default:
				s.model.expect(session, t.ID)
			}
		})
	}
	calls.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, session)
	if ctx.Err() != nil || s.rig.hears.Load() != engine {
		c.apart[session] = true
	}
}

func attempt(t task.Task) string { return fmt.Sprintf("%s/%d", t.ID, t.Attempt) }

// cut ends the calls of a session whose turn was stopped.
func (s *schedule) cut(session string) {
	if s.calls == nil {
		return
	}
	statuses, err := s.host.Statuses(context.Background(), dir)
	if err != nil {
		s.Error(err)
	}
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	if _, busy := statuses[session]; busy {
		s.calls.aborted[session] = true
	}
	if cancel := s.calls.open[session]; cancel != nil {
		cancel()
	}
}

// bereave ends the calls of a sidecar that has died, sometimes with its OpenCode,
// and returns the owner that the next one serves.
func (s *schedule) bereave() (owner string) {
	if s.calls == nil {
		return "host-1"
	}
	c := s.calls
	c.mu.Lock()
	for session, cancel := range c.open {
		c.apart[session] = true
		cancel()
	}
	statuses, err := s.host.Statuses(s.Context(), dir)
	if err != nil {
		s.Error(err)
	}
	for session := range statuses {
		c.apart[session] = c.apart[session] || looseAdoption
	}
	dies := s.dice.one(3)
	if dies {
		c.dead[c.owner] = true
		s.owners.set(c.owner, false)
		c.owner = fmt.Sprintf("host-%d", len(c.dead)+1)
	}
	owner = c.owner
	c.mu.Unlock()
	if dies {
		s.host.Close()
	}
	return owner
}

func (s *schedule) ownerDied(t task.Task) bool {
	if s.calls == nil {
		return false
	}
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.dead[t.Owner]
}

// bereaved reports whether a session is told of something only when a person
// speaks in it, because an owner has died.
func (s *schedule) bereaved(session string) bool {
	if s.calls == nil || len(s.calls.dead) == 0 {
		return false
	}
	page, err := s.store.List(s.Context(), task.Query{Parent: session, Untold: true, Limit: 10_000})
	if err != nil {
		s.Fatal(err)
	}
	return slices.ContainsFunc(page.Tasks, func(t task.Task) bool { return t.State.Terminal() })
}

// hears reports whether a task's end has to be told to somebody, or noted that it
// need not be. In the session of a task whose OpenCode has died nobody speaks.
func (s *schedule) hears(t task.Task) bool {
	return !s.isGone(t.Parent) && (s.isMain(t.Parent) || !s.ownerDied(t))
}

// patience is how many minutes all may take to come to its end.
func (s *schedule) patience() int {
	if s.calls != nil {
		return 6 * 60
	}
	return 12 * 60 // calls that hang, one after the other
}

// checkLastWord looks at a task that completes: nothing of its own may be open, or
// untold, then.
func (s *schedule) checkLastWord(t task.Task) {
	if t.Session == "" || s.isGone(t.Session) {
		return
	}
	page, err := s.store.List(context.Background(), task.Query{Parent: t.Session, Limit: 10_000})
	if err != nil {
		s.Error(err)
	}
	for _, own := range page.Tasks {
		if !own.State.Terminal() || !own.Told && own.Wake != task.WakeNone && !s.ownerDied(own) {
			s.Errorf("%s completes with %q before it knows of the end of its own %s (%s, told %t)", t.ID, t.Result, own.ID, own.State, own.Told)
		}
	}
}

// fractalEnds are the further ends that a task may have because it has delegated
// or was delegated by another task, or because its OpenCode has died.
func (s *schedule) fractalEnds(t task.Task, all map[task.ID]task.Task) (ends []task.State) {
	if s.calls == nil {
		return nil
	}
	name, _ := trimPlay(t.Prompt)
	if scripts[name].fractal && !s.model.expects(t.Session) {
		ends = append(ends, task.Completed) // it has got nothing under way
	}
	if t.Mode == task.Fractal && scripts[name].end == task.Failed {
		ends = append(ends, task.Completed) // news of its own gave it another turn
	}
	if s.ownerDied(t) {
		ends = append(ends, task.Interrupted, task.Completed)
	}
	if t.Error == givenUp {
		ends = append(ends, task.Cancelled)
	}
	for _, outer := range all {
		if outer.Session == t.Parent && slices.ContainsFunc(attempts(outer), func(a task.Attempt) bool { return !a.Ended.After(t.Ended) }) {
			ends = append(ends, task.Cancelled)
		}
	}
	return ends
}

// attempts are all of a task.
func attempts(t task.Task) []task.Attempt {
	return append(slices.Clone(t.Past), t.Over(t.State, t.Result, t.Error, t.Ended))
}

// judgeFractal looks at the tasks that delegated, and what they were told.
func (s *schedule) judgeFractal(tasks []task.Task, known map[string]map[string]int) {
	if s.calls == nil {
		return
	}
	outers := map[string]task.Task{}
	for _, t := range tasks {
		if t.Session != "" {
			outers[t.Session] = t
		}
		if t.State == task.Completed && strings.HasPrefix(t.Result, "waiting") && !s.isGone(t.Session) && s.waits(t, tasks, known) {
			s.Errorf("%s waited for its own tasks, and is completed with %q: %+v", t.ID, t.Result, s.fates[t.ID])
		}
		if s.calls.returned[attempt(t)] && known[t.Parent][attempt(t)] > 0 {
			s.Errorf("%s was told although a call has returned it", attempt(t))
		}
	}
	for _, t := range tasks {
		outer, ok := outers[t.Parent]
		if !ok || s.isGone(t.Parent) || !t.Background || t.Wake == task.WakeNone || known[t.Parent][attempt(t)] > 0 || s.calls.returned[attempt(t)] {
			continue
		}
		for i, a := range attempts(outer) {
			if a.State == task.Completed && t.Created.After(a.Started) && t.Ended.Before(a.Ended) {
				s.Errorf("%s, which has completed in attempt %d, was not told of %s", outer.ID, i+1, attempt(t))
			}
		}
	}
	statuses, err := s.host.Statuses(s.Context(), dir)
	if err != nil {
		s.Fatal(err)
	}
	for id := range statuses {
		if !s.isMain(id) && !s.isGone(id) && !s.visited[id] {
			s.Errorf("%s of %s is at work at the end", id, outers[id].ID)
		}
	}
}

// waits reports whether a task was not told of one of its own.
func (s *schedule) waits(t task.Task, tasks []task.Task, known map[string]map[string]int) bool {
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	return slices.ContainsFunc(tasks, func(own task.Task) bool {
		return s.model.expected[t.Session][own.ID] && own.Wake != task.WakeNone && known[t.Session][attempt(own)] == 0
	})
}

// checkTurn looks at a turn that the engine starts in a task's session to say
// something further: it must be one of a task that is at it.
func (s *schedule) checkTurn(p host.Prompt) {
	engine := s.rig.hears.Load()
	if s.calls == nil || s.isMain(p.Session) || p.NoReply || !p.Synthetic || engine == nil {
		return
	}
	engine.mu.Lock()
	r := engine.bySession[p.Session]
	ended := r == nil
	late := ended || r.cancel == nil // one that is ending stops it
	engine.mu.Unlock()
	s.mu.Lock()
	late = late && !s.visited[p.Session] // that of an ended task is a person's then
	s.mu.Unlock()
	if late {
		s.Errorf("a turn of %s was started although its task is not at it: %.60q", p.Session, p.Text)
	}
}

package delegate

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// Whatever people, OpenCode, its provider and fate do: tasks end as they must,
// and nobody hears of it twice. A seed that fails shows it again mostly, as only
// goroutines that run at the same instant of virtual time are out of its hands.
func TestAnySchedule(t *testing.T) {
	fresh := rand.Uint64()
	t.Logf("the seed of this run is %d", fresh)
	for _, seed := range []uint64{1, 2, 3, 4, 5, 6, 7, 8, fresh} {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			m := newModel(seed)
			play(t, 3, m.answer, func(t *testing.T, r *rig) {
				newSchedule(r, m, newDice(seed+1), seed%2 == 0).run(80)
			})
		})
	}
}

// fate is what a test has done to a task, of which its end may tell.
type fate struct {
	script  string
	stopped bool // somebody wanted its end, or the end of its session or parent
	spoken  bool // somebody has spoken in its session
	race    bool
}

// schedule is one run of the property test.
type schedule struct {
	*rig
	model  *model
	dice   *dice
	faults bool // calls of OpenCode fail or lose their answers now and then
	mains  []string
	ops    sync.WaitGroup
	parent context.Context // of the calls that wait for a task
	crash  context.CancelFunc
	next   int

	mu      sync.Mutex
	fates   map[task.ID]*fate
	groups  map[string]bool // that a race was held in
	held    map[string]bool // parents that a person has stopped
	gone    map[string]bool // sessions that were deleted
	visited map[string]bool // child sessions that a person has spoken in
	highest int             // limit that was ever in force
	calls   *calls          // of tasks that delegate; nil if none does
}

func newSchedule(r *rig, m *model, d *dice, faults bool) *schedule {
	s := &schedule{
		rig: r, model: m, dice: d, faults: faults, mains: []string{r.main, r.host.Open(dir)}, highest: r.max,
		fates: map[task.ID]*fate{}, groups: map[string]bool{}, held: map[string]bool{}, gone: map[string]bool{}, visited: map[string]bool{},
	}
	synctest.Wait() // the engine has opened its workspace
	r.through(watched{r.host, s})
	deliver := r.host.Emit
	r.host.Emit = func(d string, ev host.Event) {
		switch {
		case ev.Type == host.EventSessionError && s.isMain(ev.Session): // else nobody could know of the Esc
			deliver(d, ev)
			return
		case s.dice.one(5):
			return // lost
		}
		for range 1 + s.dice.below(2) {
			time.AfterFunc(s.dice.within(1500*time.Millisecond), func() { deliver(d, ev) })
		}
	}
	m.emit = func(ev host.Event) { r.host.Emit(dir, ev) }
	m.read = func(session string) []host.Message {
		messages, _ := r.host.Messages(r.Context(), dir, session, 10_000) // none of a deleted one
		return messages
	}
	// From now on it writes before a judge.
	r.life.Store = judgeStore{Store: r.store, fail: s.Errorf}
	r.store = r.life.Store
	s.parent, s.crash = context.WithCancel(r.Context())
	return s
}

func (s *schedule) isMain(id string) bool { return slices.Contains(s.mains, id) }

// run plays n things that happen, waits until all is quiet, and judges.
func (s *schedule) run(n int) {
	for range n {
		s.happen()
		time.Sleep(s.dice.within(12 * time.Second))
		if s.dice.one(3) {
			synctest.Wait()
		}
	}
	s.ops.Wait()
	s.settle()
	s.judge()
}

// settle lets people go on in sessions that they have stopped, and waits until
// there is nothing left to do.
func (s *schedule) settle() {
	for range s.patience() {
		s.sleep(time.Minute)
		for _, id := range s.live() {
			if s.isHeld(id) || s.bereaved(id) {
				s.speak(id)
			}
		}
		page, err := s.store.List(s.Context(), task.Query{Limit: 10_000})
		if err != nil {
			s.Fatal(err)
		}
		open := slices.ContainsFunc(page.Tasks, func(t task.Task) bool { return !t.State.Terminal() || !t.Told && s.hears(t) })
		if !open {
			s.sleep(time.Minute)
			return
		}
	}
	s.Error("tasks do not end, or are not told")
}

// live are the parents that were not deleted.
func (s *schedule) live() []string {
	return slices.DeleteFunc(slices.Clone(s.mains), s.isGone)
}

func (s *schedule) isGone(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[id]
}

func (s *schedule) isHeld(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[id]
}

// happen does one thing of those that can happen.
func (s *schedule) happen() {
	engine := s.engine
	switch n := s.dice.below(100); {
	case n < 45:
		s.launch(engine, s.spec())
	case n < 52:
		s.wait(engine, s.spec())
	case n < 58:
		if t, ok := s.any(); ok {
			s.touch(t, func(f *fate) { f.stopped = true })
			s.ops.Go(func() { _, _ = engine.Cancel(s.parent, t.ID, "changed my mind") })
		}
	case n < 64:
		if t, ok := s.any(); ok {
			s.resume(engine, t)
		}
	case n < 69:
		if t, ok := s.any(); ok {
			s.touch(t, func(f *fate) { f.spoken = true })
			s.ops.Go(func() { _, _ = engine.Send(s.parent, t.ID, "one more thing") })
		}
	case n < 73:
		if t, ok := s.any(); ok {
			s.visit(t)
		}
	case n < 79:
		if live := s.live(); len(live) > 0 {
			s.speak(live[s.dice.below(len(live))])
		}
	case n < 86:
		s.escape()
	case n < 90:
		if t, ok := s.any(); ok && t.Session != "" && !s.isGone(t.Session) {
			s.delete(t.Session)
		}
	case n < 91:
		if live := s.live(); len(live) > 1 {
			s.delete(live[1])
		}
	case n < 95:
		n := 1 + s.dice.below(5)
		if s.calls != nil {
			n = 1 + s.dice.below(3)
		}
		s.mu.Lock()
		s.highest = max(s.highest, n)
		s.mu.Unlock()
		s.max = n
		if err := s.limits.SetDefault(limit.Agent, n); err != nil {
			s.Error(err)
		}
	default:
		s.die()
	}
}

// spec is a task that somebody may want.
func (s *schedule) spec() Spec {
	s.next++
	live := s.live()
	spec := Spec{
		Directory: dir, Worktree: dir, Parent: live[s.dice.below(len(live))], Agent: []string{"general", "explore"}[s.dice.below(2)],
		Description: fmt.Sprintf("part %d", s.next), Prompt: "play " + order[s.dice.below(len(order))], Background: true,
		Priority: []task.Priority{task.High, task.NormalPriority, task.Low}[s.dice.below(3)],
		Wake:     []task.Wake{task.WakeEach, task.WakeEach, task.WakeAll, task.WakeNone}[s.dice.below(4)],
	}
	if s.dice.one(3) {
		spec.Group = fmt.Sprintf("group %d", s.next/6)
	}
	if spec.Group != "" && s.dice.one(2) {
		spec.Mode = task.Race
	} else if s.calls != nil && !s.dice.one(3) {
		spec.Mode, spec.Prompt = task.Fractal, "play "+fractalOrder[s.dice.below(len(fractalOrder))]
	}
	return spec
}

func (s *schedule) launch(engine *Engine, spec Spec) {
	s.ops.Go(func() {
		if t, err := engine.Launch(s.Context(), spec); err == nil {
			s.know(t.ID, spec)
		}
	})
}

// know keeps what the end of a task may be. A task whose acknowledgement was lost
// in a crash is known by its record only.
func (s *schedule) know(id task.ID, spec Spec) *fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fates[id]
	if f == nil {
		f = &fate{}
		s.fates[id] = f
	}
	f.script = spec.Prompt[len("play "):]
	f.race = f.race || spec.Mode == task.Race
	return f
}

// wait delegates and waits for the answer, sometimes not to the end.
func (s *schedule) wait(engine *Engine, spec Spec) {
	ctx, cancel := context.WithCancel(s.parent)
	if s.dice.one(3) {
		time.AfterFunc(s.dice.within(30*time.Second), cancel)
	}
	spec.Background, spec.Wake = false, task.WakeEach
	s.ops.Go(func() {
		defer cancel()
		t, err := engine.Delegate(ctx, spec)
		if err != nil {
			return // perhaps it was stopped: see escaped
		}
		if stored := s.get(t.ID); t.State.Terminal() && stored.Attempt == t.Attempt && stored.Result != t.Result {
			s.Errorf("%s: the caller got %q, stored is %q", t.ID, t.Result, stored.Result)
		}
		s.know(t.ID, spec)
	})
}

func (s *schedule) resume(engine *Engine, was task.Task) {
	if s.isGone(was.Parent) {
		return
	}
	spec := s.spec()
	if spec.Parent = was.Parent; spec.Mode == task.Race || was.Mode != task.Fractal {
		spec.Mode = task.Normal
	}
	if !s.isMain(was.Parent) {
		spec.Wake = was.Wake // as its session expects it
	}
	s.ops.Go(func() {
		if t, err := engine.Resume(s.Context(), string(was.ID), spec); err == nil {
			s.know(t.ID, spec)
		}
	})
}

// any is one of the newest tasks.
func (s *schedule) any() (task.Task, bool) {
	page, err := s.store.List(s.Context(), task.Query{Limit: 12})
	if err != nil || len(page.Tasks) == 0 {
		return task.Task{}, false
	}
	return page.Tasks[s.dice.below(len(page.Tasks))], true
}

func (s *schedule) touch(t task.Task, change func(*fate)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fates[t.ID] == nil {
		s.fates[t.ID] = &fate{}
	}
	change(s.fates[t.ID])
}

// visit has a person say something in the session of a task.
func (s *schedule) visit(t task.Task) {
	if t.Session == "" || s.isGone(t.Session) {
		return
	}
	s.touch(t, func(f *fate) { f.spoken = true })
	s.mu.Lock()
	s.visited[t.Session] = true
	s.mu.Unlock()
	s.say(t.Session)
}

// speak has a person say something in a session, as the shim tells it.
func (s *schedule) speak(session string) {
	s.mu.Lock()
	delete(s.held, session)
	s.mu.Unlock()
	s.say(session)
}

func (s *schedule) say(session string) {
	s.next++
	id := fmt.Sprintf("msg_person_%d", s.next)
	hook, done := context.WithTimeout(s.Context(), 2*time.Second)
	s.engine.UserSpoke(hook, dir, session, id)
	done()
	p := host.Prompt{Session: session, MessageID: id, Agent: "build", Model: host.Model{Provider: "p", ID: "big"}, Text: "by the way"}
	if err := s.host.Prompt(s.Context(), dir, p); err != nil {
		s.Error(err)
	}
}

// escape stops a session that is at work: one of those that people look at, or of
// a task. What a session is waiting for goes on, and it is told of nothing before
// somebody speaks in it.
func (s *schedule) escape() {
	statuses, err := s.host.Statuses(s.Context(), dir)
	if err != nil {
		s.Fatal(err)
	}
	busy := slices.DeleteFunc(slices.Sorted(maps.Keys(statuses)), s.isGone)
	if len(busy) == 0 {
		return
	}
	id := busy[s.dice.below(len(busy))]
	if s.isMain(id) {
		s.host.Interrupt(id)
		s.mu.Lock()
		s.held[id] = true
		s.mu.Unlock()
		synctest.Wait()
		return
	}
	s.stopTasks(func(t task.Task) bool { return t.Session == id })
	s.host.Interrupt(id)
	s.cut(id)
}

// stopTasks notes that tasks may end as cancelled.
func (s *schedule) stopTasks(which func(task.Task) bool) {
	page, err := s.store.List(s.Context(), task.Query{Limit: 10_000})
	if err != nil {
		s.Fatal(err)
	}
	for _, t := range page.Tasks {
		if which(t) {
			s.touch(t, func(f *fate) { f.stopped = true })
		}
	}
}

func (s *schedule) delete(session string) {
	s.lose(session)
	s.host.Delete(session)
}

// lose notes that a session and all below it are deleted.
func (s *schedule) lose(session string) {
	s.mu.Lock()
	s.gone[session] = true
	s.mu.Unlock()
	children, err := s.host.Children(s.Context(), dir, session)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range children {
		s.lose(c.ID)
	}
}

// die kills the sidecar, and starts another one.
func (s *schedule) die() {
	s.crash() // who waited for a task has an error now
	s.kill()
	owner := s.bereave()
	s.ops.Wait()
	time.Sleep(s.dice.within(20 * time.Second))
	synctest.Wait()
	s.parent, s.crash = context.WithCancel(s.Context())
	s.start(owner)
	s.hasten()
}

// watched is the way of the engine to OpenCode: slow, with faults if there are to
// be any, and with an eye on what it must not do.
type watched struct {
	*fake.OpenCode
	s *schedule
}

var errLost = &host.CallError{Call: "any", Message: "the answer was lost"}

// pass takes a call's time, and perhaps the call.
func (w watched) pass(ctx context.Context) error {
	select {
	case <-time.After(w.s.dice.within(40 * time.Millisecond)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if w.s.faults && w.s.dice.one(60) {
		return errLost
	}
	return nil
}

func (w watched) CreateSession(ctx context.Context, d string, n host.NewSession) (host.Session, error) {
	if err := w.pass(ctx); err != nil {
		return host.Session{}, err
	}
	return w.OpenCode.CreateSession(ctx, d, n)
}

func (w watched) Messages(ctx context.Context, d, id string, n int) ([]host.Message, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.OpenCode.Messages(ctx, d, id, n)
}

func (w watched) Statuses(ctx context.Context, d string) (map[string]host.Status, error) {
	if err := w.pass(ctx); err != nil {
		return nil, err
	}
	return w.OpenCode.Statuses(ctx, d)
}

func (w watched) Abort(ctx context.Context, d, id string) error {
	if err := w.pass(ctx); err != nil {
		return err
	}
	err := w.OpenCode.Abort(ctx, d, id)
	if err == nil {
		w.s.cut(id)
	}
	return err
}

func (w watched) Prompt(ctx context.Context, d string, p host.Prompt) error {
	if w.s.isHeld(p.Session) && !p.NoReply {
		w.s.Errorf("%s was stopped by a person, and woken", p.Session)
	}
	if err := w.pass(ctx); err != nil {
		return err
	}
	if err := w.OpenCode.Prompt(ctx, d, p); err != nil {
		return err
	}
	w.s.checkTurn(p)
	w.s.census()
	return w.pass(context.WithoutCancel(ctx)) // it has arrived, whatever we say now
}

// census counts the sessions of tasks that are at work, by agent.
func (s *schedule) census() {
	statuses, err := s.host.Statuses(context.Background(), dir)
	if err != nil {
		s.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := map[string]int{}
	for id := range statuses {
		if s.isMain(id) || s.gone[id] || s.visited[id] || s.calls.has(id) {
			continue
		}
		if session, err := s.host.Session(context.Background(), dir, id); err == nil {
			busy[session.Agent]++
		}
	}
	for agent, n := range busy {
		if n > s.highest {
			s.Errorf("%d sessions of %s are at work, the limit was never above %d", n, agent, s.highest)
		}
	}
}

// judge holds the end against what was done.
func (s *schedule) judge() {
	page, err := s.store.List(s.Context(), task.Query{Limit: 10_000, Texts: true})
	if err != nil {
		s.Fatal(err)
	}
	stored := map[task.ID]task.Task{}
	for _, t := range page.Tasks {
		stored[t.ID] = t
	}
	for id := range s.fates {
		if _, ok := stored[id]; !ok {
			s.Errorf("%s was acknowledged and is not stored", id)
		}
	}
	known := map[string]map[string]int{}
	for _, t := range page.Tasks {
		if !s.isGone(t.Parent) && known[t.Parent] == nil {
			known[t.Parent] = told(s.host.History(t.Parent))
		}
	}
	for _, t := range page.Tasks {
		s.judgeEnd(t, stored)
		s.judgeSession(t)
		if !s.isGone(t.Parent) {
			s.judgeNews(t, known[t.Parent])
		}
	}
	s.judgeFractal(page.Tasks, known)
	s.judgeMemory()
	s.Logf("%d tasks: %v", len(page.Tasks), page.Totals)
}

// judgeEnd looks at how a task ended.
func (s *schedule) judgeEnd(t task.Task, all map[task.ID]task.Task) {
	f := s.fates[t.ID]
	if f == nil {
		f = &fate{stopped: true}
	}
	name, _ := trimPlay(t.Prompt)
	allowed := []task.State{scripts[name].end}
	if f.stopped || s.isGone(t.Session) || s.isGone(t.Parent) || t.Mode == task.Race || !t.Background {
		allowed = append(allowed, task.Cancelled)
	}
	if f.spoken {
		allowed = append(allowed, task.Completed, task.Failed)
	}
	if name == "silent" { // it may have waited for its slot again, after a crash
		allowed = append(allowed, task.Timeout)
	}
	if s.faults || s.isGone(t.Parent) {
		allowed = append(allowed, task.Failed)
	}
	allowed = append(allowed, s.fractalEnds(t, all)...)
	if !slices.Contains(allowed, t.State) {
		s.Errorf("%s plays %q and is %s (%s), want one of %q; %+v\n%+v", t.ID, name, t.State, t.Error, allowed, f, t)
	}
}

func trimPlay(prompt string) (string, bool) {
	if len(prompt) < len("play ") {
		return "", false
	}
	return prompt[len("play "):], true
}

// judgeSession looks for proof in a task's session, and for what should not be there.
func (s *schedule) judgeSession(t task.Task) {
	if t.Session == "" || s.isGone(t.Session) {
		return
	}
	history := s.host.History(t.Session)
	attempts := append(slices.Clone(t.Past), t.Over(t.State, t.Result, t.Error, t.Ended))
	prompts := map[string]bool{}
	for i, a := range attempts {
		prompts[a.MessageID] = true
		next := ""
		if i+1 < len(attempts) {
			next = attempts[i+1].MessageID
		}
		if texts := proofs(history, a.MessageID, next); a.State == task.Completed && (len(texts) == 0 || texts[len(texts)-1] != a.Result) {
			s.Errorf("%s attempt %d has the result %q, its session proves %q\n%+v", t.ID, i+1, a.Result, texts, history)
		}
	}
	for _, m := range history {
		if m.Role != host.User {
			continue
		}
		if len(m.Parts) != 1 {
			s.Errorf("%s: a prompt was sent %d times: %+v", t.ID, len(m.Parts), m)
		}
		if m.Agent != "build" && !m.Parts[0].Synthetic && !prompts[m.ID] {
			s.Errorf("%s: its session has a prompt of no attempt: %+v", t.ID, m)
		}
	}
}

// judgeNews looks at what a task's parent was told.
func (s *schedule) judgeNews(t task.Task, known map[string]int) {
	for attempt := 1; attempt <= t.Attempt; attempt++ {
		n := known[fmt.Sprintf("%s/%d", t.ID, attempt)]
		last := attempt == t.Attempt
		switch {
		case n > 1:
			s.Errorf("%s attempt %d was told %d times", t.ID, attempt, n)
		case last && n > 0 && t.Wake == task.WakeNone:
			s.Errorf("%s was told, but nobody wants to be", t.ID)
		case last && n == 0 && t.Background && t.Wake != task.WakeNone && s.isMain(t.Parent):
			s.Errorf("%s was not told: %+v", t.ID, t)
		}
	}
	if !t.Told && s.hears(t) {
		s.Errorf("%s does not count as told", t.ID)
	}
}

// judgeMemory looks for what was forgotten in the engine.
func (s *schedule) judgeMemory() {
	live := s.live()
	for _, id := range live {
		s.delete(id)
		s.engine.Event(dir, host.Event{Type: host.EventSessionDeleted, Session: id})
	}
	s.sleep(time.Minute)
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	left := map[string]int{
		"runs": len(e.runs), "sessions": len(e.bySession), "trees": len(e.trees),
		"edits": len(e.edits.by), "clashes": len(e.edits.clashes), "notices": len(e.notices),
	}
	for _, id := range live { // of the others a crash may have swallowed the news
		if e.parents[id] != nil {
			left["parents"]++
		}
	}
	for what, n := range left {
		if n > 0 {
			s.Errorf("%d %s are left in memory", n, what)
		}
	}
	for _, k := range s.limits.Stats() {
		if k.InUse > 0 || k.Queued > 0 {
			s.Errorf("%s: %d leases, %d wait", k.Key, k.InUse, k.Queued)
		}
	}
}

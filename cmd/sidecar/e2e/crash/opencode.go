package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

const (
	// startLimit bounds everything that OpenCode does before the first kill.
	startLimit = time.Minute
	// between is the most that a sidecar lives until the next kill.
	between = 1500 * time.Millisecond
	// stillLimit is how long nothing must get better before that is the end.
	stillLimit = 20 * time.Second
	// perProcess is how many tasks one OpenCode gets, the last of which its main
	// agent waits for when the first kill comes.
	perProcess = 5
)

// OpenCode does what Run does with the real OpenCode. Its shim starts a sidecar
// three times within a minute and then rests, so there is one OpenCode process
// for each number in kills, one after the other, which are at most 3 each. Every
// process gets five tasks.
func OpenCode(ctx context.Context, kills []int, seed uint64, log func(format string, args ...any)) (Report, error) {
	began := time.Now()
	sum := Report{Seed: seed, Kills: map[string]int{}, Store: sound}
	for n, k := range kills {
		one := &real{kills: k, rand: rand.New(rand.NewPCG(seed, uint64(n))), log: log, name: fmt.Sprintf("OpenCode %d", n+1)}
		if err := one.run(ctx); err != nil {
			return sum, fmt.Errorf("%s: %w", one.name, err)
		}
		sum.add(one.report)
	}
	sum.Took = time.Since(began)
	return sum, nil
}

// real is one OpenCode process.
type real struct {
	name  string
	kills int
	rand  *rand.Rand
	log   func(string, ...any)

	*e2e.Rig
	*hosttest.Server
	session string
	answers []string
	report  Report
}

func (o *real) run(ctx context.Context) (err error) {
	o.report = Report{Kills: map[string]int{}, Tasks: perProcess}
	starting, done := context.WithTimeout(ctx, startLimit)
	defer done()
	// Some wait for a slot, so that kills meet tasks in every state.
	if o.Rig, err = e2e.NewRig(starting, map[string]any{"globalConcurrency": perProcess - 2}); err != nil {
		return err
	}
	defer func() {
		if err != nil || o.report.Broken() > 0 {
			o.log("%s: the sidecar's log:\n%s", o.name, o.Log())
		}
		err = errors.Join(err, o.Rig.Close())
	}()
	if o.Server, err = o.Serve(starting); err != nil {
		return err
	}
	if err := o.launch(starting); err != nil {
		return fmt.Errorf("launching: %w", err)
	}
	if err := o.kill(ctx); err != nil {
		return err
	}
	if err := o.await(ctx); err != nil {
		return err
	}
	o.Client.Close()
	if err := o.Stop(ctx); err != nil {
		return err
	}
	o.report.Store, err = checkStore(filepath.Join(o.StateDir, "opencode-sidecar"))
	return err
}

// launch has the main agent delegate all tasks, and returns when it waits for
// the last one.
func (o *real) launch(ctx context.Context) error {
	made, err := o.CreateSession(ctx, hosttest.NewSession{Title: "crash"})
	if err != nil {
		return err
	}
	o.session = made.ID
	script := func(n int, wait time.Duration) string {
		o.answers = append(o.answers, fmt.Sprintf("all is well in part %d", n))
		return fmt.Sprintf("@tag part-%d\n@wait %s\n@say %s", n, wait.Round(time.Millisecond), o.answers[n-1])
	}
	var scripts []string
	for n := range perProcess - 1 {
		scripts = append(scripts, script(n+1, 300*time.Millisecond+time.Duration(o.rand.Int64N(int64(5*time.Second)))))
	}
	if _, err := o.Prompt(ctx, o.session, hosttest.Text(e2e.Batch(scripts...), "@say launched")); err != nil {
		return err
	}
	last := script(perProcess, 2*time.Second)
	if err := o.PromptAsync(ctx, o.session, hosttest.Text(e2e.Delegate(false, last), "@say went on")); err != nil {
		return err
	}
	return o.Model.WaitLoad(ctx, fmt.Sprintf("part-%d", perProcess), 1)
}

// kill kills one sidecar after the other.
func (o *real) kill(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, startLimit)
	defer done()
	old := 0
	for range o.kills {
		p, err := o.Processes().WaitFor(ctx, func(p hosttest.ProcessInfo) bool { return e2e.IsSidecar(p) && p.PID != old })
		if err != nil {
			return fmt.Errorf("no sidecar to kill: %w", err)
		}
		old = p.PID
		wait := time.Duration(o.rand.Int64N(int64(between)))
		pause(ctx, wait)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill the sidecar: %w", err)
		}
		o.report.Kills[o.name]++
		o.log("%s: kill %s after its sidecar was seen", o.name, wait.Round(time.Millisecond))
	}
	return nil
}

// await waits until all that is missing has come, or nothing more comes, and a
// little longer for what may come twice. The report is of what it saw last.
func (o *real) await(ctx context.Context) error {
	start := time.Now()
	broken, since := -1, start
	for {
		if err := o.look(ctx); err != nil {
			return err
		}
		if now := o.report.Broken(); now != broken {
			broken, since = now, time.Now()
		}
		if o.report.settled() && broken == 0 || time.Since(since) > stillLimit {
			break
		}
		if !pause(ctx, 250*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
	o.log("%s: %s after the last kill nothing was missing any more, or came", o.name, time.Since(start).Round(100*time.Millisecond))
	if !pause(ctx, afterwards) {
		return context.Cause(ctx)
	}
	return o.look(ctx)
}

// look compares what was asked for with OpenCode's own sessions.
func (o *real) look(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, startLimit)
	defer done()
	o.report = Report{Kills: o.report.Kills, Tasks: perProcess, Acknowledged: perProcess - 1, Unacknowledged: 1, Store: sound}
	messages, err := o.Messages(ctx, o.session, 0)
	if err != nil {
		return err
	}
	children, err := o.Children(ctx, o.session)
	if err != nil {
		return err
	}
	outcomes := o.told(messages)
	seen := map[int]bool{}
	for _, c := range children {
		all, err := o.Messages(ctx, c.ID, 0)
		if err != nil {
			return err
		}
		o.judgeChild(c, all, outcomes, seen)
	}
	for n := range o.answers {
		if !seen[n] {
			o.report.Lost++
			o.problem("part %d has no session with a prompt", n+1)
		}
		if turns := o.turns(n + 1); turns > 1 {
			o.report.SecondTurns += turns - 1
			o.problem("part %d: its model was asked %d times", n+1, turns)
		}
	}
	return nil
}

func (o *real) problem(format string, args ...any) {
	o.report.problem(o.name+": "+format, args...)
}

// turns is how often the model was asked to play a part.
func (o *real) turns(part int) (n int) {
	for _, r := range o.Model.Requests() {
		if r.Tag == fmt.Sprintf("part-%d", part) {
			n++
		}
	}
	return n
}

// told maps the ids of tasks to what the main session reads about them.
func (o *real) told(messages []hosttest.Message) map[string]told {
	all := map[string]told{}
	for _, m := range messages {
		if m.Info.Role != "user" {
			continue
		}
		here := map[string]int{}
		for _, found := range outcome.FindAllStringSubmatch(m.Text(), -1) {
			here[found[1]]++
		}
		for id, n := range here {
			t := all[id]
			all[id] = told{append(t.messages, m.Info.ID), t.repeated + n - 1}
		}
		answers := 0
		for _, a := range messages {
			if a.Info.ParentID == m.Info.ID && a.Info.Finish == "stop" {
				answers++
			}
		}
		if answers > 1 {
			o.report.SecondTurns += answers - 1
			o.problem("the main session answered %s %d times", m.Info.ID, answers)
		}
	}
	return all
}

// judgeChild adds a child session to the report; seen notes its part.
func (o *real) judgeChild(c hosttest.Session, all []hosttest.Message, outcomes map[string]told, seen map[int]bool) {
	prompts, texts := 0, 0
	part, answer := -1, ""
	for _, m := range all {
		if m.Info.Role != "user" {
			answer += m.Text()
			continue
		}
		prompts++
		for _, p := range m.Parts {
			if p.Type == "text" && !p.Synthetic {
				texts++
			}
		}
		part = max(part, slices.IndexFunc(o.answers, func(a string) bool { return strings.Contains(m.Text(), a) }))
	}
	id := taskID.FindString(c.Title)
	if prompts == 0 {
		o.report.Empty++
		return
	}
	if part < 0 || id == "" {
		o.problem("the session %q is of no part", c.Title)
		o.report.Wrong++
		return
	}
	if seen[part] {
		o.report.SecondPrompts++
		o.problem("part %d was sent to two sessions", part+1)
	}
	seen[part] = true
	if prompts > 1 {
		o.report.SecondPrompts += prompts - 1
		o.problem("part %d: %d prompts in %s", part+1, prompts, c.ID)
	}
	if texts > prompts {
		o.report.Repeated += texts - prompts
		o.problem("part %d: its prompt has %d texts", part+1, texts)
	}
	if answer != o.answers[part] {
		o.report.Wrong++
		o.problem("part %d (%s): the answer is %q", part+1, id, answer)
	}
	switch got := outcomes[id]; {
	case len(got.messages) == 0:
		o.report.Untold++
		if part == perProcess-1 {
			o.report.UntoldCalls++
		}
		o.problem("part %d: the main session was not told of %s", part+1, id)
	case len(got.messages) > 1 || got.repeated > 0:
		o.report.ToldTwice += len(got.messages) - 1
		o.report.Repeated += got.repeated
		o.problem("part %d: the main session was told of %s in %d messages, %d times too often in one", part+1, id, len(got.messages), got.repeated)
	}
}

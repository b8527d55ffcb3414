package crash

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// A judge that sees nothing would pass everything.
func TestEveryFaultIsSeen(t *testing.T) {
	const id = "task_00000001"
	fine := func() (*job, []wire.Task, int, told) {
		j := &job{mark: "n001", kind: delegated, end: answers, id: id, tried: true}
		return j, []wire.Task{{ID: id, State: "completed", Result: j.answer()}}, 1, told{messages: []string{"msg_1"}}
	}
	for name, c := range map[string]struct {
		spoil func(j *job, known *[]wire.Task, turns *int, got *told)
		want  Report
	}{
		"all is well": {func(*job, *[]wire.Task, *int, *told) {}, Report{}},
		"lost":        {func(_ *job, known *[]wire.Task, _ *int, _ *told) { *known = nil }, Report{Lost: 1}},
		"unacknowledged and not there": {func(j *job, known *[]wire.Task, turns *int, _ *told) {
			j.id, *known, *turns = "", nil, 0
		}, Report{}},
		"another id":                  {func(j *job, _ *[]wire.Task, _ *int, _ *told) { j.id = "task_00000002" }, Report{Lost: 1}},
		"doubled":                     {func(_ *job, known *[]wire.Task, _ *int, _ *told) { *known = append(*known, (*known)[0]) }, Report{Doubled: 1}},
		"open":                        {func(_ *job, known *[]wire.Task, _ *int, _ *told) { (*known)[0].State = "running" }, Report{Open: 1}},
		"wrong state":                 {func(_ *job, known *[]wire.Task, _ *int, _ *told) { (*known)[0].State = "interrupted" }, Report{Wrong: 1}},
		"wrong text":                  {func(_ *job, known *[]wire.Task, _ *int, _ *told) { (*known)[0].Result = "" }, Report{Wrong: 1}},
		"second turn":                 {func(_ *job, _ *[]wire.Task, turns *int, _ *told) { *turns = 2 }, Report{SecondTurns: 1}},
		"no turn":                     {func(_ *job, _ *[]wire.Task, turns *int, _ *told) { *turns = 0 }, Report{Wrong: 1}},
		"untold":                      {func(_ *job, _ *[]wire.Task, _ *int, got *told) { got.messages = nil }, Report{Untold: 1}},
		"told twice":                  {func(_ *job, _ *[]wire.Task, _ *int, got *told) { got.messages = slices.Repeat(got.messages, 2) }, Report{ToldTwice: 1}},
		"repeated":                    {func(_ *job, _ *[]wire.Task, _ *int, got *told) { got.repeated = 1 }, Report{Repeated: 1}},
		"told though none was wanted": {func(j *job, _ *[]wire.Task, _ *int, _ *told) { j.wake = wakeNone }, Report{ToldTwice: 1}},
		"a call lost with its sidecar, untold": {func(j *job, _ *[]wire.Task, _ *int, got *told) {
			j.kind, j.id, got.messages = awaited, "", nil
		}, Report{Untold: 1, UntoldCalls: 1}},
		"a call that was answered, and told": {func(j *job, _ *[]wire.Task, _ *int, _ *told) {
			j.kind, j.answered, j.output = awaited, true, id+j.answer()
		}, Report{ToldTwice: 1}},
	} {
		j, known, turns, got := fine()
		c.spoil(j, &known, &turns, &got)
		r := Report{}
		r.judge(j, known, map[string]int{j.mark: turns}, map[string]told{id: got})
		r.Store, c.want.Store = sound, sound
		if r.Broken() != c.want.Broken() || r.Lost != c.want.Lost || r.Untold != c.want.Untold || r.ToldTwice != c.want.ToldTwice || r.Wrong != c.want.Wrong {
			t.Errorf("%s: %s", name, r)
		}
		if (r.Broken() > 0) != (len(r.Problems) > 0) {
			t.Errorf("%s: %d faults, explained as %s", name, r.Broken(), strings.Join(r.Problems, "; "))
		}
	}
}

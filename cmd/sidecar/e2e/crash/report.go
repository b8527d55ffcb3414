package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what a run found. All counts of broken promises are 0 after a good one.
type Report struct {
	Seed  uint64
	Took  time.Duration
	Tasks int
	// Kills by the moment at which they came.
	Kills map[string]int

	// Acknowledged launches, and Unacknowledged ones that exist all the same:
	// the sidecar died between storing the task and answering.
	Acknowledged, Unacknowledged int
	// Empty is how many sessions were created for a prompt that was never sent.
	Empty int
	// HighWater is the most children that were at work at one time; Limit is how
	// many may be.
	HighWater, Limit int
	// Store is what the database says of itself.
	Store string

	Refused       int // launches answered with an error
	Lost          int // acknowledged tasks that do not exist
	Doubled       int // tasks that exist more than once
	Open          int // tasks that never ended
	Wrong         int // tasks with another end than their model gave them
	SecondTurns   int // turns of a model that were paid for twice
	SecondPrompts int // further prompts in a child
	Untold        int // outcomes that are in no message of the parent
	UntoldCalls   int // those of them whose call waited for the outcome when the sidecar died
	ToldTwice     int // outcomes that are in more than one
	Scattered     int // groups that were not told all at once
	Repeated      int // texts that were appended to a message which had them

	// Problems are sentences about each of these.
	Problems []string
}

// settled reports whether nothing is missing.
func (r Report) settled() bool { return r.Lost == 0 && r.Open == 0 && r.Untold == 0 }

// Broken is the number of broken promises.
func (r Report) Broken() int {
	n := r.Refused + r.Lost + r.Doubled + r.Open + r.Wrong + r.SecondTurns + r.SecondPrompts + r.Untold + r.ToldTwice + r.Scattered + r.Repeated
	n += max(0, r.HighWater-r.Limit)
	if r.Store != sound {
		n++
	}
	return n
}

// add adds another report's counts.
func (r *Report) add(o Report) {
	for name, n := range o.Kills {
		r.Kills[name] += n
	}
	for _, c := range []struct {
		sum *int
		n   int
	}{
		{&r.Tasks, o.Tasks}, {&r.Acknowledged, o.Acknowledged}, {&r.Unacknowledged, o.Unacknowledged}, {&r.Empty, o.Empty},
		{&r.Refused, o.Refused}, {&r.Lost, o.Lost}, {&r.Doubled, o.Doubled}, {&r.Open, o.Open}, {&r.Wrong, o.Wrong},
		{&r.SecondTurns, o.SecondTurns}, {&r.SecondPrompts, o.SecondPrompts}, {&r.Untold, o.Untold}, {&r.UntoldCalls, o.UntoldCalls},
		{&r.ToldTwice, o.ToldTwice}, {&r.Scattered, o.Scattered}, {&r.Repeated, o.Repeated},
	} {
		*c.sum += c.n
	}
	if o.Store != sound {
		r.Store = o.Store
	}
	r.Problems = append(r.Problems, o.Problems...)
}

// Killed is the number of kills.
func (r Report) Killed() int {
	n := 0
	for _, some := range r.Kills {
		n += some
	}
	return n
}

// String is the summary in one line.
func (r Report) String() string {
	most := ""
	if r.Limit > 0 {
		most = fmt.Sprintf("at most %d of %d at once; ", r.HighWater, r.Limit)
	}
	return fmt.Sprintf("seed %d: %d kills during %d tasks in %s: %d lost, %d doubled, %d never ended, %d with a wrong end, %d second turns, %d second prompts, "+
		"%d untold (%d of them calls that waited), %d told twice, %d groups scattered, %d texts repeated, %d refused; %s"+
		"%d acknowledged, %d not but there; %d sessions without a prompt; store %s",
		r.Seed, r.Killed(), r.Tasks, r.Took.Round(100*time.Millisecond), r.Lost, r.Doubled, r.Open, r.Wrong, r.SecondTurns, r.SecondPrompts,
		r.Untold, r.UntoldCalls, r.ToldTwice, r.Scattered, r.Repeated, r.Refused, most, r.Acknowledged, r.Unacknowledged, r.Empty, r.Store)
}

// Moments lists the kills by their moments.
func (r Report) Moments() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Kills)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.Kills[name]))
	}
	return strings.Join(parts, ", ")
}

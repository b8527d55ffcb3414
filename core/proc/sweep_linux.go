package proc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Sweep ends what is left of trees whose keeper is gone; the caller knows that it
// is. A process that carries one of the cookies, or is a recorded leader, or
// belongs to such a one, or is in the control group that such a tree was born into,
// is ended like Tree.End does; nothing else is touched. What a mark says of a group
// is believed only if the directory is one that we have made for that cookie.
func (k *Keeper) Sweep(ctx context.Context, marks []Mark, grace time.Duration) (Ending, error) {
	if len(marks) == 0 {
		return Ending{}, nil
	}
	cohorts := recorded(marks)
	h := hunt{cohorts: cohorts, scan: func() ([]process, error) {
		v, lives, hidden, err := lookInto(cohorts)
		if err != nil {
			return nil, err
		}
		r := roots{cookies: map[string]bool{}, lives: map[life]bool{}, sessions: map[int]bool{}, led: map[int]bool{}}
		for _, m := range marks {
			if m.Cookie != "" {
				r.cookies[m.Cookie] = true
			}
			if leader, ok := parse(m.Leader); ok {
				r.led[leader.pid] = true
				r.lives[leader] = true
			}
		}
		for _, l := range lives {
			r.lives[l] = true
		}
		return append(living(v.members(r)), hidden...), nil
	}}
	e, err := h.end(ctx, grace)
	remove := (*cohort).removeEmpty
	if err != nil {
		remove = (*cohort).remove // without waiting for who is left
	}
	for _, c := range cohorts {
		_ = remove(c) // the kernel refuses if somebody is in it
	}
	if err != nil {
		return e, errors.Join(errors.New("sweep process trees"), err)
	}
	return e, nil
}

// living returns those that are not dead, by pid.
func living(members map[int]process) []process {
	return slices.SortedFunc(func(yield func(process) bool) {
		for p := range maps.Values(members) {
			if !p.dead() && !yield(p) {
				return
			}
		}
	}, func(a, b process) int { return a.pid - b.pid })
}

package proc

import (
	"context"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// system is what Linux needs to find a tree again after its leader was reaped.
type system struct {
	start    uint64
	lives    map[life]bool
	sessions map[int][]life // by session: members that were seen in it and keep its number taken
	// disbanded says that the control group was removed.
	disbanded bool
}

// lead makes cmd the leader of a session of its own.
func lead(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
}

// started notes who the leader is: it cannot be reaped before.
func (t *Tree) started() {
	t.system = system{lives: map[life]bool{}, sessions: map[int][]life{}}
	if p, err := current(t.pid); err == nil {
		t.system.start = p.start
		t.system.lives[p.life] = true
		t.identity, _ = name(p.life) // without it the cookie is left
	}
}

// watch closes exited when the leader has exited. Without pidfd (a kernel before
// 5.3, a filter that forbids it) the leader is reaped at once, and of its tree
// only what carries the cookie is found later.
func (t *Tree) watch() {
	defer close(t.exited)
	if err := WaitExit(context.Background(), t.pid); err != nil {
		t.reapEarly()
	}
}

// roots is what is known of the tree. The caller holds t.mu.
func (t *Tree) roots(v *view) roots {
	r := roots{
		cookies: map[string]bool{t.cookie: true}, lives: t.system.lives, sessions: map[int]bool{},
		since: t.system.start, below: t.keeper.adopting(),
	}
	if t.reaped {
		r.led = map[int]bool{t.pid: true}
	} else {
		r.sessions[t.pid] = true
	}
	for session, lives := range t.system.sessions {
		for _, l := range lives {
			if p, ok := v.byPid[l.pid]; ok && p.life == l && p.session == session {
				r.sessions[session] = true
			}
		}
	}
	return r
}

// scan returns the processes of the tree that live, notes them for later, and
// reaps those that were adopted and have died.
func (t *Tree) scan(cohorts []*cohort) ([]process, error) {
	v, lives, alive, err := lookInto(cohorts)
	if err != nil {
		return nil, err
	}
	r := t.roots(v)
	for _, l := range lives {
		r.lives[l] = true
	}
	members := v.members(r)
	clear(t.system.lives)
	clear(t.system.sessions)
	for pid, p := range members {
		t.system.lives[p.life] = true
		// A session belongs to the tree if its leader does or did, and its number
		// stays taken as long as anybody is in it.
		if leader, ok := members[p.session]; r.sessions[p.session] || ok && leader.session == p.session {
			t.system.sessions[p.session] = append(t.system.sessions[p.session], p.life)
		}
		switch {
		case !p.dead():
			alive = append(alive, p)
		case p.parent == v.own.pid && pid != t.pid:
			t.keeper.reap(p, v.own)
		}
	}
	slices.SortFunc(alive, func(a, b process) int { return a.pid - b.pid })
	return alive, nil
}

func (t *Tree) leftLocked() (int, error) {
	cohorts := t.cohorts()
	alive, err := hunt{scan: func() ([]process, error) { return t.scan(cohorts) }}.look()
	if err == nil && len(alive) == 0 {
		t.emptied(cohorts)
	}
	return len(alive), err
}

func (t *Tree) endLocked(ctx context.Context, grace time.Duration) (Ending, error) {
	cohorts := t.cohorts()
	h := hunt{scan: func() ([]process, error) { return t.scan(cohorts) }, cohorts: cohorts}
	if !t.reaped {
		h.group = t.pid
	}
	e, err := h.end(ctx, grace)
	if err == nil {
		t.emptied(cohorts)
	}
	return e, err
}

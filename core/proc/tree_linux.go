package proc

import (
	"context"
	"errors"
	"maps"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is what Linux needs to find a tree again after its leader was reaped.
type system struct {
	start    uint64
	lives    map[life]bool
	sessions map[int][]life // by session: members that were seen in it and keep its number taken
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
func (t *Tree) scan() ([]process, error) {
	v, err := look()
	if err != nil {
		return nil, err
	}
	members := v.members(t.roots(v))
	clear(t.system.lives)
	clear(t.system.sessions)
	var alive []process
	for pid, p := range members {
		t.system.lives[p.life] = true
		// A session belongs to the tree if its leader does, and its number stays
		// taken as long as anybody is in it.
		if leader, ok := members[p.session]; p.session == t.pid && !t.reaped || ok && leader.session == p.session {
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
	alive, err := hunt{scan: t.scan}.look()
	return len(alive), err
}

func (t *Tree) endLocked(ctx context.Context, grace time.Duration) (Ending, error) {
	h := hunt{scan: t.scan}
	if !t.reaped {
		h.group = t.pid
	}
	return h.end(ctx, grace)
}

// Adopt makes this process adopt the orphans among its descendants, which else
// go to the first process of the system; once is enough. It changes the whole
// process, so the program decides, not a package: from then on a child that is
// in a session of its own may be reaped by the keeper as soon as it has exited,
// unless Start has started it. Children that share this process' session are
// left to whoever started them. It comes before the first Start and before Run.
// ErrUnsupported on systems that cannot.
func (k *Keeper) Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.adopts = true
	return nil
}

func (k *Keeper) adopting() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.adopts
}

// orphan reports whether p is a child that nobody waits for: adopted, so in a
// session that is not ours, and no leader.
func (k *Keeper) orphan(p, own process) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.adopts && p.parent == own.pid && p.session != own.session && k.leaders[p.pid] == nil
}

// reap takes note of the death of an adopted child.
func (k *Keeper) reap(p, own process) {
	k.births.Lock()
	defer k.births.Unlock()
	if k.orphan(p, own) {
		_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
	}
}

// ReapOrphans takes note of the deaths of adopted children, which else stay
// zombies until this process ends. It is cheap enough for every SIGCHLD that is
// not of a rapid series.
func (k *Keeper) ReapOrphans() error {
	if !k.adopting() {
		return nil
	}
	v, err := look()
	if err != nil {
		return err
	}
	for _, p := range v.byPid {
		if p.dead() && k.orphan(p, v.own) {
			k.reap(p, v.own)
		}
	}
	return nil
}

// EndOrphans ends the adopted children, and what descends from them, that belong
// to no tree that runs: daemons of trees that have ended, among them those that
// threw their cookie away. Without Adopt there are none.
func (k *Keeper) EndOrphans(ctx context.Context, grace time.Duration) (Ending, error) {
	if !k.adopting() {
		return Ending{}, nil
	}
	h := hunt{scan: func() ([]process, error) {
		v, err := look()
		if err != nil {
			return nil, err
		}
		r := roots{lives: map[life]bool{}}
		for _, p := range v.byPid {
			if !k.orphan(p, v.own) {
				continue
			}
			if p.dead() {
				k.reap(p, v.own)
			}
			r.lives[p.life] = true
		}
		return living(v.members(r)), nil
	}}
	return h.end(ctx, grace)
}

// Sweep ends what is left of trees whose keeper is gone; the caller knows that it
// is. A process that carries one of the cookies, or is a recorded leader, or
// belongs to such a one, is ended like Tree.End does; nothing else is touched.
func (k *Keeper) Sweep(ctx context.Context, marks []Mark, grace time.Duration) (Ending, error) {
	if len(marks) == 0 {
		return Ending{}, nil
	}
	h := hunt{scan: func() ([]process, error) {
		v, err := look()
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
		return living(v.members(r)), nil
	}}
	e, err := h.end(ctx, grace)
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

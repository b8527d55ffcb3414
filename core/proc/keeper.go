package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

var (
	// ErrSurvivors is wrapped when a tree could not be ended completely.
	ErrSurvivors = errors.New("processes are still running")
	// ErrUnsupported is returned by what this system cannot do.
	ErrUnsupported = errors.New("this system cannot do that")
)

// Keeper starts trees and ends them. It starts no goroutine but one for each
// running tree, which ends with the tree's leader. It is safe for concurrent use.
type Keeper struct {
	// births is held for reading while a child is born and noted, and for writing
	// while zombies are reaped, so that no leader is taken for an orphan.
	births  sync.RWMutex
	mu      sync.Mutex
	leaders map[int]*Tree // those that are not reaped, by pid
	adopts  bool
	groups  groups // where trees are kept together besides
}

// NewKeeper returns a keeper without trees.
func NewKeeper() *Keeper { return &Keeper{leaders: map[int]*Tree{}} }

// Tree is a command and all of its descendants. See Keeper.Start.
type Tree struct {
	keeper   *Keeper
	cmd      *exec.Cmd
	pid      int
	identity string
	cookie   string
	group    string // the directory of its control group; empty where it has none
	exited   chan struct{}
	system   system // what this operating system needs besides

	mu      sync.Mutex // guards what follows; held while processes are looked at
	reaped  bool
	state   *os.ProcessState
	waitErr error
}

// Ending tells how trees were ended.
type Ending struct {
	// Terminated is how many processes were asked to end, Killed how many had to
	// be killed.
	Terminated, Killed int
	// Left are the pids of those that could not be ended.
	Left []int
}

func (e Ending) err() error {
	if len(e.Left) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %v", ErrSurvivors, e.Left)
}

// Start starts cmd as the leader of a session (a group, a job) of its own, with
// cookie in its environment; cmd.Env nil stands for the environment of this
// process. The standard streams of cmd must be files, so that its end does not
// depend on who holds them. cmd must not be waited for: see Tree.Reap. On Linux it
// is born into a control group of its own where that can be.
//
// Whoever gets a tree has to call Reap when Exited is closed.
func (k *Keeper) Start(cmd *exec.Cmd, cookie string) (*Tree, error) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = withCookie(cmd.Env, cookie)
	t := &Tree{keeper: k, cmd: cmd, cookie: cookie, exited: make(chan struct{})}
	lead(cmd)
	k.births.RLock()
	defer k.births.RUnlock()
	var err error
	if t.group, err = k.launch(cmd, cookie); err != nil {
		return nil, err
	}
	t.pid = cmd.Process.Pid
	k.mu.Lock()
	k.leaders[t.pid] = t
	k.mu.Unlock()
	t.started()
	go t.watch()
	return t, nil
}

// Mark is what to write down before a tree of that cookie is started, by this
// keeper: so that it can be ended if this process dies before Tree.Mark is.
func (k *Keeper) Mark(cookie string) Mark { return Mark{Cookie: cookie, Group: k.groups.of(cookie)} }

// Pid is the number of the tree's leader.
func (t *Tree) Pid() int { return t.pid }

// Mark is what to write down about the tree.
func (t *Tree) Mark() Mark { return Mark{Cookie: t.cookie, Leader: t.identity, Group: t.group} }

// Exited is closed when the leader has exited; others of the tree may live on.
func (t *Tree) Exited() <-chan struct{} { return t.exited }

// Reap waits for the leader and returns how it exited. Where others of the tree
// may still have to be ended, End or Left come first: they know more before.
func (t *Tree) Reap() (*os.ProcessState, error) {
	<-t.exited
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reapLocked()
	return t.state, t.waitErr
}

func (t *Tree) reapLocked() {
	if !t.reaped {
		t.notedLocked(t.cmd.Wait()) // the leader has exited: this returns at once
	}
}

// reapEarly waits for the leader where its exit cannot be learnt otherwise.
func (t *Tree) reapEarly() {
	err := t.cmd.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notedLocked(err)
}

func (t *Tree) notedLocked(err error) {
	t.reaped = true
	t.keeper.mu.Lock()
	delete(t.keeper.leaders, t.pid)
	t.keeper.mu.Unlock()
	if _, exit := errors.AsType[*exec.ExitError](err); !exit {
		t.waitErr = err
	}
	t.state = t.cmd.ProcessState
	t.disband()
}

// End ends the tree: it asks every process to end, gives them the time grace, and
// kills what is left, until nothing is. Of processes that are born while others
// clean up nothing is asked; they share the grace. It may be called again, and
// after Reap. When ctx ends before the tree, what is left is killed without grace
// and the error wraps ErrSurvivors if that does not help at once.
func (t *Tree) End(ctx context.Context, grace time.Duration) (Ending, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.endLocked(ctx, grace)
	if err != nil {
		return e, fmt.Errorf("end process tree %d: %w", t.pid, err)
	}
	return e, nil
}

// Left counts the processes of the tree that live. What it finds, a later End
// finds again, also after Reap.
func (t *Tree) Left() (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.leftLocked()
	if err != nil {
		return n, fmt.Errorf("look at process tree %d: %w", t.pid, err)
	}
	return n, nil
}

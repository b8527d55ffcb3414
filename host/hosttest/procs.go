package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cookieName is the environment variable that marks the processes of a project.
const cookieName = "HOSTTEST_COOKIE"

// scanEvery is how often waiting looks again. A scan of a few hundred
// processes takes some milliseconds.
const scanEvery = 20 * time.Millisecond

// ProcessInfo is one process of a project, as it was when it was looked at.
type ProcessInfo struct {
	PID, PPID int
	State     string // one letter of proc(5): R, S, D, T, ...
	Command   string // the command line, joined with spaces
}

// String is one line for error messages.
func (p ProcessInfo) String() string {
	return fmt.Sprintf("%d (parent %d, %s) %s", p.PID, p.PPID, p.State, p.Command)
}

// Processes finds the processes that carry a project's cookie in the
// environment that they were started with: children, grandchildren, detached
// and re-parented ones alike. Those that were started with an emptied
// environment escape it, and zombies do not count: they have ended. It reads
// /proc, so on systems without it there is never anything to be found.
type Processes struct{ cookie string }

// List returns the processes that live now, ordered by pid.
func (p Processes) List() ([]ProcessInfo, error) {
	entries, err := os.ReadDir("/proc")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []ProcessInfo
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !p.owns(pid) {
			continue
		}
		if info, ok := inspect(pid); ok {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b ProcessInfo) int { return a.PID - b.PID })
	return list, nil
}

// WaitGone returns when no process is left except those of the given pids. The
// error names the ones that stayed.
func (p Processes) WaitGone(ctx context.Context, except ...int) error {
	return p.wait(ctx, func(left []ProcessInfo) error {
		left = slices.DeleteFunc(left, func(i ProcessInfo) bool { return slices.Contains(except, i.PID) })
		if len(left) == 0 {
			return nil
		}
		lines := make([]string, len(left))
		for i, info := range left {
			lines[i] = info.String()
		}
		return fmt.Errorf("%d processes are left: %s", len(left), strings.Join(lines, "; "))
	})
}

// WaitFor returns the first process that match accepts.
func (p Processes) WaitFor(ctx context.Context, match func(ProcessInfo) bool) (ProcessInfo, error) {
	var found ProcessInfo
	err := p.wait(ctx, func(list []ProcessInfo) error {
		i := slices.IndexFunc(list, match)
		if i < 0 {
			return fmt.Errorf("no such process among %v", list)
		}
		found = list[i]
		return nil
	})
	return found, err
}

// KillAll ends everything that carries the cookie with SIGKILL, new processes
// included, and returns when nothing is left.
func (p Processes) KillAll(ctx context.Context) error {
	return p.wait(ctx, func(list []ProcessInfo) error {
		for _, info := range list {
			p.kill(info.PID)
		}
		if len(list) > 0 {
			return fmt.Errorf("%d processes do not end: %v", len(list), list)
		}
		return nil
	})
}

// kill ends one process if it still is ours: the handle is taken before the
// cookie is read again, so a pid that was given to another process meanwhile is
// never hit.
func (p Processes) kill(pid int) {
	process, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer process.Release()
	if p.owns(pid) {
		_ = process.Kill() // fails only if it has ended
	}
}

// wait repeats a scan until check is content; its last complaint is the error.
func (p Processes) wait(ctx context.Context, check func([]ProcessInfo) error) error {
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		list, err := p.List()
		if err != nil {
			return err
		}
		complaint := check(list)
		if complaint == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", complaint, context.Cause(ctx))
		}
	}
}

func (p Processes) owns(pid int) bool {
	env, err := os.ReadFile(procFile(pid, "environ"))
	if err != nil {
		return false // ended, or not ours to read
	}
	want := []byte(cookieName + "=" + p.cookie)
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}

// inspect reads what is to be said about a process; false if it has ended.
func inspect(pid int) (ProcessInfo, bool) {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return ProcessInfo{}, false
	}
	// The name in parentheses may hold anything, so fields count from its end.
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return ProcessInfo{}, false
	}
	ppid, _ := strconv.Atoi(fields[1])
	line, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil {
		return ProcessInfo{}, false
	}
	command := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
	return ProcessInfo{PID: pid, PPID: ppid, State: fields[0], Command: command}, true
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// hookRows measures what hooks cost that have nothing to say, by the hooks of the
// plugin in OpenCode's own runtime: another session has a mission, whose list is
// long. And what the one costs that says where the list stands.
func hookRows(ctx context.Context, b *bench) ([]Row, error) {
	quiet, err := b.worktree("hooks", bigPlan(planLines))
	if err != nil {
		return nil, err
	}
	own, err := b.worktree("hooks-own", flatPlan(100, ""))
	if err != nil {
		return nil, err
	}
	var got struct {
		Times     map[string][]float64 `json:"times"`
		Crossings int                  `json:"crossings"` // for foreign commands
		Summary   int                  `json:"summary"`   // characters that the mission's session is told
	}
	config := map[string]any{"times": b.times(5000, 100), "rounds": b.times(20, 2), "quiet": quiet, "own": own}
	if err := b.script(ctx, "hooks", config, &got); err != nil {
		return nil, err
	}
	ping := fromMS(got.Times["ping"])
	const p50, p99 = time.Millisecond, 10 * time.Millisecond
	var rows []Row
	for _, name := range []string{"messages.transform", "chat.message", "session.compacting"} {
		s := fromMS(got.Times[name])
		what := "  " + name
		if rows == nil {
			what = "hooks with nothing to say, beside another session's mission: " + name
		}
		rows = append(rows, Row{
			What: what, Measured: beside(s, ping), Bar: "p50 ≤ 1 ms, p99 ≤ 10 ms",
			Missed: s.median() > p50 || s.at(0.99) > p99, Values: s.values(),
		})
	}
	foreign, told := fromMS(got.Times["foreign command"]), fromMS(got.Times["own transform"])
	return append(rows, Row{
		What:     "  command.execute.before of commands that are not ours: messages that cross",
		Measured: fmt.Sprintf("%d; %s", got.Crossings, foreign.tail()), Bar: "0; p50 ≤ 1 ms, p99 ≤ 10 ms",
		Missed: got.Crossings > 0 || foreign.median() > p50 || foreign.at(0.99) > p99, Values: foreign.values(),
	}, Row{
		What:     "messages.transform in the mission's session, a list of 100 items, unchanged",
		Measured: fmt.Sprintf("%s; adds %d characters", told.tail(), got.Summary), Values: told.values(),
	}), nil
}

// viewRows changes the list of a mission and waits until its agents see that, and
// until people are told.
func viewRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	directory, err := b.worktree("view", flatPlan(100, ""))
	if err != nil {
		return nil, err
	}
	around, shown := toasts()
	s, err := b.startIn(ctx, filepath.Join(b.temp, "view-state"), directory, around, nil)
	if err != nil {
		return nil, err
	}
	rows, err := s.views(ctx, directory, shown, b.times(12, 1), b.times(200, 5))
	return rows, errors.Join(err, s.end())
}

// views makes some changes at leisure, of which a toast tells, and others one
// right after the other.
func (s *fakeShim) views(ctx context.Context, directory string, shown <-chan time.Time, calm, hasty int) ([]Row, error) {
	session, err := s.mission(ctx, fakeshim.Workspace, directory)
	if err != nil {
		return nil, err
	}
	var seen, told []time.Duration
	for i := range calm + hasty {
		if i < calm {
			// Two toasts keep a distance of a second, of which the quiet window of the
			// change is half.
			<-time.After(600 * time.Millisecond)
		}
		noted := fmt.Sprintf(", edit %04d", i) // of one length: only the content tells
		start := time.Now()
		if err := replaceTodo(directory, flatPlan(100, noted)); err != nil {
			return nil, err
		}
		if err := s.sees(ctx, session, noted); err != nil {
			return nil, err
		}
		seen = append(seen, time.Since(start))
		if i < calm {
			at, err := next(ctx, shown)
			if err != nil {
				return nil, err
			}
			told = append(told, at.Sub(start))
		}
	}
	view, toast := sorted(seen), sorted(told)
	return []Row{{
		What: "another todo.md in place → the mission's agents see it", Measured: fmt.Sprintf("%s, most %s", view.tail(), show(view.at(1))), Bar: "p99 ≤ 700 ms",
		Missed: view.at(0.99) > 700*time.Millisecond, Values: view.values(),
	}, {
		What: "  → a toast tells people", Measured: toast.spread(), Bar: "all ≤ 1.2 s", Missed: toast.at(1) > 1200*time.Millisecond, Values: toast.values(),
	}}, nil
}

// sees asks again and again what a turn would be told, until that holds a text.
func (s *fakeShim) sees(ctx context.Context, session, text string) error {
	for {
		got, err := rpc.Invoke(ctx, s.Conn, wire.HookTransform, wire.TransformParams{Workspace: fakeshim.Workspace, SessionID: session, MessageID: "msg_main"})
		if err != nil {
			return err
		}
		for _, a := range got.Append {
			if strings.Contains(a.Text, text) {
				return nil
			}
		}
	}
}

// closings is how many workspaces are closed at a time.
const closings = 10

// closeRows closes workspaces whose missions are active and whose lists are
// watched, and counts what the process keeps of them.
func closeRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	directory, err := b.worktree("close", "")
	if err != nil {
		return nil, err
	}
	around, shown := toasts()
	s, err := b.startIn(ctx, filepath.Join(b.temp, "close-state"), directory, around, nil)
	if err != nil {
		return nil, err
	}
	rows, err := s.closes(ctx, b, directory, shown)
	return rows, errors.Join(err, s.end())
}

func (s *fakeShim) closes(ctx context.Context, b *bench, directory string, shown <-chan time.Time) ([]Row, error) {
	// The first ones warm the process up: the runtime keeps its threads, and the
	// database its connections.
	for i := range b.times(2, 1) {
		if _, _, err := s.openAndClose(ctx, b, fmt.Sprintf("warm_%d", i), directory, shown); err != nil {
			return nil, err
		}
	}
	before, err := s.holds()
	if err != nil {
		return nil, err
	}
	rounds := b.times(6, 1)
	var open held
	var took []time.Duration
	after, threads := before, math.MaxInt
	for i := range rounds {
		now, closed, err := s.openAndClose(ctx, b, fmt.Sprint(i), directory, shown)
		if err != nil {
			return nil, err
		}
		if now.inotify < before.inotify+closings {
			return nil, fmt.Errorf("%d inotify descriptors while %d lists are watched: the row counts the wrong thing", now.inotify, closings)
		}
		open, took = now, append(took, closed...)
		last := after
		if after, err = s.holds(); err != nil {
			return nil, err
		}
		// A round may need one thread more at a time than all before; what is left
		// behind comes with each.
		threads = min(threads, after.threads-last.threads)
	}
	left := held{inotify: after.inotify - before.inotify, database: after.database - before.database, files: after.files - before.files}
	closed := sorted(took)
	return []Row{{
		What:     fmt.Sprintf("%d × %d workspaces closed, each with an active mission and a watched list: inotify descriptors left", rounds, closings),
		Measured: fmt.Sprintf("%d of %d; a close takes %s", left.inotify, open.inotify-before.inotify, closed.tail()), Bar: "0", Missed: left.inotify > 0,
		Values: map[string]float64{"left": float64(left.inotify), "close_p50_ms": ms(closed.median())},
	}, {
		What: "  other descriptors left", Bar: "0", Missed: left.files > 0,
		Measured: fmt.Sprintf("%d (%d before); and of the database's connections, of which there is a fixed number, %d (%d before)", left.files, before.files, left.database, before.database),
		Values:   map[string]float64{"left": float64(left.files), "database": float64(left.database)},
	}, {
		What: "  threads more after each ten", Measured: fmt.Sprintf("%d (%d before, %d in the end)", max(threads, 0), before.threads, after.threads),
		Bar: "0", Missed: threads > 0, Values: map[string]float64{"each": float64(max(threads, 0)), "before": float64(before.threads), "after": float64(after.threads)},
	}}, nil
}

// openAndClose opens workspaces with a mission each, changes their lists, waits for
// the toasts of that, has an agent edit them all at the same time, and closes them. It returns what the process held before the
// first close, and how long each took.
func (s *fakeShim) openAndClose(ctx context.Context, b *bench, name, first string, shown <-chan time.Time) (open held, took []time.Duration, err error) {
	var ids []string
	for i := range closings {
		id := fmt.Sprintf("wrk_%s_%d", name, i)
		directory, err := b.worktree(filepath.Join("closed", id), flatPlan(20, ""))
		if err != nil {
			return held{}, nil, err
		}
		if _, err := rpc.Invoke(ctx, s.Conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: id, Directory: directory, Worktree: directory}); err != nil {
			return held{}, nil, err
		}
		if _, err := s.mission(ctx, id, first); err != nil {
			return held{}, nil, err
		}
		if err := replaceTodo(directory, flatPlan(21, "")); err != nil {
			return held{}, nil, err
		}
		ids = append(ids, id)
	}
	for range ids {
		if _, err := next(ctx, shown); err != nil {
			return held{}, nil, err
		}
	}
	err = parallel(len(ids), len(ids), func(i int) error {
		_, err := s.edits(ctx, ids[i], 1, 5)
		return err
	})
	if err != nil {
		return held{}, nil, err
	}
	if open, err = s.holds(); err != nil {
		return held{}, nil, err
	}
	for _, id := range ids {
		start := time.Now()
		if _, err := rpc.Invoke(ctx, s.Conn, wire.WorkspaceClose, wire.WorkspaceCloseParams{Workspace: id}); err != nil {
			return held{}, nil, err
		}
		took = append(took, time.Since(start))
	}
	return open, took, nil
}

// held is what a process has of the system's.
type held struct{ inotify, database, files, threads int }

// holds counts that of the sidecar, in /proc.
func (s *fakeShim) holds() (held, error) {
	pid := s.Cmd.Process.Pid
	used, err := usageOf(pid)
	if err != nil {
		return held{}, err
	}
	h := held{threads: used.threads}
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(folder)
	if err != nil {
		return held{}, err
	}
	for _, f := range files {
		switch target, err := os.Readlink(filepath.Join(folder, f.Name())); {
		case err != nil: // closed meanwhile
		case strings.Contains(target, "inotify"):
			h.inotify++
		case strings.Contains(target, "/tasks.db"):
			h.database++
		default:
			h.files++
		}
	}
	return h, nil
}

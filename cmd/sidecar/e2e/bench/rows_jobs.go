package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

const (
	// crowd is how many commands run at once, and how many numbers each prints.
	crowd, crowdNumbers = 200, 20_000
	// floodBytes is what the largest command prints.
	floodBytes = 2 << 30
	mb         = 1 << 20
)

// jobRows run background commands through the tools, in a real sidecar with its
// database, and count what is left of them.
func jobRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	directory, err := b.worktree("jobs", "")
	if err != nil {
		return nil, err
	}
	state := filepath.Join(b.temp, "jobs-state")
	s, err := b.startIn(ctx, state, directory, nil, map[string]any{"jobConcurrency": crowd})
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, measure := range []func(context.Context, *bench, string) (Row, error){s.firstByte, s.sequence, s.crowd, s.flood, s.kills} {
		row, err := measure(ctx, b, directory)
		if err != nil {
			return rows, errors.Join(err, s.end())
		}
		rows = append(rows, row)
	}
	row, err := b.survivors(ctx, s, state, directory)
	return append(rows, row), err
}

// job calls a tool for background commands and returns what it says, and the id of
// the command.
func (s *fakeShim) job(ctx context.Context, tool string, arguments map[string]any) (said, id string, err error) {
	raw, err := json.Marshal(arguments)
	if err != nil {
		return "", "", err
	}
	r, err := rpc.Invoke(ctx, s.Conn, wire.ToolCall, wire.ToolCallParams{
		Workspace: fakeshim.Workspace, Tool: tool, Args: raw, SessionID: "ses_bench", MessageID: "msg_bench", CallID: "call_bench", Agent: "build",
	})
	id, _ = r.Metadata["taskId"].(string)
	return r.Output, id, err
}

// firstByte waits for the line of an echo in the very call that starts it.
func (s *fakeShim) firstByte(ctx context.Context, b *bench, _ string) (Row, error) {
	var took []time.Duration
	for range b.times(300, 5) {
		start := time.Now()
		said, _, err := s.job(ctx, "run_background", map[string]any{"command": "echo hello", "waitFor": "hello"})
		if err != nil {
			return Row{}, err
		}
		took = append(took, time.Since(start))
		if !strings.Contains(said, "<stdout>\nhello\n") {
			return Row{}, fmt.Errorf("an echo gave %q", said)
		}
	}
	echo := sorted(took)
	return Row{
		What:     "run_background `echo`, from the call to the answer with its first byte (rules asked, recorded with FULL, output also in a file)",
		Measured: echo.tail(), Bar: "p50 ≤ 10 ms", Missed: echo.median() > 10*time.Millisecond, Values: echo.values(),
	}, nil
}

// sequence runs many commands one after the other and looks what is left.
func (s *fakeShim) sequence(ctx context.Context, b *bench, _ string) (Row, error) {
	one := func() error {
		_, _, err := s.job(ctx, "run_background", map[string]any{"command": "echo out; echo err >&2", "waitMs": 10_000})
		return err
	}
	for range b.times(20, 1) { // the runtime keeps its threads, the database its connections
		if err := one(); err != nil {
			return Row{}, err
		}
	}
	before, err := s.holds()
	if err != nil {
		return Row{}, err
	}
	n, start := b.times(1000, 5), time.Now()
	for range n {
		if err := one(); err != nil {
			return Row{}, err
		}
	}
	took := time.Since(start)
	after, err := s.holds()
	files := after.files - before.files
	return Row{
		What:     fmt.Sprintf("%d commands one after the other: descriptors left", n),
		Measured: fmt.Sprintf("%d (%d before), threads %+d; %s", files, before.files, after.threads-before.threads, count(n, took)), Bar: "0", Missed: files > 0,
		Values: map[string]float64{"left": float64(files), "threads": float64(after.threads - before.threads)},
	}, err
}

var cursorWord = regexp.MustCompile(`Cursor (\d+\.\d+)`)

// crowd runs many at once, each of which writes what it prints to a file too, and
// reads all of it by cursors.
func (s *fakeShim) crowd(ctx context.Context, b *bench, directory string) (Row, error) {
	n := b.times(crowd, 5)
	var bytes, wrong atomic.Int64
	start := time.Now()
	err := parallel(n, n, func(i int) error {
		file := filepath.Join(directory, fmt.Sprintf("crowd-%d", i))
		_, id, err := s.job(ctx, "run_background", map[string]any{"command": fmt.Sprintf("seq %d %d | tee %s", i, i+crowdNumbers, filepath.Base(file))})
		if err != nil {
			return err
		}
		if _, _, err = s.job(ctx, "check_background", map[string]any{"taskId": id, "tailLines": 1, "waitMs": 120_000}); err != nil {
			return err
		}
		sum, cursor := sha256.New(), "0.0"
		for range 1000 {
			said, _, err := s.job(ctx, "check_background", map[string]any{"taskId": id, "cursor": cursor, "raw": true})
			if err != nil {
				return err
			}
			_, text, some := strings.Cut(said, "<stdout>\n")
			if !some {
				break
			}
			text, _, _ = strings.Cut(text, "</stdout>")
			sum.Write([]byte(text))
			bytes.Add(int64(len(text)))
			m := cursorWord.FindStringSubmatch(said)
			if m == nil {
				break
			}
			cursor = m[1]
		}
		want, err := os.ReadFile(file)
		if have := sha256.Sum256(want); len(want) == 0 || string(sum.Sum(nil)) != string(have[:]) {
			wrong.Add(1)
		}
		return err
	})
	return Row{
		What:     fmt.Sprintf("%d commands at once, all that they print read by cursors: wrong checksums", n),
		Measured: fmt.Sprintf("%d, of %.1f MB; %s", wrong.Load(), float64(bytes.Load())/mb, show(time.Since(start))), Bar: "0", Missed: wrong.Load() > 0,
		Values: map[string]float64{"wrong": float64(wrong.Load()), "bytes": float64(bytes.Load())},
	}, err
}

// flood runs a command that prints a lot and looks at the most memory that this
// takes.
func (s *fakeShim) flood(ctx context.Context, b *bench, _ string) (Row, error) {
	size := b.times(floodBytes, 64*mb)
	pid := s.Cmd.Process.Pid
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // the mark begins anew
		return Row{}, err
	}
	before, start := resident(pid), time.Now()
	said, _, err := s.job(ctx, "run_background", map[string]any{"command": fmt.Sprintf("head -c %d /dev/zero", size), "timeout": 0, "waitMs": 300_000})
	if err != nil {
		return Row{}, err
	}
	if !strings.Contains(said, "[DONE]") {
		return Row{}, fmt.Errorf("it has not ended: %.300s", said)
	}
	took := time.Since(start)
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " ")
	most, err := strconv.ParseFloat(kb, 64)
	grown := max(0, most*1024-before)
	return Row{
		What:     fmt.Sprintf("a command that prints %.0f MB: memory that this takes at most", float64(size)/mb),
		Measured: fmt.Sprintf("%.1f MB; %s", grown/mb, show(took)), Bar: "≤ 5 MB", Missed: grown > 5*mb,
		Values: map[string]float64{"bytes": grown, "took_ms": ms(took)},
	}, err
}

// kin is a command with a child and a daemon in a session of its own, which tells
// their numbers.
const kin = `sleep 300 & echo pid $!; setsid sh -c 'echo pid $$; exec sleep 300' & echo pid $$; sleep 300`

var pidWord = regexp.MustCompile(`(?m)^pid (\d+)$`)

// family starts the command and returns its processes.
func (s *fakeShim) family(ctx context.Context) (id string, pids []string, err error) {
	_, id, err = s.job(ctx, "run_background", map[string]any{"command": kin, "timeout": 0})
	for range 1000 {
		if err != nil {
			return id, nil, err
		}
		var said string
		said, _, err = s.job(ctx, "check_background", map[string]any{"taskId": id, "waitFor": "pid", "waitMs": 1000})
		pids = nil
		for _, m := range pidWord.FindAllStringSubmatch(said, -1) {
			pids = append(pids, m[1])
		}
		if len(pids) == 3 {
			return id, pids, err
		}
	}
	return id, pids, fmt.Errorf("of three processes %d are there", len(pids))
}

// living counts those of some processes that have not ended.
func living(pids []string) (n int) {
	for _, pid := range pids {
		if state := field("/proc/"+pid+"/status", "State"); state != "?" && !strings.HasPrefix(state, "Z") {
			n++
		}
	}
	return n
}

// kills ends such commands by the tool.
func (s *fakeShim) kills(ctx context.Context, b *bench, _ string) (Row, error) {
	var took []time.Duration
	left := 0
	for range b.times(50, 2) {
		id, pids, err := s.family(ctx)
		if err != nil {
			return Row{}, err
		}
		start := time.Now()
		if _, _, err := s.job(ctx, "kill_background", map[string]any{"taskId": id}); err != nil {
			return Row{}, err
		}
		took = append(took, time.Since(start))
		left += living(pids)
	}
	kill := sorted(took)
	return Row{
		What:     "kill_background of a shell with a child and a setsid grandchild: survivors",
		Measured: fmt.Sprintf("%d; %s", left, kill.tail()), Bar: "0", Missed: left > 0, Values: map[string]float64{"left": float64(left), "p50_ms": ms(kill.median())},
	}, nil
}

// survivors ends the sidecar in each way while such a command runs. It ends s.
func (b *bench) survivors(ctx context.Context, s *fakeShim, state, directory string) (Row, error) {
	left, ways := 0, map[string]time.Duration{}
	for _, way := range []string{"the end of its input", "SIGKILL and a restart"} {
		_, pids, err := s.family(ctx)
		if err != nil {
			return Row{}, errors.Join(err, s.end())
		}
		start := time.Now()
		if way == "the end of its input" {
			err = s.end()
		} else {
			s.kill()
		}
		if err != nil {
			return Row{}, err
		}
		if s, err = b.startIn(ctx, state, directory, nil, nil); err != nil {
			return Row{}, err
		}
		for living(pids) > 0 && time.Since(start) < 10*time.Second {
			<-time.After(time.Millisecond)
		}
		ways[way] = time.Since(start)
		left += living(pids)
	}
	return Row{
		What: "  the same after the end of the sidecar's input, and after its SIGKILL and the next start: survivors", Bar: "0", Missed: left > 0,
		Measured: fmt.Sprintf("%d; gone after %s and %s, the next start included", left, show(ways["the end of its input"]), show(ways["SIGKILL and a restart"])),
		Values:   map[string]float64{"left": float64(left)},
	}, s.end()
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// planLines is how long the todo.md of the rows is.
const planLines = 10_000

// todoRows parse, read and edit a todo.md that is as long as none should be.
func todoRows(ctx context.Context, b *bench) ([]Row, error) {
	plan := []byte(bigPlan(planLines))
	const warm = 5
	var parses, reads, edits []time.Duration
	for i := range b.times(200, 5) + warm {
		start := time.Now()
		if _, err := todo.Parse(plan); err != nil {
			return nil, err
		}
		if i >= warm {
			parses = append(parses, time.Since(start))
		}
	}
	directory, err := b.worktree("todo", string(plan))
	if err != nil {
		return nil, err
	}
	file := todo.NewFile(directory, filepath.Join(b.temp, "todo-state"), func(warning error) { err = errors.Join(err, warning) })
	for i := range b.times(5000, 50) + warm {
		start := time.Now()
		if _, err := file.Read(); err != nil {
			return nil, err
		}
		if i >= warm {
			reads = append(reads, time.Since(start))
		}
	}
	state := todo.Completed
	for range b.times(100, 3) {
		start := time.Now()
		_, failed := file.Edit(ctx, todo.Edit{Actor: "bench", Kind: "update"}, func(doc *todo.Document) ([]byte, error) {
			item, err := todo.Find(doc, "S100.20")
			if err != nil {
				return nil, err
			}
			return todo.SetState(doc, item, state)
		})
		if err := errors.Join(failed, err); err != nil { // also what the file warned of
			return nil, err
		}
		edits = append(edits, time.Since(start))
		state = todo.Completed - state
	}
	flushes, err := flush(filepath.Join(b.temp, "todo-flush"), b.times(50, 5))
	if err != nil {
		return nil, err
	}
	parse, read, edit := sorted(parses), sorted(reads), sorted(edits)
	return []Row{{
		What:     fmt.Sprintf("todo.md of %d lines, %d KB: parse", planLines, len(plan)/1000),
		Measured: parse.spread(), Bar: "median ≤ 15 ms", Missed: parse.median() > 15*time.Millisecond, Values: parse.values(),
	}, {
		What: "  read again, unchanged", Measured: read.tail(), Values: read.values(),
	}, {
		What:     "  one edit: lock, write to the disk, history",
		Measured: fmt.Sprintf("%s; one flush to this disk takes %s", edit.tail(), show(sorted(flushes).median())), Values: edit.values(),
	}}, nil
}

const (
	// editors are the sidecars that edit one todo.md, editsEach what each does.
	editors, editsEach = 8, 200
)

// editRows has several sidecars edit one file at the same time, each with a call
// of update_todo after the other.
func editRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	each := b.times(editsEach, 5)
	directory, err := b.worktree("edits", flatPlan(editors*each, ""))
	if err != nil {
		return nil, err
	}
	shims := make([]*fakeShim, editors)
	// At once: each but the first waits a while for the one before it to end, since
	// all of them belong to this process.
	err = parallel(editors, editors, func(i int) (err error) {
		shims[i], err = b.startIn(ctx, filepath.Join(b.temp, "edits-state"), directory, nil, nil)
		return err
	})
	defer func() {
		for _, s := range shims {
			if s != nil {
				_ = s.end() // what there was to be seen of it has been
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	took, errs := make([][]time.Duration, editors), make([]error, editors)
	start := time.Now()
	var wg sync.WaitGroup
	for i, s := range shims {
		wg.Go(func() { took[i], errs[i] = s.edits(ctx, fakeshim.Workspace, i*each+1, each) })
	}
	wg.Wait()
	all := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var calls []time.Duration
	for _, list := range took {
		calls = append(calls, list...)
	}
	done, noted, err := edited(directory)
	if err != nil {
		return nil, err
	}
	n := editors * each
	one := sorted(calls)
	return []Row{{
		What:     fmt.Sprintf("update_todo by %d processes at once, %d edits each, of one file: edits lost", editors, each),
		Measured: fmt.Sprintf("%d; %s, a call %s", n-done, count(n, all), one.tail()), Bar: "0", Missed: done != n,
		Values: map[string]float64{"lost": float64(n - done), "s": all.Seconds(), "p50_ms": ms(one.median()), "p99_ms": ms(one.at(0.99))},
	}, {
		What: "  lines of the history missing", Measured: fmt.Sprint(n - noted), Bar: "0", Missed: noted != n,
		Values: map[string]float64{"missing": float64(n - noted)},
	}}, nil
}

// edits marks n items from a first one on, and returns how long each call took.
func (s *fakeShim) edits(ctx context.Context, workspace string, first, n int) ([]time.Duration, error) {
	var took []time.Duration
	for i := range n {
		args, err := json.Marshal(map[string]string{"action": "update", "task": fmt.Sprintf("S%d", first+i), "status": "completed"})
		if err != nil {
			return nil, err
		}
		start := time.Now()
		_, err = rpc.Invoke(ctx, s.Conn, wire.ToolCall, wire.ToolCallParams{
			Workspace: workspace, Tool: "update_todo", Args: args, SessionID: "ses_main", MessageID: "msg_main", CallID: fmt.Sprintf("call_%d", i), Agent: "build",
		})
		if err != nil {
			return nil, fmt.Errorf("edit %d: %w", first+i, err)
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// edited counts the items that are done, and those whose edit is in the history.
func edited(directory string) (done, noted int, err error) {
	content, err := os.ReadFile(filepath.Join(directory, todo.Path))
	if err != nil {
		return 0, 0, err
	}
	doc, err := todo.Parse(content)
	if err != nil {
		return 0, 0, err
	}
	history, err := os.ReadFile(filepath.Join(directory, todo.HistoryPath))
	if err != nil {
		return 0, 0, err
	}
	told := map[int]bool{} // by the line that changed
	lines := bufio.NewScanner(bytes.NewReader(history))
	for lines.Scan() {
		var entry todo.HistoryEntry
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			return 0, 0, fmt.Errorf("a line of the history is broken: %w", err)
		}
		if len(entry.Changes) == 1 && strings.HasPrefix(entry.Changes[0].After, "- [x] S") {
			told[entry.Changes[0].Line] = true
		}
	}
	return doc.Progress().Completed, len(told), lines.Err()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

const (
	// grownFiles and grownBytes are what an overgrown folder has.
	grownFiles, grownBytes = 742, 6_200_000
	// hugeFiles is how many files a huge one has.
	hugeFiles = 100_000
)

// janitorRows clean folders with the real binary, as the janitor and as a command.
func janitorRows(ctx context.Context, b *bench) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var rows []Row
	for _, measure := range []func(context.Context, *bench) ([]Row, error){cleanRows, scanRows, restRows, packageRows, pairRows} {
		more, err := measure(ctx, b)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// overgrown is a project whose .opencode folder has grown, with a state folder of
// its own.
type overgrown struct {
	b             *bench
	dir, home     string
	users, others map[string]string // by name below .opencode
}

// newOvergrown makes such a project of a user's files, archives of tasks, a document
// cache and histories, nearly all of them old.
func (b *bench) newOvergrown(ctx context.Context, name string) (*overgrown, error) {
	o := &overgrown{b: b, dir: filepath.Join(b.temp, name), home: filepath.Join(b.temp, name+"-home"), users: map[string]string{}, others: map[string]string{}}
	for _, name := range []string{
		"agents/a.md", "agents/b.md", "agents/c.md", "commands/a.md", "commands/b.md", "skills/a/SKILL.md", "skills/a/data.json", "skills/b/SKILL.md",
		"plugins/my-plugin.js", "plugins/other.ts", "tool/db.ts", "tools/x.ts", "themes/dark.json", "plans/plan.md", "modes/m.md",
		"opencode.json", "tui.json", "AGENTS.md", "agents.json", "todo.md", "context.md", ".gitignore", "package.json", "bun.lock", "docs/mine.md",
	} {
		o.users[name] = "the user's " + name + "\n"
	}
	const documents, histories = 300, 16
	archives := grownFiles - len(o.users) - documents - histories - 1
	now := time.Now()
	on := func(i int) string { return now.AddDate(0, 0, -i).UTC().Format(time.DateOnly) }
	for i := range archives {
		o.others["archive/tasks/tasks_"+on(i)+".jsonl"] = taskLines(34)
	}
	o.others["archive/todo_history.jsonl"] = historyLines(0, 50)
	for i := range histories - 1 {
		o.others["archive/todo_history."+on(3*i+1)+".jsonl"] = historyLines(50*(i+1), 50)
	}
	size := 0
	for _, content := range o.others {
		size += len(content)
	}
	entries := map[string]any{}
	for i := range documents {
		name, at := fmt.Sprintf("example.com_page-%d.md", i), now.AddDate(0, 0, -i).UTC().Format("2006-01-02T15:04:05.000Z")
		content := fmt.Sprintf("# Page %d\n\n> Source: https://example.com/%s\n> Cached: %s\n\n---\n\n", i, name, at)
		content += strings.Repeat("documents.\n", max(0, (grownBytes-size)/documents-len(content)-170)/11)
		o.others["docs/"+name] = content
		entries[name] = map[string]any{"url": "https://example.com/" + name, "title": fmt.Sprintf("Page %d", i), "fetchedAt": at, "expiresAt": at, "size": len(content)}
	}
	index, err := json.Marshal(map[string]any{"documents": entries, "lastUpdated": "2026-01-01T00:00:00.000Z"})
	if err != nil {
		return nil, err
	}
	o.others["docs/_metadata.json"] = string(index)
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "git", "init", "--quiet", o.dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("git init: %w: %s", err, out)
	}
	old := now.AddDate(0, 0, -50)
	return o, errors.Join(o.write(o.users, old), o.write(o.others, old))
}

func (o *overgrown) path(name string) string {
	return filepath.Join(o.dir, ".opencode", filepath.FromSlash(name))
}

func (o *overgrown) write(files map[string]string, used time.Time) error {
	for name, content := range files {
		path := o.path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644), os.Chtimes(path, used, used)); err != nil {
			return err
		}
	}
	return nil
}

// lost counts those of some files that are not there as they were.
func (o *overgrown) lost(files map[string]string) (n int) {
	for name, content := range files {
		if now, err := os.ReadFile(o.path(name)); err != nil || string(now) != content {
			n++
		}
	}
	return n
}

// console is a command of the sidecar in the project.
func (o *overgrown) console(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.b.binary, args...)
	cmd.Dir = o.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.home, "XDG_STATE_HOME=" + o.home}
	return cmd
}

// clean runs the command and returns how long that took.
func (o *overgrown) clean(ctx context.Context, args ...string) (time.Duration, error) {
	start := time.Now()
	out, err := o.console(ctx, append([]string{"clean"}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("sidecar clean %s: %w: %.2000s", strings.Join(args, " "), err, out)
	}
	return time.Since(start), err
}

// sizeOf counts what is in a folder.
func sizeOf(folder string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	return files, bytes, err
}

func taskLines(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `{"id":"task_%08x","agent":"Worker","prompt":%q,"status":"completed","startedAt":"2026-01-02T03:04:05.678Z"}`+"\n", i, strings.Repeat("do it ", 24))
	}
	return s.String()
}

func historyLines(from, n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `{"version":%d,"timestamp":1767323045678,"author":"system","contentHash":"%064x","size":%d}`+"\n", from+i, from+i, i)
	}
	return s.String()
}

// cleanRows clean overgrown folders with one command each.
func cleanRows(ctx context.Context, b *bench) ([]Row, error) {
	var took []time.Duration
	files, size, had, lost := 0, int64(0), int64(0), 0
	for i := range b.times(5, 1) {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("grown-%d", i))
		if err != nil {
			return nil, err
		}
		before, bytes, err := sizeOf(o.path("."))
		if err != nil {
			return nil, err
		}
		if before != grownFiles || bytes < grownBytes*98/100 || bytes > grownBytes*102/100 {
			return nil, fmt.Errorf("the folder has %d files and %d bytes before it is cleaned", before, bytes)
		}
		d, err := o.clean(ctx)
		if err != nil {
			return nil, err
		}
		took, had, lost = append(took, d), bytes, lost+o.lost(o.users)
		n, left, err := sizeOf(o.path("."))
		if err != nil {
			return nil, err
		}
		files, size = max(files, n), max(size, left)
	}
	once := sorted(took)
	return []Row{{
		What:     fmt.Sprintf("janitor: .opencode of %d files, %.1f MB, after one cleaning", grownFiles, float64(had)/1e6),
		Measured: fmt.Sprintf("%d files, %.2f MB", files, float64(size)/1e6), Bar: "< 200 files, < 2 MB", Original: "343–500 files, 2.8–4.3 MB", Missed: files >= 200 || size >= 2e6,
		Values: map[string]float64{"files": float64(files), "bytes": float64(size)},
	}, {
		What: "  of the user's 25 files lost", Measured: strconv.Itoa(lost), Bar: "0", Original: "2–25", Missed: lost > 0, Values: map[string]float64{"lost": float64(lost)},
	}, {
		What: "  `sidecar clean`, the whole command, all that goes flushed to the trash", Measured: once.spread(), Original: "27–63 ms: what goes is gone", Values: once.values(),
	}}, nil
}

// scanRows look through a folder with very many files.
func scanRows(ctx context.Context, b *bench) ([]Row, error) {
	huge, err := b.newOvergrown(ctx, "huge")
	if err != nil {
		return nil, err
	}
	total := b.times(hugeFiles, 5000)
	for i := range total - grownFiles {
		path := huge.path(fmt.Sprintf("cache/%d/file-%d", i/500, i))
		if i%500 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return nil, err
		}
	}
	empty := &overgrown{b: b, dir: filepath.Join(b.temp, "empty"), home: huge.home}
	if err := os.MkdirAll(empty.path("."), 0o755); err != nil {
		return nil, err
	}
	var took []time.Duration
	idle, most := 0.0, 0.0
	for range b.times(5, 1) {
		_, little, err := empty.peak(ctx)
		if err != nil {
			return nil, err
		}
		d, much, err := huge.peak(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		idle, most = max(idle, little), max(most, much)
	}
	scan, grown := sorted(took), max(0, most-idle)
	return []Row{{
		What:     fmt.Sprintf("`sidecar clean --dry-run` over %d files, the whole command", total),
		Measured: scan.spread(), Bar: "≤ 1 s", Missed: scan.median() > time.Second, Values: scan.values(),
	}, {
		What:     "  the most memory, above that for an empty folder",
		Measured: fmt.Sprintf("%.1f MB (%.1f, %.1f for an empty one)", grown/mb, most/mb, idle/mb), Bar: "≤ 10 MB", Missed: grown > 10*mb,
		Values: map[string]float64{"bytes": grown, "most": most, "idle": idle},
	}}, nil
}

// peak runs the command dry and returns how long it took and the most memory that it
// had. That is asked all the while: what the system tells of a process that has ended
// includes the memory of the one that started it.
func (o *overgrown) peak(ctx context.Context) (took time.Duration, most float64, err error) {
	var said strings.Builder
	cmd := o.console(ctx, "clean", "--dry-run")
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("sidecar clean --dry-run: %w: %.2000s", err, said.String())
			}
			return time.Since(start), most, err
		case <-tick.C:
			most = max(most, highest(cmd.Process.Pid))
		}
	}
}

// highest is the most memory that a process has had, in bytes.
func highest(pid int) float64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n * 1024
}

// restRows leave two sidecars alone, one of which has cleaned its project.
func restRows(ctx context.Context, b *bench) ([]Row, error) {
	var pids []int
	for _, with := range []bool{true, false} {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("rest-%v", with))
		if err != nil {
			return nil, err
		}
		s, err := b.startIn(ctx, o.home, o.dir, nil, map[string]any{"janitor": with, "janitorDelay": "1s", "janitorNodeModules": "shrink"})
		if err != nil {
			return nil, err
		}
		defer func() { _ = s.end() }()                                               // what counts has been measured by then
		s.Emit(host.Event{Type: host.EventSessionIdle, Session: s.fake.Open(o.dir)}) // somebody works in it
		for start := time.Now(); with; <-time.After(10 * time.Millisecond) {
			if n, _, err := sizeOf(o.path(".")); err == nil && n < 200 {
				break
			}
			if time.Since(start) > stepLimit {
				return nil, errors.New("the janitor has not cleaned the folder")
			}
		}
		pids = append(pids, s.Cmd.Process.Pid)
	}
	<-time.After(5 * time.Second) // the runtime has given back what the pass took
	span := time.Duration(b.times(20, 3)) * time.Second
	var woken [2]int64
	var before [2]usage
	for i, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		before[i] = u
	}
	<-time.After(span)
	for i, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		woken[i] = u.switches - before[i].switches
	}
	return []Row{{
		What:     fmt.Sprintf("a used project after its pass, wakeups of the sidecar in %s", span),
		Measured: fmt.Sprintf("%d, without a janitor %d", woken[0], woken[1]), Bar: "0 more than without", Original: "timers of 5, 10 and 30 min and 6 h", Missed: woken[0] > woken[1],
		Values: map[string]float64{"with": float64(woken[0]), "without": float64(woken[1])},
	}}, nil
}

// packageRows run OpenCode in a project whose packages are there, small or gone.
func packageRows(ctx context.Context, b *bench) ([]Row, error) {
	r, err := b.rig(ctx, filepath.Join(b.root, "shim"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // a temporary folder
	o := &overgrown{b: b, dir: r.Dir, home: r.StateDir}
	if err := errors.Join(os.RemoveAll(o.path(".")), os.Mkdir(o.path("."), 0o755)); err != nil {
		return nil, err
	}
	hi := func() (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*stepLimit)
		defer cancel()
		result, err := r.RunAndWait(ctx, "hi")
		if err == nil && result.Code != 0 {
			err = fmt.Errorf("exit code %d: %s", result.Code, result.Stderr)
		}
		return result.Duration, err
	}
	first, err := hi() // makes the database, and fills npm's cache
	if err != nil {
		return nil, err
	}
	took := map[modules.State][]time.Duration{}
	counts := map[modules.State]int{}
	for range b.times(5, 1) {
		for _, state := range []modules.State{modules.Full, modules.Small, modules.Absent} { // who starts without any leaves all
			if state != modules.Full {
				want := map[modules.State]string{modules.Small: "shrink", modules.Absent: "remove"}[state]
				if _, err := o.clean(ctx, "--node-modules", want); err != nil {
					return nil, err
				}
			}
			was, err := o.packages(ctx)
			if err != nil || was.State != state {
				return nil, errors.Join(fmt.Errorf("the packages are %s, want %s", was.State, state), err)
			}
			d, err := hi()
			if err != nil {
				return nil, err
			}
			is, err := o.packages(ctx)
			if err != nil || state == modules.Small && is.State != state || state != modules.Small && is.State != modules.Full {
				return nil, errors.Join(fmt.Errorf("the packages were %s and are %s after a start", state, is.State), err)
			}
			took[state], counts[state] = append(took[state], d), was.Files
		}
	}
	keep, small, gone := sorted(took[modules.Full]), sorted(took[modules.Small]), sorted(took[modules.Absent])
	return []Row{{
		What:     fmt.Sprintf("`opencode run \"hi\"`, packages kept: %d files", counts[modules.Full]),
		Measured: keep.spread(), Values: keep.values(),
	}, {
		What:     fmt.Sprintf("  shrunk: %d files, and none more after the start", counts[modules.Small]),
		Measured: fmt.Sprintf("%s, %.2f × kept", small.spread(), over(small, keep)), Bar: "≤ 1.25 × kept", Missed: over(small, keep) > 1.25, Values: small.values(),
	}, {
		What:     "  removed: installed again from npm's cache",
		Measured: fmt.Sprintf("%s; the very first start %s", gone.spread(), show(first)), Original: "at every start", Values: gone.values(),
	}}, nil
}

// packages looks at OpenCode's packages.
func (o *overgrown) packages(ctx context.Context) (modules.Report, error) {
	folder, err := os.OpenRoot(o.path("."))
	if err != nil {
		return modules.Report{}, err
	}
	defer func() { _ = folder.Close() }() // was only read
	return modules.Inspect(ctx, folder, nil)
}

// pairRows run the command twice at once, and look where every file is.
func pairRows(ctx context.Context, b *bench) ([]Row, error) {
	rounds, lost, doubled, refused := b.times(10, 2), 0, 0, 0
	for i := range rounds {
		o, err := b.newOvergrown(ctx, fmt.Sprintf("pair-%d", i))
		if err != nil {
			return nil, err
		}
		var at [2]struct {
			out []byte
			err error
		}
		var wg sync.WaitGroup
		for i := range at {
			wg.Go(func() { at[i].out, at[i].err = o.console(ctx, "clean").CombinedOutput() })
		}
		wg.Wait()
		failed := 0
		for _, one := range at {
			if one.err == nil {
				continue
			}
			if failed++; failed > 1 || !strings.Contains(string(one.out), "is cleaning it just now") {
				return nil, fmt.Errorf("sidecar clean: %w: %.1000s", one.err, one.out)
			}
		}
		refused += failed
		l, d, err := o.account(ctx)
		if err != nil {
			return nil, err
		}
		lost, doubled = lost+l, doubled+d
	}
	return []Row{{
		What:     fmt.Sprintf("two `sidecar clean` at once, %d times: files lost or in two places", rounds),
		Measured: fmt.Sprintf("%d lost, %d in two places; %d refused as another cleaned", lost, doubled, refused), Bar: "0", Missed: lost+doubled > 0,
		Values: map[string]float64{"lost": float64(lost), "doubled": float64(doubled)},
	}}, nil
}

// account looks for every file in the folder and in the trash, and then puts all of
// them back to compare them. Histories are looked for line by line: they are packed.
func (o *overgrown) account(ctx context.Context) (lost, doubled int, err error) {
	all := trash.New(filepath.Join(o.home, "opencode-sidecar", "trash"))
	batches, err := all.Batches(o.path("."))
	if err != nil {
		return 0, 0, err
	}
	taken := map[string]int{}
	for _, batch := range batches {
		items, err := all.Items(batch.Batch)
		if err != nil {
			return 0, 0, err
		}
		for _, item := range items {
			taken[item.Name]++
		}
	}
	for name, times := range taken {
		if _, err := os.Lstat(o.path(name)); err == nil || times > 1 {
			doubled++
		}
	}
	for _, batch := range batches {
		if _, err := o.clean(ctx, "--restore", "--batch", batch.Batch); err != nil {
			return 0, 0, err
		}
	}
	seen := map[string]int{}
	histories, err := filepath.Glob(o.path("archive/todo_history.*"))
	if err != nil {
		return 0, 0, err
	}
	for _, name := range histories {
		text, err := exec.CommandContext(ctx, "gzip", "-cdf", name).Output() // plain ones as they are
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		for line := range strings.Lines(string(text)) {
			seen[line]++
		}
	}
	plain := map[string]string{}
	for name, content := range o.others {
		switch {
		case name == "docs/_metadata.json": // no longer lists what went
		case !strings.HasPrefix(name, "archive/todo_history."):
			plain[name] = content
		default:
			missing, twice := 0, 0
			for line := range strings.Lines(content) {
				missing, twice = missing+max(0, 1-seen[line]), twice+max(0, seen[line]-1)
			}
			lost, doubled = lost+min(1, missing), doubled+min(1, twice)
		}
	}
	return lost + o.lost(plain) + o.lost(o.users), doubled, nil
}

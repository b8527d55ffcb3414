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
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

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

package janitor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A folder as anybody may have it, with files of ours and files that look like
// them: whatever a janitor of whatever settings does, how often it may, no file of
// the user disappears or changes.
func TestNoFileOfTheUserEverDisappears(t *testing.T) {
	const folders = 60
	taken := 0
	for seed := range uint64(folders) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			s := newScene(t)
			owned := s.wild(r)
			before := s.tree()
			for range 1 + r.IntN(3) {
				s.now = s.now.Add(time.Duration(r.Int64N(int64(40 * day))))
				report, err := s.janitor.Clean(t.Context(), s.dir, wildSettings(r), r.IntN(4) == 0)
				if err != nil {
					t.Fatal(err)
				}
				taken += len(report.Gone)
			}
			after := s.tree()
			for name, sum := range before {
				if !owned[name] && after[name] != sum {
					t.Errorf("%q is not ours, and is %q", name, after[name])
				}
			}
		})
	}
	if taken < folders {
		t.Errorf("only %d files of %d folders were ours to take", taken, folders)
	}
}

func wildSettings(r *rand.Rand) Settings {
	set := Defaults()
	set.Files, set.Bytes, set.Cap = r.IntN(20), r.Int64N(20_000), r.IntN(60)
	set.ArchiveAge, set.HistoryAge = time.Duration(r.Int64N(int64(20*day))), time.Duration(r.Int64N(int64(40*day)))
	set.DocumentBytes = r.Int64N(5000)
	return set
}

// wild fills the folder, and returns what is ours in it. The index of the document
// cache is: it follows what goes.
func (s *scene) wild(r *rand.Rand) (owned map[string]bool) {
	s.Helper()
	owned = map[string]bool{"docs/_metadata.json": true}
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	date := func() string { return s.now.AddDate(0, 0, -r.IntN(120)).Format(time.DateOnly) }
	ago := func() time.Duration { return time.Duration(r.Int64N(int64(200 * day))) }
	docs := map[string]any{}
	for range 10 + r.IntN(60) {
		name, content, ours := "", "", false
		switch r.IntN(12) {
		case 0, 1:
			name, content, ours = "archive/tasks/tasks_"+date()+".jsonl", seedTasks(r.IntN(20)), true
		case 2:
			name, content, ours = "archive/todo_history."+date()+pick("", "T10-20-30Z", "T10-20-30Z-2")+".jsonl.gz", packed(seedHistory(0, r.IntN(9))), true
		case 3:
			name, content, ours = "archive/todo_history."+date()+".jsonl", seedHistory(0, 1+r.IntN(9)), true
		case 4:
			name, content, ours = historyName, strings.Repeat(ourHistory(r.IntN(99)), r.IntN(9)), true
		case 5:
			name = "docs/" + fmt.Sprint("d", r.IntN(30), ".md")
			s.document(docs, path.Base(name), pick("A", "B ü"), strings.Repeat("text ", r.IntN(300)), ago())
			owned[name] = true
			continue
		case 6: // by its name it could be ours
			name = pick("archive/tasks/tasks_"+date()+".jsonl", "archive/todo_history."+date()+".jsonl", historyName, "docs/"+fmt.Sprint("d", r.IntN(30), ".md"))
			content = pick("mine\n", "{}\n", seedTasks(2)+"mine\n", seedHistory(0, 2)+"\"x\"\n", strings.Repeat("# my notes\n", 40), "{\"id\":\"task\"}\n", "{\"id\":\"task_1\",\"title\":\"mine\"}\n", "{\"version\":1,\"mine\":true}\n")
		case 7:
			name, content = "archive/todo_history."+date()+".jsonl.gz", pick("no gzip", packed("mine\n"), packed(seedHistory(1, 3)+"mine"), packed(seedHistory(0, 3))[:30])
		case 8: // nor by its place
			name = pick("archive/tasks/", "archive/", "docs/", "", "archive/docs/", "tasks/", "node_modules/x/") + pick("tasks_"+date()+".jsonl.old", "tasks_x.jsonl", "Tasks_"+date()+".jsonl", "todo_history.x.gz", "todo_history", "a\nb.md", "ä.md", "-rf", "%00", " ")
			content = pick("mine", seedTasks(3), packed(seedHistory(1, 2)))
		default:
			name = pick("agent", "agents/x", "command", "commands", "mode", "modes", "plugin", "plugins", "skill/a", "skills/b/c", "tool", "tools", "themes", "plans", "unit-tests", "x/y/z/archive/tasks") + "/" + pick("tasks_"+date()+".jsonl", "a.md", "todo_history.jsonl", "_metadata.json", "b.ts")
			content = pick("mine", seedTasks(3), seedHistory(1, 3))
		}
		if _, err := os.Lstat(filepath.Join(s.dir, ".opencode", name)); err == nil {
			continue
		}
		if _, listed := docs[path.Base(name)]; listed && !ours && strings.HasPrefix(name, "docs/") {
			continue
		}
		s.write(name, content, ago())
		if ours {
			owned[name] = true
		}
	}
	s.index(docs)
	for name, content := range users {
		if r.IntN(3) > 0 {
			continue
		}
		if _, err := os.Lstat(filepath.Join(s.dir, ".opencode", name)); err != nil {
			s.write(name, content, ago())
		}
	}
	if outside := s.dir; r.IntN(4) == 0 {
		_ = os.Symlink(outside, filepath.Join(s.dir, ".opencode", "archive", "todo_history."+date()+"T00-00-00Z.jsonl"))
	}
	return owned
}

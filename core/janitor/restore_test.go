package janitor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was put back does not go again before its time, however much there is.
func TestWhatWasPutBackStays(t *testing.T) {
	for name, fill := range map[string]func(s *scene){
		"archives": func(s *scene) {
			for i := range 40 {
				at := s.now.AddDate(0, 0, -3-i)
				s.write(fmt.Sprintf("archive/tasks/tasks_%s.jsonl", at.Format("2006-01-02")), seedTasks(1), s.now.Sub(at))
			}
		},
		"documents": func(s *scene) {
			docs := map[string]any{}
			for i := range 40 {
				s.document(docs, fmt.Sprintf("d%d.md", i), "D", "text", time.Duration(3+i)*day)
			}
			s.index(docs)
		},
		"histories": func(s *scene) {
			for i := range 40 {
				at := s.now.AddDate(0, 0, -3-i)
				s.write(fmt.Sprintf("archive/todo_history.%s.jsonl.gz", at.Format("2006-01-02")), packed(seedHistory(i, 1)), s.now.Sub(at))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			fill(s)
			set := Defaults()
			set.Files, set.ArchiveAge, set.HistoryAge = 10, 365*day, 365*day
			first := gone(s.clean(set))
			r, err := s.janitor.Restore(t.Context(), s.dir, "", "")
			if err != nil || len(r.Items) != len(first) {
				t.Fatal(len(r.Items), err)
			}
			back := map[string]bool{}
			for _, item := range r.Items {
				back[item.Name] = true
			}
			s.now = s.now.Add(set.Every[Limits])
			n := 0
			for _, name := range gone(s.clean(set)) {
				if back[name] {
					n++
				}
			}
			if n > 0 {
				t.Errorf("%d of the %d that were put back went again after %s", n, len(back), set.Every[Limits])
			}
		})
	}
}

// A process that is killed between giving a restored file its name and taking the
// other one away leaves one file with two names. It is cleaned like any other.
func TestARestoredFileWithTwoNames(t *testing.T) {
	s := newScene(t)
	s.write("archive/tasks/tasks_2025-01-01.jsonl", seedTasks(1), 60*day)
	dir := filepath.Join(s.dir, ".opencode", "archive", "tasks")
	if err := os.Link(filepath.Join(dir, "tasks_2025-01-01.jsonl"), filepath.Join(dir, ".sidecar-restored-ABCDEFGHIJ-1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.clean(Defaults())
	}
	if tree := s.tree(); len(tree) > 0 {
		t.Errorf("for ever: %v", tree)
	}
}

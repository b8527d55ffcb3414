package sqlitestore

import (
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

func TestAStoreThatHasRestedKnowsEverything(t *testing.T) {
	s := open(t, file(t))
	fill(t, s, 0, 200, "prompt")
	before := count(t, s)
	if err := s.Rest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.db.pages.byQuery) != 0 || len(s.db.heads.bySeq) != 0 || s.db.read.Stats().Idle != 0 {
		t.Errorf("it keeps %d pages, %d tasks and %d idle connections", len(s.db.pages.byQuery), len(s.db.heads.bySeq), s.db.read.Stats().Idle)
	}
	if after := count(t, s); after != before {
		t.Errorf("%d tasks, want %d", after, before)
	}
	create(t, s, sample(500))
	if _, err := s.Get(t.Context(), sample(500).ID); err != nil {
		t.Error(err)
	}
	if page, err := s.List(t.Context(), task.Query{Limit: 10}); err != nil || len(page.Tasks) != 10 {
		t.Errorf("%d tasks, %v", len(page.Tasks), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Rest(t.Context()); err == nil {
		t.Error("a closed store rested")
	}
}

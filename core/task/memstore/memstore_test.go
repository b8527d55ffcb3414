package memstore

import (
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) task.Store { return New() })
}

func BenchmarkListNewest50Of5000(b *testing.B) {
	s := storetest.Filled(b, New(), 5000)
	for b.Loop() {
		if _, err := s.List(b.Context(), task.Query{Limit: 50}); err != nil {
			b.Fatal(err)
		}
	}
}

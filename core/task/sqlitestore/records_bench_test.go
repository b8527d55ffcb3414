package sqlitestore

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/record/recordtest"
)

// mission is a record with a body of 2 KB.
func mission(key string) record.Record {
	r := recordtest.Sample(key)
	r.Body = []byte(`"` + strings.Repeat("x", 2046) + `"`)
	return r
}

// BenchmarkPut changes records of 2 KB, each change durable: one after the other,
// and 64 at a time.
func BenchmarkPut(b *testing.B) {
	b.Run("serial", func(b *testing.B) {
		s := open(b, file(b))
		r := mission("ses_1")
		for b.Loop() {
			r = put(b, s, r)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
	b.Run("64", func(b *testing.B) {
		s := open(b, file(b))
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ResetTimer()
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				r := mission(fmt.Sprint("ses_", g))
				var err error
				for left.Add(-1) >= 0 && err == nil {
					r, err = s.Records().Put(b.Context(), r)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
	})
}

// BenchmarkRecords reads among 2,000 records, 20 of them open.
func BenchmarkRecords(b *testing.B) {
	s := open(b, file(b))
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			for i := range 20 {
				r := mission(fmt.Sprint("ses_", g*20+i))
				r.Open = g == 0
				if _, err := s.Records().Put(b.Context(), r); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Records().Get(b.Context(), "mission", "ses_777"); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, q := range map[string]record.Query{
		"own":      {Kind: "mission", Owner: "host-1", Open: true},
		"nobody's": {Kind: "mission", Owner: "host-9", Open: true},
		"worktree": {Kind: "mission", Worktree: "/w", Limit: 50},
	} {
		b.Run("List/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Records().List(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

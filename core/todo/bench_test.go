package todo

import (
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// The file of the benchmarks is a plan of 10,000 lines.
const benchLines = 10_000

func BenchmarkParse(b *testing.B) {
	in := []byte(big(benchLines))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

// What a hook pays when nobody changed the file.
func BenchmarkReadUnchanged(b *testing.B) {
	w := newWorktree(b, big(benchLines))
	w.age()
	w.read()
	b.ReportAllocs()
	for b.Loop() {
		w.read()
	}
}

// What it pays in the two seconds after a change.
func BenchmarkReadJustChanged(b *testing.B) {
	w := newWorktree(b, big(benchLines))
	b.ReportAllocs()
	for b.Loop() {
		w.read()
	}
}

func BenchmarkSummary(b *testing.B) {
	doc := mustParse(b, big(benchLines))
	b.ReportAllocs()
	for b.Loop() {
		Summary(doc, nil, Limits{})
	}
}

// What a hook pays for the summary when somebody has just changed the file: by a
// mark, as is usual.
func BenchmarkSummaryAfterChange(b *testing.B) {
	w := newWorktree(b, big(benchLines))
	s := NewSync(SyncOptions{State: w.state, Log: zerolog.Nop()})
	s.Open(w.dir, w.dir, false)
	doc := w.read()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		item := doc.all[5000]
		content, err := SetState(doc, item, Completed-item.State)
		w.must(err)
		w.must(os.WriteFile(w.path(Path), content, 0o644))
		b.StartTimer()
		if doc, err = s.Read(w.dir); err != nil || doc.Len() == 0 {
			b.Fatal(err)
		}
		Summary(doc, nil, Limits{})
	}
}

// An edit with all that belongs to it: lock, read, write to the disk, history.
func BenchmarkEditState(b *testing.B) {
	w := newWorktree(b, big(benchLines))
	state := Completed
	for b.Loop() {
		_, err := w.file.Edit(b.Context(), Edit{}, func(d *Document) ([]byte, error) {
			return SetState(d, d.all[5000], state)
		})
		w.must(err)
		state = Completed - state
	}
}

func BenchmarkAdd(b *testing.B) {
	doc := mustParse(b, big(benchLines))
	for b.Loop() {
		if _, err := Add(doc, Place{Under: doc.all[5000]}, Entry{Text: "new"}); err != nil {
			b.Fatal(err)
		}
	}
}

// age makes the file older than what is looked at twice.
func (w *worktree) age() {
	w.t.Helper()
	old := time.Now().Add(-time.Hour)
	w.must(os.Chtimes(w.path(Path), old, old))
}

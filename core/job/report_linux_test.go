package job

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

func TestReport(t *testing.T) {
	r := with(t, Options{Keep: 3})
	for command, want := range map[string][]string{
		"echo fine; echo odd >&2; exit 3": {"[ERROR] ", ", exit code 3 after ", "<stdout>\nfine\n</stdout>\n<stderr>\nodd\n</stderr>"},
		"true":                            {"[DONE] ", "It has printed nothing."},
		"seq 100":                         {"<stdout>\n81\n82\n", "\n100\n</stdout>\n", "check_background job_"},
	} {
		j := r.end(r.start(Spec{Command: command}))
		<-r.ended
		got := r.Report(j.ID)
		for _, part := range append(want, j.ID) {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q is not in %q", command, part, got)
			}
		}
		if short := command != "seq 100"; short == strings.Contains(got, "returns more") {
			t.Errorf("%s: %q", command, got)
		}
	}
	j := r.end(r.start(Spec{Command: "head -c 100000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero | tr '\\0' y >&2"}))
	<-r.ended
	if got := r.Report(j.ID); len(got) > 2*reportBytes+500 || !strings.Contains(got, "xxx") || !strings.Contains(got, "yyy") {
		t.Errorf("%d bytes", len(got))
	}
	if got := r.Report("job_0"); !strings.Contains(got, "job_0") {
		t.Errorf("of an unknown one: %q", got)
	}
}

// Whoever counts the commands that run knows of each before it can end, and of
// none that is refused.
func TestStartedComesBeforeEnded(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	note := func(what string, j Job) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, what+" "+j.ID)
	}
	told := make(chan struct{}, 10)
	store := &breaking{Store: record.NewMemory()}
	r := with(t, Options{
		Store: store, Started: func(j Job) { note("started", j) },
		Ended: func(_ context.Context, j Job) { note("ended", j); told <- struct{}{} },
	})
	var want []string
	for range 3 {
		j := r.start(Spec{Command: "true"})
		<-told
		want = append(want, "started "+j.ID, "ended "+j.ID)
	}
	store.broken = true
	if _, err := r.Start(t.Context(), Spec{Command: "true", Dir: r.dir}); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	r.Refuse()
	if _, err := r.Start(t.Context(), Spec{Command: "true", Dir: r.dir}); !errors.Is(err, ErrStopping) {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

var errBroken = errors.New("broken")

// breaking is a store that a test breaks.
type breaking struct {
	Store
	broken bool
}

func (b *breaking) Put(ctx context.Context, r record.Record) (record.Record, error) {
	if b.broken {
		return record.Record{}, errBroken
	}
	return b.Store.Put(ctx, r)
}

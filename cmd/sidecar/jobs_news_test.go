package main

import (
	"io"
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/lifecycle"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// A session that wants to know of the end of a command has open work until it does.
func TestTheEndOfACommandIsNews(t *testing.T) {
	a, err := newApp(strings.NewReader(""), io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	defer a.store.Close()
	over := false
	for _, c := range []struct {
		name     string
		job      job.Job
		shutdown bool
		kept     bool
	}{
		{"nobody asked", job.Job{ID: "job_1", Session: "ses_1", State: job.Done}, false, false},
		{"it has no session", job.Job{ID: "job_2", Notify: true, State: job.Done}, false, false},
		{"the session has killed it", job.Job{ID: "job_3", Session: "ses_3", Notify: true, State: job.Killed, EndedBy: "ses_3"}, false, false},
		{"another session has killed it", job.Job{ID: "job_8", Session: "ses_8", Notify: true, State: job.Killed, EndedBy: "ses_9"}, false, true},
		{"it has failed", job.Job{ID: "job_4", Session: "ses_4", Notify: true, State: job.Error}, false, true},
		{"the sidecar that ran it has died", job.Job{ID: "job_5", Session: "ses_5", Notify: true, State: job.Interrupted}, false, true},
		{"the sidecar shuts down", job.Job{ID: "job_6", Session: "ses_6", Notify: true, State: job.Interrupted}, true, true},
		{"it ends by itself meanwhile", job.Job{ID: "job_7", Session: "ses_7", Notify: true, State: job.Done}, true, true},
	} {
		if c.shutdown && !over {
			over = true
			a.lifecycle = lifecycle.New(lifecycle.Options{})
			a.lifecycle.Shutdown(t.Context(), "test", lifecycle.BudgetDispose)
		}
		a.jobStarted(c.job)
		if open := a.tasks.Unsettled(c.job.Session); open != (c.job.Notify && c.job.Session != "") {
			t.Errorf("%s: unsettled %t while it runs", c.name, open)
		}
		a.jobEnded(t.Context(), c.job)
		r, err := a.store.records().Get(t.Context(), "news", c.job.ID)
		if (err == nil) != c.kept || c.kept && (!strings.Contains(string(r.Body), c.job.ID) || !r.Open) {
			t.Errorf("%s: kept %+v, %v", c.name, record.Record{Kind: r.Kind, Key: r.Key, Open: r.Open}, err)
		}
		if open := a.tasks.Unsettled(c.job.Session); open != c.kept && !c.shutdown {
			t.Errorf("%s: unsettled %t when it has ended", c.name, open)
		}
	}
}

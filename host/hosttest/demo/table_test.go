package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var entries = []entry{
	{"read the config", "explore", completed, 140 * time.Millisecond, "1.2s", "4 settings; debug is still on."},
	{"check the licences", "general", failed, 0, "2.0s", "this model takes no legal questions (HTTP 400)"},
	{"run the slow tests", "general", cancelled, -1, "", "cancelled\nwith cancel_task"},
	{"say nothing", "explore", interrupted, 12 * time.Second, "1m05s", ""},
}

func TestTable(t *testing.T) {
	want := `    task                agent    state        queued     ran  result
  ────────────────────────────────────────────────────────────────────────────
  ✓ read the config     explore  completed      0.1s    1.2s  4 settings; debug
                                                              is still on.
  ✗ check the licences  general  error          0.0s    2.0s  this model takes
                                                              no legal questions
                                                              (HTTP 400)
  ⊘ run the slow tests  general  cancelled         –       –  cancelled with
                                                              cancel_task
  ✗ say nothing         explore  interrupted   12.0s   1m05s`
	if diff := cmp.Diff(strings.Split(want, "\n"), table(entries, 80, palette{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestTableKeepsToTheWidth(t *testing.T) {
	long := entry{strings.Repeat("long ", 10), "general-purpose", interrupted, time.Hour, "59m59s", strings.Repeat("結果 ", 80)}
	for columns := 60; columns <= 130; columns++ {
		plain, coloured := table(append(entries, long), columns, palette{}), table(append(entries, long), columns, palette{on: true})
		for i, line := range coloured {
			if got := escape.ReplaceAllString(line, ""); strings.TrimRight(got, " ") != plain[i] {
				t.Errorf("with colours %q, without %q", got, plain[i])
			}
			if n := width(plain[i]); n > columns {
				t.Errorf("%d columns in a terminal of %d: %q", n, columns, plain[i])
			}
		}
	}
}

func TestResults(t *testing.T) {
	l := &ledger{records: []*record{{id: "task_00000001", state: completed, told: 1, listed: completed}}}
	r := &results{ledger: l, summary: "Where it stands: 1 completed:\n" + `[DONE] task_00000001 "d" (agent a, ran 1.0s)`}
	if diff := cmp.Diff([]string{"  main agent  Where it stands: 1 completed", ""}, r.lines(80, palette{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	stopped := end{ran: 2, scanned: 213}
	want := []string{
		"  ✓ 1 completed; the main agent was told of each once",
		"  ✓ list_tasks and OpenCode's own sessions say the same",
		"  ✓ 0 processes left of 2 (scanned 213), 9.5s in all",
	}
	if diff := cmp.Diff(want, closing(l, stopped, true, 9500*time.Millisecond, 80, palette{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	l.records[0].listed = ""
	if got := closing(l, stopped, true, time.Second, 80, palette{})[1]; got != "  ✓ OpenCode's own sessions say the same" {
		t.Errorf("without list_tasks: %q", got)
	}
	if got := closing(l, end{}, false, time.Second, 80, palette{}); len(got) != 1 || !strings.Contains(got[0], "not looked for") {
		t.Errorf("without /proc: %q", got)
	}
}

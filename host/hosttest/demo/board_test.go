package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var escape = regexp.MustCompile("\x1b\\[[0-9;]*m")

// sample is a board in the middle of a mission.
func sample() frame {
	now := time.UnixMilli(1_000_000)
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	v := newView("ses_main")
	v.main.phase, v.main.said = "list_tasks", "Two have ended."
	v.rows = []*row{
		{name: "read the config", agent: "explore", state: completed, phase: "answered", began: ago(3100), ended: ago(1900), told: true},
		{name: "check the licences", agent: "general", state: failed, phase: "HTTP 400: this model takes no legal questions at all", began: ago(3000), ended: ago(1000), told: true},
		{name: "a name that is much too long for a board", agent: "general-purpose", state: running, phase: "bash: 数える 数える 数える 数える 数える 数える", began: ago(2900)},
		{name: "run the slow tests", agent: "general", state: cancelled, phase: "stopped", began: ago(3000), ended: ago(100)},
		{name: "review error paths", agent: "general", state: queued, phase: "waits for a slot"},
	}
	return frame{title: "Six background agents", elapsed: 7*time.Second + 340*time.Millisecond, now: now, tick: 3, view: v}
}

func TestBoard(t *testing.T) {
	want := `
  Six background agents                                                   7.3s

  ✓ read the config         explore       1.2s  answered · told
  ✗ check the licences      general       2.0s  HTTP 400: this model t… · told
  ⠸ a name that is much t…  general-p…    2.9s  bash: 数える 数える 数える 数…
  ⊘ run the slow tests      general       2.9s  stopped
  ○ review error paths      general             waits for a slot

  ⠸ main agent  list_tasks                                         told of 2/5
    “Two have ended.”
`
	var got []string
	for _, line := range board(sample(), 80, palette{}) {
		got = append(got, strings.TrimRight(line, " "))
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestBoardBeforeTheMission(t *testing.T) {
	got := board(frame{title: "Demo", note: "starts OpenCode"}, 30, palette{})
	want := []string{"", "  Demo                  0.0s", "", "  ⠋ starts OpenCode", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Colours change no column, and no line is wider than the terminal.
func TestBoardKeepsToTheWidth(t *testing.T) {
	for columns := 60; columns <= 130; columns++ {
		plain, coloured := board(sample(), columns, palette{}), board(sample(), columns, palette{on: true})
		if !strings.Contains(strings.Join(coloured, ""), "\x1b[32m") {
			t.Fatal("no colours")
		}
		for i, line := range coloured {
			if got := escape.ReplaceAllString(line, ""); got != plain[i] {
				t.Errorf("with colours %q, without %q", got, plain[i])
			}
			if n := width(plain[i]); n > columns {
				t.Errorf("%d columns in a terminal of %d: %q", n, columns, plain[i])
			}
		}
	}
}

func TestMainAgentRests(t *testing.T) {
	f := sample()
	f.view.main.busy = false
	if got := mainLine(f, 80, palette{}); !strings.Contains(got, "· main agent  rests until one of 3 tasks has ended") {
		t.Errorf("line %q", got)
	}
	f.view.rows = f.view.rows[:3]
	if got := mainLine(f, 80, palette{}); !strings.Contains(got, "rests until the last task has ended") {
		t.Errorf("line %q", got)
	}
}

func TestLogLine(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for _, tc := range []struct {
		change change
		want   string
	}{
		{change{"", mainName, "list_tasks"}, "  1.5s  · main agent            list_tasks"},
		{change{running, "map the packages", "started"}, "  1.5s  ● map the packages      started"},
		{change{failed, "a name that is far too long", long}, "  1.5s  ✗ a name that is far…   word word word word word word word word word wo…"},
	} {
		got := logLine(1500*time.Millisecond, tc.change, 80)
		if got != tc.want || width(got) > 80 {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
}

package todo

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSummary(t *testing.T) {
	doc := mustParse(t, `## M1
- [x] done
- [/] S1: parent | size:S
  - [x] closed
    - [ ] below a closed one
  - [ ] child
- [-] dropped
- [ ] last
`)
	got := Summary(doc, map[string][]string{
		"S1":    {"task_1 worker running 2m: reads\nfiles", "task_2 reviewer queued (3rd)"},
		"child": {"task_3 worker running"},
		"done":  {"never shown"},
	}, Limits{})
	want := `todo.md: 2 of 7 done, 1 cancelled, 1 in progress, 3 pending
- [/] S1: parent | size:S
    task_1 worker running 2m: reads files
    task_2 reviewer queued (3rd)
  - [ ] below a closed one
  - [ ] child
      task_3 worker running
- [ ] last`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, in := range []string{"", "text"} {
		if got := Summary(mustParse(t, in), nil, Limits{}); got != "" {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := Summary(mustParse(t, "- [x] a\n"), nil, Limits{}); got != "todo.md: 1 of 1 done" {
		t.Errorf("%q", got)
	}
}

func TestSummaryIsBounded(t *testing.T) {
	for name, in := range map[string]string{
		"many":  strings.Repeat("- [ ] short\n", 10_000),
		"long":  strings.Repeat("- [ ] "+strings.Repeat("ü", 5000)+"\n", 100),
		"deep":  deep(40),
		"exact": strings.Repeat("- [ ] short\n", 38),
	} {
		for _, limits := range []Limits{{}, {Lines: 5, Characters: 300}, {Lines: 1, Characters: 1}} {
			got := Summary(mustParse(t, in), map[string][]string{"short": {"running", "running"}}, limits)
			maxLines, maxCharacters := 40, 2000
			if limits.Lines > 0 {
				maxLines, maxCharacters = max(2, limits.Lines), max(100, limits.Characters)
			}
			if n := strings.Count(got, "\n") + 1; n > maxLines {
				t.Errorf("%s: %d lines", name, n)
			}
			if n := utf8.RuneCountInString(got); n > maxCharacters {
				t.Errorf("%s: %d characters", name, n)
			}
			if shown := strings.Count(got, "[ ]"); shown < mustParse(t, in).Len() && !strings.Contains(got, "more open") {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	if got := Summary(mustParse(t, strings.Repeat("- [ ] short\n", 10_000)), nil, Limits{}); !strings.HasSuffix(got, "\n… and 9962 more open") {
		t.Errorf("it ends in %q", got[len(got)-40:])
	}
}

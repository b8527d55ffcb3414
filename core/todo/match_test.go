package todo

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	doc := mustParse(t, `# Plan
- [ ] S1.1.1: Create the schema | size:S
- [ ] S1.1.10: Create the index
- [x] write tests
- [ ] Write Tests
- [ ] write tests for the parser
- [ ] **CHK-1**: It builds
- [ ] twice
- [ ] twice
- [ ] - bulleted
- [ ] Überprüfen
`)
	for query, line := range map[string]int{
		"S1.1.1: Create the schema | size:S":    2,
		"  - [ ] S1.1.1:  Create the\n schema ": 2,
		"S1.1.1":                                2,
		"s1.1.10":                               3,
		"Create the schema":                     2,
		"create the s":                          2,
		"write tests":                           4,
		"Write Tests":                           5,
		"write tests for":                       6,
		"CHK-1":                                 7,
		"it builds":                             7,
		"the parser":                            6,
		"bulleted":                              10,
		"- [ ] - bulleted":                      10,
		"ÜBERPRÜFEN":                            11,
		"[x] write tests":                       4,
	} {
		item, err := Find(doc, query)
		if err != nil || item.Line != line {
			t.Errorf("Find(%q) = %v, %v, want line %d", query, item, err, line)
		}
	}
	for query, want := range map[string]string{
		"twice":       "2 items of todo.md match \"twice\"; give the id or more of the text:\nline 8: [ ] twice\nline 9: [ ] twice",
		"WRITE TESTS": "2 items of todo.md match \"WRITE TESTS\"; give the id or more of the text:\nline 4: [x] write tests\nline 5: [ ] Write Tests",
		"create":      "2 items of todo.md match \"create\"; give the id or more of the text:\nline 2: [ ] S1.1.1: Create the schema | size:S\nline 3: [ ] S1.1.10: Create the index",
		"drop the schema": "no item of todo.md matches \"drop the schema\"; the nearest are:\nline 2: [ ] S1.1.1: Create the schema | size:S\n" +
			"line 3: [ ] S1.1.10: Create the index\nline 6: [ ] write tests for the parser",
	} {
		_, err := Find(doc, query)
		if err == nil || err.Error() != want {
			t.Errorf("Find(%q):\n%v\nwant\n%s", query, err, want)
		}
	}
	for _, query := range []string{"", " - [ ] ", "zzz"} {
		_, err := Find(doc, query)
		e, ok := errors.AsType[*MatchError](err)
		if !ok || e.Ambiguous || len(e.Candidates) != 10 {
			t.Errorf("Find(%q): %v", query, err)
		}
	}
	if _, err := Find(missing(), "a"); err == nil || err.Error() != `no item of todo.md matches "a": it has no items` {
		t.Error(err)
	}
}

func TestFindListsFewCandidates(t *testing.T) {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "- [ ] the same start, then %d %s\n", i, strings.Repeat("long ", 100))
	}
	_, err := Find(mustParse(t, b.String()), "the same")
	e, ok := errors.AsType[*MatchError](err)
	if !ok || !e.Ambiguous || len(e.Candidates) != 10 || e.More != 40 {
		t.Fatal(err)
	}
	if len(err.Error()) > 2000 || !strings.HasSuffix(err.Error(), "\n… and 40 more") {
		t.Errorf("%d bytes: %s", len(err.Error()), err)
	}
}

func TestItemAt(t *testing.T) {
	doc := mustParse(t, "\n- [ ] a\n\n- - [ ] b\n  - [ ] c\n")
	for line, want := range map[int]string{2: "a", 4: "b", 5: "c", 1: "", 3: "", 0: "", 9: ""} {
		item, ok := ItemAt(doc, line)
		if ok != (want != "") || ok && item.Text != want {
			t.Errorf("line %d: %v", line, item)
		}
	}
}

package transcript

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sample = `# What it shows.
# OpenCode 1.2.3

--> 1 initialize {"pid":"<pid>","version":"<version>"}
<-- 1 {"version":"<version>"}
--> event {"type":"session.idle"}
--> 2 tool/call {"args":{"prompt":"two\nlines and <b> & \"quotes\""}}
<-- h1 host/session.create {"body":{"title":"<task 1>"}}
--> h1 {"id":"<session 1>"}
<-- h2 host/session.messages {"path":{"id":"<session 1>"}}
--> h2 []
<-- h3 host/toast {}
--> h3 true
--> $/cancelRequest {"id":"2"}
<-- $/cancelRequest {"id":"h3"}
<-- 2 error {"code":-32800,"message":"cancelled"}
--- file {"path":".opencode/todo.md","text":"- [ ] by hand\n"}
--> 3 ping {}
--- kill
--> 4 ping {}
<-- 4 {}
--- eof
`

func TestFormatIsWhatParseReads(t *testing.T) {
	r, err := Parse("sample", sample)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample, Format(r)); d != "" {
		t.Error(d)
	}
	if e := r.Entries[3]; e.Kind != Call || e.Sidecar || e.ID != "2" || e.Method != "tool/call" || e.Line != 7 {
		t.Errorf("the fourth entry is %+v", e)
	}
	if e := r.Entries[12]; e.Kind != Error || !e.Sidecar || e.ID != "2" || e.Method != "" {
		t.Errorf("the last answer is %+v", e)
	}
}

func TestLongBodiesAreBrokenByMeaning(t *testing.T) {
	long := strings.Repeat("x", 100)
	r, err := Parse("long", `--> 1 ping {"z":[{"`+long+`":1},{"b":2}],"a":1,"c":{"d":"`+long+`"},"id":"<task 1>"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := `--> 1 ping {"id":"<task 1>","a":1,
  "c":{"d":"` + long + `"},
  "z":[
    {"` + long + `":1},
    {"b":2}]}
`
	if d := cmp.Diff(want, Format(r)); d != "" {
		t.Error(d)
	}
	if again, err := Parse("long", Format(r)); err != nil || Format(again) != want {
		t.Errorf("%v\n%s", err, Format(again))
	}
}

func TestParseNamesTheLineThatIsWrong(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"arrow", "# title\n\n==> 1 ping {}", `f:3: an entry begins with -->, <-- or ---`},
		{"nothing", "--> {}", "f:1: there is neither an id nor a method"},
		{"no body", "--> 1 ping ", "f:1: --> 1 ping: the body is no JSON"},
		{"two bodies", "--> 1 ping {} {}", "f:1: --> 1 ping: something follows the body"},
		{"whose id", "--> h1 ping {}", "f:1: the id h1 does not fit"},
		{"whose id", "<-- 1 ping {}", "f:1: the id 1 does not fit"},
		{"answer to nothing", "<-- 1 {}", "f:1: <-- 1: there is no call of that id"},
		{"two answers", "--> 1 ping {}\n<-- 1 {}\n<-- 1 {}", "f:3: <-- 1: there is no call of that id"},
		{"one id twice", "--> 1 ping {}\n--> 1 ping {}", "f:2: --> 1 ping: the id was used before"},
		{"an answer of the dead", "--> 1 ping {}\n--- kill\n<-- 1 {}\n--- eof", "f:3: <-- 1: there is no call of that id"},
		{"killed at the end", "--> 1 ping {}\n--- kill", "f:2: --- kill: nothing follows"},
		{"no file", "--- file", "f:1: an entry begins with"},
		{"a file without a body", "--- file x", "f:1: --- file: the body is no JSON"},
		{"a file without a text", `--- file {"path":"a"}`, "f:1: --- file: it takes the path"},
		{"a file elsewhere", `--- file {"path":"../a","text":""}`, "f:1: --- file: it takes the path"},
		{"after the end", "--- eof\n--> event {}", "f:1: --- eof: something follows the end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse("f", test.text); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s…", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("--> 1 ping [\n  1,\n  2]\n<-- 1 null\n--- exit")
	f.Add("# only a title")
	f.Add("--> 1 a {}\n--- kill\n--- file {\"path\":\"a\",\"text\":\"b\"}\n--- eof")
	f.Add("--> 1 a {\"<task 1>\":\"<time>\"}\n\n  stray\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse("f", s)
		if err != nil {
			return
		}
		text := Format(r)
		again, err := Parse("f", text)
		if err != nil {
			t.Fatalf("what Format wrote cannot be read: %v\n%s", err, text)
		}
		if d := cmp.Diff(text, Format(again)); d != "" {
			t.Error(d)
		}
	})
}

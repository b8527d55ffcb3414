package transcript

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parsed(t *testing.T, s string) any {
	t.Helper()
	v, err := decode([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatVariesBecomesTokens(t *testing.T) {
	b, l := newBindings(), newLexer("/home/u/project")
	for _, test := range []struct{ raw, want string }{
		{`{"id":"ses_abcD01","parentID":"ses_zz"}`, `{"id":"<session 1>","parentID":"<session 2>"}`},
		{`"see ses_zz and task_0123abcd, task_0123abcd!"`, `"see <session 2> and <task 1>, <task 1>!"`},
		{`{"ses_abcD01":{"type":"busy"}}`, `{"<session 1>":{"type":"busy"}}`},
		{`["msg_1","prt_1","per_1","call_1_0","msg_1"]`, `["<message 1>","<part 1>","<permission 1>","<call 1>","<message 1>"]`},
		{`{"time":{"created":1795421016140,"n":5},"start":1795421016140.5}`, `{"start":1795421016140.5,"time":{"created":"<time>","n":5}}`},
		{`"[DONE] task_0123abcd \"x\" (agent general, ran 1.3s) took 2s"`, `"[DONE] <task 1> \"x\" (agent general, ran <duration>) took 2s"`},
		{`"queued for 0.0s, running for 1h2m3s"`, `"queued for <duration>, running for <duration>"`},
		{`["/home/u/project/a.go","/home/u/x","/home/other"]`, `["<dir>/a.go","<root>/x","/home/other"]`},
		{`"http://127.0.0.1:4096/v1 and localhost:80"`, `"http://127.0.0.1:<port>/v1 and localhost:<port>"`},
		{`{"snapshot":"98585ba8309d386872c4e053388891a532f7c5ed"}`, `{"snapshot":"<hash>"}`},
		{`{"pid":1,"version":"0.1.0","protocol":1,"manifestHash":"ab","project":"p","slug":"s","tookMs":12}`,
			`{"manifestHash":"<manifest>","pid":"<pid>","project":"<project>","protocol":"<protocol>","slug":"<slug>","tookMs":"<ms>","version":"<version>"}`},
		{`{"metadata":{"version":"bfc18741b430"}}`, `{"metadata":{"version":"bfc18741b430"}}`},
		{`["task_0123abcde","a task_xyz","words only",true,null,12]`, `["task_0123abcde","a task_xyz","words only",true,null,12]`},
	} {
		if d := cmp.Diff(test.want, compact(b.tokenize(l, parsed(t, test.raw)))); d != "" {
			t.Errorf("%s\n%s", test.raw, d)
		}
	}
}

func TestUnify(t *testing.T) {
	l := newLexer("/live/project")
	for _, test := range []struct {
		name, want, got string
		ok              bool
	}{
		{"the same", `{"a":[1,"x",null,true]}`, `{"a":[1,"x",null,true]}`, true},
		{"another value", `{"a":1}`, `{"a":2}`, false},
		{"a string for a number", `{"a":"1"}`, `{"a":1}`, false},
		{"a field too few", `{"a":1,"b":2}`, `{"a":1}`, false},
		{"a field too many", `{"a":1}`, `{"a":1,"b":2}`, false},
		{"an item too many", `[1]`, `[1,2]`, false},
		{"a list for a string", `"x"`, `["x"]`, false},
		{"a new id", `{"id":"<task 1>","text":"of <task 1>"}`, `{"id":"task_00000001","text":"of task_00000001"}`, true},
		{"two ids for one token", `["<task 1>","<task 1>"]`, `["task_00000001","task_00000002"]`, false},
		{"one id for two tokens", `["<task 1>","<task 2>"]`, `["task_00000001","task_00000001"]`, false},
		{"an id of another kind", `"<task 1>"`, `"ses_1"`, false},
		{"an id that is bound", `"<session 7>"`, `"ses_bound"`, true},
		{"not the one that is bound", `"<session 7>"`, `"ses_1"`, false},
		{"bound to another token", `"<session 1>"`, `"ses_bound"`, false},
		{"any time", `{"created":"<time>"}`, `{"created":1795421016140}`, true},
		{"no time", `{"created":"<time>"}`, `{"created":17}`, false},
		{"any duration", `"ran <duration>, done"`, `"ran 2m0s, done"`, true},
		{"the text around it", `"ran <duration>, done"`, `"ran 2m0s, did"`, false},
		{"any pid, but one", `{"pid":"<pid>"}`, `{}`, false},
		{"paths", `"<dir>/a <root>/b"`, `"/live/project/a /live/b"`, true},
		{"what only looks like a token", `"<time 1> <task> <b>"`, `"<time 1> <task> <b>"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBindings()
			b.bind("session", 7, "ses_bound")
			if got := b.unify(l, parsed(t, test.want), parsed(t, test.got), ""); got != test.ok {
				t.Errorf("unify(%s, %s) is %t", test.want, test.got, got)
			}
		})
	}
}

func TestRenderGivesEveryTokenItsValue(t *testing.T) {
	b := newBindings()
	b.bind("task", 1, "task_0000abcd")
	known := values{"time": "1795421016140", "dir": "/live/project", "pid": "7", "version": "1.0.0", "protocol": "1", "duration": "1.0s"}
	v, err := b.render(parsed(t, `{"<session 1>":{"id":"<session 1>","of":"<task 1>"},"x":"<dir>/a, ran <duration>","pid":"<pid>","protocol":"<protocol>","t":"<time>","n":3,"version":"<version>"}`), known)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"n":3,"pid":7,"protocol":1,"t":1795421016140,"version":"1.0.0","x":"/live/project/a, ran 1.0s","ses_replay000001":{"id":"ses_replay000001","of":"task_0000abcd"}}`
	if d := cmp.Diff(want, compact(v)); d != "" {
		t.Error(d)
	}
	if _, err := b.render(parsed(t, `"<task 2>"`), known); err == nil || !strings.Contains(err.Error(), "<task 2>") {
		t.Errorf("an id that the sidecar has to name gives %v", err)
	}
}

const rawSample = `{"t":1,"note":"spawn","pid":9}
{"t":1,"dir":"out","msg":{"jsonrpc":"2.0","id":7,"method":"workspace/open","params":{"workspace":"wrk_1","directory":"/tmp/x/project","worktree":"/tmp/x/project","project":"abc"}}}
{"t":2,"dir":"in","msg":{"jsonrpc":"2.0","id":7,"result":{"reattached":false}}}
{"t":2,"dir":"out","msg":{"jsonrpc":"2.0","method":"event","params":{"workspace":"wrk_1","type":"message.part.updated","properties":{"sessionID":"ses_1","unread":1,"part":{"id":"prt_1","sessionID":"ses_1","type":"tool","state":{"status":"running","input":{"a":1},"output":"much"}}}}}}
{"t":3,"dir":"in","msg":{"jsonrpc":"2.0","id":"7","method":"host/session.get","params":{"workspace":"wrk_1","path":{"id":"ses_1"}}}}
{"t":3,"dir":"out","msg":{"jsonrpc":"2.0","id":8,"method":"ping","params":{}}}
{"t":3,"dir":"out","msg":{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":8}}}
{"t":4,"dir":"out","msg":{"jsonrpc":"2.0","id":"7","result":{"id":"ses_1","slug":"happy-canyon","metadata":{"any":"thing"},"directory":"/tmp/x/project"}}}
{"t":4,"dir":"in","msg":{"jsonrpc":"2.0","id":8,"error":{"code":-32800,"message":"cancelled"}}}
`

func TestNormalize(t *testing.T) {
	want := `--> 1 workspace/open {"directory":"<dir>","project":"<project>","workspace":"wrk_1","worktree":"<dir>"}
<-- 1 {"reattached":false}
--> event {"type":"message.part.updated","workspace":"wrk_1",
  "properties":{"sessionID":"<session 1>",
    "part":{"type":"tool","id":"<part 1>","sessionID":"<session 1>","state":{"status":"running","input":{"a":1}}}}}
<-- h1 host/session.get {"workspace":"wrk_1","path":{"id":"<session 1>"}}
--> 2 ping {}
--> $/cancelRequest {"id":"2"}
--> h1 {"id":"<session 1>","directory":"<dir>","metadata":{"any":"thing"}}
<-- 2 error {"code":-32800,"message":"cancelled"}
`
	for _, test := range []struct{ name, tail, end string }{
		{"killed", "", "--- eof\n"},
		{"killed while a line was written", `{"t":5,"dir":"ou`, "--- eof\n"},
		{"ended", `{"t":5,"note":"exit","how":"exit code 0"}`, "--- exit\n"},
		{
			"another after it was killed",
			`{"t":5,"note":"file","path":"a/b.md","text":"in /tmp/x/project\n"}` + "\n" +
				`{"t":6,"note":"exit","how":"signal SIGKILL"}` + "\n" +
				`{"t":6,"dir":"out","msg":{"method":"event","params":{}}}` + "\n" +
				`{"t":7,"note":"spawn"}` + "\n" +
				`{"t":8,"dir":"out","msg":{"id":7,"method":"ping","params":{}}}` + "\n" +
				`{"t":8,"dir":"in","msg":{"id":7,"result":{}}}`,
			`--- file {"path":"a/b.md","text":"in <dir>\n"}` + "\n--- kill\n--> 3 ping {}\n<-- 3 {}\n--- eof\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Normalize(strings.NewReader(rawSample + test.tail))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want+test.end, Format(got)); d != "" {
				t.Error(d)
			}
			if _, err := Parse("f", Format(got)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, bad := range []string{"", "{}\n", rawSample + rawSample, "not json\n" + rawSample, `{"note":"spawn"}` + "\n" + `{"dir":"in","msg":{"id":3,"result":{}}}`} {
		if got, err := Normalize(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q gives %s", bad, Format(got))
		}
	}
}

package hosttest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var compareScripts = cmp.AllowUnexported(script{}, step{}, move{}, ending{}, call{}, failure{}, usage{})

func TestParseScript(t *testing.T) {
	stop := ending{finish: "stop"}
	calls := func(list ...call) ending { return ending{finish: "tool_calls", calls: list} }
	tests := []struct {
		name, text string
		want       *script
	}{
		{"none", "Please @say hello\nwrite to @nobody", nil},
		{"say", "Hello\n  @say hi there \nbye", &script{steps: []step{{[]move{{text: "hi there"}}, stop}}}},
		{"say a JSON string", `@say "a\n@say b"`, &script{steps: []step{{[]move{{text: "a\n@say b"}}, stop}}}},
		{"words that only begin like a directive", "@saying x\n@callback y", nil},
		{
			"steps", "@tag a\n@wait 20ms\n@call bash {\"command\":\"x\"}\n@also read {}\n@say done",
			&script{tag: "a", steps: []step{
				{[]move{{wait: 20 * time.Millisecond}}, calls(call{"bash", `{"command":"x"}`}, call{"read", "{}"})},
				{[]move{{text: "done"}}, stop},
			}},
		},
		{"call without arguments", "@call list", &script{steps: []step{{nil, calls(call{"list", "{}"})}}}},
		{"say and finish are one step", "@say cut\n@finish length", &script{steps: []step{{[]move{{text: "cut"}}, ending{finish: "length"}}}}},
		{
			"text, then finish", "@text a\n@stream 3 1s\n@finish length\n@empty",
			&script{steps: []step{
				{[]move{{text: "a"}, {chunks: 3, over: time.Second}}, ending{finish: "length"}},
				{nil, stop},
			}},
		},
		{"an end is implied", "@gate g\n@usage 10 2", &script{steps: []step{{[]move{{gate: "g"}, {usage: &usage{10, 2}}}, stop}}}},
		{
			"failures", "@fail 503 times=2 retry=10ms too busy\n@fail 401 model=main no\n@fail 400",
			&script{steps: []step{{
				[]move{
					{fail: &failure{status: 503, times: 2, retry: 10 * time.Millisecond, message: "too busy"}},
					{fail: &failure{status: 401, model: "main", message: "no"}},
				},
				ending{fail: &failure{status: 400, message: "scripted failure"}},
			}}},
		},
		{"hang", "@text a\n@hang", &script{steps: []step{{[]move{{text: "a"}}, ending{hang: true}}}}},
		{"reminders do not count", "x\n<system-reminder>\n@say no\n</system-reminder>\n@say yes", &script{steps: []step{{[]move{{text: "yes"}}, stop}}}},
		{
			"as opencode run quotes an argument", `"@call bash {\"command\":\"echo \\"hi\\"\"}` + "\n" + `@say done"`,
			&script{steps: []step{{nil, calls(call{"bash", `{"command":"echo \"hi\""}`})}, {[]move{{text: "done"}}, stop}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseScript(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, compareScripts); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseScriptSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"a\n@call bash {oops":   "line 2 (@call bash {oops): the arguments are no JSON object",
		"@call":                 "want the name of a tool",
		"@say x\n@also bash {}": "must follow @call directly",
		"@wait soon":            "invalid duration",
		"@fail 200 fine":        "is no HTTP error status",
		"@stream 0 1s":          "is no number of chunks",
		"@stream 5":             "want a number and a duration",
		"@finish":               "want a finish reason",
		"@usage many":           "want two numbers",
	} {
		_, err := parseScript(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", text, err, want)
		}
	}
}

func TestResolve(t *testing.T) {
	messages := []ChatMessage{
		{Role: "user", Text: "task_99999999 was not made by a tool"},
		{Role: "tool", Text: "started task_0000000a and task_0000000b, see task_id, ses_abcdefghijklmnopqrstuvwxyz"},
		{Role: "tool", Text: "task_0000000b says \"hi\"\n"},
		{Role: "tool", Text: "task_0000000c"},
	}
	for text, want := range map[string]string{
		`{{task 2}} {{task 3}} {{task}}`: `task_0000000b task_0000000c task_0000000c`,
		`{{session 1}}`:                  `ses_abcdefghijklmnopqrstuvwxyz`,
		`{{result 2}}`:                   "task_0000000b says \"hi\"\n",
		`{{other}}`:                      `{{other}}`,
	} {
		got, err := resolve(text, messages)
		if err != nil || got != want {
			t.Errorf("resolve(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	for args, want := range map[string]string{
		`{"b":1,"a":{}}`:         `{"b":1,"a":{}}`,
		`{"id":"{{task 1}}"}`:    `{"id":"task_0000000a"}`,
		`{"l":["{{result 2}}"]}`: `{"l":["task_0000000b says \"hi\"\n"]}`,
		`{"n":10000000000000001,"o":{"p":"x\n@say {{result 9}}","q":"{{task 2}}"}}`: `{"n":10000000000000001,"o":{"p":"x\n@say {{result 9}}","q":"task_0000000b"}}`,
	} {
		got, err := resolveArgs(args, messages)
		if err != nil || got != want {
			t.Errorf("resolveArgs(%s) = %s, %v, want %s", args, got, err, want)
		}
	}
	if _, err := resolve("{{task 4}}", messages); err == nil || !strings.Contains(err.Error(), "hold 3 of them") {
		t.Errorf("error %v does not say how many there are", err)
	}
	if _, err := resolveArgs(`{"l":[{"x":"{{task 4}}"}]}`, messages); err == nil {
		t.Error("no error for a placeholder deep in the arguments")
	}
}

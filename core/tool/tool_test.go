package tool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
)

type subtask struct {
	Agent string `json:"agent" jsonschema:"the agent that runs it"`
	Mode  string `json:"mode,omitempty" jsonschema:"how it runs"`
}

type delegateArgs struct {
	Agent      string            `json:"agent" jsonschema:"The agent to run"`
	Prompt     string            `json:"prompt" jsonschema:"the instruction for the agent. Say all that it must know."`
	Background bool              `json:"background" jsonschema:"true to go on without waiting"`
	Mode       string            `json:"mode,omitempty" jsonschema:"how the task runs"`
	Limit      *int              `json:"limit,omitempty" jsonschema:"how many results"`
	Ratio      float64           `json:"ratio,omitzero"`
	Tasks      []subtask         `json:"tasks,omitempty" jsonschema:"the parts of the work"`
	Tags       []string          `json:"tags,omitempty" jsonschema:"labels"`
	Headers    map[string]int    `json:"headers,omitempty"`
	Extra      json.RawMessage   `json:"extra,omitempty" jsonschema:"any value"`
	Env        map[string]string `json:"env,omitempty"`
}

func delegate(run func(delegateArgs)) tool.Tool {
	return tool.New("delegate_task", "Runs a task.",
		func(_ context.Context, _ tool.Call, a delegateArgs) (tool.Result, error) {
			run(a)
			return tool.Result{Output: "ok"}, nil
		},
		tool.Enum("mode", "normal", "race", "fractal"),
		tool.Enum("tasks[].mode", "normal", "race"),
		tool.Default("tasks[].mode", "normal"),
		tool.Default("mode", "normal"),
		tool.Range("limit", 1, 50),
		tool.Min("ratio", -0.5),
		tool.Length("prompt", 1, 0),
		tool.Length("tags", 0, 2),
		tool.Length("tags[]", 2, 4),
		tool.Length("tasks", 1, 3),
	)
}

func registry(t testing.TB, tools ...tool.Tool) *tool.Registry {
	t.Helper()
	r, err := tool.NewRegistry(tools...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const required = `"agent":"Worker","prompt":"go","background":true`

func TestCallDecodes(t *testing.T) {
	base := delegateArgs{Agent: "Worker", Prompt: "go", Background: true, Mode: "normal"}
	with := func(change func(*delegateArgs)) delegateArgs {
		a := base
		change(&a)
		return a
	}
	for name, tc := range map[string]struct {
		raw  string
		want delegateArgs
	}{
		"required only, default filled in": {`{` + required + `}`, base},
		"null is absent":                   {`{` + required + `,"mode":null,"limit":null,"tasks":null,"env":{"A":null}}`, with(func(a *delegateArgs) { a.Env = map[string]string{} })},
		"bool as text":                     {`{"agent":"Worker","prompt":"go","background":"true"}`, base},
		"false as text":                    {`{"agent":"Worker","prompt":"go","background":"false"}`, with(func(a *delegateArgs) { a.Background = false })},
		"integer as text":                  {`{` + required + `,"limit":"10"}`, with(func(a *delegateArgs) { a.Limit = new(10) })},
		"integer with fraction zero":       {`{` + required + `,"limit":10.0}`, with(func(a *delegateArgs) { a.Limit = new(10) })},
		"integer with exponent":            {`{` + required + `,"limit":1e1}`, with(func(a *delegateArgs) { a.Limit = new(10) })},
		"number as text":                   {`{` + required + `,"ratio":"-0.25"}`, with(func(a *delegateArgs) { a.Ratio = -0.25 })},
		"digits stay text in a text field": {`{"agent":"7","prompt":"true","background":true}`, with(func(a *delegateArgs) { a.Agent, a.Prompt = "7", "true" })},
		"nested default":                   {`{` + required + `,"tasks":[{"agent":"a"},{"agent":"b","mode":"race"}]}`, with(func(a *delegateArgs) { a.Tasks = []subtask{{"a", "normal"}, {"b", "race"}} })},
		"map with text numbers":            {`{` + required + `,"headers":{"b":"2","a":1}}`, with(func(a *delegateArgs) { a.Headers = map[string]int{"a": 1, "b": 2} })},
		"raw value untouched":              {`{` + required + `,"extra":{"n":12345678901234567890,"b":"true"}}`, with(func(a *delegateArgs) { a.Extra = json.RawMessage(`{"b":"true","n":12345678901234567890}`) })},
		"length counts characters":         {`{` + required + `,"tags":["日本語!"]}`, with(func(a *delegateArgs) { a.Tags = []string{"日本語!"} })},
		"the last of two equal fields":     {`{` + required + `,"agent":"Planner"}`, with(func(a *delegateArgs) { a.Agent = "Planner" })},
	} {
		t.Run(name, func(t *testing.T) {
			var got delegateArgs
			r := registry(t, delegate(func(a delegateArgs) { got = a }))
			if _, err := r.Call(t.Context(), "delegate_task", tool.Call{}, json.RawMessage(tc.raw)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCallRefuses(t *testing.T) {
	r := registry(t, delegate(func(delegateArgs) { t.Error("the tool ran") }))
	for name, tc := range map[string]struct{ raw, field, want string }{
		"enum":                         {`{` + required + `,"mode":"rase"}`, "mode", `"mode" is "rase"; accepted values are normal, race, fractal`},
		"enum of another type":         {`{` + required + `,"mode":3}`, "mode", `"mode" is 3; accepted values are normal, race, fractal`},
		"missing":                      {`{"agent":"Worker","background":true}`, "prompt", `"prompt" is missing; it is the instruction for the agent (text of at least 1 character)`},
		"missing, description in caps": {`{}`, "agent", `"agent" is missing; it is the agent to run (text)`},
		"null where required":          {`{"agent":null}`, "agent", `"agent" is missing; it is the agent to run (text)`},
		"empty text":                   {`{"agent":"Worker","prompt":"","background":true}`, "prompt", `"prompt" is empty; it is the instruction for the agent (text of at least 1 character)`},
		"first in the schema's order":  {`{"zzz":1,"mode":"x","agent":5}`, "agent", `"agent" is 5; accepted is text`},
		"not a bool":                   {`{"agent":"Worker","prompt":"go","background":"yes"}`, "background", `"background" is "yes"; accepted is true or false`},
		"no Python bool":               {`{"agent":"Worker","prompt":"go","background":"True"}`, "background", `"background" is "True"; accepted is true or false`},
		"number for a bool":            {`{"agent":"Worker","prompt":"go","background":1}`, "background", `"background" is 1; accepted is true or false`},
		"over the range":               {`{` + required + `,"limit":99}`, "limit", `"limit" is 99; accepted is a whole number from 1 to 50`},
		"fraction":                     {`{` + required + `,"limit":1.5}`, "limit", `"limit" is 1.5; accepted is a whole number from 1 to 50`},
		"text with white space":        {`{` + required + `,"limit":"10 "}`, "limit", `"limit" is "10 "; accepted is a whole number from 1 to 50`},
		"plus sign":                    {`{` + required + `,"limit":"+10"}`, "limit", `"limit" is "+10"; accepted is a whole number from 1 to 50`},
		"hexadecimal":                  {`{` + required + `,"limit":"0x1"}`, "limit", `"limit" is "0x1"; accepted is a whole number from 1 to 50`},
		"enormous exponent":            {`{` + required + `,"limit":1e999999999}`, "limit", `"limit" is 1e999999999; accepted is a whole number from 1 to 50`},
		"beyond a float":               {`{` + required + `,"ratio":1e999}`, "ratio", `"ratio" is 1e999; accepted is a number of at least -0.5`},
		"not a number":                 {`{` + required + `,"ratio":"NaN"}`, "ratio", `"ratio" is "NaN"; accepted is a number of at least -0.5`},
		"almost an integer":            {`{` + required + `,"limit":1.00000000000000000001}`, "limit", `"limit" is 1.00000000000000000001; accepted is a whole number from 1 to 50`},
		"beyond 64 bits":               {`{` + required + `,"headers":{"x":9223372036854775808}}`, "headers.x", `"headers.x" is 9223372036854775808; accepted is a whole number`},
		"nested path":                  {`{` + required + `,"tasks":[{"agent":"a"},{"agent":"b"},{"agent":7}]}`, "tasks[2].agent", `"tasks[2].agent" is 7; accepted is text`},
		"nested missing":               {`{` + required + `,"tasks":[{}]}`, "tasks[0].agent", `"tasks[0].agent" is missing; it is the agent that runs it (text)`},
		"nested enum":                  {`{` + required + `,"tasks":[{"agent":"a","mode":"fractal"}]}`, "tasks[0].mode", `"tasks[0].mode" is "fractal"; accepted values are normal, race`},
		"nested unknown":               {`{` + required + `,"tasks":[{"agent":"a","mod":"race"}]}`, "tasks[0].mod", `"tasks[0].mod" is not a field (did you mean "mode"?); accepted fields are agent, mode`},
		"null in a list":               {`{` + required + `,"tasks":[null]}`, "tasks[0]", `"tasks[0]" is null; accepted is an object with the fields agent, mode`},
		"list as text":                 {`{` + required + `,"tasks":"[]"}`, "tasks", `"tasks" is "[]"; accepted is a list of 1 to 3 objects`},
		"empty list":                   {`{` + required + `,"tasks":[]}`, "tasks", `"tasks" is empty; it is the parts of the work (a list of 1 to 3 objects)`},
		"list too long":                {`{` + required + `,"tags":["aa","bb","cc"]}`, "tags", `"tags" is 3 elements long; accepted is a list of 0 to 2 texts`},
		"element too short":            {`{` + required + `,"tags":["aa","b"]}`, "tags[1]", `"tags[1]" is 1 character long; accepted is text of 2 to 4 characters`},
		"map values in sorted order":   {`{` + required + `,"headers":{"z":"z","b":"b"}}`, "headers.b", `"headers.b" is "b"; accepted is a whole number`},
		"list for a map":               {`{` + required + `,"headers":[]}`, "headers", `"headers" is a list; accepted is an object with values that are each a whole number`},
		"empty key of a map":           {`{` + required + `,"headers":{"":true}}`, "headers.", `"headers." is true; accepted is a whole number`},
		"unknown":                      {`{` + required + `,"zzz":1,"yyy":1}`, "yyy", `"yyy" is not a field; accepted fields are agent, prompt, background, mode, limit, ratio, tasks, tags, headers, extra, env`},
		"misspelled required field":    {`{"agent":"a","promt":"go","background":true}`, "promt", `"promt" is not a field (did you mean "prompt"?); accepted fields are agent, prompt, background, mode, limit, ratio, tasks, tags, headers, extra, env`},
		"case counts":                  {`{"Agent":"a"}`, "Agent", `"Agent" is not a field (did you mean "agent"?); accepted fields are agent, prompt, background, mode, limit, ratio, tasks, tags, headers, extra, env`},
		"a list":                       {`[]`, "", `the arguments are a list; accepted is an object with the fields agent, prompt, background, mode, limit, ratio, tasks, tags, headers, extra, env`},
		"no JSON":                      {`{"agent":`, "", `the arguments are not valid JSON: unexpected EOF`},
		"two values":                   {`{} {}`, "", `the arguments are not valid JSON: something follows the end of the value`},
		"too large":                    {`{"prompt":"` + strings.Repeat("x", 1<<20) + `"}`, "", `the arguments are 1.0 MiB; at most 1 MiB is accepted: write what is long to a file and name the file`},
		"long text is cut":             {`{` + required + `,"mode":"` + strings.Repeat("é", 500) + `"}`, "mode", `"mode" is "` + strings.Repeat("é", 60) + `…"; accepted values are normal, race, fractal`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Call(t.Context(), "delegate_task", tool.Call{}, json.RawMessage(tc.raw))
			bad, ok := errors.AsType[*tool.ArgumentError](err)
			if !ok {
				t.Fatalf("error is %T: %v", err, err)
			}
			if want := "delegate_task: " + tc.want; bad.Error() != want {
				t.Errorf("\n got %s\nwant %s", bad, want)
			}
			if bad.Tool != "delegate_task" || bad.Field != tc.field {
				t.Errorf("Tool %q, Field %q", bad.Tool, bad.Field)
			}
		})
	}
}

// A nested object given twice must not reach the tool as a mixture of what was
// checked and what was not.
func TestCallRunsWhatItChecked(t *testing.T) {
	type inner struct {
		A string `json:"a,omitempty"`
		B string `json:"b,omitempty"`
	}
	type args struct {
		In inner `json:"in"`
	}
	var got args
	r := registry(t, tool.New("twice", "", func(_ context.Context, _ tool.Call, a args) (tool.Result, error) {
		got = a
		return tool.Result{}, nil
	}, tool.Enum("in.a", "good")))
	if _, err := r.Call(t.Context(), "twice", tool.Call{}, json.RawMessage(`{"in":{"a":"evil"},"in":{"b":"x"}}`)); err != nil {
		t.Fatal(err)
	}
	if want := (args{In: inner{B: "x"}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCallWithoutArguments(t *testing.T) {
	r := registry(t, tool.New("list_agents", "", func(context.Context, tool.Call, struct{}) (tool.Result, error) {
		return tool.Result{Output: "none"}, nil
	}))
	for _, raw := range []string{"", "null", `""`, "{}", " \n"} {
		if got, err := r.Call(t.Context(), "list_agents", tool.Call{}, json.RawMessage(raw)); err != nil || got.Output != "none" {
			t.Errorf("%q: %v, %v", raw, got, err)
		}
	}
	_, err := r.Call(t.Context(), "list_agents", tool.Call{}, json.RawMessage(`{"x":1}`))
	if want := `list_agents: "x" is not a field; no fields are accepted`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCallPassesOn(t *testing.T) {
	boom := errors.New("boom")
	call := tool.Call{Workspace: "w", SessionID: "ses_1", MessageID: "msg_1", CallID: "call_1", Agent: "Worker"}
	r := registry(t,
		tool.New("own", "", func(_ context.Context, c tool.Call, _ struct{}) (tool.Result, error) {
			if c != call {
				t.Errorf("got %+v", c)
			}
			return tool.Result{Title: "t"}, fmt.Errorf("wrapped: %w", boom)
		}),
		tool.New("choice", "", func(context.Context, tool.Call, struct{}) (tool.Result, error) {
			return tool.Result{}, &tool.ArgumentError{Field: "file", Problem: "is missing; give either file or text"}
		}),
		tool.New("panics", "", func(context.Context, tool.Call, struct{}) (tool.Result, error) { panic("on purpose") }),
	)
	if got, err := r.Call(t.Context(), "own", call, nil); !errors.Is(err, boom) || got.Title != "t" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := r.Call(t.Context(), "choice", call, nil); err == nil || err.Error() != `choice: "file" is missing; give either file or text` {
		t.Errorf("got %v", err)
	}
	defer func() {
		if recover() != "on purpose" {
			t.Error("the panic was swallowed")
		}
	}()
	_, _ = r.Call(t.Context(), "panics", call, nil)
}

func TestUnknownTool(t *testing.T) {
	none := func(context.Context, tool.Call, struct{}) (tool.Result, error) { return tool.Result{}, nil }
	r := registry(t, tool.New("list_tasks", "", none), tool.New("list_agents", "", none), tool.New("cancel_task", "", none))
	for name, want := range map[string]string{
		"list_task": `there is no tool "list_task"; did you mean list_tasks?`,
		"list":      `there is no tool "list"; did you mean list_tasks or list_agents?`,
		"bash":      `there is no tool "bash"`,
	} {
		_, err := r.Call(t.Context(), name, tool.Call{}, nil)
		unknown, ok := errors.AsType[*tool.UnknownToolError](err)
		if !ok || unknown.Name != name || unknown.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestNewRegistryRefuses(t *testing.T) {
	none := func(context.Context, tool.Call, struct{}) (tool.Result, error) { return tool.Result{}, nil }
	_, err := tool.NewRegistry(tool.New("a", "", none), tool.New("a", "", none), tool.New("with.dot", "", none),
		tool.New("", "", none), tool.New(strings.Repeat("x", 65), "", none), tool.Tool{})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`tool name "a": registered twice`,
		`tool name "with.dot": must be 1 to 64 letters, digits, _ or -`,
		`tool name "": must be 1 to 64 letters, digits, _ or -`,
		`tool name "` + strings.Repeat("x", 65) + `": must be 1 to 64 letters, digits, _ or -`,
		`a tool was not made by New`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefinitions(t *testing.T) {
	none := func(context.Context, tool.Call, struct{}) (tool.Result, error) { return tool.Result{}, nil }
	r := registry(t, tool.New("zero", "Takes nothing.", none), delegate(func(delegateArgs) {}))
	defs := r.Definitions()
	if len(defs) != 2 || defs[0].Name != "delegate_task" || defs[1].Name != "zero" || defs[1].Description != "Takes nothing." {
		t.Fatalf("got %+v", defs)
	}
	if got, want := string(defs[1].Schema), `{"type":"object","properties":{},"additionalProperties":false}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	want := `{"type":"object","properties":{` +
		`"agent":{"type":"string","description":"The agent to run"},` +
		`"prompt":{"type":"string","description":"the instruction for the agent. Say all that it must know.","minLength":1},` +
		`"background":{"type":"boolean","description":"true to go on without waiting"},` +
		`"mode":{"type":"string","description":"how the task runs","default":"normal","enum":["normal","race","fractal"]},` +
		`"limit":{"type":"integer","description":"how many results","minimum":1,"maximum":50},` +
		`"ratio":{"type":"number","minimum":-0.5},` +
		`"tasks":{"type":"array","items":{"type":"object","properties":{` +
		`"agent":{"type":"string","description":"the agent that runs it"},` +
		`"mode":{"type":"string","description":"how it runs","default":"normal","enum":["normal","race"]}},` +
		`"required":["agent"],"additionalProperties":false},"description":"the parts of the work","minItems":1,"maxItems":3},` +
		`"tags":{"type":"array","items":{"type":"string","minLength":2,"maxLength":4},"description":"labels","minItems":0,"maxItems":2},` +
		`"headers":{"type":"object","additionalProperties":{"type":"integer"}},` +
		`"extra":{"description":"any value"},` +
		`"env":{"type":"object","additionalProperties":{"type":"string"}}},` +
		`"required":["agent","prompt","background"],"additionalProperties":false}`
	if got := string(defs[0].Schema); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	defs[0].Schema[0] = 'X' // the caller's copy
	if again := r.Definitions()[0].Schema; string(again) != want {
		t.Error("the schema in the registry was changed from outside")
	}
}

func BenchmarkCall(b *testing.B) {
	type args struct {
		Agent       string `json:"agent" jsonschema:"the agent"`
		Description string `json:"description" jsonschema:"a short title"`
		Prompt      string `json:"prompt" jsonschema:"the instruction"`
		Background  bool   `json:"background" jsonschema:"true to go on without waiting"`
		Resume      string `json:"resume,omitempty" jsonschema:"a session id"`
		Mode        string `json:"mode,omitempty" jsonschema:"how it runs"`
		GroupID     string `json:"groupID,omitempty" jsonschema:"the group"`
	}
	r := registry(b, tool.New("delegate_task", "", func(context.Context, tool.Call, args) (tool.Result, error) {
		return tool.Result{}, nil
	}, tool.Enum("mode", "normal", "race", "fractal"), tool.Default("mode", "normal")))
	raw := json.RawMessage(`{"agent":"Worker","description":"Fix the build","prompt":"` + strings.Repeat("Do it well. ", 40) +
		`","background":true,"resume":"ses_0123456789abcdef","mode":"normal","groupID":"g1"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Call(b.Context(), "delegate_task", tool.Call{}, raw); err != nil {
			b.Fatal(err)
		}
	}
}

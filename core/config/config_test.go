package config_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
)

// environment is a lookup in a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func load(t *testing.T, raw string, vars map[string]string) (config.Options, []string) {
	t.Helper()
	opts, warnings, err := config.Load(json.RawMessage(raw), environment(vars))
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, w := range warnings {
		messages = append(messages, w.String())
	}
	return opts, messages
}

func TestDefault(t *testing.T) {
	want := config.Options{
		DefaultConcurrency: 10, GlobalConcurrency: 50,
		AdaptiveConcurrency:     true,
		CircuitFailureThreshold: 5,
		CircuitRecovery:         30 * time.Second,
		CircuitSuccesses:        2,
		MemoryPressure:          90,
		MaxDepth:                3,
		TerminalDepth:           2,
		MaxTasksPerSession:      100,
		MaxTasksPerTree:         200,
		TaskTimeout:             time.Hour,
		SilenceTimeout:          15 * time.Minute,
		SyncTimeout:             5 * time.Minute,
		PermissionTimeout:       5 * time.Minute,
		WakeDeferral:            10 * time.Minute,
		MaxAttempts:             3,
		MaxToolCalls:            1000,
		MaxRepeatedCalls:        10,
		MissionCountdown:        3 * time.Second, MissionIterations: 100, MissionIdleTurns: 3,
		JobConcurrency: 5, JobTimeout: 5 * time.Minute, JobBuffer: 1 << 20, JobLogs: true, JobLogAge: 7 * 24 * time.Hour,
		Janitor: true, JanitorNodeModules: "keep", JanitorDelay: time.Minute,
		JanitorFiles: 150, JanitorBytes: 1536 << 10, JanitorFileCap: 500, JanitorLimitEvery: 5 * time.Minute,
		JanitorArchiveAge: 7 * 24 * time.Hour, JanitorArchiveEvery: 5 * time.Minute,
		JanitorDocumentBytes: 10 << 20, JanitorDocumentEvery: 30 * time.Minute,
		JanitorHistoryEvery: 6 * time.Hour, JanitorHistoryAge: 30 * 24 * time.Hour,
		JanitorCheckpointEvery: 10 * time.Minute, JanitorTrashAge: 7 * 24 * time.Hour,
		ResultRetention: 30 * 24 * time.Hour,
		Toasts:          true,
		LogLevel:        "info",
	}
	for _, raw := range []string{"", "null", "{}", `{"maxDepth":null,"agentConcurrency":null}`} {
		got, warnings := load(t, raw, nil)
		if diff := cmp.Diff(want, got); diff != "" || warnings != nil {
			t.Errorf("%q: warnings %q, options (-want +got):\n%s", raw, warnings, diff)
		}
	}
}

func TestLoad(t *testing.T) {
	type change = func(*config.Options)
	for name, tc := range map[string]struct {
		raw      string
		env      map[string]string
		want     change
		warnings []string
	}{
		"every kind": {
			raw: `{"agentConcurrency":{"Worker":3,"Reviewer":"2","x":null},"globalConcurrency":20,"taskTimeout":"1h30m","silenceTimeout":90000,"toasts":false,"log":"/var/log/x","logLevel":"debug","binary":"/opt/sidecar"}`,
			want: func(o *config.Options) {
				o.AgentConcurrency = map[string]int{"Worker": 3, "Reviewer": 2}
				o.GlobalConcurrency = 20
				o.TaskTimeout = 90 * time.Minute
				o.SilenceTimeout = 90 * time.Second
				o.Toasts = false
				o.Log, o.LogLevel, o.Binary = "/var/log/x", "debug", "/opt/sidecar"
			},
		},
		"values written as text": {
			raw: `{"maxDepth":"2","toasts":"false","syncTimeout":"1000","agentConcurrency":"a=1, b=2,","defaultConcurrency":2e1}`,
			want: func(o *config.Options) {
				o.MaxDepth, o.Toasts, o.SyncTimeout, o.DefaultConcurrency = 2, false, time.Second, 20
				o.AgentConcurrency = map[string]int{"a": 1, "b": 2}
			},
		},
		"the environment wins": {
			raw: `{"maxDepth":2,"agentConcurrency":{"a":1},"toasts":true,"logLevel":"debug","log":"a"}`,
			env: map[string]string{
				"OPENCODE_SIDECAR_MAX_DEPTH": "5", "OPENCODE_SIDECAR_AGENT_CONCURRENCY": "worker=3,planner=2",
				"OPENCODE_SIDECAR_TOASTS": "0", "OPENCODE_SIDECAR_LOG_LEVEL": "trace", "OPENCODE_SIDECAR_LOG": "",
				"OPENCODE_SIDECAR_MAX_TASKS_PER_SESSION": "7", "OPENCODE_SIDECAR_MODEL_CONCURRENCY": "p/m=x:free=4",
			},
			want: func(o *config.Options) {
				o.MaxDepth, o.Toasts, o.LogLevel, o.Log, o.MaxTasksPerSession = 5, false, "trace", "a", 7
				o.AgentConcurrency = map[string]int{"worker": 3, "planner": 2}
				o.ModelConcurrency = map[string]int{"p/m=x:free": 4}
			},
		},
		"US dollars": {
			raw: `{"maxTaskCost":2.5,"maxSessionCost":"1e2"}`,
			env: map[string]string{"OPENCODE_SIDECAR_MAX_TASK_COST": " 0.125 "},
			want: func(o *config.Options) {
				o.MaxTaskCost, o.MaxSessionCost = 0.125, 100
			},
		},
		"wrong US dollars": {
			raw: `{"maxTaskCost":"NaN","maxSessionCost":-1}`,
			env: map[string]string{"OPENCODE_SIDECAR_MAX_SESSION_COST": "100000.01"},
			warnings: []string{
				`option "maxTaskCost" is "NaN"; accepted is a number from 0 to 100000; 0 is used`,
				`option "maxSessionCost" is -1; accepted is a number from 0 to 100000; 0 is used`,
				`OPENCODE_SIDECAR_MAX_SESSION_COST is "100000.01"; accepted is a number from 0 to 100000; 0 is used`,
			},
		},
		"no duration at all": {
			raw:  `{"queueTimeout":0}`,
			env:  map[string]string{"OPENCODE_SIDECAR_QUEUE_TIMEOUT": "0s"},
			want: func(o *config.Options) { o.QueueTimeout = 0 },
		},
		"lists of models": {
			raw: `{"fallbackModels":{"Worker":["openai/gpt-5-mini","router/meta/llama:free"],"*":"a/b | c/d","none":[],"unset":null}}`,
			want: func(o *config.Options) {
				o.FallbackModels = map[string][]string{
					"Worker": {"openai/gpt-5-mini", "router/meta/llama:free"}, "*": {"a/b", "c/d"}, "none": {},
				}
			},
		},
		"lists of models in the environment": {
			raw: `{"fallbackModels":{"Reviewer":["p/m"]}}`,
			env: map[string]string{"OPENCODE_SIDECAR_FALLBACK_MODELS": "Worker=openai/x|local/y=z, *=a/b,none="},
			want: func(o *config.Options) {
				o.FallbackModels = map[string][]string{"Worker": {"openai/x", "local/y=z"}, "*": {"a/b"}, "none": {}}
			},
		},
		"wrong lists of models": {
			raw: `{"fallbackModels":{"":["a/b"],"a":["gpt-5","p/m","/m","p/",7],"b":["gpt 5/x"],"c":5}}`,
			env: map[string]string{"OPENCODE_SIDECAR_FALLBACK_MODELS": "openai/x,a=y"},
			want: func(o *config.Options) {
				o.FallbackModels = map[string][]string{"a": {"p/m"}}
			},
			warnings: []string{
				`option "fallbackModels", entry "", is a list of models; accepted is the name of an agent, or *; it is ignored`,
				`option "fallbackModels", entry "a", is "gpt-5"; accepted is provider/model; it is ignored`,
				`option "fallbackModels", entry "a", is "/m"; accepted is provider/model; it is ignored`,
				`option "fallbackModels", entry "a", is "p/"; accepted is provider/model; it is ignored`,
				`option "fallbackModels", entry "a", is 7; accepted is provider/model; it is ignored`,
				`option "fallbackModels", entry "b", is "gpt 5/x"; accepted is provider/model; it is ignored`,
				`option "fallbackModels", entry "c", is 5; accepted is a list of provider/model, as ["a/b","c/d"] or "a/b|c/d"; it is ignored`,
				`OPENCODE_SIDECAR_FALLBACK_MODELS is "openai/x"; accepted is names with a list of provider/model, as ["a/b","c/d"] or "a/b|c/d" each; it is ignored`,
				`OPENCODE_SIDECAR_FALLBACK_MODELS, entry "a", is "y"; accepted is provider/model; it is ignored`,
			},
		},
		"only the environment names the database": {
			raw:  `{"store":"/home/victim/x.db","stor":1}`,
			env:  map[string]string{"OPENCODE_SIDECAR_STORE": "/tmp/tasks.db"},
			want: func(o *config.Options) { o.Store = "/tmp/tasks.db" },
			warnings: []string{
				`option "stor" does not exist and is ignored`,
				`option "store" cannot be set in the plugin's options and is ignored there; set the environment variable OPENCODE_SIDECAR_STORE in its place`,
			},
		},
		// The folder that the process runs in is not the user's.
		"a database by a relative path": {
			env: map[string]string{"OPENCODE_SIDECAR_STORE": "tasks.db"},
			warnings: []string{
				`OPENCODE_SIDECAR_STORE is "tasks.db"; accepted is an absolute path or memory; the default is used`,
			},
		},
		"no database": {
			env:  map[string]string{"OPENCODE_SIDECAR_STORE": " memory "},
			want: func(o *config.Options) { o.Store = "memory" },
		},
		"the plugin's options unset nothing": {raw: `{"store":null}`},
		"unknown keys": {
			raw: `{"zzz":1,"maxdepth":2,"agentConcurency":{}}`,
			warnings: []string{
				`option "agentConcurency" does not exist and is ignored; did you mean "agentConcurrency"?`,
				`option "maxdepth" does not exist and is ignored; did you mean "maxDepth"?`,
				`option "zzz" does not exist and is ignored`,
			},
		},
		"wrong values": {
			raw: `{"defaultConcurrency":99,"maxDepth":true,"taskTimeout":60,"silenceTimeout":"soon","toasts":"maybe","log":5,"logLevel":"loud","syncTimeout":[1, 2],"globalConcurrency":1.5,"providerConcurrency":[]}`,
			warnings: []string{
				`option "defaultConcurrency" is 99; accepted is a whole number from 1 to 50; 10 is used`,
				`option "providerConcurrency" is []; accepted is names with a whole number from 1 to 50 each; it is ignored`,
				`option "globalConcurrency" is 1.5; accepted is a whole number from 1 to 50; 50 is used`,
				`option "maxDepth" is true; accepted is a whole number from 1 to 10; 3 is used`,
				`option "taskTimeout" is 60; accepted is a duration from 1s to 24h, as text ("90s", "1h30m") or a number of milliseconds; 1h is used`,
				`option "silenceTimeout" is "soon"; accepted is a duration from 1s to 24h, as text ("90s", "1h30m") or a number of milliseconds; 15m is used`,
				`option "syncTimeout" is [1,2]; accepted is a duration from 1s to 1h, as text ("90s", "1h30m") or a number of milliseconds; 5m is used`,
				`option "toasts" is "maybe"; accepted is true or false; true is used`,
				`option "log" is 5; accepted is text; "" is used`,
				`option "logLevel" is "loud"; accepted is one of error, warn, info, debug, trace; "info" is used`,
			},
		},
		"a wrong variable leaves the plugin's value": {
			raw:      `{"maxDepth":2}`,
			env:      map[string]string{"OPENCODE_SIDECAR_MAX_DEPTH": "deep"},
			want:     func(o *config.Options) { o.MaxDepth = 2 },
			warnings: []string{`OPENCODE_SIDECAR_MAX_DEPTH is "deep"; accepted is a whole number from 1 to 10; 2 is used`},
		},
		"wrong entries of a map": {
			raw: `{"agentConcurrency":{"a":0,"b":2,"":1},"modelConcurrency":{"m":"many"}}`,
			env: map[string]string{"OPENCODE_SIDECAR_PROVIDER_CONCURRENCY": "x,=3,y=4,z=51"},
			want: func(o *config.Options) {
				o.AgentConcurrency = map[string]int{"b": 2}
				o.ProviderConcurrency = map[string]int{"y": 4}
			},
			warnings: []string{
				`option "agentConcurrency", entry "", is 1; accepted is a whole number from 1 to 50; it is ignored`,
				`option "agentConcurrency", entry "a", is 0; accepted is a whole number from 1 to 50; it is ignored`,
				`option "modelConcurrency", entry "m", is "many"; accepted is a whole number from 1 to 50; it is ignored`,
				`OPENCODE_SIDECAR_PROVIDER_CONCURRENCY is "x"; accepted is names with a whole number from 1 to 50 each; it is ignored`,
				`OPENCODE_SIDECAR_PROVIDER_CONCURRENCY is "=3"; accepted is names with a whole number from 1 to 50 each; it is ignored`,
				`OPENCODE_SIDECAR_PROVIDER_CONCURRENCY, entry "z", is "51"; accepted is a whole number from 1 to 50; it is ignored`,
			},
		},
		"no object": {
			raw:      `["maxDepth", 3]`,
			warnings: []string{`the plugin's options are ["maxDepth",3]; accepted is an object; none of them is used`},
		},
		"a duration beyond 64 bits": {
			raw:      `{"taskTimeout":9007199254740992}`,
			warnings: []string{`option "taskTimeout" is 9007199254740992; accepted is a duration from 1s to 24h, as text ("90s", "1h30m") or a number of milliseconds; 1h is used`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := config.Default()
			if tc.want != nil {
				tc.want(&want)
			}
			got, warnings := load(t, tc.raw, tc.env)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadOfBrokenJSONKeepsTheEnvironment(t *testing.T) {
	opts, _, err := config.Load(json.RawMessage(`{"maxDepth":`), environment(map[string]string{"OPENCODE_SIDECAR_MAX_DEPTH": "5"}))
	if err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("error is %v", err)
	}
	want := config.Default()
	want.MaxDepth = 5
	if diff := cmp.Diff(want, opts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWarningNamesItsKey(t *testing.T) {
	_, warnings, err := config.Load(json.RawMessage(`{"zzz":1}`), environment(map[string]string{"OPENCODE_SIDECAR_TOASTS": "x"}))
	if err != nil || len(warnings) != 2 || warnings[0].Key != "zzz" || warnings[1].Key != "toasts" {
		t.Errorf("got %+v, %v", warnings, err)
	}
}

// properties reads the properties back from the printed schema.
func properties(t *testing.T) map[string]struct {
	Description string
	Default     json.RawMessage
	Examples    []json.RawMessage
} {
	t.Helper()
	var printed struct {
		Schema     string `json:"$schema"`
		Title      string
		Properties map[string]struct {
			Description string
			Default     json.RawMessage
			Examples    []json.RawMessage
		}
	}
	if err := json.Unmarshal(config.Schema(), &printed); err != nil {
		t.Fatal(err)
	}
	if printed.Schema != "https://json-schema.org/draft/2020-12/schema" || printed.Title == "" {
		t.Errorf("$schema %q, title %q", printed.Schema, printed.Title)
	}
	return printed.Properties
}

func TestSchemaIsTheDeclaration(t *testing.T) {
	var schema jsonschema.Schema
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(raw string) bool {
		var v any
		if err := json.Unmarshal([]byte(raw), &v); err != nil {
			t.Fatal(err)
		}
		return resolved.Validate(v) == nil
	}
	printed := properties(t)
	ofEnv := []string{"store", "resultRetention", "janitorTrashAge"}
	if want := reflect.TypeFor[config.Options]().NumField() - len(ofEnv); len(printed) != want {
		t.Errorf("%d properties for %d options that the plugin can set", len(printed), want)
	}
	for _, key := range ofEnv {
		if _, there := printed[key]; there {
			t.Errorf("the schema has %s, which only the environment can set", key)
		}
	}
	for key, p := range printed {
		if p.Description == "" {
			t.Errorf("%s has no description", key)
		}
		for _, value := range append(p.Examples, p.Default) {
			raw := `{"` + key + `":` + string(value) + `}`
			if _, warnings := load(t, raw, nil); warnings != nil || !accepts(raw) {
				t.Errorf("%s: accepted by the schema: %v, warnings %q", raw, accepts(raw), warnings)
			}
		}
		if opts, _ := load(t, `{"`+key+`":`+string(p.Default)+`}`, nil); !cmp.Equal(config.Default(), opts, equateEmptyMaps) {
			t.Errorf("%s: the printed default %s is not the default", key, p.Default)
		}
	}
	for raw, want := range map[string]bool{
		`{"maxDepth":10}`: true, `{"maxDepth":11}`: false, `{"maxDepht":1}`: false,
		`{"taskTimeout":"1h30m"}`: true, `{"taskTimeout":"90000"}`: true, `{"taskTimeout":90000}`: true, `{"taskTimeout":60}`: false, `{"taskTimeout":"soon"}`: false,
		`{"agentConcurrency":{"a":1}}`: true, `{"agentConcurrency":{"a":51}}`: false, `{"logLevel":"loud"}`: false,
		`{"maxTaskCost":0.5}`: true, `{"maxTaskCost":-0.5}`: false, `{"queueTimeout":0}`: true, `{"store":"x"}`: false,
		`{"fallbackModels":{"a":["p/m"]}}`: true, `{"fallbackModels":{"a":["m"]}}`: false, `{"fallbackModels":{"a":"p/m"}}`: false,
	} {
		if got := accepts(raw); got != want {
			t.Errorf("the schema accepts %s: %v", raw, got)
		}
	}
	if string(config.Schema()) != string(config.Schema()) {
		t.Error("two calls give different bytes")
	}
}

var equateEmptyMaps = cmp.Options{
	cmp.Comparer(func(a, b map[string]int) bool { return maps.Equal(a, b) }),
	cmp.Comparer(func(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) }),
}

func TestReference(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(config.Reference(), "\n"), "\n")
	if want := reflect.TypeFor[config.Options]().NumField() + 2; len(lines) != want {
		t.Fatalf("%d lines for %d options", len(lines), want-2)
	}
	for _, want := range []string{
		"| Option | Type | Default | Environment | Meaning |",
		"| `maxDepth` | number, 1 to 10 | `3` | `OPENCODE_SIDECAR_MAX_DEPTH` | How deep below the main session a task may be. |",
		"| `taskTimeout` | duration, 1s to 24h | `\"1h\"` | `OPENCODE_SIDECAR_TASK_TIMEOUT` | How long an attempt at a task may run. |",
		"| `maxTaskCost` | number, 0 to 100000 | `0` | `OPENCODE_SIDECAR_MAX_TASK_COST` | How many US dollars one task may cost before it is stopped; 0 for no limit. |",
		"| `queueTimeout` | duration, 0s to 24h | `\"0s\"` | `OPENCODE_SIDECAR_QUEUE_TIMEOUT` | How long a task may wait for a slot; 0 for no limit. |",
		"| `store` | absolute path or memory | `\"\"` | `OPENCODE_SIDECAR_STORE` | Path of the task database, or memory to keep tasks in memory only; empty chooses one under the state folder. Only the environment can set it. |",
		"| `agentConcurrency` | map of names to numbers, 1 to 50 | `{}` | `OPENCODE_SIDECAR_AGENT_CONCURRENCY` | How many tasks of an agent run at once, by the name of the agent. The first workspace of a process decides. |",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line\n%s\nin\n%s", want, config.Reference())
		}
	}
	for _, line := range lines {
		if strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 6 {
			t.Errorf("not five cells: %s", line)
		}
	}
}

func TestMachineLevel(t *testing.T) {
	want := []string{
		"adaptiveConcurrency", "agentConcurrency", "binary", "circuitFailureThreshold", "circuitRecovery", "circuitSuccesses",
		"defaultConcurrency", "globalConcurrency",
		"jobBuffer", "jobConcurrency", "jobLogAge", "jobLogs", "jobTimeout", "log", "logLevel", "memoryPressure", "modelConcurrency", "providerConcurrency",
	}
	var got []string
	for key := range properties(t) {
		if config.MachineLevel(key) {
			got = append(got, key)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !config.MachineLevel("store") {
		t.Error("the environment is the same for all workspaces, yet store is not machine-level")
	}
	if config.MachineLevel("nonsense") {
		t.Error("an unknown key is machine-level")
	}
}

// The database holds the tasks of all projects, so none of them may say when
// those of the others are deleted.
func TestAProjectCannotSetTheRetention(t *testing.T) {
	opts, warnings, err := config.Load(json.RawMessage(`{"resultRetention":"1h"}`), func(string) (string, bool) { return "", false })
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Message, "OPENCODE_SIDECAR_RESULT_RETENTION") {
		t.Errorf("%v, warnings %v", err, warnings)
	}
	if opts.ResultRetention != config.Default().ResultRetention {
		t.Errorf("it is %v now", opts.ResultRetention)
	}
}

func TestConflicts(t *testing.T) {
	first, other := config.Default(), config.Default()
	other.AgentConcurrency = map[string]int{} // the same as none
	other.MaxDepth, other.Toasts, other.TaskTimeout, other.MaxTaskCost = 5, false, time.Minute, 1.5
	other.FallbackModels = map[string][]string{"a": {"p/m"}}
	if got := config.Conflicts(first, other); got != nil {
		t.Errorf("options of a workspace conflict: %v", got)
	}
	first.AgentConcurrency = map[string]int{"b": 1, "a": 2}
	other.LogLevel, other.DefaultConcurrency = "trace", 4
	want := []config.Warning{
		{Key: "defaultConcurrency", Message: `option "defaultConcurrency" is 4 here, but 10 in the workspace that was opened first, which decides for the whole process`},
		{Key: "agentConcurrency", Message: `option "agentConcurrency" is {} here, but {"a":2,"b":1} in the workspace that was opened first, which decides for the whole process`},
		{Key: "logLevel", Message: `option "logLevel" is "trace" here, but "info" in the workspace that was opened first, which decides for the whole process`},
	}
	if diff := cmp.Diff(want, config.Conflicts(first, other)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzLoad: whatever is written, Load returns options within their limits.
func FuzzLoad(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"maxDepth":3,"agentConcurrency":{"a":1}}`, "worker=3,planner=2"},
		{`{"taskTimeout":"60m","silenceTimeout":1e5}`, "1h30m"},
		{`{"toasts":"true","logLevel":"debug","log":"x"}`, "true"},
		{`{"maxTaskCost":0.1,"queueTimeout":0,"store":"x"}`, "-0"},
		{`{"fallbackModels":{"a":["p/m","m"],"b":"p/m|q/n"}}`, "a=p/m|q,*=r/s="},
		{`[1]`, "="}, {`null`, "-9223372036854775808"}, {``, "1e308"}, {`{"maxdepth":{}}`, "NaN"},
	} {
		f.Add([]byte(seed[0]), seed[1])
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		f.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, variable string) {
		opts, _, err := config.Load(raw, func(string) (string, bool) { return variable, true })
		if (err != nil) != (len(raw) > 0 && !json.Valid(raw)) {
			t.Fatalf("error %v for %q", err, raw)
		}
		// The options in JSON, durations in milliseconds, must pass the schema.
		written := map[string]any{}
		v := reflect.ValueOf(opts)
		for i := range v.NumField() {
			value := v.Field(i).Interface()
			if d, ok := value.(time.Duration); ok {
				value = max(d.Milliseconds(), 0)
			}
			if m, ok := value.(map[string]int); ok && m == nil {
				continue
			}
			if m, ok := value.(map[string][]string); ok && m == nil {
				continue
			}
			if v.Type().Field(i).Tag.Get("scope") == "env" {
				continue // not for the plugin's options, so not in the schema
			}
			written[v.Type().Field(i).Tag.Get("json")] = value
		}
		encoded, err := json.Marshal(written)
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(encoded, &decoded); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(decoded); err != nil {
			t.Fatalf("raw %q, variable %q: %s: %v", raw, variable, encoded, err)
		}
	})
}

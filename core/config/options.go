// Package config holds the options of the plugin.
//
// The fields of Options and their tags are the only declaration: Load takes the
// names, types, defaults and limits from them, and the JSON Schema for editors
// and the table in the README are printed from them.
//
// An option can never take the plugin away from its user. Whatever is wrong
// with one becomes a Warning, and the value that would hold without it is used.
package config

import "time"

// EnvPrefix begins the name of every environment variable of ours.
const EnvPrefix = "OPENCODE_SIDECAR_"

// Options are the options of one workspace. Every value is within its limits.
//
// The tags: json is the key, doc the meaning, default the value when nobody
// sets it, min and max the limits (of every value of a map), enum the accepted
// words, example a value for the schema, env the variable where it is not the
// key in upper snake case. A duration is written as text ("90s",
// "1h30m") or as a number of milliseconds. With scope "machine" the first
// workspace of the process decides for all; with scope "shim" this process
// does not read the option at all, and the first workspace decides too.
type Options struct {
	DefaultConcurrency  int            `json:"defaultConcurrency" default:"10" min:"1" max:"50" scope:"machine" doc:"How many tasks of one agent run at once when no other limit is given."`
	AgentConcurrency    map[string]int `json:"agentConcurrency" min:"1" max:"50" scope:"machine" example:"{\"Worker\":3,\"Reviewer\":2}" doc:"How many tasks of an agent run at once, by the name of the agent."`
	ModelConcurrency    map[string]int `json:"modelConcurrency" min:"1" max:"50" scope:"machine" example:"{\"anthropic/claude-sonnet-4-5\":4}" doc:"How many tasks run at once on a model, by provider/model."`
	ProviderConcurrency map[string]int `json:"providerConcurrency" min:"1" max:"50" scope:"machine" example:"{\"anthropic\":8}" doc:"How many tasks run at once on the models of a provider, by its id."`
	GlobalConcurrency   int            `json:"globalConcurrency" default:"50" min:"1" max:"50" scope:"machine" doc:"How many tasks run at once in all."`
	MaxDepth            int            `json:"maxDepth" default:"3" min:"1" max:"10" doc:"How deep below the main session a task may be."`
	MaxTasksPerSession  int            `json:"maxTasksPerSession" default:"100" min:"1" max:"1000" doc:"How many tasks of one session may be open at once, waiting ones included."`
	TaskTimeout         time.Duration  `json:"taskTimeout" default:"60m" min:"1s" max:"24h" doc:"How long a task may run."`
	SilenceTimeout      time.Duration  `json:"silenceTimeout" default:"15m" min:"1s" max:"24h" doc:"How long a running task may show no progress; it does not count while a tool runs or a question is open."`
	SyncTimeout         time.Duration  `json:"syncTimeout" default:"5m" min:"1s" max:"1h" doc:"How long a delegate_task without background waits before it hands back the id and the task goes on."`
	PermissionTimeout   time.Duration  `json:"permissionTimeout" default:"5m" min:"1s" max:"24h" doc:"How long a task's question for permission waits for a person before it is refused."`
	Toasts              bool           `json:"toasts" default:"true" doc:"Show a toast when a task ends."`
	Log                 string         `json:"log" scope:"machine" example:"\"/tmp/sidecar.log\"" doc:"Path of the log file; empty chooses one under the state folder."`
	LogLevel            string         `json:"logLevel" default:"info" enum:"error|warn|info|debug|trace" scope:"machine" doc:"What is logged; prompts and tool output only at trace."`
	Binary              string         `json:"binary" env:"BIN" scope:"shim" example:"\"/usr/local/bin/sidecar\"" doc:"Path of the sidecar; empty chooses the one that came with the plugin."`
}

// Warning is one thing about the options that the user should correct.
type Warning struct {
	Key     string // the option as its key, or what was written in place of one; empty for the options as a whole
	Message string // one sentence: what was given, what is accepted, what is used instead
}

// String returns the message.
func (w Warning) String() string { return w.Message }

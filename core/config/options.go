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
// sets it, min and max the limits (of every value of a map; whole numbers, US dollars too), enum the accepted
// words, path "absolute" a text that is the path of a file in whatever folder the
// process runs, or one of those words, example a value for the schema, env the variable where it is not the
// key in upper snake case. A duration is written as text ("90s",
// "1h30m") or as a number of milliseconds. With scope "machine" the first
// workspace of the process decides for all; with scope "shim" this process
// does not read the option at all, and the first workspace decides too. With
// scope "env" only the environment can set it: the plugin's options may come
// from the project that somebody has just cloned.
type Options struct {
	DefaultConcurrency      int                 `json:"defaultConcurrency" default:"10" min:"1" max:"50" scope:"machine" doc:"How many tasks of one agent run at once when no other limit is given."`
	AgentConcurrency        map[string]int      `json:"agentConcurrency" min:"1" max:"50" scope:"machine" example:"{\"Worker\":3,\"Reviewer\":2}" doc:"How many tasks of an agent run at once, by the name of the agent."`
	ModelConcurrency        map[string]int      `json:"modelConcurrency" min:"1" max:"50" scope:"machine" example:"{\"anthropic/claude-sonnet-4-5\":4}" doc:"How many tasks run at once on a model, by provider/model."`
	ProviderConcurrency     map[string]int      `json:"providerConcurrency" min:"1" max:"50" scope:"machine" example:"{\"anthropic\":8}" doc:"How many tasks run at once on the models of a provider, by its id."`
	GlobalConcurrency       int                 `json:"globalConcurrency" default:"50" min:"1" max:"50" scope:"machine" doc:"How many tasks run at once in all."`
	FallbackModels          map[string][]string `json:"fallbackModels" example:"{\"Worker\":[\"openai/gpt-5-mini\",\"local/qwen\"]}" doc:"The models that a task is tried again on, in this order, after its own has failed; by the name of the agent, * for all others."`
	AdaptiveConcurrency     bool                `json:"adaptiveConcurrency" default:"true" scope:"machine" doc:"Run fewer tasks at once on a model that fails, and more again once it works; never more than the limits allow."`
	CircuitFailureThreshold int                 `json:"circuitFailureThreshold" default:"5" min:"1" max:"100" scope:"machine" doc:"After how many failures in a row of a provider or model its tasks wait for it to recover."`
	CircuitRecovery         time.Duration       `json:"circuitRecovery" default:"30s" min:"1s" max:"1h" scope:"machine" doc:"How long tasks wait for a failing provider or model before one of them tries it again."`
	CircuitSuccesses        int                 `json:"circuitSuccesses" default:"2" min:"1" max:"50" scope:"machine" doc:"How many such tries have to succeed before all tasks go on."`
	MemoryPressure          int                 `json:"memoryPressure" default:"90" min:"50" max:"100" scope:"machine" doc:"At how many percent of used memory tasks of low priority begin to wait; 100 for never."`
	MaxDepth                int                 `json:"maxDepth" default:"3" min:"1" max:"10" doc:"How deep below the main session a task may be."`
	TerminalDepth           int                 `json:"terminalDepth" default:"2" min:"1" max:"10" doc:"The depth from which on agents can never delegate further, not even in fractal mode."`
	MaxTasksPerSession      int                 `json:"maxTasksPerSession" default:"100" min:"1" max:"1000" doc:"How many tasks of one session may be open at once, waiting ones included."`
	MaxTasksPerTree         int                 `json:"maxTasksPerTree" default:"200" min:"1" max:"5000" doc:"How many tasks may be open at once below one main session, at all depths together."`
	TaskTimeout             time.Duration       `json:"taskTimeout" default:"60m" min:"1s" max:"24h" doc:"How long an attempt at a task may run."`
	SilenceTimeout          time.Duration       `json:"silenceTimeout" default:"15m" min:"1s" max:"24h" doc:"How long a running task may show no progress; it does not count while a tool runs or a question is open."`
	QueueTimeout            time.Duration       `json:"queueTimeout" default:"0s" min:"0s" max:"24h" doc:"How long a task may wait for a slot; 0 for no limit."`
	SyncTimeout             time.Duration       `json:"syncTimeout" default:"5m" min:"1s" max:"1h" doc:"How long a delegate_task without background waits before it hands back the id and the task goes on."`
	PermissionTimeout       time.Duration       `json:"permissionTimeout" default:"5m" min:"1s" max:"24h" doc:"How long a task's question for permission waits for a person before it is refused."`
	WakeDeferral            time.Duration       `json:"wakeDeferral" default:"10m" min:"1s" max:"24h" doc:"How long results wait for a busy session to become idle before they join its running turn."`
	MaxAttempts             int                 `json:"maxAttempts" default:"3" min:"1" max:"10" doc:"How many attempts a task gets in all when its provider fails; 1 for no second one."`
	MaxTaskTokens           int                 `json:"maxTaskTokens" default:"0" min:"0" max:"1000000000" doc:"How many tokens one task may use before it is stopped; 0 for no limit."`
	MaxTaskCost             float64             `json:"maxTaskCost" default:"0" min:"0" max:"100000" doc:"How many US dollars one task may cost before it is stopped; 0 for no limit."`
	MaxSessionTokens        int                 `json:"maxSessionTokens" default:"0" min:"0" max:"1000000000" doc:"How many tokens all tasks below one main session may use together before the running ones are stopped and no more start; 0 for no limit."`
	MaxSessionCost          float64             `json:"maxSessionCost" default:"0" min:"0" max:"100000" doc:"How many US dollars all tasks below one main session may cost together before the running ones are stopped and no more start; 0 for no limit."`
	MaxToolCalls            int                 `json:"maxToolCalls" default:"1000" min:"0" max:"100000" doc:"After how many tool calls an attempt counts as run away and is stopped; 0 for no limit."`
	MaxRepeatedCalls        int                 `json:"maxRepeatedCalls" default:"10" min:"0" max:"1000" doc:"After how many equal tool calls in a row an attempt counts as run away and is stopped; 0 for no limit."`
	Review                  bool                `json:"review" default:"false" doc:"Have the agent Reviewer check what each completed background task of Worker did, except in races and where nobody is told; its findings are told like any result."`
	MissionCountdown        time.Duration       `json:"missionCountdown" default:"3s" min:"0s" max:"10m" doc:"How long a mission waits before it goes on by itself, so that you can say something first; opencode run never waits."`
	MissionIterations       int                 `json:"missionIterations" default:"100" min:"1" max:"10000" doc:"How often a mission may go on by itself before it stops."`
	MissionIdleTurns        int                 `json:"missionIdleTurns" default:"3" min:"1" max:"100" doc:"After how many turns in a row of which nothing came a mission stops: no item changed, and no tool call was new."`
	MissionTokens           int                 `json:"missionTokens" default:"0" min:"0" max:"1000000000" doc:"How many tokens a mission may use, its tasks included, before it stops; 0 for no limit."`
	MissionCost             float64             `json:"missionCost" default:"0" min:"0" max:"100000" doc:"How many US dollars a mission may cost, its tasks included, before it stops; 0 for no limit."`
	JobConcurrency          int                 `json:"jobConcurrency" default:"5" min:"1" max:"200" scope:"machine" doc:"How many background commands run at once; the others wait."`
	JobTimeout              time.Duration       `json:"jobTimeout" default:"5m" min:"1s" max:"168h" scope:"machine" doc:"How long a background command may run that was started without a timeout."`
	JobBuffer               int                 `json:"jobBuffer" default:"1048576" min:"4096" max:"67108864" scope:"machine" doc:"How many bytes of each stream of a background command are kept in memory, a quarter of them from its beginning."`
	JobLogs                 bool                `json:"jobLogs" default:"true" scope:"machine" doc:"Keep all output of background commands in files under the state folder too, up to 64 MiB each and 512 MiB in all."`
	JobLogAge               time.Duration       `json:"jobLogAge" default:"168h" min:"10m" max:"8760h" scope:"machine" doc:"How long these files are kept."`
	SessionPool             bool                `json:"sessionPool" default:"false" doc:"Let a task go on in the session of a completed one of the same parent and agent, with all that was said in it."`
	ResultRetention         time.Duration       `json:"resultRetention" default:"720h" min:"1h" max:"87600h" scope:"env" doc:"How long ended tasks and their results are kept; those that nobody was told of three times as long. It holds for the tasks of all projects on this machine."`
	Archive                 bool                `json:"archive" default:"false" doc:"Append each ended task to .opencode/archive/tasks/tasks_YYYY-MM-DD.jsonl."`
	Janitor                 bool                `json:"janitor" default:"true" doc:"Keep the files that we write below .opencode few and small. What goes, goes to a trash; nothing of yours ever does."`
	JanitorNodeModules      string              `json:"janitorNodeModules" default:"keep" enum:"keep|shrink|remove" doc:"What becomes of the packages that OpenCode installs into .opencode when it closes the project: they stay, are replaced by a small form that it takes for them, or go until its next start. Packages that a plugin or tool of yours needs stay."`
	JanitorDelay            time.Duration       `json:"janitorDelay" default:"1m" min:"1s" max:"24h" doc:"How long after its first use a project is looked at."`
	JanitorFiles            int                 `json:"janitorFiles" default:"150" min:"10" max:"100000" doc:"How many files of ours are kept below .opencode; those that were not used for longest go first."`
	JanitorBytes            int                 `json:"janitorBytes" default:"1572864" min:"65536" max:"1073741824" doc:"How many bytes of ours are kept below .opencode."`
	JanitorFileCap          int                 `json:"janitorFileCap" default:"500" min:"10" max:"1000000" doc:"From how many files below .opencode on, yours included and node_modules not, ours go even when they are few."`
	JanitorLimitEvery       time.Duration       `json:"janitorLimitEvery" default:"5m" min:"10s" max:"168h" doc:"How often these limits are looked at while the project is used."`
	JanitorArchiveAge       time.Duration       `json:"janitorArchiveAge" default:"168h" min:"1h" max:"87600h" doc:"How long the archives of tasks are kept."`
	JanitorArchiveEvery     time.Duration       `json:"janitorArchiveEvery" default:"5m" min:"10s" max:"168h" doc:"How often that is looked at."`
	JanitorDocumentBytes    int                 `json:"janitorDocumentBytes" default:"10485760" min:"65536" max:"1073741824" doc:"How many bytes the document cache may have before its older half goes."`
	JanitorDocumentEvery    time.Duration       `json:"janitorDocumentEvery" default:"30m" min:"10s" max:"168h" doc:"How often that is looked at."`
	JanitorHistoryEvery     time.Duration       `json:"janitorHistoryEvery" default:"6h" min:"10s" max:"8760h" doc:"How often the history of todo.md is packed."`
	JanitorHistoryAge       time.Duration       `json:"janitorHistoryAge" default:"720h" min:"1h" max:"87600h" doc:"How long packed histories are kept."`
	JanitorCheckpointEvery  time.Duration       `json:"janitorCheckpointEvery" default:"10m" min:"10s" max:"168h" doc:"How often the task database takes in its log while a project is used."`
	JanitorTrashAge         time.Duration       `json:"janitorTrashAge" default:"168h" min:"1h" max:"8760h" scope:"env" doc:"How long the trash keeps what went, of all projects on this machine."`
	Store                   string              `json:"store" scope:"env" path:"absolute" enum:"memory" doc:"Path of the task database, or memory to keep tasks in memory only; empty chooses one under the state folder."`
	Toasts                  bool                `json:"toasts" default:"true" doc:"Show toasts: when tasks end, one for those that end within a moment, when a mission goes on or ends, and when somebody edits todo.md."`
	Log                     string              `json:"log" scope:"machine" example:"\"/tmp/sidecar.log\"" doc:"Path of the log file; empty chooses one under the state folder."`
	LogLevel                string              `json:"logLevel" default:"info" enum:"error|warn|info|debug|trace" scope:"machine" doc:"What is logged; prompts and tool output only at trace."`
	Binary                  string              `json:"binary" env:"BIN" scope:"shim" example:"\"/usr/local/bin/sidecar\"" doc:"Path of the sidecar; empty chooses the one that came with the plugin."`
}

// Warning is one thing about the options that the user should correct.
type Warning struct {
	Key     string // the option as its key, or what was written in place of one; empty for the options as a whole
	Message string // one sentence: what was given, what is accepted, what is used instead
}

// String returns the message.
func (w Warning) String() string { return w.Message }

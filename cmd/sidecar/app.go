package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/crew"
	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/lifecycle"
	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
	"github.com/opencode-sidecar/opencode-sidecar/core/mission"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/archive"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host/client"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/handler"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// app is the whole graph, wired by hand:
//
//	shim ⇄ conn → router → handlers → tools ──┐
//	         ↑             events, hooks ─────┼→ missions → todos
//	         │                                ├→ tasks → limits, store
//	         │                                ├→ jobs → keeper, store
//	         │                                ├→ janitor → trash
//	         └───────── client ←──────────────┘
//
// lifecycle ends it in order, workspaces says which directories are open.
type app struct {
	env        func(string) (string, bool)
	logs       *logs
	log        zerolog.Logger
	lifecycle  *lifecycle.Manager
	workspaces *workspace.Registry
	limits     *limit.Limiter
	store      *tasksStore
	tasks      *delegate.Engine
	todos      *todo.Sync
	missions   *mission.Driver
	keeper     *proc.Keeper
	jobs       *job.Engine
	janitor    *janitor.Janitor
	tools      *tool.Registry
	host       *client.Client
	conn       *rpc.Conn

	// stop asks serve to shut down; the first reason wins.
	stop chan stopRequest
	exit chan struct{}
	// retention gets, once, how long ended tasks are kept.
	retention chan time.Duration
	// owned gets, once, that it is known which OpenCode process this one serves.
	owned chan struct{}

	mu      sync.Mutex
	first   *config.Options   // of the first workspace: it decides for the machine
	open    map[string]string // directories by the ids of open workspaces
	toasted map[string]bool   // directories whose people want toasts
	exiting bool
}

// stopRequest is why the process ends, and how long that may take.
type stopRequest struct {
	reason string
	budget time.Duration
}

// newApp builds the graph. It starts nothing but the connection's bookkeeping.
func newApp(in io.Reader, out io.Writer, logTo io.Writer, env func(string) (string, bool)) (*app, error) {
	options, warnings, _ := config.Load(nil, env)
	a := &app{env: env, logs: newLogs(logTo, options), stop: make(chan stopRequest, 1), exit: make(chan struct{}), retention: make(chan time.Duration, 1), owned: make(chan struct{}, 1), open: map[string]string{}, toasted: map[string]bool{}}
	a.log = a.logs.logger()
	for _, w := range warnings {
		a.log.Warn().Str("option", w.Key).Msg(w.Message)
	}

	a.lifecycle = lifecycle.New(lifecycle.Options{})
	a.workspaces = workspace.New(a.workspaceGone, func() {
		a.requestStop("the last workspace was closed", lifecycle.BudgetDispose)
	})
	limits, err := limit.New(limit.Options{Panicked: a.panicked})
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	a.limits = limits
	path, homeless := storePath(options, env)
	a.store = openStore(path, a.log)
	if homeless {
		a.store.warnings.note("Tasks are kept in memory only and end with OpenCode: there is no home folder to keep them in. Set HOME or XDG_STATE_HOME, or name a file in " + config.EnvPrefix + "STORE.")
	}

	router := rpc.NewRouter()
	a.conn = rpc.NewConn(rpc.Options{In: in, Out: out, Router: router, Log: a.log, MapError: handler.MapError, PeerGone: func() { a.tasks.HostGone() }})
	a.host = client.New(a.conn, a.workspaces.Resolve)
	a.tasks = delegate.New(delegate.Options{
		Store: a.store, Host: a.host, Limits: a.limits,
		Records: a.store.records(), Owners: a.store.owners(), Archive: archive.New(time.Local), Calm: a.store.rest, Log: a.log,
	})
	state, _ := stateFolder(env)
	a.keeper = proc.NewKeeper()
	a.jobs = job.New(job.Options{
		Keeper: a.keeper, Store: a.store.records(), Owners: a.store.owners(),
		Spill: job.Spill{Folder: filepath.Join(state, "jobs")}, Started: a.jobStarted, Ended: a.jobEnded, Seen: a.jobSeen, Log: a.log,
	})
	a.janitor = newJanitor(state, a.store.checkpoint, a.store.warnings.add, a.log)
	a.todos = todo.NewSync(todo.SyncOptions{State: state, Host: a.host, Log: a.log})
	a.missions = mission.New(mission.Options{
		Store: a.store.records(), Host: a.host, Tasks: a.tasks, Todos: a.todos, Lives: a.store.lives, Log: a.log,
	})
	if a.tools, err = newTools(a.tasks, a.todos, a.jobs, a.host, a.Lookup, env); err != nil {
		return nil, err
	}
	handler.Register(router, handler.Deps{
		Sidecar: a, Tools: a.tools, Tasks: a.tasks, Todos: a.todos, Missions: a.missions, Jobs: a.jobs, ManifestHash: manifestOf(a.tools).hash(), PID: os.Getpid(),
	})
	return a, a.registerShutdown()
}

// newTools lists the tools. The generator calls it without anything that runs.
func newTools(tasks *delegate.Engine, todos *todo.Sync, jobs *job.Engine, ask todo.Asker, lookup func(id string) (workspace.Workspace, error), env func(string) (string, bool)) (*tool.Registry, error) {
	home, _ := env("HOME")
	return tool.NewRegistry(slices.Concat(
		delegate.Tools(tasks, lookup),
		todo.Tools(todos, lookup, ask),
		job.Tools(jobs, lookup, ask, home),
	)...)
}

// registerShutdown sets the order in which the process ends.
func (a *app) registerShutdown() error {
	a.lifecycle.Refuse(a.tasks.Refuse)
	a.lifecycle.Refuse(a.jobs.Refuse)
	a.lifecycle.Refuse(a.workspaces.Stop)
	for _, phase := range []struct {
		name     string
		priority int
		end      func(context.Context) error
	}{
		{"missions", lifecycle.PriorityTodo, a.missions.Stop},
		{"todo", lifecycle.PriorityTodo, a.todos.Stop},
		{"janitor", lifecycle.PriorityJanitor, a.janitor.Stop},
		{"jobs", lifecycle.PriorityJobs, a.jobs.Stop},
		{"tasks", lifecycle.PriorityTasks, a.tasks.Stop},
		{"limits", lifecycle.PriorityPlugins, func(ctx context.Context) error {
			_, err := a.limits.Close(ctx)
			return err
		}},
		{"store", lifecycle.PriorityStore, func(context.Context) error { return a.store.Close() }},
		{"logs", lifecycle.PriorityLogs, func(context.Context) error { return a.logs.close(a.lifecycle.Report()) }},
	} {
		if _, err := a.lifecycle.Register(phase.name, phase.priority, phase.end); err != nil {
			return fmt.Errorf("register the end of %s: %w", phase.name, err)
		}
	}
	return nil
}

func (a *app) requestStop(reason string, budget time.Duration) {
	select {
	case a.stop <- stopRequest{reason, budget}:
	default: // one is enough
	}
}

func (a *app) workspaceGone(w workspace.Workspace) {
	ctx, cancel := context.WithTimeout(context.Background(), lifecycle.HandlerLimit)
	defer cancel()
	if err := a.tasks.WorkspaceGone(ctx, w.Directory); err != nil {
		a.log.Warn().Err(err).Str("directory", w.Directory).Msg("tasks of a closed workspace")
	}
	if err := a.jobs.EndAll(ctx, job.Interrupted, func(j job.Job) bool { return j.Directory == w.Directory }); err != nil {
		a.log.Warn().Err(err).Str("directory", w.Directory).Msg("background commands of a closed workspace")
	}
	if _, open := a.workspaces.Resolve(w.Directory); open { // again, while the others took their leave
		return
	}
	if err := a.janitor.Gone(ctx, w.Directory); err != nil {
		a.log.Warn().Err(err).Msg("packages of a closed workspace")
	}
}

func (a *app) panicked(owner string, value any, stack []byte) {
	a.log.Error().Str("owner", owner).Interface("panic", value).Bytes("stack", stack).Msg("a callback of the limiter panicked")
}

// The methods below are handler.Sidecar.

// Initialized takes note of the kind of host.
func (a *app) Initialized(h wire.HostInfo) {
	a.log.Info().Int("host", h.PID).Str("mode", h.Mode).Int("restarts", h.Restarts).Msg("initialized")
	if h.Mode == "run" {
		a.tasks.Headless()
		a.missions.Headless()
	}
	owner := a.store.own(h.PID, h.Restarts > 0)
	a.tasks.Serve(owner)
	a.missions.Serve(owner)
	a.jobs.Serve(owner)
	select {
	case a.owned <- struct{}{}:
	default:
	}
	if h.Restarts > 0 {
		a.tasks.Respawned()
	}
}

// Open opens a workspace with its options.
func (a *app) Open(id string, w workspace.Workspace, raw json.RawMessage) (bool, []string, error) {
	w = w.Canonical()
	reattached, err := a.workspaces.Open(id, w)
	if err != nil {
		return false, nil, err
	}
	a.mu.Lock()
	a.open[id] = w.Directory // from here on what is warned of reaches it
	a.mu.Unlock()
	options, warnings, err := config.Load(raw, a.env)
	if err != nil {
		warnings = append(warnings, config.Warning{Message: err.Error()})
	}
	warnings = append(warnings, a.machine(options, a.limits, limit.MemoryPressure)...)
	a.mu.Lock()
	a.toasted[w.Directory] = options.Toasts
	a.mu.Unlock()
	a.todos.Open(w.Directory, w.Worktree, options.Toasts)
	a.janitor.Open(w.Directory, w.Worktree, janitorSettings(options))
	// Missions first: they know what is not to be told by itself.
	a.missions.WorkspaceOpened(context.Background(), w.Directory, w.Worktree, missionSettings(options))
	a.tasks.WorkspaceOpened(context.Background(), w.Directory, w.Worktree, taskSettings(options))
	for _, text := range a.store.warnings.take() {
		warnings = append(warnings, config.Warning{Message: text})
	}
	var texts []string
	for _, warning := range warnings {
		a.log.Warn().Str("option", warning.Key).Msg(warning.Message)
		texts = append(texts, warning.Message)
	}
	a.log.Info().Str("workspace", id).Str("directory", w.Directory).Bool("reattached", reattached).Msg("workspace open")
	return reattached, texts, nil
}

// directories are those that OpenCode has open, each once.
func (a *app) directories() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Compact(slices.Sorted(maps.Values(a.open)))
}

// missionSettings are the options of a workspace as its missions take them.
func missionSettings(o config.Options) mission.Settings {
	return mission.Settings{
		Countdown: o.MissionCountdown, Iterations: o.MissionIterations, Idle: o.MissionIdleTurns,
		Tokens: int64(o.MissionTokens), Cost: o.MissionCost, Toasts: o.Toasts,
	}
}

// taskSettings are the options of a workspace as its tasks take them.
func taskSettings(o config.Options) delegate.Settings {
	var reviewers map[string]string
	if o.Review {
		reviewers = map[string]string{crew.Worker: crew.Reviewer}
	}
	return delegate.Settings{
		Timeout: o.TaskTimeout, Silence: o.SilenceTimeout, Queue: o.QueueTimeout, SyncWait: o.SyncTimeout,
		PermissionWait: o.PermissionTimeout, Deferral: o.WakeDeferral,
		MaxOpen: o.MaxTasksPerSession, MaxTree: o.MaxTasksPerTree, MaxDepth: o.MaxDepth, Terminal: o.TerminalDepth,
		Attempts: o.MaxAttempts, Fallback: o.FallbackModels,
		Task:  delegate.Budget{Tokens: int64(o.MaxTaskTokens), Cost: o.MaxTaskCost},
		Tree:  delegate.Budget{Tokens: int64(o.MaxSessionTokens), Cost: o.MaxSessionCost},
		Calls: o.MaxToolCalls, Repeats: o.MaxRepeatedCalls, Reviewers: reviewers, Toasts: o.Toasts, Pool: o.SessionPool, Archive: o.Archive,
	}
}

// limiter is what the options set of the limits.
type limiter interface {
	SetDefault(level limit.Level, n int) error
	SetLimit(key limit.Key, n int) (int, error)
	Configure(f limit.Flow)
}

// machine applies the options that hold for the whole process, once. pressure
// makes the test for short memory.
func (a *app) machine(o config.Options, limits limiter, pressure func(percent int) func() bool) []config.Warning {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first != nil {
		return config.Conflicts(*a.first, o)
	}
	a.first = &o
	var warnings []config.Warning
	set := func(option string, err error) {
		if err != nil {
			warnings = append(warnings, config.Warning{Key: option, Message: fmt.Sprintf("%s: %v", option, err)})
		}
	}
	set("log", a.logs.configure(o))
	set("defaultConcurrency", limits.SetDefault(limit.Agent, o.DefaultConcurrency))
	_, err := limits.SetLimit(limit.Key{}, o.GlobalConcurrency)
	set("globalConcurrency", err)
	limits.Configure(limit.Flow{
		Failures: o.CircuitFailureThreshold, Recovery: o.CircuitRecovery, Successes: o.CircuitSuccesses,
		Fixed: !o.AdaptiveConcurrency, Pressure: pressure(o.MemoryPressure),
	})
	a.retention <- o.ResultRetention
	a.jobs.Configure(jobSettings(o))
	for name, n := range o.AgentConcurrency {
		_, err := limits.SetLimit(limit.ForAgent(name), n)
		set("agentConcurrency", err)
	}
	for name, n := range o.ProviderConcurrency {
		_, err := limits.SetLimit(limit.ForProvider(name), n)
		set("providerConcurrency", err)
	}
	for name, n := range o.ModelConcurrency {
		_, err := limits.SetLimit(limit.Key{Level: limit.Model, Name: name}, n)
		set("modelConcurrency", err)
	}
	return warnings
}

// Close closes a workspace.
func (a *app) Close(id string) {
	w, err := a.workspaces.Lookup(id)
	if err != nil {
		return // dispose can come twice
	}
	a.mu.Lock()
	delete(a.open, id)
	a.mu.Unlock()
	a.workspaces.Close(id)
	if _, open := a.workspaces.Resolve(w.Directory); !open {
		a.missions.WorkspaceClosed(w.Directory)
		a.tasks.WorkspaceClosed(w.Directory)
		a.todos.Close(w.Directory)
		a.janitor.Close(w.Directory)
	}
	a.log.Info().Str("workspace", id).Str("directory", w.Directory).Msg("workspace closed")
}

// Lookup returns an open workspace, in which somebody works just now.
func (a *app) Lookup(id string) (workspace.Workspace, error) {
	w, err := a.workspaces.Lookup(id)
	if err == nil {
		a.janitor.Used(w.Directory)
	}
	return w, err
}

// Shutdown runs the ordered shutdown. The process ends with the `exit` that
// follows, or with its input.
func (a *app) Shutdown(ctx context.Context) wire.ShutdownReport {
	return reportOf(a.lifecycle.Shutdown(ctx, "shutdown was called", lifecycle.BudgetDispose))
}

// Exit ends the process.
func (a *app) Exit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.exiting {
		a.exiting = true
		close(a.exit)
	}
}

func reportOf(r lifecycle.Report) wire.ShutdownReport {
	out := wire.ShutdownReport{Reason: r.Reason, TookMS: r.Took.Milliseconds(), Phases: []wire.ShutdownPhase{}}
	for _, h := range r.Handlers {
		phase := wire.ShutdownPhase{Name: h.Name, Priority: h.Priority, TookMS: h.Took.Milliseconds(), Outcome: string(h.Outcome)}
		if h.Err != nil {
			phase.Error = h.Err.Error()
		}
		if h.Outcome == lifecycle.OutcomeSkipped {
			out.Skipped++
		}
		out.Phases = append(out.Phases, phase)
	}
	return out
}

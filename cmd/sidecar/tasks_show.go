package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// taskJSON is a task as the command line shows it. Names are only ever added.
type taskJSON struct {
	ID          task.ID       `json:"id"`
	State       task.State    `json:"state"`
	OwnerAlive  bool          `json:"ownerAlive"` // false: its OpenCode has ended before it did
	Uncertain   bool          `json:"uncertain,omitempty"`
	Attempt     int           `json:"attempt"`
	Agent       string        `json:"agent"`
	Model       string        `json:"model,omitempty"`
	Description string        `json:"description"`
	Group       string        `json:"group,omitempty"`
	Mode        string        `json:"mode,omitempty"`
	Priority    string        `json:"priority,omitempty"`
	Background  bool          `json:"background"`
	Depth       int           `json:"depth"`
	Worktree    string        `json:"worktree"`
	Directory   string        `json:"directory"`
	Parent      string        `json:"parentSession"`
	Root        string        `json:"rootSession,omitempty"`
	Session     string        `json:"session,omitempty"`
	Owner       string        `json:"owner,omitempty"`
	Created     time.Time     `json:"created"`
	NotBefore   time.Time     `json:"notBefore,omitzero"`
	Started     time.Time     `json:"started,omitzero"`
	Ended       time.Time     `json:"ended,omitzero"`
	Told        bool          `json:"told"` // the parent session has the outcome
	Stop        string        `json:"stop,omitempty"`
	Usage       usageJSON     `json:"usage"`
	Error       string        `json:"error,omitempty"`
	Note        string        `json:"note,omitempty"`
	Prompt      string        `json:"prompt,omitempty"`
	Result      string        `json:"result,omitempty"`
	Past        []attemptJSON `json:"pastAttempts,omitempty"`
}

type usageJSON struct {
	Total      int64   `json:"tokens"`
	Input      int64   `json:"inputTokens"`
	Output     int64   `json:"outputTokens"`
	Reasoning  int64   `json:"reasoningTokens"`
	CacheRead  int64   `json:"cacheReadTokens"`
	CacheWrite int64   `json:"cacheWriteTokens"`
	Cost       float64 `json:"costUSD"`
}

func (u usageJSON) counts() task.Usage {
	return task.Usage{
		Input: u.Input, Output: u.Output, Reasoning: u.Reasoning, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Cost: u.Cost,
	}
}

type attemptJSON struct {
	State   task.State `json:"state"`
	Model   string     `json:"model,omitempty"`
	Started time.Time  `json:"started,omitzero"`
	Ended   time.Time  `json:"ended,omitzero"`
	Error   string     `json:"error,omitempty"`
	Result  string     `json:"result,omitempty"`
}

func jsonOf(t task.Task, ownerAlive bool) taskJSON {
	u := t.Usage
	j := taskJSON{
		ID: t.ID, State: t.State, OwnerAlive: ownerAlive, Uncertain: t.Uncertain, Attempt: t.Attempt, Agent: t.Agent, Model: t.Model.String(),
		Description: t.Description, Group: t.Group, Mode: string(t.Mode), Priority: string(t.Priority), Background: t.Background, Depth: t.Depth,
		Worktree: t.Worktree, Directory: t.Directory, Parent: t.Parent, Root: t.Root, Session: t.Session, Owner: t.Owner,
		Created: t.Created, NotBefore: t.NotBefore, Started: t.Started, Ended: t.Ended, Told: t.Told, Stop: t.Stop,
		Usage: usageJSON{u.Tokens(), u.Input, u.Output, u.Reasoning, u.CacheRead, u.CacheWrite, u.Cost},
		Error: t.Error, Note: t.Note, Prompt: t.Prompt, Result: t.Result,
	}
	for _, p := range t.Past {
		j.Past = append(j.Past, attemptJSON{p.State, p.Model.String(), p.Started, p.Ended, p.Error, p.Result})
	}
	return j
}

// shown is the state in people's words.
func (t taskJSON) shown() string {
	switch {
	case !t.OwnerAlive:
		return abandoned
	case t.Stop != "" && !t.State.Terminal():
		return "stopping"
	case t.Uncertain && t.State == task.Running:
		return "uncertain"
	}
	return string(t.State)
}

// ran is how long the present attempt ran, or has run so far.
func (t taskJSON) ran(now time.Time) string {
	switch {
	case t.Started.IsZero() || t.State == task.Pending:
		return "-"
	case t.State.Terminal():
		return span(t.Ended.Sub(t.Started))
	case !t.OwnerAlive:
		return "?"
	}
	return span(now.Sub(t.Started))
}

// showCommand serves `sidecar tasks show`.
func showCommand(ctx context.Context, args []string, c *console) int {
	const command = "tasks show"
	set := flags()
	asJSON := set.Bool("json", false, "")
	ids, code, ok := c.parse(command, tasksUsage, set, args)
	if !ok {
		return code
	}
	if len(ids) != 1 {
		return c.misused(command, "say which task, as in `sidecar tasks show task_1a2b3c4d`; `sidecar tasks` lists them")
	}
	store, err := c.open() //nolint:contextcheck // opening is short and cannot be stopped half-way
	if err != nil {
		return c.failed(command, err)
	}
	if store != nil {
		defer func() { _ = store.Close() }()
	}
	t, err := find(ctx, store, ids[0])
	if err != nil {
		return c.failed(command, err)
	}
	j := jsonOf(t, known{}.alive(store, t))
	if *asJSON {
		return c.json(command, j)
	}
	j.print(c)
	return 0
}

// print writes everything about a task.
func (t taskJSON) print(c *console) {
	state := c.colour(stateColour(t.shown()), t.shown())
	if t.shown() == abandoned {
		state += " (was " + string(t.State) + "; its OpenCode has ended)"
	}
	fmt.Fprintf(c.out, "%s  %s\n%s\n\n", t.ID, state, oneLine(t.Description))
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(c.out, "%-10s %s\n", name, oneLine(value))
		}
	}
	at := func(when time.Time) string {
		if when.IsZero() {
			return ""
		}
		return when.Local().Format("2006-01-02 15:04:05") + " (" + age(c.now().Sub(when)) + " ago)"
	}
	field("agent", t.Agent)
	field("model", t.Model)
	field("group", t.Group)
	field("mode", t.Mode)
	field("priority", t.Priority)
	field("worktree", t.Worktree)
	if t.Directory != t.Worktree {
		field("directory", t.Directory)
	}
	field("parent", t.Parent)
	if t.Root != t.Parent {
		field("root", t.Root)
	}
	field("session", t.Session)
	field("created", at(t.Created))
	if t.State == task.Pending && t.NotBefore.After(c.now()) {
		field("waits", span(t.NotBefore.Sub(c.now()))+" before it is tried again")
	}
	field("started", at(t.Started))
	field("ended", at(t.Ended))
	if ran := t.ran(c.now()); ran != "-" {
		field("ran", ran)
	}
	field("attempt", fmt.Sprint(t.Attempt))
	if u := t.Usage; u.Total > 0 || u.Cost > 0 {
		field("tokens", fmt.Sprintf("%d (input %d, output %d, reasoning %d, cache read %d, cache write %d)",
			u.Total, u.Input, u.Output, u.Reasoning, u.CacheRead, u.CacheWrite))
		field("cost", cmp.Or(strings.TrimPrefix(cost(u.Cost), "-"), "none reported"))
	}
	field("stop", t.Stop)
	field("error", t.Error)
	field("note", t.Note)
	for i, p := range t.Past {
		took := ""
		if !p.Started.IsZero() && !p.Ended.IsZero() {
			took = " after " + span(p.Ended.Sub(p.Started))
		}
		field(fmt.Sprintf("attempt %d", i+1), strings.TrimSuffix(strings.Join([]string{string(p.State) + took, p.Model, p.Error}, ", "), ", "))
		section(c, fmt.Sprintf("Result of attempt %d", i+1), p.Result)
	}
	section(c, "Prompt", t.Prompt)
	title := "Result"
	if t.State != task.Completed {
		title = "Output so far"
	}
	section(c, title, t.Result)
}

// section writes a long text, if there is any.
func section(c *console, title, text string) {
	if text = strings.TrimRight(plain(text), "\n"); text != "" {
		fmt.Fprintf(c.out, "\n%s\n%s\n", c.colour("1", title), text)
	}
}

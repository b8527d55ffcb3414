package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

const (
	// listed is how many commands list_background shows.
	listed = 50
	// maxWait is how long one call may wait, in milliseconds.
	maxWait = 10 * 60 * 1000
	// maxTime is the longest timeout, in milliseconds: a week.
	maxTime = 7 * 24 * 60 * 60 * 1000
)

type runArgs struct {
	Command     string            `json:"command" jsonschema:"the line for the shell; pipes and several commands are fine, and no & is needed"`
	Cwd         string            `json:"cwd,omitempty" jsonschema:"the directory that it runs in, if not the project's; may be relative to that"`
	Timeout     *int              `json:"timeout,omitempty" jsonschema:"after how many milliseconds it is ended; 0 for a server or watcher that runs until you kill it"`
	Label       string            `json:"label,omitempty" jsonschema:"a short name for it"`
	Env         map[string]string `json:"env,omitempty" jsonschema:"variables to add to its environment"`
	Stdin       string            `json:"stdin,omitempty" jsonschema:"what it reads from its standard input"`
	Interactive bool              `json:"interactive,omitempty" jsonschema:"true to keep its standard input open for write_background"`
	PTY         bool              `json:"pty,omitempty" jsonschema:"true to give it a terminal, for programs that want one; its input stays open then"`
	Rows        int               `json:"rows,omitempty" jsonschema:"how many rows the terminal has"`
	Cols        int               `json:"cols,omitempty" jsonschema:"how many columns the terminal has"`
	Notify      bool              `json:"notify,omitempty" jsonschema:"true to be told when it has ended, so that you can end your turn meanwhile; not for what runs until it is killed"`
	WaitFor     string            `json:"waitFor,omitempty" jsonschema:"a regular expression (RE2): return when a line of its output matches, such as the one with which a server says that it listens"`
	WaitMs      *int              `json:"waitMs,omitempty" jsonschema:"how many milliseconds to wait at most; without waitFor for the end of the command"`
}

type checkArgs struct {
	TaskID    string `json:"taskId" jsonschema:"the id of the command, job_ and 8 hex digits"`
	TailLines int    `json:"tailLines,omitempty" jsonschema:"return only so many last lines of each stream"`
	Cursor    string `json:"cursor,omitempty" jsonschema:"the cursor of an earlier answer: return only what is new since; 0.0 is the beginning"`
	Filter    string `json:"filter,omitempty" jsonschema:"a regular expression (RE2): return only lines that match"`
	Stream    string `json:"stream,omitempty" jsonschema:"return only this stream"`
	Raw       bool   `json:"raw,omitempty" jsonschema:"true to keep colours and other control sequences"`
	WaitFor   string `json:"waitFor,omitempty" jsonschema:"a regular expression (RE2): return when a line of the output matches, from the cursor on if there is one"`
	WaitMs    *int   `json:"waitMs,omitempty" jsonschema:"how many milliseconds to wait at most; without waitFor for the end of the command"`
}

type listArgs struct {
	Status string `json:"status,omitempty" jsonschema:"show only commands in this state; running includes those that wait for a place"`
}

type killArgs struct {
	TaskID string `json:"taskId" jsonschema:"the id of the command, job_ and 8 hex digits"`
}

type writeArgs struct {
	TaskID string `json:"taskId" jsonschema:"the id of the command, job_ and 8 hex digits"`
	Input  string `json:"input,omitempty" jsonschema:"what to write; end it with a newline where Enter would be pressed"`
	EOF    bool   `json:"eof,omitempty" jsonschema:"true to end its input after that, as Ctrl-D does"`
	Rows   int    `json:"rows,omitempty" jsonschema:"the new number of rows of its terminal, together with cols"`
	Cols   int    `json:"cols,omitempty" jsonschema:"the new number of columns of its terminal, together with rows"`
}

// toolset is the tools over an engine.
type toolset struct {
	engine *Engine
	lookup func(workspaceID string) (workspace.Workspace, error)
	ask    Asker
	home   string
}

// Tools are the tools with which models run commands in the background. lookup
// maps the workspace id of a call to its workspace, ask puts OpenCode's permission
// rules before every command, and home is the user's home directory.
func Tools(e *Engine, lookup func(id string) (workspace.Workspace, error), ask Asker, home string) []tool.Tool {
	t := toolset{e, lookup, ask, home}
	waits := func(o ...tool.Option) []tool.Option {
		return append(o, tool.Range("waitMs", 0, maxWait), tool.Length("waitFor", 0, maxPattern))
	}
	return []tool.Tool{
		tool.New("run_background",
			"Runs a shell command in the background: servers, watchers, builds, long tests. Returns its id, and what it has printed if you wait. It ends with OpenCode at the latest.",
			t.run, waits(tool.Length("command", 1, 0), tool.Range("timeout", 0, maxTime), tool.Range("rows", 1, maxSide), tool.Range("cols", 1, maxSide))...),
		tool.New("check_background",
			"Returns the state of a background command and its output: the last lines, or what is new since a cursor, or lines that match. It can wait for a line, or for the end.",
			t.check, waits(tool.Min("tailLines", 1), tool.Enum("stream", string(Stdout), string(Stderr)), tool.Length("filter", 0, maxPattern))...),
		tool.New("list_background",
			fmt.Sprintf("Lists the newest %d background commands of this project.", listed),
			t.list, tool.Enum("status", append([]string{"all"}, stateNames()...)...)),
		tool.New("kill_background",
			"Ends a background command with all of its processes, and confirms it.",
			t.kill),
		tool.New("write_background",
			"Writes to the standard input of a background command that was started interactive or with pty, or resizes its terminal.",
			t.write, tool.Length("input", 0, maxInput), tool.Range("rows", 1, maxSide), tool.Range("cols", 1, maxSide)),
	}
}

func stateNames() []string {
	var names []string
	for _, s := range []State{Pending, Running, Done, Error, Timeout, Killed, Interrupted} {
		names = append(names, string(s))
	}
	return names
}

func (t toolset) run(ctx context.Context, c tool.Call, a runArgs) (tool.Result, error) {
	w, err := t.lookup(c.Workspace)
	if err != nil {
		return tool.Result{}, err
	}
	s, err := a.spec(c, w)
	if err != nil {
		return tool.Result{}, err
	}
	if _, err := compile("waitFor", a.WaitFor); err != nil {
		return tool.Result{}, explain(err)
	}
	if err := s.check(); err != nil {
		return tool.Result{}, explain(err)
	}
	if err := t.allowed(ctx, c.CallID, w, errand{line: s.Command, dir: s.Dir, env: s.Env, input: s.Input}); err != nil {
		return tool.Result{}, err
	}
	j, err := t.engine.Start(ctx, s)
	if err != nil {
		return tool.Result{}, explain(err)
	}
	if a.WaitFor == "" && a.WaitMs == nil || j.State.Terminal() {
		return t.launched(ctx, c, j)
	}
	return t.follow(ctx, c, j.ID, Until{Pattern: a.WaitFor}, a.WaitMs, Query{Tail: tailLines, Plain: true, Max: maxShown})
}

// spec is what the arguments ask for.
func (a runArgs) spec(c tool.Call, w workspace.Workspace) (Spec, error) {
	s := Spec{
		Command: a.Command, Dir: w.Directory, Label: strings.TrimSpace(a.Label), Worktree: w.Worktree, Directory: w.Directory, Session: c.SessionID,
		Notify: a.Notify, Env: a.Env, Input: a.Stdin, Interactive: a.Interactive,
	}
	switch {
	case a.Timeout == nil:
	case *a.Timeout == 0:
		s.Timeout = NoTimeout
	default:
		s.Timeout = time.Duration(*a.Timeout) * time.Millisecond
	}
	switch {
	case a.PTY:
		s.PTY = &Size{Rows: a.Rows, Cols: a.Cols}
	case a.Rows != 0 || a.Cols != 0:
		return Spec{}, &tool.ArgumentError{Field: "rows", Problem: "and cols need pty: true"}
	}
	if a.Cwd != "" {
		s.Dir = a.Cwd
		if !filepath.IsAbs(s.Dir) {
			s.Dir = filepath.Join(w.Directory, s.Dir)
		}
	}
	s.Dir = filepath.Clean(s.Dir)
	if real, err := filepath.EvalSymlinks(s.Dir); err == nil { // what is allowed is where it leads
		s.Dir = real
	}
	return s, nil
}

// launched says that a command was taken in, or why it did not start.
func (t toolset) launched(ctx context.Context, c tool.Call, j Job) (tool.Result, error) {
	if j.State.Terminal() {
		return t.shown(ctx, c, j.ID, Query{Tail: tailLines, Plain: true, Max: maxShown}, "")
	}
	said := headline(j)
	switch {
	case j.State == Pending:
		said += " It starts when another one has ended."
	case j.Notify:
		said += " You will be told when it has ended."
	default:
		said += " check_background shows what it prints."
	}
	return result(j, said), nil
}

func (t toolset) list(ctx context.Context, c tool.Call, a listArgs) (tool.Result, error) {
	w, err := t.lookup(c.Workspace)
	if err != nil {
		return tool.Result{}, err
	}
	var lines []string
	count, more := map[State]int{}, 0
	for _, j := range t.engine.List(ctx) {
		if j.Worktree != w.Worktree {
			continue
		}
		count[j.State]++
		if a.Status != "" && a.Status != "all" && State(a.Status) != j.State && (State(a.Status) != Running || j.State != Pending) {
			continue
		}
		if len(lines) == listed {
			more++
			continue
		}
		lines = append(lines, headline(j))
	}
	var totals []string
	for _, s := range stateNames() {
		if n := count[State(s)]; n > 0 {
			totals = append(totals, fmt.Sprintf("%d %s", n, s))
		}
	}
	title := cmp.Or(strings.Join(totals, ", "), "no background commands")
	said := strings.Join(append(lines, title), "\n")
	if more > 0 {
		said += fmt.Sprintf("; %d older ones are not shown", more)
	}
	return tool.Result{Title: title, Output: said + "."}, nil
}

func (t toolset) kill(ctx context.Context, c tool.Call, a killArgs) (tool.Result, error) {
	before, err := t.mine(c, a.TaskID)
	if err != nil {
		return tool.Result{}, err
	}
	if before.State.Terminal() && before.Left == 0 {
		return result(before, headline(before)+" It had ended already."), nil
	}
	j, err := t.engine.Kill(ctx, a.TaskID, c.SessionID)
	if err != nil {
		return tool.Result{}, explain(err)
	}
	return result(j, headline(j)+" None of its processes is left."), nil
}

func (t toolset) write(ctx context.Context, c tool.Call, a writeArgs) (tool.Result, error) {
	resizes := a.Rows != 0 || a.Cols != 0
	switch {
	case resizes && (a.Rows == 0 || a.Cols == 0):
		return tool.Result{}, &tool.ArgumentError{Field: "rows", Problem: "and cols go together"}
	case a.Input == "" && !a.EOF && !resizes:
		return tool.Result{}, &tool.ArgumentError{Field: "input", Problem: "is missing; give what to write, eof: true, or rows and cols"}
	}
	j, err := t.mine(c, a.TaskID)
	if err != nil {
		return tool.Result{}, err
	}
	w, err := t.lookup(c.Workspace)
	if err != nil {
		return tool.Result{}, err
	}
	// Who may not run a command may not type into it either.
	if err := t.allowed(ctx, c.CallID, w, errand{line: j.Command, dir: j.Dir, input: a.Input}); err != nil {
		return tool.Result{}, err
	}
	var did []string
	if resizes {
		if err := t.engine.Resize(a.TaskID, Size{a.Rows, a.Cols}); err != nil {
			return tool.Result{}, explain(err)
		}
		did = append(did, fmt.Sprintf("Its terminal has %d rows and %d columns.", a.Rows, a.Cols))
	}
	if a.Input != "" {
		limited, cancel := context.WithTimeout(ctx, writeLimit)
		defer cancel()
		n, err := t.engine.Write(limited, a.TaskID, []byte(a.Input))
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the command does not read its input: %d of %d bytes were taken within %s", n, len(a.Input), writeLimit)
		}
		if err != nil {
			return tool.Result{}, explain(err)
		}
		did = append(did, fmt.Sprintf("Wrote %d bytes.", n))
	}
	if a.EOF {
		if err := t.engine.CloseInput(ctx, a.TaskID); err != nil {
			return tool.Result{}, explain(err)
		}
		did = append(did, "Its input has ended.")
	}
	if j, err = t.engine.Get(a.TaskID); err != nil {
		return tool.Result{}, explain(err)
	}
	return result(j, headline(j)+" "+strings.Join(did, " ")), nil
}

// writeLimit is how long a command may take to read what is written.
const writeLimit = 5 * time.Second

// mine returns a command of the project that a call comes from.
func (t toolset) mine(c tool.Call, id string) (Job, error) {
	w, err := t.lookup(c.Workspace)
	if err != nil {
		return Job{}, err
	}
	j, err := t.engine.Get(id)
	if err == nil && j.Worktree != w.Worktree {
		err = unknown(id)
	}
	if err != nil {
		return Job{}, explain(err)
	}
	return j, nil
}

// explain makes of an error what the model is told.
func explain(err error) error {
	if bad, ok := errors.AsType[*FieldError](err); ok {
		problem := bad.Reason
		if errors.Is(err, ErrUnknown) {
			problem += "; list_background names those that there are"
		}
		return &tool.ArgumentError{Field: bad.Field, Problem: problem}
	}
	advice := ""
	switch {
	case errors.Is(err, ErrFull):
		advice = "; kill some that you no longer need"
	case errors.Is(err, ErrNoInput):
		advice = "; start it with interactive: true to write to it"
	}
	return &tool.Refusal{Err: fmt.Errorf("%w%s", err, advice)}
}

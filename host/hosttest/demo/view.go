package main

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// row is a task as OpenCode's events show it.
type row struct {
	id, name, agent string
	session         string
	state           state
	// phase is what it does now, or why it ended so.
	phase string
	// asked is when the main agent asked for it, began when its session was
	// created, ended when the session's last answer was complete.
	asked, began, ended time.Time
	told                bool

	call string // the tool call that asked for it
}

// mainAgent is the session that delegates.
type mainAgent struct {
	session string
	busy    bool
	phase   string
	said    string // its last words
	// failure is what OpenCode could not do for it at all.
	failure string

	prompt  string // its newest user message
	since   int64  // when that came
	answers map[string]bool
}

// change is one thing that happened, for a log.
type change struct {
	state state // "" for the main agent
	name  string
	text  string
}

// view is everything that is shown while the mission runs. It is built from
// OpenCode's events alone, by one goroutine.
type view struct {
	main mainAgent
	rows []*row

	roles map[string]string // of the main session's messages
	seen  map[string]bool   // calls and texts that were taken in
}

func newView(session string) *view {
	return &view{
		main:  mainAgent{session: session, busy: true, phase: "reads the request", answers: map[string]bool{}},
		roles: map[string]string{}, seen: map[string]bool{},
	}
}

// payload is what is read of an event.
type payload struct {
	Status struct {
		Type    string `json:"type"`
		Attempt int    `json:"attempt"`
		Message string `json:"message"`
	} `json:"status"`
	Error *hosttest.MessageError `json:"error"`
	Info  struct {
		ID       string                 `json:"id"`
		Role     string                 `json:"role"`
		ParentID string                 `json:"parentID"` // of a session or of a message
		Title    string                 `json:"title"`
		Agent    string                 `json:"agent"`
		Finish   string                 `json:"finish"`
		Error    *hosttest.MessageError `json:"error"`
		Metadata map[string]any         `json:"metadata"`
		Time     struct {
			Created   int64 `json:"created"`
			Completed int64 `json:"completed"`
		} `json:"time"`
	} `json:"info"`
	Part struct {
		hosttest.Part
		State *struct {
			hosttest.ToolState
			Time struct {
				Start int64 `json:"start"`
			} `json:"time"`
		} `json:"state"`
	} `json:"part"`
}

// taskKey is where a child session's metadata holds the id of its task.
const taskKey = "opencode-sidecar.task"

// apply takes in an event and returns what it changed.
func (v *view) apply(e hosttest.Event) []change {
	var p payload
	if json.Unmarshal(e.Properties, &p) != nil {
		return nil // an event of another shape is none of ours
	}
	switch {
	case e.Type == "session.created" && p.Info.ParentID == v.main.session:
		return v.born(p)
	case e.Session == v.main.session:
		return v.applyMain(e, p)
	}
	for _, r := range v.rows {
		if r.session == e.Session && r.session != "" && !r.state.ended() {
			return r.apply(e, p)
		}
	}
	return nil
}

// born connects a new child session with the task that it is for.
func (v *view) born(p payload) []change {
	id, _ := p.Info.Metadata[taskKey].(string)
	name, _, _ := strings.Cut(p.Info.Title, " (@")
	r := v.row(id, name, p.Info.Agent)
	r.session, r.began = p.Info.ID, time.UnixMilli(p.Info.Time.Created)
	r.state, r.phase = running, "starting"
	return []change{{r.state, r.name, "started, agent " + r.agent}}
}

// row finds the row of a task, one that waits for its id, or makes a new one.
func (v *view) row(id, name, agent string) *row {
	for _, r := range v.rows {
		if r.id == id && id != "" {
			return r
		}
	}
	for _, r := range v.rows {
		if r.id == "" && r.name == name && r.agent == agent && r.state == asked {
			r.id = id
			return r
		}
	}
	r := &row{id: id, name: name, agent: agent, state: asked}
	v.rows = append(v.rows, r)
	return r
}

func (r *row) apply(e hosttest.Event, p payload) []change {
	switch e.Type {
	case "session.status":
		switch {
		case p.Status.Type == "retry":
			r.phase = fmt.Sprintf("retry %d: %s", p.Status.Attempt, oneLine(p.Status.Message))
			return []change{{r.state, r.name, r.phase}}
		case p.Status.Type == "busy" && r.phase == "starting":
			r.phase = "thinking"
		}
	case "message.updated":
		if p.Info.Role != "assistant" {
			return nil
		}
		s := ending(p.Info.Error, p.Info.Finish, p.Info.Time.Completed > 0)
		if s == "" {
			return nil
		}
		r.state, r.ended = s, time.UnixMilli(p.Info.Time.Completed)
		if p.Info.Time.Completed == 0 {
			r.ended = e.At
		}
		switch s {
		case completed:
			r.phase = "answered"
		case cancelled:
			r.phase = "stopped"
		default:
			r.phase = "stopped by " + or(p.Info.Finish, "an error")
			if p.Info.Error != nil {
				r.phase = errorText(p.Info.Error)
			}
		}
		return []change{{s, r.name, fmt.Sprintf("%s after %s", r.phase, span(r.ended.Sub(r.began)))}}
	case "message.part.updated":
		switch part := p.Part; {
		case part.Type == "tool" && part.State != nil && part.State.Status == "running" && !strings.HasPrefix(r.phase, part.Tool):
			r.phase = activity(part.Tool, part.State.Input)
			return []change{{r.state, r.name, r.phase}}
		case part.Type == "tool" && part.State != nil && part.State.Status == "running":
			r.phase = activity(part.Tool, part.State.Input)
		case part.Type == "step-start" || part.Type == "reasoning":
			r.phase = "thinking"
		case part.Type == "text" && p.Part.MessageID != "" && r.phase == "thinking":
			r.phase = "writing"
		}
	}
	return nil
}

// applyMain takes in an event of the main session.
func (v *view) applyMain(e hosttest.Event, p payload) []change {
	m := &v.main
	switch e.Type {
	case "session.status":
		m.busy = p.Status.Type != "idle"
		if p.Status.Type == "retry" {
			m.phase = fmt.Sprintf("retry %d: %s", p.Status.Attempt, oneLine(p.Status.Message))
			return []change{{"", mainName, m.phase}}
		}
	case "session.idle":
		m.busy = false
	case "session.error":
		if p.Error != nil {
			m.failure = errorText(p.Error)
		}
	case "message.updated":
		v.roles[p.Info.ID] = p.Info.Role
		switch {
		case p.Info.Role == "user" && p.Info.Time.Created >= m.since:
			m.prompt, m.since = p.Info.ID, p.Info.Time.Created
		case p.Info.Role == "assistant" && ending(p.Info.Error, p.Info.Finish, p.Info.Time.Completed > 0) != "":
			m.answers[p.Info.ParentID] = true
			if p.Info.Error != nil {
				m.failure = errorText(p.Info.Error)
			}
		}
	case "message.part.updated":
		return v.mainPart(e, p)
	}
	return nil
}

const mainName = "main agent"

func (v *view) mainPart(e hosttest.Event, p payload) []change {
	part := p.Part
	switch {
	case part.Type == "text" && strings.TrimSpace(part.Text) != "" && v.first(part.ID):
		if v.roles[part.MessageID] == "user" {
			return v.woken(parseStatements(part.Text))
		}
		v.main.said = ownWords(part.Text)
		return []change{{"", mainName, "says: " + v.main.said}}
	case part.Type == "step-start":
		v.main.phase = "thinking"
		return nil
	case part.Type != "tool" || part.State == nil:
		return nil
	case part.State.Status == "running" && v.first(part.CallID):
		v.main.phase = activity(part.Tool, part.State.Input)
		if part.Tool == toolBatch || part.Tool == toolDelegate {
			v.asks(part.CallID, part.State.Input, part.State.Time.Start)
			v.main.phase = fmt.Sprintf("%s: %s", part.Tool, plural(len(v.rows), "task"))
		}
		return []change{{"", mainName, v.main.phase}}
	case part.State.Status == "completed" && v.first(part.CallID+"/end"):
		v.main.phase = "thinking"
		return v.answered(part.Tool, part.CallID, parseStatements(part.State.Output))
	case part.State.Status == "error" && v.first(part.CallID+"/end"):
		v.main.phase = fmt.Sprintf("%s failed: %s", part.Tool, oneLine(part.State.Error))
		v.refuse(part.CallID)
		return []change{{"", mainName, v.main.phase}}
	}
	return nil
}

// asks adds the tasks that a call asks for, in the call's order.
func (v *view) asks(call string, input json.RawMessage, start int64) {
	type item struct{ Agent, Description string }
	var args struct {
		item
		Tasks []item
	}
	if json.Unmarshal(input, &args) != nil {
		return
	}
	if args.Tasks == nil {
		args.Tasks = []item{args.item}
	}
	at := time.UnixMilli(start)
	var rows []*row
	for _, t := range args.Tasks {
		rows = append(rows, &row{name: oneLine(t.Description), agent: t.Agent, state: asked, phase: "asked for", asked: at, call: call})
	}
	// Its sessions may have come first.
	for _, old := range v.rows {
		taken := false
		for i, r := range rows {
			if old.call == "" && r.id == "" && old.name == r.name && old.agent == r.agent {
				old.call, old.asked = call, at
				rows[i], taken = old, true
				break
			}
		}
		if !taken {
			rows = append([]*row{old}, rows...)
		}
	}
	v.rows = rows
}

// answered takes in what a tool of the plugin answered.
func (v *view) answered(tool, call string, list []statement) []change {
	if tool == toolList {
		return nil
	}
	var changes []change
	for _, s := range list {
		r := v.row(s.id, s.description, s.agent)
		if s.state.ended() {
			changes = append(changes, v.told(r, s)...)
			continue
		}
		if r.state == asked {
			r.state, r.phase = s.state, "waits for a slot"
			changes = append(changes, change{r.state, r.name, "queued as " + r.id})
		}
	}
	if tool == toolBatch || tool == toolDelegate {
		v.refuse(call)
	}
	return changes
}

// refuse ends the rows of a call that never got an id.
func (v *view) refuse(call string) {
	for _, r := range v.rows {
		if r.call == call && r.state == asked {
			r.state, r.phase = refused, "not launched"
		}
	}
}

func (v *view) woken(list []statement) []change {
	if len(list) == 0 {
		return nil
	}
	v.main.phase = "woken with " + plural(len(list), "result")
	changes := []change{{"", mainName, v.main.phase}}
	for _, s := range list {
		changes = append(changes, v.told(v.row(s.id, s.description, s.agent), s)...)
	}
	return changes
}

// told takes the plugin's word for how a task ended.
func (v *view) told(r *row, s statement) []change {
	if !r.state.ended() { // the plugin was faster than the event
		r.ended = time.Now()
		r.phase, _, _ = strings.Cut(s.body, "\n")
		if s.state == completed {
			r.phase = "answered"
		}
	}
	r.told, r.state = true, s.state
	return []change{{r.state, r.name, fmt.Sprintf("main agent told: %s", s.state)}}
}

func (v *view) first(key string) bool {
	if v.seen[key] {
		return false
	}
	v.seen[key] = true
	return true
}

// numbers returns how many tasks have ended and how many of them the main agent
// knows about.
func (v *view) numbers() (ended, told int) {
	for _, r := range v.rows {
		if r.state.ended() {
			ended++
		}
		if r.told || r.state == refused {
			told++
		}
	}
	return ended, told
}

// settled reports whether nothing is due any more: the main agent rests, has
// answered whatever it was told and knows how every task ended.
func (v *view) settled() bool {
	_, told := v.numbers()
	return !v.main.busy && v.main.prompt != "" && v.main.answers[v.main.prompt] && told == len(v.rows)
}

// activity says what a tool call does.
func activity(tool string, input json.RawMessage) string {
	var args struct{ Command, FilePath, Pattern, Path, URL, TaskID, Description string }
	if json.Unmarshal(input, &args) != nil {
		return tool
	}
	what := or(args.Command, or(args.Pattern, or(args.TaskID, or(args.URL, args.Description))))
	if what == "" {
		what = path.Base(or(args.FilePath, or(args.Path, tool)))
	}
	if what == tool {
		return tool
	}
	return tool + ": " + oneLine(what)
}

func errorText(e *hosttest.MessageError) string {
	text := oneLine(or(e.Data.Message, e.Name))
	if e.Data.StatusCode > 0 {
		return fmt.Sprintf("HTTP %d: %s", e.Data.StatusCode, text)
	}
	return text
}

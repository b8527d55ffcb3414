// Package crew holds the agents and commands that we add to OpenCode: who they
// are, what they may do and the prompts they work by. It is data only. The
// generator writes it into the manifest of the shim, which adds it to OpenCode's
// configuration and never puts it in place of something of the user's.
package crew

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed prompts/*.md
var prompts embed.FS

// The agents that others than people name.
const (
	Worker   = "Worker"
	Reviewer = "Reviewer"
)

// Agent is an agent, encoded with the keys that OpenCode's configuration has.
type Agent struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Mode is primary for an agent that a person talks to, subagent for one that
	// works on what it is handed.
	Mode  string `json:"mode"`
	Color string `json:"color"`
	// Hidden agents are not offered to people, and can be delegated to all the same.
	Hidden bool   `json:"hidden,omitempty"`
	Prompt string `json:"prompt"`
	// Permission adds rules to OpenCode's; of the rules that match, the last counts.
	Permission map[string]any `json:"permission,omitempty"`
}

// Command is a slash command, encoded with the keys that OpenCode's configuration has.
type Command struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Template is what the agent is told; $ARGUMENTS stands for what the person
	// wrote behind the command.
	Template string `json:"template"`
	// Agent runs the command; "" is whatever agent the session has.
	Agent string `json:"agent,omitempty"`
}

// Agents returns the agents, the one that people talk to first. The caller owns
// the slice.
func Agents() []Agent {
	return []Agent{
		{
			Name: commander, Mode: "primary", Color: "#ffea98", Prompt: prompt("commander"),
			Permission:  map[string]any{"question": "allow"}, // which OpenCode denies to agents that are not its own
			Description: "Takes a mission to its end: plans it, delegates what can run in parallel, verifies every part.",
		},
		{
			Name: "Planner", Mode: "subagent", Color: "#9B59B6", Hidden: true, Prompt: prompt("planner"), Permission: readOnly(),
			Description: "Reads the project and turns a goal into a checklist of small, independent, checkable items. Changes no code.",
		},
		{
			Name: Worker, Mode: "subagent", Color: "#E67E22", Hidden: true, Prompt: prompt("worker"),
			Description: "Does one item of work completely, with its tests, and reports what was changed and verified.",
		},
		{
			Name: Reviewer, Mode: "subagent", Color: "#27AE60", Hidden: true, Prompt: prompt("reviewer"), Permission: readOnly(),
			Description: "Checks finished work against its requirement, runs the tests, and answers PASS or FAIL with evidence. Changes no code.",
		},
	}
}

const commander = "Commander"

// readOnly lets an agent write its notes, and nothing else. It is a value of its
// own for each agent.
func readOnly() map[string]any {
	return map[string]any{"edit": map[string]any{"*": "deny", ".opencode/*": "allow"}}
}

// Commands returns the commands. The caller owns the slice.
//
// The sidecar carries out all but the first two by itself and puts what came of
// it in place of their templates. So these are only read when it did not answer,
// and then nobody may believe that anything was done.
func Commands() []Command {
	return []Command{
		{Name: "task", Description: "Start a mission and take it to its end", Template: prompt("task"), Agent: commander},
		{Name: "plan", Description: "Write the plan of a mission into .opencode/todo.md, without carrying it out", Template: prompt("plan"), Agent: commander},
		{Name: "agents", Description: "Show the agents that work can be delegated to", Template: silent("nothing is known about the agents and their tasks")},
		{Name: "status", Description: "Show how far the mission and its tasks are", Template: silent("nothing is known about the mission and its tasks")},
		{Name: "stop", Description: "Stop the mission of this session; its tasks go on", Template: silent("nothing is known to have been stopped")},
		{Name: "cancel", Description: "Stop the mission of this session and cancel its tasks", Template: silent("nothing is known to have been stopped or cancelled")},
	}
}

// silent is what a model passes on when the sidecar did not answer.
func silent(known string) string {
	return fmt.Sprintf("Tell the user in one sentence, and do nothing else, that the sidecar did not answer, so %s.", known)
}

// prompt returns an embedded text. That each one exists is tested.
func prompt(name string) string {
	text, err := prompts.ReadFile("prompts/" + name + ".md")
	if err != nil {
		panic(fmt.Sprintf("crew: %v", err))
	}
	return strings.TrimSpace(string(text))
}

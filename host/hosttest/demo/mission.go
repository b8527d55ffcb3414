package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// mission is what the main agent is asked for.
type mission struct {
	prompt string
	model  *hosttest.ModelRef // nil for OpenCode's default
	// want is how many tasks must end in each state, nil if any will do.
	want map[state]int
}

// order is one of the six tasks.
type order struct {
	name, agent, request string
	// script is what the scripted model does with it.
	script []string
}

// orders are a small code review of the files in project.go. The numbers in the
// results are counted by OpenCode's own tools.
func orders() []order {
	read := func(name string) string { return `@call read ` + object("filePath", name) }
	bash := func(command string) string {
		return `@call bash ` + object("command", command, "description", "count")
	}
	return []order{
		{"read the config", "explore", "Read config.json and say how many settings it has and whether one is unfit for production.", []string{
			bash(`grep -c '":' config.json | tr -d '\n'`), "@say {{result}} settings; debug is still on.",
		}},
		{"map the packages", "explore", "List the Go packages and which of them imports which.", []string{
			`@call glob ` + object("pattern", "**/*.go"), "@wait 800ms",
			bash(`grep -rh '^package ' --include=*.go . | sort -u | wc -l | tr -d ' \n'`),
			"@wait 300ms", "@say {{result}} packages: main imports api, api imports store.",
		}},
		{"check the licences", "general", "Check that the licences of the dependencies allow a commercial product.", []string{
			read("LICENSE"), "@wait 1s", "@fail 400 this model takes no legal questions",
		}},
		{"find dead code", "explore", "Find functions that nobody calls.", []string{
			`@call grep ` + object("pattern", "^func "), "@wait 700ms", read("store/store.go"),
			"@wait 500ms", bash(`grep -rn legacyKey --include=*.go . | wc -l | tr -d ' \n'`),
			"@wait 400ms", "@say legacyKey: {{result}} mention, its definition.",
		}},
		{"run the slow tests", "general", "Run the whole test suite, the slow tests included.", []string{
			"@wait 300ms", bash("sleep 300"), "@say All tests passed.",
		}},
		{"review error paths", "general", "Look for errors that are dropped or returned without context.", []string{
			`@call grep ` + object("pattern", "err"), "@wait 1s", read("api/api.go"),
			"@wait 1s", read("main.go"), "@wait 1s",
			"@say api.go drops the error of store.Put; main.go is fine.",
		}},
	}
}

const opening = `Review this small project. Let six background tasks run at once, one for each of: the configuration, the packages, the licences, dead code, the tests, the error paths.`

// scriptedMission has the scripted model play the main agent and the six others.
// It delegates in one call, cancels the slow tests while they run, and looks at
// the list of tasks whenever it is woken.
func scriptedMission() mission {
	type item struct {
		Agent       string `json:"agent"`
		Description string `json:"description"`
		Prompt      string `json:"prompt"`
	}
	var items []item
	slow := 0
	for i, o := range orders() {
		items = append(items, item{o.agent, o.name, o.request + "\n" + strings.Join(o.script, "\n")})
		if o.name == "run the slow tests" {
			slow = i + 1
		}
	}
	script := []string{
		opening,
		"@text I split the review into six tasks.",
		"@call " + toolBatch + " " + object("tasks", items, "groupID", "review"),
		"@wait 1500ms",
		"@text The slow tests are not worth the wait.",
		"@call " + toolCancel + " " + object("taskId", fmt.Sprintf("{{task %d}}", slow)),
		"@say I stopped the slow tests and rest until the others have ended.",
	}
	// How many results a wake brings depends on the machine, so each is answered
	// alike, and there are answers for as many as there can be.
	for range items {
		script = append(script,
			"@call "+toolList+" "+object("groupID", "review"),
			"@say Where the review stands: {{result}}")
	}
	return mission{
		prompt: strings.Join(script, "\n"),
		want:   map[state]int{completed: 4, failed: 1, cancelled: 1},
	}
}

// request is the built-in request to a model of the user's.
func request() string {
	var b strings.Builder
	b.WriteString(opening)
	b.WriteString(" Delegate all six with a single call of " + toolBatch + ":\n\n")
	for _, o := range orders() {
		fmt.Fprintf(&b, "- %q, agent %s: %s Read files only, change nothing, answer in one sentence.\n", o.name, o.agent, strings.Replace(o.request,
			"Run the whole test suite, the slow tests included.", "Name what the tests leave out, without running them.", 1))
	}
	b.WriteString("\nDo none of this yourself. End your turn after the call: you will be told when tasks have ended. " +
		"Once all six have ended, sum the review up in at most four short lines. Until then answer each notice with one short sentence.")
	return b.String()
}

// userMission asks a model of the user's for the same.
func userMission(o options) mission {
	return mission{prompt: or(o.request, request()), model: o.model}
}

// object writes a JSON object on one line from keys and values in turn.
func object(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // only strings and structs of strings come here
	}
	return string(text)
}

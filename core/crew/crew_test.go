package crew

import (
	"encoding/json"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAgentsAreThoseOfTheOriginal(t *testing.T) {
	type row struct {
		Name, Mode, Color string
		Hidden            bool
	}
	var got []row
	for _, a := range Agents() {
		got = append(got, row{a.Name, a.Mode, a.Color, a.Hidden})
		if a.Description == "" || a.Prompt == "" {
			t.Errorf("%s has no description or no prompt", a.Name)
		}
	}
	want := []row{
		{"Commander", "primary", "#ffea98", false},
		{"Planner", "subagent", "#9B59B6", true},
		{"Worker", "subagent", "#E67E22", true},
		{"Reviewer", "subagent", "#27AE60", true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of OpenCode's rules the last that matches counts, and a map is encoded in the
// order of its keys: the exception has to come behind the rule.
func TestWhoMayWhat(t *testing.T) {
	notes := `{"edit":{"*":"deny",".opencode/*":"allow"}}`
	want := map[string]string{"Commander": `{"question":"allow"}`, "Planner": notes, "Worker": "null", "Reviewer": notes}
	for _, a := range Agents() {
		b, err := json.Marshal(a.Permission)
		if err != nil {
			t.Fatal(err)
		}
		if string(b) != want[a.Name] {
			t.Errorf("%s: %s, want %s", a.Name, b, want[a.Name])
		}
	}
}

func TestCommands(t *testing.T) {
	agents := map[string]bool{"": true}
	for _, a := range Agents() {
		agents[a.Name] = true
	}
	var names []string
	for _, c := range Commands() {
		names = append(names, c.Name)
		if c.Description == "" || !agents[c.Agent] {
			t.Errorf("%s has no description, or an agent that does not exist: %+v", c.Name, c)
		}
		missions := c.Agent == "Commander"
		if missions != strings.HasSuffix(c.Template, "\n\n$ARGUMENTS") || missions == strings.HasPrefix(c.Template, "Tell the user in one sentence") {
			t.Errorf("/%s of agent %q says: %s", c.Name, c.Agent, c.Template)
		}
		// OpenCode replaces these anywhere in a template, and runs what stands in !`…`.
		if rest := strings.TrimSuffix(c.Template, "$ARGUMENTS"); strings.ContainsAny(rest, "$@!`") {
			t.Errorf("/%s has something that OpenCode would expand: %s", c.Name, c.Template)
		}
	}
	if diff := cmp.Diff([]string{"task", "plan", "agents", "status", "stop", "cancel"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestNamesAreUnique(t *testing.T) {
	var names []string
	for _, a := range Agents() {
		names = append(names, a.Name)
	}
	for _, c := range Commands() {
		names = append(names, "/"+c.Name)
	}
	slices.Sort(names)
	if got := slices.Compact(slices.Clone(names)); len(got) != len(names) {
		t.Errorf("not unique: %q", names)
	}
}

// What a prompt tells an agent to use has to exist.
func TestPromptsNameOnlyToolsAndAgentsThatExist(t *testing.T) {
	tools := []string{
		"delegate_task", "delegate_tasks", "get_task_result", "list_tasks", "list_agents", "cancel_task", "send_to_task", "update_todo",
	}
	files, err := fs.Glob(prompts, "prompts/*.md")
	if err != nil || len(files) != len(Agents())+2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, name := range files {
		text, err := prompts.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`\b[a-z]+(_[a-z]+)+\b`).FindAllString(string(text), -1) {
			if !slices.Contains(tools, word) {
				t.Errorf("%s names %s, which is no tool", name, word)
			}
		}
		if n := strings.Count(string(text), "\n"); n > 60 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}

func TestEveryCallHasValuesOfItsOwn(t *testing.T) {
	Agents()[1].Permission["edit"].(map[string]any)["*"] = "allow"
	Agents()[0].Name = "Somebody"
	if a := Agents(); a[0].Name != "Commander" || a[1].Permission["edit"].(map[string]any)["*"] != "deny" || a[3].Permission["edit"].(map[string]any)["*"] != "deny" {
		t.Errorf("%+v", a)
	}
}

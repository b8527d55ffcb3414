package delegate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// AgentError names an agent that does not exist, and those that do.
type AgentError struct {
	Name  string
	Known []string
}

func (e *AgentError) Error() string {
	return fmt.Sprintf("there is no agent %q; the agents are %s", e.Name, strings.Join(e.Known, ", "))
}

type agentList struct {
	agents []host.Agent
	at     time.Time
}

// agentsFor is how long a list of agents is believed: they change only when
// OpenCode re-reads its configuration.
const agentsFor = 30 * time.Second

// Agents lists the agents that tasks can be delegated to, by name.
func (e *Engine) Agents(ctx context.Context, directory string) ([]host.Agent, error) {
	e.mu.Lock()
	list := e.agents[directory]
	e.mu.Unlock()
	if time.Since(list.at) < agentsFor {
		return list.agents, nil
	}
	all, err := e.host.Agents(ctx, directory)
	if err != nil {
		return nil, err
	}
	agents := slices.DeleteFunc(all, func(a host.Agent) bool {
		return a.Hidden && a.Mode == "primary" // OpenCode's own: title, summary, compaction
	})
	slices.SortFunc(agents, func(a, b host.Agent) int { return strings.Compare(a.Name, b.Name) })
	e.mu.Lock()
	e.agents[directory] = agentList{agents, time.Now()}
	e.mu.Unlock()
	return agents, nil
}

// agent finds an agent by its exact name, or by the only one that differs in case.
func (e *Engine) agent(ctx context.Context, directory, name string) (host.Agent, error) {
	agents, err := e.Agents(ctx, directory)
	if err != nil {
		return host.Agent{}, err
	}
	var found []host.Agent
	var known []string
	for _, a := range agents {
		if a.Name == name {
			return a, nil
		}
		if strings.EqualFold(a.Name, name) {
			found = append(found, a)
		}
		known = append(known, a.Name)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return host.Agent{}, &AgentError{name, known}
}

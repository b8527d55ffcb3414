package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/crew"
	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

//go:generate go run . generate ../..

// manifest is what the shim must know before the sidecar runs: OpenCode asks a
// plugin for its tools, agents and commands while it starts, and nothing of ours
// may be awaited there.
type manifest struct {
	Version  string              `json:"version"`
	Protocol int                 `json:"protocol"`
	Tools    []tool.Definition   `json:"tools"`
	Agents   []crew.Agent        `json:"agents"`
	Commands []crew.Command      `json:"commands"`
	Events   map[string][]string `json:"events"`
}

func manifestOf(tools *tool.Registry) manifest {
	return manifest{wire.Version, wire.Protocol, tools.Definitions(), crew.Agents(), crew.Commands(), host.EventFilter()}
}

// hash names the manifest in the handshake.
func (m manifest) hash() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("manifest: %v", err)) // plain values always encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func (m manifest) typeScript() string {
	indent := func(v any) []byte {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			panic(fmt.Sprintf("manifest: %v", err))
		}
		return b
	}
	return fmt.Sprintf(`// Generated from core/tool, core/crew and host by `+"`make generate`"+`. Do not edit.

export interface ToolDefinition {
  name: string;
  description: string;
  schema: { properties: Record<string, unknown>; [key: string]: unknown };
}

export interface AgentDefinition {
  name: string;
  description: string;
  mode: "primary" | "subagent";
  color: string;
  hidden?: boolean;
  prompt: string;
  permission?: Record<string, unknown>;
}

export interface CommandDefinition {
  name: string;
  description: string;
  template: string;
  agent?: string;
}

export const MANIFEST_HASH = %q;

export const TOOLS: readonly ToolDefinition[] = %s;

/** The agents that are added to OpenCode's. */
export const AGENTS: readonly AgentDefinition[] = %s;

/** The commands that are added to OpenCode's. */
export const COMMANDS: readonly CommandDefinition[] = %s;

/** Event types to forward; a list names the part types of message.part.updated. */
export const EVENTS: Readonly<Record<string, readonly string[]>> = %s;
`, m.hash(), indent(m.Tools), indent(m.Agents), indent(m.Commands), indent(m.Events))
}

// declaredTools are the tools as they are declared: they cannot be called.
func declaredTools() (*tool.Registry, error) {
	return newTools(delegate.New(delegate.Options{}), todo.NewSync(todo.SyncOptions{}), job.New(job.Options{}), nil, workspace.New(nil, nil).Lookup, os.LookupEnv)
}

// generated maps the generated files, by their path in the checkout, to what
// they have to hold. Of the README only the parts between markers are ours.
func generated(root string) (map[string]string, error) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return nil, err
	}
	tools, err := declaredTools()
	if err != nil {
		return nil, err
	}
	text, err := fill(string(readme), "options", config.Reference())
	if err == nil {
		text, err = fill(text, "tools", toolReference(tools))
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"README.md":                      text,
		"shim/src/generated/wire.ts":     wire.TypeScript(),
		"shim/src/generated/manifest.ts": manifestOf(tools).typeScript(),
		"shim/options.schema.json":       string(config.Schema()),
		"rpc/wire/PROTOCOL.md":           wire.Reference(),
	}, nil
}

// fill replaces what stands between the markers of a name.
func fill(text, name, with string) (string, error) {
	open, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, found := strings.Cut(text, open)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("README.md has no markers for %q", name)
	}
	return before + open + strings.TrimRight(with, "\n") + "\n" + end + after, nil
}

// toolReference is the table of the tools and their arguments.
func toolReference(tools *tool.Registry) string {
	var b strings.Builder
	b.WriteString("| tool | what it does | arguments (`?` may be left out) |\n|---|---|---|\n")
	for _, d := range tools.Definitions() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", d.Name, d.Description, strings.Join(d.Arguments(), "<br>"))
	}
	return b.String()
}

// generate writes the generated files below the checkout named by its argument.
func generate(args []string, stderr io.Writer) int {
	root := "."
	if len(args) > 0 {
		root = args[0]
	}
	files, err := generated(root)
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "sidecar generate: %v\n", err)
		return 1
	}
	return 0
}

// What OpenCode gets from us besides tools: agents and commands. They are added to its configuration, never in place of the user's own.
import type { Hooks } from "@opencode-ai/plugin";
import { type Agent, custom } from "./agents.js";
import { AGENTS, COMMANDS } from "./generated/manifest.js";
import { tell } from "./host.js";
import type { Hub, Workspace } from "./hub.js";

type Config = Parameters<NonNullable<Hooks["config"]>>[0];
type Before = NonNullable<Hooks["command.execute.before"]>;

/** Our part in the configuration of one workspace, and in the commands that run there. */
export class Crew {
  private readonly commands = new Set<string>(); // those that are ours

  constructor(private readonly hub: Hub, private readonly workspace: Workspace) {}

  /** Adds what the user does not have. OpenCode waits for it while it starts. */
  async add(config: Config): Promise<void> {
    const commands = (config.command ??= {});
    const agents = (config.agent ??= {}) as Record<string, Agent | undefined>;
    for (const { name, ...command } of COMMANDS) {
      if (Object.hasOwn(commands, name) && commands[name]?.template !== command.template) continue; // an equal one is ours, of an earlier call
      if (agents[command.agent ?? ""]?.disable) delete command.agent; // the session's own agent does it
      commands[name] = command;
      this.commands.add(name);
    }
    const warn = (text: string) => void tell(this.workspace.client, `opencode-sidecar: ${text}`);
    const { directory, worktree = "/" } = this.workspace.params; // of a folder without version control OpenCode says "/"
    for (const [name, agent] of await custom(worktree === "/" ? directory : worktree, warn)) agents[name] = fill(agents[name], agent);
    for (const { name, ...agent } of AGENTS) agents[name] = fill(agents[name], structuredClone(agent));
  }

  /** Lets the sidecar carry out a command of ours before its text goes to a model. */
  async before({ command, sessionID, arguments: args }: Parameters<Before>[0], { parts }: Parameters<Before>[1]): Promise<void> {
    if (!this.commands.has(command)) return;
    const answer = await this.hub.hook(this.workspace, "hook/command", { command, sessionID, arguments: args });
    // OpenCode keeps this very list, and gives the part its ids.
    if (answer?.text) parts.splice(0, parts.length, { type: "text", text: answer.text } as (typeof parts)[number]);
    const undriven = "nobody drives this mission, because the sidecar did not answer: if the agent stops before everything is done, it goes on only when you tell it to";
    if (!answer && command === "task") void tell(this.workspace.client, `opencode-sidecar: ${undriven}`);
  }
}

/** An agent without a prompt says how the user wants ours; one with a prompt is the user's own. */
function fill(theirs: Agent | undefined, ours: Agent): Agent {
  if (!theirs || theirs.prompt) return theirs ?? ours;
  const permission = theirs.permission ?? {};
  // Of the rules that match the last counts, so theirs come last and in their order.
  const rules = Object.entries(ours.permission ?? {}).filter(([key]) => !Object.hasOwn(permission, key));
  return {
    ...ours, ...theirs, prompt: ours.prompt, options: { ...ours.options, ...theirs.options },
    permission: { ...Object.fromEntries(rules), ...permission },
  };
}

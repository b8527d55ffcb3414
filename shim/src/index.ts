// The plugin as OpenCode loads it. Nothing here waits: OpenCode calls `server`
// on its start path, several times per process, also for one-shot commands.
import { randomUUID } from "node:crypto";
import type { Hooks, Plugin, ToolDefinition } from "@opencode-ai/plugin";
import { Crew } from "./crew.js";
import { TOOLS } from "./generated/manifest.js";
import { type Client, tell } from "./host.js";
import { Hub, type Workspace } from "./hub.js";

const KEY = Symbol.for("opencode-sidecar");

/** What all copies of the plugin in one process share. */
type Shared = { readonly copy: string; readonly hub: Hub; told: boolean };

const server: Plugin = async (input, options) => {
  const store = globalThis as { [KEY]?: Shared };
  const shared = (store[KEY] ??= { copy: import.meta.url, hub: new Hub(), told: false });
  const client = input.client as unknown as Client; // what the sidecar sends has the shape of the API already
  if (shared.copy !== import.meta.url) {
    if (!shared.told) tell(client, `opencode-sidecar is loaded twice: remove ${import.meta.url}, which does nothing because ${shared.copy} is active`);
    shared.told = true;
    return {};
  }
  const { directory, worktree, project } = input;
  return hooks(shared.hub, shared.hub.open(client, { directory, worktree, project: project.id, options }));
};

function hooks(hub: Hub, workspace: Workspace): Hooks {
  const crew = new Crew(hub, workspace);
  return {
    config: safe((config) => crew.add(config)),
    "command.execute.before": safe((input, output) => crew.before(input, output)),
    tool: Object.fromEntries(TOOLS.map((tool) => [tool.name, definition(hub, workspace, tool)])),
    "tool.definition": safe(async ({ toolID }, output) => {
      const schema = TOOLS.find(({ name }) => name === toolID)?.schema;
      // The types leave this key out. Without it every argument would be required.
      if (schema) Object.assign(output, { jsonSchema: schema });
    }),
    event: safe(async ({ event }) => hub.event(workspace, event.type, event.properties)),
    "chat.message": safe(async ({ sessionID, messageID, agent }, { message }) => {
      await hub.message(workspace, { sessionID, messageID: messageID ?? message.id, agent });
    }),
    "experimental.chat.messages.transform": safe(async (_, { messages }) => {
      const last = messages.findLast(({ info }) => info.role === "user")?.info;
      for (let again = true; last && again; ) {
        const { sessionID, id } = last;
        const answer = await hub.hook(workspace, "hook/messages.transform", { sessionID, messageID: id });
        for (const { messageID, text } of answer?.append ?? []) {
          const part = { id: `prt_${randomUUID().replaceAll("-", "")}`, sessionID, messageID, type: "text", text, synthetic: true } as const;
          messages.find(({ info }) => info.id === messageID)?.parts.push(part);
        }
        again = answer?.again === true;
      }
    }),
    "experimental.session.compacting": safe(async ({ sessionID }, output) => {
      const answer = await hub.hook(workspace, "hook/session.compacting", { sessionID });
      output.context.push(...(answer?.context ?? []));
    }),
    dispose: safe(() => hub.close(workspace)),
  };
}

function definition(hub: Hub, workspace: Workspace, { name, description, schema }: (typeof TOOLS)[number]): ToolDefinition {
  const args = schema.properties as unknown as ToolDefinition["args"]; // JSON Schema is accepted in place of zod
  return { description, args, execute: async (args, context) => ({ title: "", metadata: {}, ...(await hub.tool(workspace, name, args, context)) }) };
}

/** A hook that throws would end the user's turn: it fails open instead. */
function safe<A extends unknown[]>(work: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
  return async (...args) => work(...args).catch(() => {});
}

export default { id: "opencode-sidecar", server };

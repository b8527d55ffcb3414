// Calls of the sidecar to OpenCode. Path, query and body have the shape of OpenCode's API and are passed on as they are.
import type { HostRequests, MessageWithParts, SessionMessagesParams, SessionPromptParams, ToolAskParams } from "./generated/wire.js";
import { RpcError, type Serve } from "./peer.js";
import { AGENT, MESSAGE, pick, QUESTION, SESSION, type Shapes } from "./slim.js";

/** What OpenCode's client answers; it does not throw by default. */
type Answer = { data?: unknown; error?: unknown; response?: { status: number } };
type Endpoint = (options: object) => Promise<Answer>;
const only = (shape: Shapes) => (answer: Answer): Answer => ({ ...answer, data: pick(shape, answer.data) });

/** The part of OpenCode's client that is used here. */
export interface Client {
  session: Record<"create" | "get" | "children" | "promptAsync" | "abort" | "messages" | "status" | "todo" | "delete", Endpoint>;
  app: Record<"agents" | "log", Endpoint>;
  tui: Record<"showToast", Endpoint>;
  postSessionIdPermissionsPermissionId: Endpoint;
  _client: Record<"get", Endpoint>; // for what the client has no method for
}

/** Asks OpenCode's permission rules on behalf of one tool call. */
export type Ask = (question: Omit<ToolAskParams, "callID">) => Promise<unknown>;

const TABLE: Record<Exclude<keyof HostRequests, "host/tool.ask">, (client: Client, options: object) => Promise<Answer>> = {
  "host/session.create": ({ session }, options) => session.create(options).then(only(SESSION)),
  "host/session.get": ({ session }, options) => session.get(options).then(only(SESSION)),
  "host/session.children": ({ session }, options) => session.children(options).then(only(SESSION)),
  "host/session.promptAsync": ({ session }, options) => session.promptAsync(options),
  "host/session.abort": ({ session }, options) => session.abort(options),
  "host/session.messages": ({ session }, options) => session.messages(options).then(keep(options)).then(only(MESSAGE)),
  "host/session.status": ({ session }, options) => session.status(options),
  "host/session.todo": ({ session }, options) => session.todo(options),
  "host/session.delete": ({ session }, options) => session.delete(options),
  "host/app.agents": ({ app }, options) => app.agents(options).then(only(AGENT)),
  "host/permission.list": ({ _client }, options) => _client.get({ ...options, url: "/permission" }).then(only(QUESTION)),
  "host/permission.reply": (client, options) => client.postSessionIdPermissionsPermissionId(options),
  "host/toast": ({ tui }, options) => tui.showToast(options),
  "host/log": ({ app }, options) => app.log(options),
};

/** Serves `host/*` for the clients of the open workspaces and the asks of the running tool calls; `sends` learns of each message before OpenCode does. */
export function hostServer(client: (workspace: string) => Client | undefined, asks: ReadonlyMap<string, Ask>, sends: (messageID: string) => void = () => {}): Serve {
  return async (method, params, signal) => {
    const { workspace = "", callID = "", ...options } = params as { workspace?: string; callID?: string };
    const ask = asks.get(callID);
    if (method === "host/tool.ask" && ask) return settle(async () => ({ data: await ask(options as ToolAskParams) }));
    if (method === "host/tool.ask") throw new RpcError(-32010, `the tool call ${callID} is over`, { kind: "not-found" });
    if (!Object.hasOwn(TABLE, method)) throw new RpcError(-32601, `the shim does not know ${method}`, { kind: "unknown-method" });
    const target = client(workspace);
    // A call for a disposed instance would make OpenCode create it again.
    if (!target) throw new RpcError(-32010, `the workspace ${workspace} is closed`, { kind: "not-found" });
    if (method === "host/session.promptAsync") sends((params as SessionPromptParams).body.messageID);
    return settle(() => TABLE[method as keyof typeof TABLE](target, { ...options, signal }));
  };
}

/** Turns both ways in which OpenCode fails, a throw and an `error`, into an error answer. */
async function settle(work: () => Promise<Answer>): Promise<unknown> {
  const { data, error, response } = await work().catch((thrown: unknown): Answer => ({ error: thrown ?? "no reason" }));
  if (error === undefined) return data;
  const told = Object(error) as { name?: string; _tag?: string; message?: string; data?: { message?: string } };
  const name = told._tag ?? told.name;
  const text = told.data?.message || told.message || name || (typeof error === "string" && error) || `OpenCode answered ${response?.status}`;
  throw new RpcError(-32011, text, { kind: "host", status: response?.status, name });
}

/** Leaves out the parts of types that were not asked for. */
function keep({ parts: kept }: Partial<SessionMessagesParams>): (answer: Answer) => Answer {
  const some = ({ info, parts }: MessageWithParts) => ({ info, parts: parts.filter(({ type }) => !kept?.length || kept.includes(type)) });
  return (answer) => ({ ...answer, data: (answer.data as MessageWithParts[] | undefined)?.map(some) });
}

/** Says something to the user: in OpenCode's log, and as a toast where there is a TUI. It never rejects. */
export async function tell({ app, tui }: Client, message: string): Promise<void> {
  try {
    await app.log({ body: { service: "opencode-sidecar", level: "warn", message } });
    await tui.showToast({ body: { message, variant: "warning" } });
  } catch {}
}

// The hub: one sidecar for one OpenCode process, whatever number of workspaces.
import { setTimeout as sleep } from "node:timers/promises";
import type { ToolContext } from "@opencode-ai/plugin";
import { Child, hasTasks, locate, logFile } from "./child.js";
import { EVENTS, MANIFEST_HASH } from "./generated/manifest.js";
import { type ChatMessageParams, type EventParams, PROTOCOL, type Requests, type ToolCallResult, VERSION, type WorkspaceOpenParams } from "./generated/wire.js";
import { type Ask, type Client, hostServer, tell } from "./host.js";
import { deadline, Late, RpcError, until } from "./peer.js";
import { recorder } from "./record.js";
import { EVENT, pick } from "./slim.js";

const [START_MS, OPEN_MS, HOOK_MS, CLOSE_MS, GUARD_MS] = [5_000, 10_000, 1_000, 300, 60_000];
// The wait before a start, by the deaths in the GUARD_MS before it. Three are followed by a start; after a fourth there is none until the first is older.
const BACKOFF_MS = [0, 0, 250, 1_000];
const MAX_RECENT = 1_000;
const MAX_EARLY = 10_000; // events kept while the sidecar starts

/** One directory that OpenCode has given to the plugin. */
export type Workspace = Readonly<{ id: string; client: Client; params: WorkspaceOpenParams }>;

/** Owns the sidecar: it starts with the first tool call and is restarted as long as a workspace is open. */
export class Hub {
  private readonly workspaces = new Map<string, Workspace>();
  private readonly asks = new Map<string, Ask>();
  private readonly record = recorder(process.env.OPENCODE_SIDECAR_RECORD);
  private child: Child | undefined; // runs, and has accepted the handshake
  private starting: Promise<Child> | undefined; // kept while the child runs
  private refused: Error | undefined; // why it is never started again
  private early: EventParams[] = [];
  private deaths: number[] = [];
  private readonly states = new Recent(); // of parts of calls, that have crossed
  private readonly sent = new Recent(); // ids of messages that the sidecar sends
  private restarts = 0;
  private last = 0;
  private used = false; // a sidecar has run
  private woken = false; // or was tried to, for a message

  /** Adds a workspace. The sidecar learns of it now if it runs, else when it starts. */
  open(client: Client, params: Omit<WorkspaceOpenParams, "workspace">): Workspace {
    const id = `wrk_${++this.last}`;
    const workspace = { id, client, params: { workspace: id, ...params } };
    this.workspaces.set(id, workspace);
    if (this.child) this.opened(this.child, workspace).catch(() => {});
    return workspace;
  }

  /** Closes a workspace, within CLOSE_MS. The sidecar ends itself some time after the last one. */
  async close({ id }: Workspace): Promise<void> {
    this.workspaces.delete(id);
    const child = this.child;
    if (!child?.opened.has(id)) return;
    const closing = child.peer.request("workspace/close", { workspace: id }); // goes on after the deadline: a cancel could leave it open
    await deadline(CLOSE_MS, (signal) => until(signal, closing));
  }

  /** Runs a tool, without a deadline. Rejects at once when the call is aborted or the sidecar dies. */
  async tool(workspace: Workspace, tool: string, args: unknown, context: ToolContext & { callID?: string }): Promise<ToolCallResult> {
    const { sessionID, messageID, agent, abort } = context;
    let callID = context.callID ?? "call";
    while (this.asks.has(callID)) callID += "+"; // some providers number their calls from 0 in every session
    this.asks.set(callID, (question) => context.ask(question));
    try {
      const child = await until(abort, this.start());
      return await child.hold(async () => {
        await until(abort, this.opened(child, workspace));
        return child.peer.request("tool/call", { workspace: workspace.id, tool, args, sessionID, messageID, callID, agent }, abort);
      });
    } finally {
      this.asks.delete(callID);
    }
  }

  /** Tells the sidecar that a message is about to be stored. Of one that it sends itself it knows: it need not wait for that to cross. */
  async message(workspace: Workspace, params: Omit<ChatMessageParams, "workspace">): Promise<void> {
    if (!this.sent.has(params.messageID ?? "")) await this.hook(workspace, "hook/chat.message", params);
  }

  /** Calls a hook of a running sidecar, or of one that it wakes, within HOOK_MS in all. It never rejects: undefined says that there is no answer. */
  async hook<M extends keyof Requests & `hook/${string}`>(
    workspace: Workspace, method: M, params: Omit<Requests[M]["params"], "workspace">,
  ): Promise<Requests[M]["result"] | undefined> {
    const asked = method === "hook/command"; // a person waits for what comes of it: worth a deadline even if the last one was missed
    let child = this.child;
    if (!this.workspaces.has(workspace.id) || (child ? child.slow && !asked : !asked && !this.wakes(method))) return undefined;
    try {
      return await deadline(HOOK_MS, async (signal) => {
        const running = (child ??= await until(signal, this.start()));
        return running.hold(async () => {
          await until(signal, this.opened(running, workspace));
          return running.peer.request(method, { ...params, workspace: workspace.id }, signal);
        });
      });
    } catch (cause) {
      if (!(cause instanceof Late) || !child || child.slow) return undefined;
      const late = child;
      late.slow = true; // one missed deadline is all that a stopped sidecar may cost a turn
      late.peer.request("ping", {}).then(() => (late.slow = false), () => {});
    }
  }

  /** Forwards an event that the manifest names to a sidecar that runs or starts. */
  event({ id }: Workspace, type: string, properties: object): void {
    if ((!this.child && !this.starting) || !Object.hasOwn(EVENTS, type) || !this.workspaces.has(id)) return;
    const [parts, { part }] = [EVENTS[type]!, properties as { part?: { id: string; type: string; state?: { status: string } } }];
    if (parts.length && !parts.includes(part?.type ?? "")) return;
    if (part?.state && this.states.add(`${part.id} ${part.state.status}`)) return; // a command's part is updated with all that it prints
    const params = { workspace: id, type, properties: { ...properties, ...(pick(EVENT, properties) as object) } };
    if (this.child) this.child.full() || this.child.peer.notify("event", params);
    else if (this.early.push(params) > MAX_EARLY) this.early.shift();
  }

  /** Whether a hook starts the sidecar: the first message of a person does, where tasks of an earlier OpenCode may have something to tell its session. */
  private wakes(method: string): boolean {
    if (method !== "hook/chat.message" || this.woken || !hasTasks()) return false;
    return (this.woken = true);
  }

  private start(): Promise<Child> {
    return (this.starting ??= this.launch().catch((cause: unknown) => {
      this.starting = undefined;
      this.early = [];
      throw cause;
    }));
  }

  private async launch(): Promise<Child> {
    if (this.refused) throw this.refused;
    this.deaths = this.deaths.filter((at) => performance.now() - at < GUARD_MS);
    const wait = BACKOFF_MS[this.deaths.length];
    const log = `its log is ${logFile()}`;
    if (wait === undefined) throw new Error(`opencode-sidecar: the sidecar died ${this.deaths.length} times within a minute and rests until that minute is over; ${log}`);
    if (wait) await sleep(wait);
    const binary = locate([...this.workspaces.values()].map(({ params }) => (params.options as { binary?: unknown })?.binary).find(Boolean));
    const child: Child = new Child(binary, hostServer((id) => this.workspaces.get(id)?.client, this.asks, (messageID) => this.sent.add(messageID)), this.record, (clean) => this.ended(child, clean));
    try {
      await child.hold(() => deadline(START_MS, (signal) => this.handshake(child, binary, signal)));
    } catch (cause) {
      child.kill("it did not start");
      throw cause instanceof Late ? new Error(`opencode-sidecar: ${binary} did not start within ${START_MS} ms; ${log}`) : cause;
    }
    this.child = child;
    this.used = true;
    for (const workspace of this.workspaces.values()) this.opened(child, workspace).catch(() => {});
    for (const params of this.early.splice(0)) child.peer.notify("event", params);
    if (!this.workspaces.size) child.peer.notify("exit", {}); // closed meanwhile: nobody would ever close it again
    return child;
  }

  private async handshake(child: Child, binary: string, signal: AbortSignal): Promise<void> {
    const ours = { version: VERSION, protocol: PROTOCOL, manifestHash: MANIFEST_HASH };
    const host = { pid: process.pid, mode: mode(process.argv), restarts: this.restarts };
    const theirs = await child.peer.request("initialize", { ...ours, host }, signal).catch((cause: unknown) => {
      if (cause instanceof RpcError && cause.data?.kind === "version-mismatch") return undefined;
      throw cause;
    });
    if (theirs?.version === VERSION && theirs.protocol === PROTOCOL && theirs.manifestHash === MANIFEST_HASH) return;
    const advice = "reinstall opencode-sidecar (in a checkout: make build) and restart OpenCode";
    throw (this.refused = new Error(`opencode-sidecar: the plugin ${VERSION} and the sidecar ${binary} do not belong together; ${advice}`));
  }

  private opened(child: Child, { id, client, params }: Workspace): Promise<unknown> {
    if (!this.workspaces.has(id)) return Promise.reject(new Error(`opencode-sidecar: OpenCode has closed ${params.directory}`));
    let opening = child.opened.get(id);
    if (!opening) {
      opening = deadline(OPEN_MS, (signal) => child.peer.request("workspace/open", params, signal));
      child.opened.set(id, opening);
      opening.then(({ warnings = [] }) => warnings.forEach((text) => tell(client, text)), () => child.opened.delete(id));
    }
    return opening;
  }

  /** Restarts a sidecar that may have tasks to watch. */
  private ended(child: Child, clean: boolean): void {
    if (this.child === child) this.child = this.starting = undefined;
    if (clean && !this.workspaces.size) return; // it ended itself after the last close
    this.deaths.push(performance.now());
    this.restarts++;
    const restart = async () => void (this.used && this.workspaces.size && (await this.start()));
    (this.starting ?? Promise.reject()).then(() => {}, restart).catch(() => {});
    if (BACKOFF_MS[this.deaths.length] === undefined) sleep(GUARD_MS, undefined, { ref: false }).then(restart).catch(() => {}); // its tasks are not forgotten
  }
}

/** Remembers what came last, at most MAX_RECENT things. */
class Recent {
  private readonly things = new Set<string>();

  has(thing: string): boolean {
    return this.things.has(thing);
  }

  /** Reports whether the thing was there already. */
  add(thing: string): boolean {
    const known = this.things.has(thing);
    if (this.things.size >= MAX_RECENT) this.things.clear();
    this.things.add(thing);
    return known;
  }
}

/** What kind of OpenCode process this is, by its command line. */
export function mode(argv: readonly string[]): string {
  if (/tui[\\/]worker\.js$/.test(argv[1] ?? "")) return "tui";
  return argv.slice(2).find((word) => word === "run" || word === "serve") ?? "other";
}

// Tool calls through the whole shim, beside echoes over less and less of it.
import { spawn } from "node:child_process";
import { frameReader, frameWriter } from "../src/frame.js";
import { Hub, type Workspace } from "../src/hub.js";
import { Peer } from "../src/peer.js";
import { client } from "./host.js";
import type { Config } from "./main.js";
import { type Call, interleaved, type Measured } from "./measure.js";

const TASKS = 50;

/** Measures list_tasks with 50 tasks and with none, task/list, ping, and a plain jsonrpc2 echo. */
export async function calls({ echo, echoEnv, times, rounds }: Config): Promise<Record<string, Measured>> {
  const hub = new Hub();
  const open = (directory: string): Workspace => {
    const workspace: Workspace = hub.open(client((sessionID) => hub.event(workspace, "session.idle", { sessionID })), { directory, worktree: directory, project: "bench" });
    return workspace;
  };
  const [full, empty] = [open("/bench/full"), open("/bench/empty")];
  let last = 0;
  const context = () => ({ sessionID: "ses_main", messageID: "msg_main", callID: `call_${++last}`, agent: "build", abort: new AbortController().signal });
  const tool = (workspace: Workspace): Call => () => hub.tool(workspace, "list_tasks", {}, context() as unknown as Parameters<Hub["tool"]>[3]);
  await tool(empty)();
  await tool(full)();
  const peer = hub["child"]!.peer; // the ping goes over the same connection
  for (let n = 0; n < TASKS; n++) {
    const task = { workspace: full.id, parentSession: "ses_main", agent: "general", description: `look at part ${n}`, prompt: "look at it" };
    const { id } = await peer.request("task/launch", task);
    await peer.request("task/wait", { id });
  }
  const { output } = (await tool(full)()) as { output: string };
  if (!output.startsWith(`${TASKS} completed:`)) throw new Error(`the store was not filled: ${output.slice(0, 200)}`);

  const payload = { workspace: full.id, tool: "list_tasks", args: {}, ...context(), abort: undefined };
  const plain = spawn(echo, [], { env: { [echoEnv]: "1" }, stdio: ["pipe", "pipe", "inherit"] });
  const plainPeer = new Peer(frameWriter((frames) => plain.stdin.write(frames)), async () => ({}));
  plain.stdout.on("data", frameReader((json) => plainPeer.receive(json)));
  const results = await interleaved({
    "list_tasks, 50 tasks": tool(full),
    "list_tasks, no tasks": tool(empty),
    "tool/call of it, by the peer alone": () => peer.request("tool/call", { workspace: empty.id, tool: "list_tasks", args: {}, ...context(), abort: undefined } as never),
    "task/list, 50 tasks": () => peer.request("task/list", { workspace: full.id }),
    "ping": () => peer.request("ping", { payload }),
    "ping, size of 50 tasks": () => peer.request("ping", { payload: output }),
    "plain": () => plainPeer.request("ping", { payload }),
  }, times, rounds);
  plain.stdin.end();
  return results;
}

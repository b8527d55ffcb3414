// What the plugin's hooks cost while a mission is under way in another session, and in that one.
import type { Hooks } from "@opencode-ai/plugin";
import type { Hub } from "../src/hub.js";
import plugin from "../src/index.js";
import type { Peer } from "../src/peer.js";
import { client } from "./host.js";
import type { Config } from "./main.js";
import { type Call, each } from "./measure.js";

type Input = Parameters<typeof plugin.server>[0];
type Messages = Parameters<NonNullable<Hooks["experimental.chat.messages.transform"]>>[1];

/** Measures hooks of the plugin; the other session's mission has a list of 10,000 lines, the own one's 100 items. */
export async function hooks({ times, rounds, quiet, own }: Config) {
  const busy = ["ses_long", "ses_own"]; // for ever: no mission goes on by itself
  const open = async (directory: string, session: string): Promise<Required<Hooks>> => {
    const input = { client: client(() => {}, busy), directory, worktree: directory, project: { id: directory } };
    const hooks = (await plugin.server(input as unknown as Input, {})) as Required<Hooks>;
    await hooks.config({});
    await hooks["command.execute.before"]({ command: "task", sessionID: session, arguments: "Build all of it." }, { parts: [] });
    return hooks;
  };
  const [bystander, driven] = [await open(quiet, "ses_long"), await open(own, "ses_own")];
  const { hub } = (globalThis as unknown as Record<symbol, { hub: Hub }>)[Symbol.for("opencode-sidecar")]!;
  const peer = hub["child"]!.peer;

  let last = 0;
  const transform = async (hooks: Required<Hooks>, sessionID: string) => {
    const messages = [{ info: { id: `msg_${++last}`, sessionID, role: "user" }, parts: [{ type: "text", text: "hello" }] }];
    await hooks["experimental.chat.messages.transform"]({}, { messages } as unknown as Messages);
    return messages[0]!.parts.slice(1).map(({ text }) => text).join("");
  };
  const compacting = async (hooks: Required<Hooks>, sessionID: string) => {
    const context: string[] = [];
    await hooks["experimental.session.compacting"]({ sessionID }, { context });
    return context.join("");
  };
  const message = (hooks: Required<Hooks>, sessionID: string) => {
    const id = `msg_${++last}`;
    return hooks["chat.message"]({ sessionID, messageID: id, agent: "build" }, { message: { id }, parts: [] } as never);
  };
  const foreign = (hooks: Required<Hooks>, sessionID: string) => hooks["command.execute.before"]({ command: "deploy", sessionID, arguments: "now" }, { parts: [] });

  // Hooks fail open, so nothing would show that what is timed goes wrong.
  const summary = await transform(driven, "ses_own");
  if (!summary.includes("of 100 done")) throw new Error(`the mission's session is told ${JSON.stringify(summary)}`);
  const long = (await transform(bystander, "ses_long")) && (await compacting(bystander, "ses_long"));
  if (!long.includes("Build all of it.")) throw new Error(`the other session has no mission: ${JSON.stringify(long)}`);
  const said = (await transform(bystander, "ses_quiet")) + (await compacting(bystander, "ses_quiet"));
  if (said) throw new Error(`the hooks have something to say: ${said}`);

  const calls: Record<string, Call> = {
    "messages.transform": () => transform(bystander, "ses_quiet"),
    "chat.message": () => message(bystander, "ses_quiet"),
    "session.compacting": () => compacting(bystander, "ses_quiet"),
    "foreign command": () => foreign(bystander, "ses_quiet"),
    "own transform": () => transform(driven, "ses_own"),
    "ping": () => peer.request("ping", {}),
  };
  const all: Record<string, number[]> = {};
  for (const [name, call] of Object.entries(calls)) {
    await each(call, Math.min(500, times)); // warms both sides up
    all[name] = [];
  }
  const crossed = await crossings(peer, async () => {
    for (let round = 0; round < rounds; round++) {
      for (const [name, call] of Object.entries(calls)) all[name]!.push(...(await each(call, Math.ceil(times / rounds))));
    }
  });
  const expected = Object.entries(all).reduce((sum, [name, list]) => sum + (name === "foreign command" ? 0 : list.length), 0);
  if (crossed < expected) throw new Error(`only ${crossed} of ${expected} calls reached the sidecar`); // a hook that was late lets the next ones off
  await peer.request("hook/chat.message", { workspace: "wrk_1", sessionID: "ses_quiet", messageID: "msg_last" }); // answers, and with no error
  if ((await transform(driven, "ses_own")) !== summary) throw new Error("the mission did not stay what it was");
  return { times: all, crossings: await crossings(peer, () => each(calls["foreign command"]!, times)), summary: summary.length };
}

/** Counts the messages to the sidecar that `work` sends. */
async function crossings(peer: Peer, work: () => Promise<unknown>): Promise<number> {
  const inside = peer as unknown as { write(message: object): void };
  let count = 0;
  inside.write = (message) => (count++, Object.getPrototypeOf(peer).write.call(peer, message)); // over the method of the class
  await work();
  delete (inside as Partial<typeof inside>).write;
  return count;
}

// The built plugin with a fake sidecar, in this runtime.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AGENTS, COMMANDS, TOOLS } from "../src/generated/manifest.js";

// This file runs from dist/test/.
const PLUGIN = fileURLToPath(new URL("../index.js", import.meta.url));
const FAKE = fileURLToPath(new URL("../../test/fake-sidecar.mjs", import.meta.url));
const TOOL = TOOLS[0]!.name;
const KEY = Symbol.for("opencode-sidecar");

interface Part { type: string; id: string; text?: string; synthetic?: boolean; messageID: string; sessionID: string }
interface Turn { messages: { info: { id: string; role: string; sessionID: string }; parts: Part[] }[] }
interface Result { title: string; output: string; metadata: { pid: number } }
interface Config { agent?: Record<string, Record<string, unknown>>; command?: Record<string, object>; [key: string]: unknown }
interface Hooks {
  config(config: Config): Promise<void>;
  "command.execute.before"(input: { command: string; sessionID: string; arguments: string }, output: { parts: object[] }): Promise<void>;
  tool: Record<string, { description: string; args: object; execute(args: object, context: object): Promise<Result> }>;
  event(input: { event: { type: string; properties: object } }): Promise<void>;
  "tool.definition"(input: { toolID: string }, output: { jsonSchema?: unknown }): Promise<void>;
  "chat.message"(input: object, output: object): Promise<void>;
  "experimental.chat.messages.transform"(input: object, output: Turn): Promise<void>;
  "experimental.session.compacting"(input: { sessionID: string }, output: { context: string[] }): Promise<void>;
  dispose(): Promise<void>;
}
type Module = { default: { id: string; server(input: object, options?: object): Promise<Hooks> } };
interface Line { t: number; note?: string; dir?: string; msg?: { method?: string } }
interface Entry { start?: number; argv?: string[]; env?: Record<string, string>; id?: unknown; method?: string; params?: Record<string, unknown> }

/** A fresh process state around the plugin: hub, log and mode of its own. */
class Bed {
  readonly dir = mkdtempSync(join(tmpdir(), "shim-"));
  readonly seen: { name: string; options: object }[] = [];
  private readonly hooks: Hooks[] = [];

  constructor(private readonly mode = "") {
    delete (globalThis as Record<symbol, unknown>)[KEY];
    Object.assign(process.env, { FAKE_LOG: join(this.dir, "log"), FAKE_MODE: mode, XDG_STATE_HOME: this.dir, OPENCODE_SIDECAR_RECORD: join(this.dir, "record") });
    delete process.env.OPENCODE_SIDECAR_BIN;
    delete process.env.OPENCODE_SIDECAR_STORE;
  }

  /** Leaves the file behind in which an earlier sidecar has kept tasks. */
  keepTasks(): void {
    mkdirSync(join(this.dir, "opencode-sidecar"), { recursive: true });
    writeFileSync(join(this.dir, "opencode-sidecar", "tasks.db"), "");
  }

  /** Writes the agents of the project, and returns where. */
  agentsFile(content: string): string {
    const path = join(this.dir, ".opencode", "agents.json");
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** What the user has been told so far, without the copies that are toasts. */
  told(): string[] {
    return this.seen.filter(({ name }) => name === "app.log").map(({ options }) => (options as { body: { message: string } }).body.message);
  }

  async plugin(options: object | undefined = { binary: FAKE }, file = PLUGIN): Promise<Hooks> {
    const module = (await import(pathToFileURL(file).href)) as Module;
    const group = (name: string) => new Proxy({}, { get: (_, key) => async (given: object) => (this.seen.push({ name: `${name}.${String(key)}`, options: given }), { data: true }) });
    const client = { session: group("session"), app: group("app"), tui: group("tui") };
    const hooks = await module.default.server({ client, directory: this.dir, worktree: this.dir, project: { id: "prj" } }, options);
    this.hooks.push(hooks);
    return hooks;
  }

  /** What has reached the sidecars. */
  log(): Entry[] {
    return this.lines("log") as Entry[];
  }

  /** What the plugin has done so far. Unlike the log it shows also that something has not happened. */
  record(): Line[] {
    return this.lines("record") as Line[];
  }

  spawns(): number {
    return this.record().filter(({ note }) => note === "spawn").length;
  }

  /** Waits for the end of the last sidecar, and until whatever follows from that without a wait has happened. */
  async ended(): Promise<void> {
    await eventually("the sidecar has ended", () => this.record().at(-1)?.note === "exit");
    await new Promise((resolve) => setImmediate(resolve));
  }

  private lines(name: string): object[] {
    if (!existsSync(join(this.dir, name))) return [];
    return readFileSync(join(this.dir, name), "utf8").trim().split("\n").map((line) => JSON.parse(line) as object);
  }

  starts(): number[] {
    return this.log().flatMap(({ start }) => start ?? []);
  }

  methods(): string[] {
    return this.log().flatMap(({ method }) => method ?? []);
  }

  async run(name: string, body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (cause) {
      throw new Error(`${name}: ${String(cause)}\n${JSON.stringify(this.methods())}`, { cause });
    } finally {
      await Promise.all(this.hooks.map((hooks) => hooks.dispose?.())); // no restart after the kill
      // A restart that has begun already writes into the folder: let it come up first.
      const shared = (globalThis as { [KEY]?: { hub: { starting?: Promise<unknown> } } })[KEY];
      if (this.mode !== "silent") await shared?.hub.starting?.catch(() => {});
      delete (globalThis as Record<symbol, unknown>)[KEY];
      this.starts().forEach(kill);
      await eventually("every sidecar has ended", () => !this.starts().some(alive));
      rmSync(this.dir, { recursive: true, force: true });
    }
  }
}

function kill(pid: number): void {
  if (alive(pid)) process.kill(pid, "SIGKILL");
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

let calls = 0;

function call(hooks: Hooks, args: object, extra: object = {}): Promise<Result> {
  const context = { sessionID: "ses_1", messageID: "msg_1", callID: `call_${++calls}`, agent: "build", abort: new AbortController().signal, ask: async () => {}, ...extra };
  return hooks.tool[TOOL]!.execute(args, context);
}

/** Waits until the condition holds; fails after 5 s. */
async function eventually(what: string, condition: () => boolean): Promise<void> {
  for (const start = performance.now(); !condition(); await new Promise((resolve) => setTimeout(resolve, 10)))
    assert.ok(performance.now() - start < 5000, `never: ${what}`);
}

async function timed(work: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work.catch(() => {});
  return performance.now() - start;
}

function say(hooks: Hooks, messageID = "msg_1"): Promise<void> {
  return hooks["chat.message"]({ sessionID: "ses_1", agent: "plan" }, { message: { id: messageID } });
}

/** Enters a command, and returns the parts that OpenCode would send to the model. */
async function enter(hooks: Hooks, command: string, args = ""): Promise<object[]> {
  const parts: object[] = [{ type: "text", text: "the template" }, { type: "file", url: "file:///a" }];
  await hooks["command.execute.before"]({ command, sessionID: "ses_1", arguments: args }, { parts });
  return parts;
}

const UNTOUCHED = [{ type: "text", text: "the template" }, { type: "file", url: "file:///a" }];

async function configured(hooks: Hooks, config: Config = {}): Promise<Hooks> {
  await hooks.config(config);
  return hooks;
}

function turn(): Turn {
  return { messages: [{ info: { id: "msg_u", role: "user", sessionID: "ses_1" }, parts: [] }, { info: { id: "msg_a", role: "assistant", sessionID: "ses_1" }, parts: [] }] };
}

function scenario(name: string, mode: string, body: (bed: Bed) => Promise<void>): void {
  test(name, async () => {
    const bed = new Bed(mode);
    await bed.run(name, () => body(bed));
  });
}

scenario("server() waits for nothing, starts nothing and touches no disk", "", async (bed) => {
  await bed.plugin(); // the import
  const start = performance.now();
  const hooks = await bed.plugin();
  assert.ok(performance.now() - start < 5);
  assert.deepEqual(Object.keys(hooks.tool), TOOLS.map((tool) => tool.name));
  await hooks.event({ event: { type: "session.idle", properties: { sessionID: "ses_1" } } });
  await hooks["chat.message"]({ sessionID: "ses_1" }, { message: { id: "msg_1" } });
  await hooks["experimental.chat.messages.transform"]({}, turn());
  await hooks.dispose();
  assert.deepEqual(readdirSync(bed.dir), []);
});

scenario("the schema of our tools goes to the model as it is", "", async (bed) => {
  const hooks = await bed.plugin();
  const [ours, others] = [{}, {}] as { jsonSchema?: unknown }[];
  await hooks["tool.definition"]({ toolID: TOOL }, ours!);
  await hooks["tool.definition"]({ toolID: "bash" }, others!);
  assert.deepEqual([ours!.jsonSchema, "jsonSchema" in others!], [TOOLS[0]!.schema, false]);
  assert.deepEqual(hooks.tool[TOOL]!.args, TOOLS[0]!.schema.properties);
});

scenario("the first tool call starts one sidecar for all workspaces", "", async (bed) => {
  process.env.OPENCODE_SERVER_PASSWORD = "secret";
  const all = await Promise.all([bed.plugin(), bed.plugin({ binary: FAKE, limit: 3 }), bed.plugin()]);
  const results = await Promise.all(all.map((hooks, n) => call(hooks, { n })));
  delete process.env.OPENCODE_SERVER_PASSWORD;
  assert.deepEqual(results.map(({ title, output }) => [title, output]), [["echo", '{"n":0}'], ["echo", '{"n":1}'], ["echo", '{"n":2}']]);
  const log = bed.log();
  assert.deepEqual(log[0]?.argv, ["serve"]);
  assert.equal(log[0]?.env?.OPENCODE_SERVER_PASSWORD, undefined);
  assert.equal(log[0]?.env?.XDG_STATE_HOME, bed.dir);
  assert.deepEqual(bed.methods(), ["initialize", "workspace/open", "workspace/open", "workspace/open", "tool/call", "tool/call", "tool/call"]);
  assert.deepEqual(log[1]?.params?.host, { pid: process.pid, mode: "other", restarts: 0 });
  const second = { workspace: "wrk_2", directory: bed.dir, worktree: bed.dir, project: "prj", options: { binary: FAKE, limit: 3 } };
  assert.deepEqual(log.find(({ params }) => params?.workspace === "wrk_2")?.params, second);
  assert.equal(statSync(join(bed.dir, "opencode-sidecar")).mode & 0o777, 0o700);
  await bed.plugin();
  await eventually("the new workspace is opened", () => bed.methods().filter((method) => method === "workspace/open").length === 4);
});

scenario("events cross in order, during the start too, and only those of the manifest", "", async (bed) => {
  const hooks = await bed.plugin();
  const idle = (n: number) => hooks.event({ event: { type: "session.idle", properties: { n } } });
  const part = (type: string) => hooks.event({ event: { type: "message.part.updated", properties: { part: { type } } } });
  await idle(0);
  const first = call(hooks, {});
  await idle(1);
  await hooks.event({ event: { type: "message.part.delta", properties: {} } });
  await hooks.event({ event: { type: "constructor", properties: {} } });
  await part("reasoning");
  await part("step-finish");
  await idle(2);
  await first;
  await idle(3);
  await hooks.event({ event: { type: "session.idle", properties: { text: "x".repeat(33 << 20) } } }); // over the limit: lost
  await call(hooks, {});
  const events = bed.log().filter(({ method }) => method === "event");
  assert.deepEqual(events.map(({ params }) => params?.properties), [{ n: 1 }, { part: { type: "step-finish" } }, { n: 2 }, { n: 3 }]);
});

scenario("of a tool's part its state crosses, not what it printed; of a message its head, not its diffs", "", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const part = { id: "prt_1", sessionID: "ses_1", type: "tool", tool: "bash", state: { status: "completed", output: "x".repeat(1 << 20) } };
  await hooks.event({ event: { type: "message.part.updated", properties: { part } } });
  await call(hooks, {});
  const [event] = bed.log().filter(({ method }) => method === "event");
  assert.deepEqual(event?.params?.properties, { part: { ...part, state: { status: "completed" } } });
  const info = { id: "msg_1", sessionID: "ses_1", role: "user", time: { created: 1 } };
  await hooks.event({ event: { type: "message.updated", properties: { sessionID: "ses_1", info: { ...info, summary: { diffs: ["x".repeat(1 << 20)] } } } } });
  await call(hooks, {});
  assert.deepEqual(bed.log().findLast(({ method }) => method === "event")?.params?.properties, { sessionID: "ses_1", info });
});

scenario("of a call each state crosses once, with its arguments shortened and the files that it changed", "", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const input = { filePath: "/w/a.go", newString: "x".repeat(1 << 20) };
  const change = (id: string, status: string, more: object = {}) => {
    const part = { id, sessionID: "ses_1", messageID: "msg_1", type: "tool", tool: "edit", callID: "call_1", state: { status, input, ...more } };
    return hooks.event({ event: { type: "message.part.updated", properties: { part } } });
  };
  const metadata = { diff: "x".repeat(1 << 20), filediff: { file: "/w/a.go", patch: "p" } };
  for (let n = 0; n < 3; n++) for (const id of ["prt_1", "prt_2"]) await change(id, "running", n ? { metadata } : {});
  await change("prt_1", "completed", { metadata, output: "done" });
  await call(hooks, {});
  const parts = bed.log().filter(({ method }) => method === "event").map(({ params }) => (params?.properties as { part: { id: string; state: object } }).part);
  const slim = { filePath: "/w/a.go", newString: `${"x".repeat(200)}… 1048576 ${createHash("sha1").update(input.newString).digest("hex").slice(0, 8)}` };
  assert.deepEqual(parts.map(({ id, state }) => [id, state]), [
    ["prt_1", { status: "running", input: slim }],
    ["prt_2", { status: "running", input: slim }],
    ["prt_1", { status: "completed", input: slim, metadata: { filediff: { file: "/w/a.go" } } }],
  ]);
});

scenario("what the sidecar wants to survive a compaction is added to it", "", async (bed) => {
  const hooks = await bed.plugin();
  const output = { context: ["theirs"] };
  await hooks["experimental.session.compacting"]({ sessionID: "ses_1" }, output);
  assert.deepEqual(output.context, ["theirs"]); // it does not run
  await call(hooks, {});
  await hooks["experimental.session.compacting"]({ sessionID: "ses_1" }, output);
  assert.deepEqual(output.context, ["theirs", "carry ses_1", "on"]);
});

scenario("our agents and commands are added, and nothing else is changed", "", async (bed) => {
  const theirs: Config = { agent: { build: { temperature: 1 } }, command: { mine: { template: "m" } }, default_agent: "plan", mode: {} };
  const config: Config = structuredClone(theirs);
  await configured(await bed.plugin(), config);
  const rules = (of: Config) => of.agent!.Reviewer!.permission;
  const ours = (list: readonly { name: string }[]) => Object.fromEntries(list.map(({ name, ...one }) => [name, one]));
  assert.deepEqual(config, { ...theirs, agent: { ...theirs.agent, ...ours(AGENTS) }, command: { ...theirs.command, ...ours(COMMANDS) } });
  const empty: Config = {};
  await configured(await bed.plugin(), empty);
  assert.notEqual(rules(empty), rules(config)); // no workspace changes another's
  assert.deepEqual([empty.agent, empty.command], [ours(AGENTS), ours(COMMANDS)]);
  assert.deepEqual([bed.spawns(), bed.seen], [0, []]);
});

scenario("an agent with a prompt is the user's own; one without says how ours is wanted", "", async (bed) => {
  const own = { prompt: "mine", mode: "primary", permission: {}, options: {} };
  const config: Config = {
    agent: {
      Worker: structuredClone(own),
      Reviewer: { model: "p/m", color: "#000000", hidden: false, prompt: "", options: { effort: "high" }, permission: { bash: "ask" } },
      Planner: { permission: { "*": "deny", edit: "allow" } },
    },
  };
  await configured(await bed.plugin(), config);
  const [planner, reviewer] = ["Planner", "Reviewer"].map((one) => AGENTS.find(({ name }) => name === one)!);
  assert.deepEqual(config.agent!.Worker, own);
  const { name: _, ...rest } = reviewer!;
  assert.deepEqual(config.agent!.Reviewer, {
    ...rest, model: "p/m", color: "#000000", hidden: false, options: { effort: "high" }, permission: { ...reviewer!.permission, bash: "ask" },
  });
  assert.equal(config.agent!.Planner!.prompt, planner!.prompt);
  assert.deepEqual(Object.entries(config.agent!.Planner!.permission as object), [["*", "deny"], ["edit", "allow"]]); // in the order that gives it its meaning
});

scenario("what a user has disabled stays disabled, and the commands do without it", "", async (bed) => {
  const config: Config = { agent: { Commander: { disable: true } } };
  await configured(await bed.plugin(), config);
  assert.equal(config.agent!.Commander!.disable, true);
  assert.ok(!("agent" in config.command!.task!));
});

const ENTRY = { id: "x", description: "d", systemPrompt: "I am x", canWrite: true, canBash: true };

scenario("agents.json adds agents under their names, as an object or as a list", "", async (bed) => {
  const hooks = await bed.plugin();
  const read = async (content: unknown, config: Config = {}) => {
    bed.agentsFile(typeof content === "string" ? content : JSON.stringify(content));
    await configured(hooks, config);
    AGENTS.forEach(({ name }) => name in ((content ?? {}) as object) || delete config.agent![name]);
    return config.agent;
  };
  const plain = { description: "d", mode: "subagent", prompt: "I am x", permission: {}, options: {} };
  const all = { mode: "primary", color: "#00ff00", hidden: true };
  const full = { ...ENTRY, ...all, thinking: true, budgetTokens: 4000, canWrite: false, canBash: false };
  assert.deepEqual(await read({ a: ENTRY, "größer 2": full }), {
    a: plain,
    "größer 2": { ...plain, ...all, permission: { edit: "deny", bash: "deny" }, options: { thinking: { type: "enabled", budgetTokens: 4000 } } },
  });
  assert.deepEqual(await read([ENTRY, { ...ENTRY, id: "y" }]), { x: plain, y: plain });
  assert.deepEqual((await read({ a: { ...ENTRY, thinking: false, budgetTokens: 1 }, b: { ...ENTRY, budgetTokens: 1 }, c: { ...ENTRY, thinking: true } }) as Record<string, { options: object }>), {
    a: plain, b: { ...plain, options: { thinking: { type: "enabled", budgetTokens: 1 } } }, c: { ...plain, options: { thinking: { type: "enabled" } } },
  });
  assert.deepEqual(await read({ Worker: ENTRY }), { Worker: plain }); // in place of ours
  const own = { agent: { x: { prompt: "the user's" }, y: { model: "p/m" } } };
  assert.deepEqual(await read([ENTRY, { ...ENTRY, id: "y" }], own), { x: { prompt: "the user's" }, y: { ...plain, model: "p/m" } });
  assert.deepEqual(bed.seen, []);
});

scenario("a wrong entry of agents.json is left out with a sentence, and the others are kept", "", async (bed) => {
  const { canWrite: _, ...open } = ENTRY;
  const wrong = {
    a: open, b: { ...ENTRY, canBash: "no" }, c: { ...ENTRY, mode: "weird" }, d: { ...ENTRY, color: "zzz" }, e: { ...ENTRY, systemPrompt: "" },
    f: null, g: 3, h: [], build: ENTRY, "../i": ENTRY, constructor: ENTRY, j: { ...ENTRY, hidden: "yes" }, k: { ...ENTRY, budgetTokens: "many" },
  };
  const wants = [
    /"a" is left out: canWrite must be a boolean/, /"b".*canBash must be a boolean/, /"c".*mode must be primary or subagent/, /"d".*color must be #rrggbb/, /"e".*systemPrompt is empty/,
    /"f".*description must be a string/, /"g".*description/, /"h".*description/, /"build".*OpenCode has an agent of this name/, /"\.\.\/i".*its name/, /"constructor".*its name/, /"j".*hidden must be a boolean/,
    /"k".*budgetTokens must be a number/,
  ];
  bed.agentsFile(`{"__proto__": ${JSON.stringify(ENTRY)}, ${JSON.stringify({ ...wrong, good: ENTRY, limited: { ...ENTRY, maxTokens: 5 } }).slice(1)}`);
  const config: Config = {};
  await configured(await bed.plugin(), config);
  assert.deepEqual(Object.keys(config.agent!).sort(), [...AGENTS.map(({ name }) => name), "good", "limited"].sort());
  const told = bed.told();
  assert.equal(told.length, wants.length + 2, told.join("\n"));
  for (const want of [...wants, /"__proto__".*its name/, /maxTokens of the agent "limited" has no effect/]) assert.ok(told.some((text) => want.test(text)), `${want}: ${told.join("\n")}`);
  bed.agentsFile(JSON.stringify([null, open, { ...ENTRY, id: 4 }, ENTRY]));
  const list: Config = {};
  await configured(await bed.plugin(), list);
  assert.ok("x" in list.agent!);
  assert.match(bed.told().at(-3)!, /the agent without an id is left out/);
});

scenario("an agents.json that cannot be read is ignored with a sentence, and never waited for", "", async (bed) => {
  const tries: [string, RegExp | undefined][] = [
    ["{", /agents\.json is ignored: it is not JSON/], ["3", /neither an object nor a list/], ["null", /neither an object nor a list/], ["{}", undefined], ["[]", undefined],
    [`{"a": "${"x".repeat(256 << 10)}"}`, /is ignored: it has 262153 bytes, over the limit of 262144/],
  ];
  for (const [content, want] of tries) {
    bed.agentsFile(content);
    const config: Config = {};
    await configured(await bed.plugin(), config);
    assert.deepEqual(Object.keys(config.agent!), AGENTS.map(({ name }) => name));
    const told = bed.told();
    assert.deepEqual([told.length, want?.test(told[0]!)], want ? [1, true] : [0, undefined], `${content.slice(0, 9)}: ${told}`);
    bed.seen.length = 0;
  }
  const path = bed.agentsFile("");
  const make = [() => mkdirSync(path), () => symlinkSync("agents.json", path), ...(process.platform === "win32" ? [] : [() => void execFileSync("mkfifo", [path])])];
  for (const [n, one] of make.entries()) {
    rmSync(path, { recursive: true });
    one();
    const config: Config = {};
    await configured(await bed.plugin(), config);
    assert.deepEqual([bed.told().length, Object.keys(config.agent!).length], [1, AGENTS.length]);
    assert.match(bed.told()[0]!, n === 1 ? /is ignored: ELOOP/ : /is ignored: it is not a regular file/);
    bed.seen.length = 0;
  }
  rmSync(dirname(path), { recursive: true });
  writeFileSync(dirname(path), "no folder");
  await configured(await bed.plugin());
  assert.deepEqual(bed.told(), []);
});

scenario("a configuration that cannot be changed does not stop OpenCode", "", async (bed) => {
  await configured(await bed.plugin(), Object.freeze({}));
  await configured(await bed.plugin(), { agent: Object.freeze({}) });
});

scenario("a command of ours starts the sidecar, whose answer takes the place of its text", "", async (bed) => {
  const hooks = await configured(await bed.plugin());
  assert.deepEqual(await enter(hooks, "status", "a\n@b  "), [{ type: "text", text: "status: a\n@b  " }]);
  assert.deepEqual(bed.methods(), ["initialize", "workspace/open", "hook/command"]);
  assert.deepEqual(bed.log().at(-1)?.params, { workspace: "wrk_1", command: "status", sessionID: "ses_1", arguments: "a\n@b  " });
  assert.deepEqual(await enter(hooks, "task", "x"), UNTOUCHED); // an answer without text
  assert.deepEqual(await enter(hooks, "review"), UNTOUCHED);
  assert.equal(bed.methods().filter((method) => method === "hook/command").length, 2);
  assert.deepEqual(bed.told(), []);
});

scenario("a command that the user has too never reaches the sidecar", "", async (bed) => {
  const own = { description: "mine", template: "my stop" };
  const config: Config = { command: { stop: { ...own } } };
  const hooks = await configured(await bed.plugin(), config);
  assert.deepEqual(config.command!.stop, own);
  assert.deepEqual(await enter(hooks, "stop"), UNTOUCHED);
  assert.equal(bed.spawns(), 0);
  const other = await configured(await bed.plugin()); // another folder, without one
  assert.deepEqual(await enter(other, "stop"), [{ type: "text", text: "stop: " }]);
  assert.deepEqual(await enter(hooks, "stop"), UNTOUCHED);
});

scenario("commands stay ours when OpenCode hands out the same configuration again", "", async (bed) => {
  const config: Config = {};
  await configured(await bed.plugin(), config);
  const again = await configured(await bed.plugin(), config);
  assert.deepEqual(await enter(again, "stop"), [{ type: "text", text: "stop: " }]);
});

for (const mode of ["crash", "silent", "refuse", "no-command"])
  scenario(`where the sidecar cannot answer a command runs as it is, and for a mission the user is told (${mode})`, mode, async (bed) => {
    const hooks = await configured(await bed.plugin());
    assert.deepEqual(await enter(hooks, "stop"), UNTOUCHED);
    assert.deepEqual(bed.told(), []);
    assert.deepEqual(await enter(hooks, "task", "x"), UNTOUCHED);
    await eventually("it is told", () => bed.told().length === 1);
    assert.match(bed.told()[0]!, /nobody drives this mission/);
  });

scenario("a command starts the sidecar whenever none runs, and tries even one that was late", "crash", async (bed) => {
  const hooks = await configured(await bed.plugin());
  await enter(hooks, "stop");
  await bed.ended();
  process.env.FAKE_MODE = "";
  const [part] = (await enter(hooks, "stop")) as { text: string }[];
  assert.equal(part!.text, "stop: ");
  const pid = bed.starts().at(-1)!;
  process.kill(pid, "SIGSTOP");
  await say(hooks); // is late
  const pending = enter(hooks, "stop", "now");
  process.kill(pid, "SIGCONT");
  assert.deepEqual(await pending, [{ type: "text", text: "stop: now" }]);
  process.kill(pid, "SIGSTOP");
  assert.deepEqual(await enter(hooks, "stop"), UNTOUCHED);
  process.kill(pid, "SIGCONT");
});

scenario("warnings about options reach the user", "warn", async (bed) => {
  await call(await bed.plugin(), {});
  await eventually("both are shown", () => bed.seen.length === 2);
  assert.deepEqual(bed.seen.map(({ name }) => name), ["app.log", "tui.showToast"]);
  assert.match(JSON.stringify(bed.seen), /"maxDepht\\" is unknown/);
});

scenario("a second copy of the plugin registers nothing and says so once", "", async (bed) => {
  const copy = join(bed.dir, "copy.mjs");
  copyFileSync(PLUGIN, copy);
  const hooks = await bed.plugin();
  assert.deepEqual([await bed.plugin(undefined, copy), await bed.plugin(undefined, copy)], [{}, {}]);
  await call(hooks, {});
  assert.deepEqual(bed.seen.map(({ name }) => name), ["app.log", "tui.showToast"]);
  assert.match(JSON.stringify(bed.seen[0]?.options), /loaded twice.*copy\.mjs/);
  assert.equal(bed.starts().length, 1);
});

scenario("an error answer is the error of the tool", "", async (bed) => {
  await assert.rejects(call(await bed.plugin(), { do: "error" }), { message: "prompt must not be empty" });
});

scenario("a death fails the pending calls at once and the sidecar comes back by itself", "", async (bed) => {
  const hooks = await bed.plugin();
  const pid = (await call(hooks, {})).metadata.pid;
  const pending = [call(hooks, { do: "hang" }), call(hooks, { do: "hang" })];
  pending.forEach((one) => one.catch(() => {}));
  await eventually("both calls arrived", () => bed.methods().filter((method) => method === "tool/call").length === 3);
  const start = performance.now();
  process.kill(pid, "SIGKILL");
  const message = "opencode-sidecar: the sidecar stopped unexpectedly (signal SIGKILL) while this call was running; it restarts with the next call";
  for (const one of pending) await assert.rejects(one, { message });
  assert.ok(performance.now() - start < 200);
  await eventually("it was restarted without a call", () => bed.methods().filter((method) => method === "workspace/open").length === 2);
  assert.equal((bed.log().findLast(({ method }) => method === "initialize")?.params?.host as { restarts: number }).restarts, 1);
  assert.notEqual((await call(hooks, {})).metadata.pid, pid);
  assert.equal(bed.starts().length, 2);
});

scenario("a sidecar that keeps dying is left alone, and the error names the log", "", async (bed) => {
  const hooks = await bed.plugin();
  for (let death = 1; death <= 4; death++) await assert.rejects(call(hooks, { do: "crash" }), /stopped unexpectedly \(signal SIGKILL\)/);
  await assert.rejects(call(hooks, {}), (error: Error) => /died 4 times within a minute/.test(error.message) && error.message.includes(join(bed.dir, "opencode-sidecar", "sidecar.log")));
  assert.equal(bed.starts().length, 4);
  await bed.ended();
  const notes = bed.record().filter(({ note }) => note);
  assert.deepEqual(notes.map(({ note }) => note), Array(4).fill(["spawn", "exit"]).flat());
  const waits = [2, 4, 6].map((n) => notes[n]!.t - notes[n - 1]!.t);
  [0, 250, 1000].forEach((least, n) => assert.ok(waits[n]! >= least - 5 && waits[n]! < least + 200, `${waits}`));
});

scenario("a sidecar that never ran is not started again by itself", "crash", async (bed) => {
  const hooks = await bed.plugin();
  await assert.rejects(call(hooks, {}), /stopped unexpectedly \(exit code 3\)/);
  await bed.ended();
  assert.equal(bed.spawns(), 1);
  process.env.FAKE_MODE = "";
  assert.equal((await call(hooks, { n: 1 })).output, '{"n":1}');
});

for (const mode of ["refuse", "other-version"])
  scenario(`a sidecar of another version is refused for good (${mode})`, mode, async (bed) => {
    const hooks = await bed.plugin();
    for (let n = 0; n < 2; n++) await assert.rejects(call(hooks, {}), /do not belong together; reinstall opencode-sidecar/);
    await bed.ended();
    assert.equal(bed.spawns(), 1);
  });

scenario("a missing binary is told with what was tried", "", async (bed) => {
  const missing = join(bed.dir, "missing");
  await assert.rejects(call(await bed.plugin({ binary: missing }), {}), (error: Error) => error.message.includes(`no sidecar binary at ${missing}; reinstall`));
  process.env.OPENCODE_SIDECAR_BIN = FAKE;
  delete (globalThis as Record<symbol, unknown>)[KEY];
  assert.equal((await call(await bed.plugin({}), {})).title, "echo");
  const plain = join(bed.dir, "plain");
  writeFileSync(plain, "not executable");
  delete (globalThis as Record<symbol, unknown>)[KEY];
  await assert.rejects(call(await bed.plugin({ binary: plain }), {}), /EACCES/);
});

const FOUND = ["option", "environment", "package", "checkout"] as const;

FOUND.forEach((source, place) =>
  scenario(`the binary comes from option, environment, platform package, checkout, in this order (${source})`, "", async (bed) => {
    const copy = join(bed.dir, "shim", "dist", "index.js");
    const paths = {
      option: join(bed.dir, "option"),
      environment: join(bed.dir, "environment"),
      package: join(bed.dir, "node_modules", "@opencode-sidecar", `${process.platform}-${process.arch}`, "bin", "sidecar"),
      checkout: join(bed.dir, "bin", "sidecar"),
    };
    mkdirSync(dirname(copy), { recursive: true });
    copyFileSync(PLUGIN, copy);
    for (const name of FOUND.slice(place)) {
      mkdirSync(dirname(paths[name]), { recursive: true });
      writeFileSync(paths[name], `#!/bin/sh\nFOUND=${name} exec "${FAKE}" "$@"\n`, { mode: 0o755 });
    }
    if (place <= 1) process.env.OPENCODE_SIDECAR_BIN = paths.environment;
    await call(await bed.plugin(place === 0 ? { binary: paths.option } : {}, copy), {});
    assert.equal(bed.log()[0]?.env?.FOUND, source);
  }));

scenario("where no binary is, both places are named", "", async (bed) => {
  const copy = join(bed.dir, "shim", "dist", "index.js");
  mkdirSync(dirname(copy), { recursive: true });
  copyFileSync(PLUGIN, copy);
  const { message } = await call(await bed.plugin({}, copy), {}).then(() => assert.fail(), (cause: Error) => cause);
  assert.ok(message.includes(`@opencode-sidecar/${process.platform}-${process.arch}/bin/sidecar or ${join(bed.dir, "bin", "sidecar")};`), message);
});

scenario("a log that has grown makes room at the next start", "", async (bed) => {
  const log = join(bed.dir, "opencode-sidecar", "sidecar.log");
  const big = 5_000_001;
  mkdirSync(dirname(log));
  writeFileSync(`${log}.1`, "the one before");
  writeFileSync(log, "");
  truncateSync(log, big);
  const hooks = await bed.plugin();
  await call(hooks, {});
  assert.deepEqual([statSync(log).size, statSync(log).mode & 0o777, statSync(`${log}.1`).size], [0, 0o600, big]);
  await assert.rejects(call(hooks, { do: "crash" }));
  await call(hooks, {});
  assert.deepEqual([bed.spawns(), statSync(`${log}.1`).size], [2, big]); // a small one stays
});

scenario("hostile bytes end the connection, not the host", "", async (bed) => {
  const hooks = await bed.plugin();
  for (const bytes of ["Content-Length: 99999999999\r\n\r\n", "Content-Length: 4\r\n\r\n{{{{", "goroutine 1 [running]:\r\n\r\n"])
    await assert.rejects(call(hooks, { do: "garbage", bytes }), /signal SIGKILL, it broke the protocol/);
});

scenario("a stopped sidecar costs one deadline, not one per hook", "", async (bed) => {
  const hooks = await bed.plugin();
  const { pid } = (await call(hooks, {})).metadata;
  process.kill(pid, "SIGSTOP");
  const chat = () => hooks["chat.message"]({ sessionID: "ses_1" }, { message: { id: "msg_1" } });
  const first = await timed(chat());
  assert.ok(first > 900 && first < 1300, `${first} ms`);
  const rest = await timed(Promise.all([chat(), hooks["experimental.chat.messages.transform"]({}, turn())]));
  assert.ok(rest < 20, `${rest} ms`);
  process.kill(pid, "SIGCONT");
  await eventually("hooks cross again", () => {
    void chat();
    return bed.methods().filter((method) => method === "hook/chat.message").length > 1;
  });
});

scenario("a dead sidecar costs a hook nothing", "", async (bed) => {
  const hooks = await bed.plugin();
  const { pid } = (await call(hooks, {})).metadata;
  process.kill(pid, "SIGSTOP");
  const held = timed(hooks["experimental.chat.messages.transform"]({}, turn()));
  process.kill(pid, "SIGKILL");
  assert.ok((await held) < 200);
});

scenario("where tasks were kept the first message starts a sidecar, and waits until it has the message", "", async (bed) => {
  const hooks = await bed.plugin();
  bed.keepTasks();
  await hooks.event({ event: { type: "session.idle", properties: { sessionID: "ses_1" } } });
  await hooks["experimental.chat.messages.transform"]({}, turn());
  await hooks["experimental.session.compacting"]({ sessionID: "ses_1" }, { context: [] });
  assert.equal(bed.spawns(), 0); // no person has said anything
  await say(hooks);
  assert.deepEqual(bed.methods(), ["initialize", "workspace/open", "hook/chat.message"]);
  assert.deepEqual(bed.log().at(-1)?.params, { sessionID: "ses_1", messageID: "msg_1", agent: "plan", workspace: "wrk_1" });
  await say(hooks, "msg_2");
  assert.deepEqual(bed.methods().slice(3), ["hook/chat.message"]);
  assert.equal(bed.spawns(), 1);
});

scenario("of a message that it sends itself the sidecar need not be told", "", async (bed) => {
  const hooks = await bed.plugin();
  const body = { messageID: "msg_ours", parts: [] };
  await call(hooks, { do: "host", method: "host/session.promptAsync", params: { path: { id: "ses_1" }, body } });
  assert.deepEqual(bed.seen.map(({ name }) => name), ["session.promptAsync"]);
  await say(hooks, "msg_ours");
  await say(hooks, "msg_theirs");
  assert.deepEqual(bed.log().filter(({ method }) => method === "hook/chat.message").map(({ params }) => (params as { messageID: string }).messageID), ["msg_theirs"]);
});

scenario("where no tasks were kept a message starts nothing until there are some", "", async (bed) => {
  const hooks = await bed.plugin();
  await say(hooks);
  assert.equal(bed.spawns(), 0);
  bed.keepTasks(); // by another OpenCode
  await say(hooks, "msg_2");
  assert.deepEqual(bed.methods(), ["initialize", "workspace/open", "hook/chat.message"]);
});

scenario("tasks may be kept in a file that the environment names", "", async (bed) => {
  const hooks = await bed.plugin();
  bed.keepTasks();
  process.env.OPENCODE_SIDECAR_STORE = join(bed.dir, "elsewhere.db");
  await say(hooks);
  assert.equal(bed.spawns(), 0);
  writeFileSync(process.env.OPENCODE_SIDECAR_STORE, "");
  await say(hooks, "msg_2");
  assert.equal(bed.spawns(), 1);
});

scenario("a sidecar that a message cannot start is not tried again, and the message goes on", "crash", async (bed) => {
  const hooks = await bed.plugin();
  bed.keepTasks();
  const took = await timed(Promise.all([say(hooks), say(hooks, "msg_2")]));
  assert.ok(took < 1000, `${took} ms`);
  await bed.ended();
  await say(hooks, "msg_3");
  assert.equal(bed.spawns(), 1);
});

scenario("a sidecar that hangs as a message starts it costs one deadline", "silent", async (bed) => {
  const hooks = await bed.plugin();
  bed.keepTasks();
  const first = await timed(say(hooks));
  assert.ok(first > 900 && first < 1300, `${first} ms`);
  const next = await timed(say(hooks, "msg_2"));
  assert.ok(next < 20, `${next} ms`);
  assert.equal(bed.spawns(), 1);
});

scenario("transform appends to the message in place", "", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const output = turn();
  await hooks["experimental.chat.messages.transform"]({}, output);
  const [part] = output.messages[0]!.parts;
  assert.match(part!.id, /^prt_[0-9a-f]{32}$/);
  assert.deepEqual({ ...part, id: "" }, { id: "", sessionID: "ses_1", messageID: "msg_u", type: "text", text: "appended 1", synthetic: true });
  await hooks["experimental.chat.messages.transform"]({}, { messages: [] });
});

scenario("transform is called again as long as the sidecar asks for it", "again", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const output = turn();
  await hooks["experimental.chat.messages.transform"]({}, output);
  assert.deepEqual(output.messages[0]!.parts.map(({ text }) => text), ["appended 3"]);
});

scenario("Esc rejects at once and cancels the call", "", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const stop = new AbortController();
  const pending = call(hooks, { do: "hang" }, { abort: stop.signal });
  await eventually("the call arrived", () => bed.methods().filter((method) => method === "tool/call").length === 2);
  const id = bed.log().findLast(({ method }) => method === "tool/call")?.id;
  stop.abort();
  assert.ok((await timed(pending)) < 20);
  await assert.rejects(pending, { name: "AbortError" });
  await eventually("the cancel arrived", () => bed.log().some(({ method, params }) => method === "$/cancelRequest" && params?.id === id));
});

scenario("Esc during the start rejects at once and sends no call", "silent", async (bed) => {
  const stop = new AbortController();
  const pending = call(await bed.plugin(), {}, { abort: stop.signal });
  await eventually("it started", () => bed.methods().includes("initialize"));
  stop.abort();
  assert.ok((await timed(pending)) < 20);
  assert.deepEqual(bed.methods(), ["initialize"]);
});

scenario("a sidecar that does not answer the handshake is ended", "silent", async (bed) => {
  const took = performance.now();
  await assert.rejects(call(await bed.plugin(), {}), /did not start within 5000 ms; its log is/);
  assert.ok(performance.now() - took < 6000);
  await eventually("it is gone", () => !alive(bed.starts()[0]!));
});

scenario("the sidecar calls the host, until the workspace is closed", "", async (bed) => {
  const hooks = await bed.plugin();
  const toast = { do: "host", method: "host/toast", params: { body: { message: "hi", variant: "info" } } };
  assert.deepEqual(JSON.parse((await call(hooks, toast)).output), { result: true });
  assert.deepEqual(bed.seen.map(({ name }) => name), ["tui.showToast"]);
  const asked: object[] = [];
  const ask = { do: "host", method: "host/tool.ask", params: { permission: "bash", patterns: ["ls"], always: [], metadata: {} } };
  const answers = await Promise.all([1, 2].map((n) => call(hooks, ask, { callID: "same", ask: async (question: object) => void asked.push({ n, ...question }) })));
  assert.deepEqual(answers.map(({ output }) => JSON.parse(output)), [{ result: {} }, { result: {} }]);
  assert.deepEqual(asked, [1, 2].map((n) => ({ n, ...ask.params })));
  const denied = call(hooks, ask, { ask: async () => Promise.reject(Object.assign(new Error("no"), { name: "PermissionDeniedError" })) });
  assert.deepEqual(JSON.parse((await denied).output), { error: { code: -32011, message: "no", data: { kind: "host", name: "PermissionDeniedError" } } });
  const cancelled = call(hooks, { ...ask, do: "host-cancelled" }, { ask: () => new Promise(() => {}) });
  assert.equal((JSON.parse((await cancelled).output) as { error: { code: number } }).error.code, -32800);
  const other = await bed.plugin();
  await hooks.dispose();
  const late = call(other, { ...toast, params: { ...toast.params, workspace: "wrk_1" } });
  assert.match((await late).output, /the workspace wrk_1 is closed/);
  await assert.rejects(call(hooks, {}), /OpenCode has closed/);
});

scenario("dispose waits 300 ms at most", "slow-close", async (bed) => {
  const hooks = await bed.plugin();
  await call(hooks, {});
  const took = await timed(hooks.dispose());
  assert.ok(took > 250 && took < 400, `${took} ms`);
  assert.ok(!bed.record().some(({ msg }) => msg?.method === "$/cancelRequest"));
});

scenario("a close that comes during the start ends the sidecar", "", async (bed) => {
  const hooks = await bed.plugin();
  const pending = call(hooks, {});
  await hooks.dispose();
  await assert.rejects(pending, /OpenCode has closed/);
  assert.deepEqual(bed.methods().slice(0, 1), ["initialize"]);
  await eventually("it is told to end", () => bed.methods().includes("exit"));
});

scenario("a sidecar that ends itself after the last close stays ended until it is needed", "exit-on-close", async (bed) => {
  const hooks = await bed.plugin();
  const { pid } = (await call(hooks, {})).metadata;
  await hooks.dispose();
  await bed.ended();
  assert.equal(bed.spawns(), 1);
  assert.notEqual((await call(await bed.plugin(), {})).metadata.pid, pid);
  assert.equal((bed.log().findLast(({ method }) => method === "initialize")?.params?.host as { restarts: number }).restarts, 0);
});

scenario("big and multi-byte payloads cross both ways; one over the limit fails alone", "", async (bed) => {
  const hooks = await bed.plugin();
  const text = "größer ☃ 𝄞 ".repeat(300_000);
  assert.equal((JSON.parse((await call(hooks, { text })).output) as { text: string }).text, text);
  await assert.rejects(call(hooks, { text: "x".repeat(33 << 20) }), /over the limit/);
  assert.equal((await call(hooks, { n: 1 })).output, '{"n":1}');
});

scenario("the recorder writes what crosses", "", async (bed) => {
  await assert.rejects(call(await bed.plugin(), { do: "crash" }));
  const shape = bed.record().map(({ note, dir, msg }) => note ?? `${dir} ${msg?.method ?? "answer"}`);
  assert.deepEqual(shape.slice(0, 7), ["spawn", "out initialize", "in answer", "out workspace/open", "in answer", "out tool/call", "exit"]);
});

scenario("an idle sidecar keeps no process alive, and a pending call does", "", async (bed) => {
  const script = join(bed.dir, "main.mjs");
  writeFileSync(script, `
    const plugin = (await import(${JSON.stringify(pathToFileURL(PLUGIN).href)})).default;
    const hooks = await plugin.server({ client: {}, directory: "/", worktree: "/", project: { id: "p" } }, { binary: ${JSON.stringify(FAKE)} });
    const context = { sessionID: "s", messageID: "m", callID: "c", agent: "a", abort: new AbortController().signal };
    const result = await hooks.tool[${JSON.stringify(TOOL)}].execute({ n: 1 }, context);
    console.log(result.output);
  `);
  const start = performance.now();
  const child = spawn(process.execPath, [script], { env: process.env, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve) => child.on("close", resolve));
  const took = performance.now() - start;
  assert.deepEqual([code, output], [0, '{"n":1}\n']);
  assert.ok(took < 3000, `${took} ms`);
  await eventually("the sidecar saw the end", () => !alive(bed.starts()[0]!));
});

// The parts that need no process: frames, the peer, the host table, the recorder.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { frameReader, frameWriter, MAX_FRAME } from "../src/frame.js";
import { type Ask, type Client, hostServer } from "../src/host.js";
import { mode } from "../src/hub.js";
import { deadline, Late, Peer, RpcError, type Serve, until } from "../src/peer.js";
import { recorder } from "../src/record.js";
import { EVENT, pick } from "../src/slim.js";

const bodies = ['{"a":1}', '"größer ☃ 𝄞"', `"${"x".repeat(300)}"`, "[]"];

function framed(list: readonly string[]): Buffer {
  return Buffer.concat(list.map((body) => Buffer.from(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)));
}

test("frames survive a cut at every byte", () => {
  const bytes = framed(bodies);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const got: string[] = [];
    const read = frameReader((body) => got.push(body));
    read(bytes.subarray(0, cut));
    read(bytes.subarray(cut));
    assert.deepEqual(got, bodies, `cut at ${cut}`);
  }
});

test("frames survive chunks of any size", () => {
  const bytes = framed(bodies);
  for (const size of [1, 2, 3, 7, 64]) {
    const got: string[] = [];
    const read = frameReader((body) => got.push(body));
    for (let at = 0; at < bytes.length; at += size) read(bytes.subarray(at, at + size));
    assert.deepEqual(got, bodies, `chunks of ${size}`);
  }
});

test("other header fields and spellings are accepted", () => {
  const got: string[] = [];
  frameReader((body) => got.push(body))(Buffer.from("Content-Type: x; charset=utf-8\r\ncontent-length:2\r\n\r\n{}"));
  assert.deepEqual(got, ["{}"]);
});

test("a frame of the largest size is read in linear time, one byte more is refused", () => {
  const body = Buffer.alloc(MAX_FRAME, 0x61);
  let got = 0;
  const read = frameReader((text) => (got = text.length));
  read(Buffer.from(`Content-Length: ${MAX_FRAME}\r\n\r\n`));
  const start = performance.now();
  for (let at = 0; at < body.length; at += 65536) read(body.subarray(at, at + 65536));
  assert.equal(got, MAX_FRAME);
  assert.ok(performance.now() - start < 3000);
  assert.throws(() => frameReader(() => {})(Buffer.from(`Content-Length: ${MAX_FRAME + 1}\r\n\r\n`)), /over the limit/);
});

test("a stream that is no frame is refused", () => {
  for (const text of ["Content-Length: -1\r\n\r\n", "Content-Length: 1e9\r\n\r\n", "panic: oh\r\n\r\n", "x".repeat(2000)])
    assert.throws(() => frameReader(() => {})(Buffer.from(text)), /frame/, text.slice(0, 30));
});

test("bodies of one turn leave in one write, in order, counted in bytes", async () => {
  const writes: string[] = [];
  const write = frameWriter((frames) => writes.push(frames));
  for (const body of bodies) write(body);
  assert.deepEqual(writes, []);
  await Promise.resolve();
  assert.deepEqual(writes, [framed(bodies).toString()]);
  write("{}");
  await Promise.resolve();
  assert.equal(writes.length, 2);
  assert.throws(() => write("☃".repeat(MAX_FRAME / 2)), RangeError);
});

function pair(serve: Serve = async () => ({})): { peer: Peer; sent: Record<string, unknown>[] } {
  const sent: Record<string, unknown>[] = [];
  return { peer: new Peer((json) => sent.push(JSON.parse(json) as Record<string, unknown>), serve), sent };
}

test("answers come back to their calls, in any order", async () => {
  const { peer, sent } = pair();
  const [one, two] = [peer.request("ping", { payload: 1 }), peer.request("ping", { payload: 2 })];
  assert.deepEqual(sent.map(({ id }) => id), [1, 2]);
  peer.receive('{"id":2,"result":{"payload":2}}');
  peer.receive('{"id":1,"error":{"code":-32010,"message":"no","data":{"kind":"refused"}}}');
  peer.receive('{"id":99,"result":1}');
  peer.receive('{"id":null,"error":{"code":-32700,"message":"?"}}');
  assert.deepEqual(await two, { payload: 2 });
  await assert.rejects(one, (error: RpcError) => error.message === "no" && error.code === -32010 && error.data?.kind === "refused");
});

test("an abort cancels the call there and rejects here at once", async () => {
  const { peer, sent } = pair();
  const stop = new AbortController();
  const call = peer.request("ping", {}, stop.signal);
  stop.abort(new Error("Esc"));
  await assert.rejects(call, /Esc/);
  assert.deepEqual(sent[1], { jsonrpc: "2.0", method: "$/cancelRequest", params: { id: 1 } });
  peer.receive('{"id":1,"result":{}}');
  await assert.rejects(peer.request("ping", {}, stop.signal), /Esc/);
  assert.equal(sent.length, 2);
});

test("a failed connection fails every call with the reason", async () => {
  let stopped = false;
  const { peer, sent } = pair((_method, _params, signal) => new Promise(() => signal.addEventListener("abort", () => (stopped = true))));
  peer.receive('{"id":"s1","method":"host/session.get","params":{}}');
  const call = peer.request("ping", {});
  peer.fail(new Error("it died"));
  await assert.rejects(call, /it died/);
  await assert.rejects(peer.request("ping", {}), /it died/);
  assert.ok(stopped);
  assert.equal(sent.length, 1);
});

test("calls of the other side are answered, cancelled and told apart from bugs", async () => {
  const { peer, sent } = pair(async (method, params, signal) => {
    if (method === "ok") return params;
    if (method === "nothing") return undefined;
    if (method === "slow") return new Promise(() => signal);
    if (method === "large") return "x".repeat(10);
    throw method === "refused" ? new RpcError(-32010, "no", { kind: "refused" }) : new TypeError("bug");
  });
  for (const method of ["ok", "nothing", "slow", "refused", "bug"]) peer.receive(JSON.stringify({ id: method, method, params: { a: 1 } }));
  peer.receive('{"method":"$/cancelRequest","params":{"id":"slow"}}');
  peer.receive('{"method":"$/cancelRequest","params":{"id":"unknown"}}');
  peer.receive('{"method":"a notification"}');
  await new Promise((resolve) => setImmediate(resolve));
  const byId = Object.fromEntries(sent.map(({ id, result, error }) => [id, result ?? error]));
  assert.deepEqual(byId, {
    ok: { a: 1 },
    nothing: {},
    slow: { code: -32800, message: "cancelled", data: { kind: "cancelled" } },
    refused: { code: -32010, message: "no", data: { kind: "refused" } },
    bug: { code: -32603, message: "TypeError: bug", data: { kind: "internal" } },
  });
  assert.equal(sent.length, 5);
});

test("what is no JSON-RPC message is refused", () => {
  for (const text of ["{", "null", ""]) assert.throws(() => pair().peer.receive(text), Error, text);
});

test("a deadline aborts with Late; until follows the signal first", async () => {
  await assert.rejects(deadline(5, (signal) => until(signal, new Promise(() => {}))), Late);
  assert.equal(await deadline(1000, async () => 7), 7);
  await assert.rejects(until(AbortSignal.abort(new Error("early")), Promise.resolve(1)), /early/);
});

interface Seen { name: string; options: Record<string, unknown> }

function client(answer: object): { client: Client; seen: Seen[] } {
  const seen: Seen[] = [];
  const group = (name: string) => new Proxy({}, { get: (_, key) => async (options: Record<string, unknown>) => (seen.push({ name: `${name}.${String(key)}`, options }), answer) });
  const post = async (options: Record<string, unknown>) => (seen.push({ name: "postSessionIdPermissionsPermissionId", options }), answer);
  const all = { session: group("session"), app: group("app"), tui: group("tui"), postSessionIdPermissionsPermissionId: post };
  return { client: all as unknown as Client, seen };
}

const never = new AbortController().signal;

test("host calls reach the client as they are", async () => {
  const { client: target, seen } = client({ data: true });
  const serve = hostServer(() => target, new Map());
  const names = {
    "host/session.create": "session.create", "host/session.get": "session.get", "host/session.children": "session.children",
    "host/session.promptAsync": "session.promptAsync", "host/session.abort": "session.abort", "host/session.status": "session.status",
    "host/session.todo": "session.todo", "host/session.delete": "session.delete", "host/app.agents": "app.agents", "host/toast": "tui.showToast",
    "host/log": "app.log", "host/permission.reply": "postSessionIdPermissionsPermissionId",
  };
  for (const [method, name] of Object.entries(names)) {
    const params = { workspace: "wrk_1", path: { id: "ses_1" }, query: { limit: 3 }, body: { title: "t" } };
    assert.equal(await serve(method, params, never), true);
    const { workspace: _, ...options } = params;
    assert.deepEqual(seen.pop(), { name, options: { ...options, signal: never } });
  }
});

const large = "x".repeat(1 << 20);
const diffs = [{ file: "a.go", patch: large }];

test("of a message only what the sidecar reads crosses", async () => {
  const user = { id: "msg_1", sessionID: "ses_1", role: "user", agent: "build", model: { providerID: "p", modelID: "m", variant: "high" }, time: { created: 1 } };
  const failure = { name: "APIError", data: { message: "overloaded", statusCode: 529, isRetryable: true, responseHeaders: { "retry-after-ms": "100" } } };
  const usage = { cost: 0.5, tokens: { input: 1, output: 2, reasoning: 3, cache: { read: 4, write: 5 } } };
  const assistant = { id: "msg_2", sessionID: "ses_1", role: "assistant", parentID: "msg_1", agent: "build", providerID: "p", modelID: "m", variant: "high", finish: "stop", summary: true };
  const text = { id: "prt_1", messageID: "msg_1", type: "text", text: large, synthetic: true };
  const tool = { id: "prt_2", messageID: "msg_2", type: "tool", tool: "read" };
  const end = { id: "prt_3", messageID: "msg_2", type: "step-finish", reason: "stop" };
  const state = { status: "completed", input: { path: large }, output: large, metadata: { large }, attachments: [{ type: "file", url: `data:image/png;base64,${large}` }] };
  const data = [
    { info: { ...user, summary: { diffs }, system: large, tools: { bash: true } }, parts: [{ ...text, metadata: { large } }] },
    {
      info: { ...assistant, error: { ...failure, data: { ...failure.data, responseBody: large, responseHeaders: { "retry-after-ms": "100", "set-cookie": large } } }, time: { created: 2, completed: 3, other: 4 }, cost: 0.5, tokens: { ...usage.tokens, total: 15 }, path: {} },
      parts: [{ ...tool, callID: "call_1", state }, { ...end, snapshot: large, tokens: {} }],
    },
  ];
  const serve = hostServer(() => client({ data }).client, new Map());
  assert.deepEqual(await serve("host/session.messages", { workspace: "wrk_1", path: { id: "ses_1" }, query: {} }, never), [
    { info: user, parts: [text] },
    { info: { ...assistant, ...usage, error: failure, time: { created: 2, completed: 3 } }, parts: [{ ...tool, callID: "call_1", state: { status: "completed" } }, end] },
  ]);
});

test("of a session and of an agent only what the sidecar reads crosses", async () => {
  const permission = [{ permission: "edit", pattern: "*", action: "deny" }];
  const session = { id: "ses_1", parentID: "ses_0", title: "t", directory: "/d", agent: "build", permission, metadata: { sidecar: { any: ["thing"] } } };
  const given = { ...session, summary: { additions: 1, diffs }, revert: { diff: large }, time: { created: 1 } };
  const params = { workspace: "wrk_1", path: { id: "ses_1" } };
  for (const method of ["host/session.create", "host/session.get"])
    assert.deepEqual(await hostServer(() => client({ data: given }).client, new Map())(method, params, never), session);
  assert.deepEqual(await hostServer(() => client({ data: [given, given] }).client, new Map())("host/session.children", params, never), [session, session]);
  const agent = { name: "build", description: "d", mode: "primary", hidden: false, model: { providerID: "p", modelID: "m" }, permission };
  const agents = [{ ...agent, prompt: large, options: {} }];
  assert.deepEqual(await hostServer(() => client({ data: agents }).client, new Map())("host/app.agents", params, never), [agent]);
});

test("a shape drops what has another form, and takes what is not there", () => {
  const event = { info: null, part: "no part", error: { name: { deep: large }, data: undefined }, sessionID: "ses_1" };
  assert.deepEqual(pick(EVENT, event), { info: null, part: "no part", error: {} });
  assert.equal(pick(EVENT, undefined), undefined);
});

test("the arguments of a call are shortened, and stay different where they differ", () => {
  const input = (value: unknown) => (pick(EVENT, { part: { state: { input: value } } }) as { part: { state: { input: unknown } } }).part.state.input;
  const short = { command: "ls", todos: [{ content: "a" }], n: 1, off: false, none: null };
  assert.deepEqual(input(short), short);
  assert.deepEqual(input({}), {});
  const [one, two] = ["a", "b"].map((end) => input({ command: large + end, list: [large + end] }) as Record<string, string>);
  for (const key of ["command", "list"]) {
    assert.notEqual(one![key], two![key]);
    assert.match(one![key]!.slice(200), /^… \d+ [0-9a-f]{8}$/);
  }
  const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`${n}${large}`, large]));
  assert.ok(JSON.stringify(input(wide)).length < 10_000);
  assert.equal((input(large) as string).length, 200 + "… 1048576 12345678".length);
  assert.deepEqual(input([large, 1]), { 0: (input([large]) as string[])[0], 1: 1 });
});

test("messages keep only the parts that were asked for", async () => {
  const data = [{ info: { id: "msg_1" }, parts: [{ type: "text", text: "a" }, { type: "reasoning" }, { type: "tool" }] }];
  const serve = hostServer(() => client({ data }).client, new Map());
  const params = { workspace: "wrk_1", path: { id: "ses_1" }, query: {} };
  assert.deepEqual(await serve("host/session.messages", { ...params, parts: ["text"] }, never), [{ info: { id: "msg_1" }, parts: [{ type: "text", text: "a" }] }]);
  assert.deepEqual(await serve("host/session.messages", params, never), data);
});

test("failures of OpenCode become host errors", async () => {
  const ask: Ask = async () => Promise.reject(Object.assign(new Error("denied"), { _tag: "PermissionDeniedError" }));
  const answers: [Client, string, object][] = [
    [client({ error: { name: "NotFoundError", data: { message: "Session not found" } }, response: { status: 404 } }).client, "Session not found", { status: 404, name: "NotFoundError" }],
    [client({ error: {}, response: { status: 500 } }).client, "OpenCode answered 500", { status: 500, name: undefined }],
    [client({ error: new TypeError("fetch failed") }).client, "fetch failed", { status: undefined, name: "TypeError" }],
    [client({ error: "plain" }).client, "plain", { status: undefined, name: undefined }],
  ];
  for (const [target, message, data] of answers) {
    const call = hostServer(() => target, new Map())("host/session.get", { workspace: "wrk_1" }, never);
    await assert.rejects(call, (error: RpcError) => {
      assert.deepEqual([error.code, error.message, error.data], [-32011, message, { kind: "host", ...data }]);
      return true;
    });
  }
  const serve = hostServer(() => undefined, new Map([["call_1", ask]]));
  await assert.rejects(serve("host/tool.ask", { callID: "call_1", permission: "bash" }, never), { code: -32011, message: "denied" });
  await assert.rejects(serve("host/tool.ask", { callID: "call_2" }, never), { code: -32010 });
  await assert.rejects(serve("host/session.get", { workspace: "wrk_9" }, never), { code: -32010, message: /closed/ });
  await assert.rejects(serve("host/constructor", { workspace: "wrk_9" }, never), { code: -32601 });
});

test("an ask passes the question and answers with nothing", async () => {
  let asked: unknown;
  const serve = hostServer(() => undefined, new Map<string, Ask>([["call_1", async (question) => void (asked = question)]]));
  const question = { permission: "bash", patterns: ["ls"], always: ["ls *"], metadata: {} };
  assert.equal(await serve("host/tool.ask", { callID: "call_1", ...question }, never), undefined);
  assert.deepEqual(asked, question);
});

test("the mode is read from the command line", () => {
  const at = "/$bunfs/root/src/index.js";
  assert.equal(mode(["bun", at, "run", "-m", "a/b", "serve the cake"]), "run");
  assert.equal(mode(["bun", at, "--print-logs", "serve", "--port", "1"]), "serve");
  assert.equal(mode(["bun", at, "models"]), "other");
  assert.equal(mode(["bun", "/$bunfs/root/src/cli/tui/worker.js"]), "tui");
});

test("the recorder appends lines that only the user can read, or does nothing", () => {
  const file = join(mkdtempSync(join(tmpdir(), "shim-")), "record.jsonl");
  const record = recorder(file);
  record('"note":"spawn","pid":7');
  record('"dir":"out","msg":{"a":"ü"}');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const lines = readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(lines.map(({ t, ...rest }) => (assert.equal(typeof t, "number"), rest)), [{ note: "spawn", pid: 7 }, { dir: "out", msg: { a: "ü" } }]);
  recorder(undefined)('"note":"x"');
  recorder("/nonexistent/folder/file")('"note":"x"');
});

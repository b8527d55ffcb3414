#!/usr/bin/env node
// A sidecar for the tests. FAKE_LOG takes one JSON line for the start and for
// each message; FAKE_MODE changes the handshake; a tool call does what its
// argument `do` says.
import { appendFileSync } from "node:fs";

const { FAKE_LOG, FAKE_MODE = "" } = process.env;
const log = (entry) => FAKE_LOG && appendFileSync(FAKE_LOG, `${JSON.stringify(entry)}\n`);
log({ start: process.pid, argv: process.argv.slice(2), env: process.env });

const raw = (text) => process.stdout.write(text);
const send = (message) => {
  const body = JSON.stringify({ jsonrpc: "2.0", ...message });
  raw(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
};
const waiting = new Map();
let last = 0;
const call = (method, params) => new Promise((resolve) => {
  const id = `s${++last}`;
  waiting.set(id, resolve);
  send({ id, method, params });
});

let transforms = 0;
let open = 0;
const handlers = {
  initialize: (p) => {
    if (FAKE_MODE === "crash") process.exit(3);
    if (FAKE_MODE === "silent") return new Promise(() => {});
    if (FAKE_MODE === "refuse") throw { code: -32010, message: "versions differ", data: { kind: "version-mismatch" } };
    return { version: FAKE_MODE === "other-version" ? "0.0.0" : p.version, protocol: p.protocol, manifestHash: p.manifestHash, pid: process.pid };
  },
  ping: (p) => p,
  "workspace/open": () => {
    open++;
    return { reattached: false, warnings: FAKE_MODE === "warn" ? ['option "maxDepht" is unknown'] : undefined };
  },
  "workspace/close": () => {
    if (--open === 0 && FAKE_MODE === "exit-on-close") setTimeout(() => process.exit(0), 20);
    return FAKE_MODE === "slow-close" ? new Promise(() => {}) : {};
  },
  "hook/command": (p) => {
    if (FAKE_MODE === "no-command") throw { code: -32601, message: "unknown method hook/command", data: { kind: "unknown-method" } };
    return p.command === "task" ? {} : { text: `${p.command}: ${p.arguments}` };
  },
  "hook/chat.message": () => ({}),
  "hook/messages.transform": (p) => {
    transforms++;
    if (FAKE_MODE === "again" && transforms < 3) return { again: true };
    return { append: [{ messageID: p.messageID, text: `appended ${transforms}` }] };
  },
  "hook/session.compacting": (p) => ({ context: [`carry ${p.sessionID}`, "on"] }),
  "tool/call": async (p) => {
    const { do: what = "echo", ...args } = p.args;
    if (what === "crash") process.kill(process.pid, "SIGKILL");
    if (what === "hang") return new Promise(() => {});
    if (what === "error") throw { code: -32602, message: "prompt must not be empty", data: { kind: "invalid-params", field: "prompt" } };
    if (what === "garbage") return raw(args.bytes), new Promise(() => {});
    if (what === "host") return { output: JSON.stringify(await call(args.method, { workspace: p.workspace, callID: p.callID, ...args.params })) };
    if (what === "host-cancelled") {
      const answer = call(args.method, { workspace: p.workspace, callID: p.callID, ...args.params });
      send({ method: "$/cancelRequest", params: { id: `s${last}` } });
      return { output: JSON.stringify(await answer) };
    }
    return { title: "echo", output: JSON.stringify(args), metadata: { pid: process.pid } };
  },
};

async function take(message) {
  log(message);
  const { id, method, params, result, error } = message;
  if (method === "exit") process.exit(0);
  if (method === undefined) return waiting.get(id)?.(error ? { error } : { result });
  if (id === undefined) return;
  try {
    send({ id, result: await handlers[method](params) });
  } catch (error) {
    send({ id, error });
  }
}

let input = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  input = Buffer.concat([input, chunk]);
  for (;;) {
    const end = input.indexOf("\r\n\r\n");
    if (end < 0) return;
    const size = Number(input.toString("latin1", 0, end).split(":")[1]);
    if (input.length < end + 4 + size) return;
    void take(JSON.parse(input.toString("utf8", end + 4, end + 4 + size)));
    input = input.subarray(end + 4 + size);
  }
});
process.stdin.on("end", () => process.exit(0));
for (const signal of ["SIGINT", "SIGHUP"]) process.on(signal, () => {});
